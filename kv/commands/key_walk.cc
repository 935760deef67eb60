#include "kv/commands/key_walk.h"

namespace cairn::kv {

awaitable<bool> KeyWalk::wait_for_turn(Seen seen) {
  if (seen == Seen::kBusy) {
    const Status idle = co_await c_.store.busy().until_idle(next_stripe());
    if (!idle.ok()) {
      c_.status_error(idle);
      co_return false;
    }
  }
  co_await between_turns(c_);
  co_return !c_.given_up();
}

// Amidst a swap, which takes a moment, two of them say the same.
Namespace& HeldWalk::holder() const {
  for (uint32_t number = 0;; number = (number + 1) % c_.store.databases()) {
    if (c_.store.database(number).stored() == held_) return c_.store.database(number);
  }
}

std::vector<NamespaceId> held_by_databases(Context& c) {
  for (;;) {
    std::vector<NamespaceId> held;
    for (uint32_t i = 0; i < c.store.databases(); i++) held.push_back(c.store.database(i).stored());
    auto sorted = held;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) return held;
  }
}

void Names::add(std::string_view name) {
  if (pieces_.empty() || pieces_.back().capacity() - pieces_.back().size() < item_size(name)) {
    pieces_.emplace_back().reserve(std::max(kPieceBytes, item_size(name)));
    bytes_ += pieces_.back().capacity();
  }
  append_item(pieces_.back(), name);
  count_++;
}

bool Names::next(Reply& reply) {
  constexpr size_t kEach = 1000;
  for (size_t n = 0; n < kEach && !pieces_.empty(); n++) {
    std::string_view rest = std::string_view(pieces_.front()).substr(at_), name;
    if (!take_item(rest, name)) break;
    reply.bulk(name);
    at_ = pieces_.front().size() - rest.size();
    if (!rest.empty()) continue;
    bytes_ -= pieces_.front().capacity();
    pieces_.pop_front();
    at_ = 0;
  }
  return !pieces_.empty();
}

void reply_names(Context& c, std::unique_ptr<Names> names) {
  const size_t n = names->size();
  c.reply.array(n);
  if (n > 0) c.reply.series(std::move(names), n);
}

}  // namespace cairn::kv
