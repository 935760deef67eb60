// The settings of a running server: from the flags of the start, and back into the configuration
// file.
//
// Threads: take() before there are clients; rewrite() any, one at a time.
#pragma once

#include <map>
#include <string>

#include "gateway/options.h"
#include "kv/engine/server.h"

namespace cairn {

class Settings {
 public:
  // `options` were read and checked.
  Settings(const Options& options, kv::Server& server);

  // Each is checked as CONFIG SET checks it; InvalidArgument names the one that will not do.
  Status take();

  // CONFIG REWRITE. FailedPrecondition: a setting is not what it was at the start and cannot be
  // written, and OK would say that it is kept. Then the file is as it was.
  Status rewrite();

 private:
  const Options& options_;
  kv::Server& server_;
  // By name: as they are when nobody says anything, and as they were when take() was done.
  std::map<std::string, std::string, std::less<>> standard_, begun_;
};

}  // namespace cairn
