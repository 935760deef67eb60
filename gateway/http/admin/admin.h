// What is beside S3 on the HTTP port, under /-/: health and metrics. No data, no credentials.
//
// Threads: any.
#pragma once

#include "gateway/http/door.h"
#include "kv/engine.h"

namespace cairn::admin {

class Admin {
 public:
  Admin(kv::Server& server, kv::Engine& engine, http::Stats& http)
      : server_(server), engine_(engine), http_(http) {}
  void handle(const http::Request& request, http::Response& response);

 private:
  std::string metrics() const;
  kv::Server& server_;
  kv::Engine& engine_;
  http::Stats& http_;
};

}  // namespace cairn::admin
