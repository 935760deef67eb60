// Where messages about events go: one of the targets of target.h.
//
// Threads: one coroutine, which runs on a loop of the store.
#pragma once

#include <boost/asio/ssl.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/base/async.h"
#include "core/store/store.h"
#include "gateway/events/target.h"
#include "kv/engine/engine.h"

namespace cairn::events {

struct Message {
  std::string event, path, text;  // "s3:…", bucket/key, and the JSON of all that is told
};
// Some of them, to be sent together.
struct Delivery {
  std::string id;  // the same whenever they are sent again
  std::vector<Message> messages;
  std::string body;  // about all of them
  Lsn next;          // where to go on once they were taken
};

class Outlet {
 public:
  virtual ~Outlet() = default;
  // OK: they were taken, and need not be sent again. InvalidArgument: they will never be. Another
  // error: they were not, or it is not known.
  virtual awaitable<Status> deliver(const Delivery& delivery) = 0;
  virtual size_t together() const = 0;  // how many messages it takes at once
  // Whether a delivery that was taken has noted its `next` at the target's position, too.
  virtual bool notes_position() const { return false; }
};

struct OutletParts {
  kv::Server& server;
  const std::vector<std::unique_ptr<kv::Engine>>& engines;  // one for each loop
  std::shared_ptr<asio::ssl::context> tls;
  size_t records_max = 1;  // in one POST
};
std::unique_ptr<Outlet> make_outlet(const OutletParts& parts, const Target& target);

// ---- how far a target was told: a record of the system namespace ----
//   key = "n/" id      value = u64 LSN of what is to be told next

std::string position_key(const Target& target);
// Without a lock of its own, or in a transaction that holds that of the key.
RecordView position_record(std::string_view key, const uint64_t& lsn);

}  // namespace cairn::events
