#include "kv/commands/turns.h"

#include <boost/asio/post.hpp>

#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

void Wanted::add_keys_of(const Request& request) {
  for (const Key& key : request.keys) {
    if (key.ns == nullptr) continue;
    hashes.push_back(key.hash);
    if (key.needs_value()) values.emplace_back(key.ns->shared_from_this(), key.name);
  }
}

awaitable<bool> lock(Context& c, StripeLocks& locks, const Wanted& wanted) {
  const Status locked =
      co_await c.store.faults().lock_with_values(locks, wanted.hashes, wanted.values);
  if (!locked.ok()) c.status_error(locked);
  co_return locked.ok();
}

awaitable<bool> lock_keys(Context& c, StripeLocks& locks) {
  Wanted wanted;
  wanted.add_keys_of(c.request);
  co_return co_await lock(c, locks, wanted);
}

awaitable<void> between_turns(Context& c) {
  (void)c.store.memory().help();
  if (c.store.log().backlogged()) co_await c.store.log().wait_for_backlog();
  const auto executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);
}

bool may_write_still(Context& c) {
  const Status writes = c.store.check_write((c.row.flags & kDenyOom) != 0);
  if (!writes.ok()) c.status_error(writes);
  return writes.ok();
}

void end_turns(Context& c, const Context& turns, bool took) {
  c.saw(turns.seen());
  if (!took && !turns.failure().empty()) c.reply.error(turns.failure());
}

}  // namespace cairn::kv
