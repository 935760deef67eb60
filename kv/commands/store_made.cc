#include "kv/commands/store_made.h"

#include "kv/commands/turns.h"

namespace cairn::kv {

namespace {

struct Made {
  const ValueType type;
  const std::string_view key;
  const std::optional<Lsn> version;
  const uint64_t count;
  bool finds_another(Context& c) const { return version && version_at(c, key) != *version; }
  uint8_t flags() const { return static_cast<uint8_t>(static_cast<unsigned>(type) << 4); }
};

enum class Turn : uint8_t { kMore, kDone, kChanged };

// All of it is one operation, or nothing.
Turn put_at_once(Context& c, const Made& made, const std::string& all) {
  StripeLocks locks(c.store, c.ns().hash(made.key));
  Context::Turn turn(c, locks);
  if (made.finds_another(c)) return Turn::kChanged;
  if (!may_write_still(c)) return Turn::kDone;
  Entry* old = c.find(made.key);
  bool done = true;
  if (!all.empty()) {
    RecordView r;
    r.ns = c.ns().id;
    r.key = made.key;
    r.value = all;
    r.flags = made.flags();
    done = c.put(c.ns(), r);
  } else if (old != nullptr) {
    done = c.remove(c.ns(), old);
  }
  if (done && turn.commit()) c.reply.integer(static_cast<int64_t>(made.count));
  return Turn::kDone;
}

// One more part, and with the last one its name.
Turn put_part(Context& c, const Made& made, CollectionCopy& copy, StripeLocks& locks,
              const std::string& part, bool last) {
  Context::Turn turn(c, locks, Shape::kSeveral);
  if (made.finds_another(c)) return Turn::kChanged;
  Status status = c.store.check_write(true);
  if (status.ok()) status = copy.add(locks, made.flags(), part);
  if (status.ok() && !last) return Turn::kMore;
  if (status.ok()) {
    const KeyHash hash = c.ns().hash(made.key);
    c.will_change(c.ns(), hash, made.key);
    status = copy.name(*c.txn, c.ns(), hash, made.key);
    c.did_change(c.ns(), made.key);
  }
  if (!status.ok()) {
    c.status_error(status);
  } else if (turn.commit()) {
    c.reply.integer(static_cast<int64_t>(made.count));
  }
  return Turn::kDone;
}

}  // namespace

awaitable<bool> store_made(Context& c, ValueType type, std::string_view key,
                           std::optional<Lsn> version, NextPart next, uint64_t count) {
  const Made made{type, key, version, count};
  const uint64_t bytes = CollectionCopy::part_bytes(c.store);
  auto part = next(bytes);
  auto after = part && !part->empty() ? next(bytes) : part;
  if (!part || !after) co_return false;
  (void)co_await c.store.busy().until_idle(c.ns().hash(key), Busy::Patience::kEndless);
  if (after->empty()) co_return put_at_once(c, made, *part) == Turn::kDone;
  CollectionCopy copy(c.store);
  const std::vector<KeyHash> hashes{c.ns().hash(key), copy.hash()};
  while (!c.given_up()) {
    Turn turn;
    (void)co_await c.store.busy().until_idle(hashes, Busy::Patience::kEndless);
    {
      StripeLocks locks(c.store);
      locks.lock(hashes);
      turn = put_part(c, made, copy, locks, *part, after->empty());
    }
    if (turn != Turn::kMore) co_return turn == Turn::kDone;
    part = std::move(after);
    after = next(bytes);
    if (!after) co_return false;
    co_await between_turns(c);
  }
  co_return true;
}

}  // namespace cairn::kv
