// SORT where it has to wait: for other keys, or for its next turn.
#include <boost/asio/post.hpp>
#include <cstdlib>

#include "core/base/errors.h"
#include "core/extents/blob_reader.h"
#include "kv/commands/set_view.h"
#include "kv/commands/sort.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/commands/store_made.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv::sorting {
namespace {

// ---- in one turn, with the keys that follow from the elements ----

// The names that these patterns make of some elements.
class Derived {
 public:
  void add(Context& c, const Pattern& pattern, std::string_view element) {
    if (!pattern.names_key()) return;
    std::string& name = names_.emplace_back(pattern.key(element));
    if (name.size() > kKeyBytesMax) return names_.pop_back();
    wanted.hashes.push_back(c.ns().hash(name));
    wanted.values.emplace_back(c.session.ns, name);
  }
  Wanted wanted;

 private:
  std::deque<std::string> names_;
};

// The elements as they are now, and their version.
awaitable<bool> look(Context& c, const Question& q, Derived& keys, Lsn& version, bool& few) {
  constexpr uint64_t kElementsMax = 1000, kKeysMax = 4000;
  StripeLocks locks(c.store);
  keys.wanted.add_keys_of(c.request);
  const bool locked = co_await lock(c, locks, keys.wanted);
  if (!locked) co_return false;
  Context::Turn turn(c, locks);
  const Entry* entry;
  if (!find_source(c, entry)) co_return false;
  Work work(q, entry);
  few = work.size() <= kElementsMax && work.size() * q.keys_each() <= kKeysMax;
  version = entry == nullptr ? Lsn() : entry->version();
  if (!few) co_return true;
  gather_at_once(work, entry);
  for (const Element& e : work.elements()) {
    if (work.question().sorts && q.by) keys.add(c, *q.by, e.text);
    for (const Pattern& get : q.gets) keys.add(c, get, e.text);
  }
  co_return true;
}

// kLater: it has to be done in turns.
awaitable<Outcome> in_one_turn(Context& c, const Question& q) {
  constexpr int kTries = 4;
  for (int tries = 0; tries < kTries && !c.session.ends(); tries++) {
    Derived keys;
    Lsn version;
    bool few = false;
    const bool looked = co_await look(c, q, keys, version, few);
    if (!looked) co_return Outcome::kDone;
    if (!few) break;
    StripeLocks locks(c.store);
    const bool locked = co_await lock(c, locks, keys.wanted);
    if (!locked) co_return Outcome::kDone;
    Context::Turn turn(c, locks);
    const Entry* entry;
    if (!find_source(c, entry)) co_return Outcome::kDone;
    if ((entry == nullptr ? Lsn() : entry->version()) != version) continue;
    Work work(q, entry);
    co_return work_at_once(c, work, entry);
  }
  co_return c.given_up() ? Outcome::kDone : Outcome::kLater;
}

// ---- in turns ----

// The elements of a key as they are now, handed out in pieces while others change it.
class Source {
 public:
  // With the key locked.
  Source(Context& c, std::string_view key, const Entry* entry, const Work& work)
      : first_(work.first()), left_(work.wanted()), down_(work.down()) {
    if (left_ == 0) return;
    if (entry->type() == ValueType::kSortedSet) {
      sorted_set_.emplace(*sorted_set_of(entry));
    } else if (entry->type() == ValueType::kList && !list_of(entry)->is_small()) {
      list_.emplace(list_of(entry)->snapshot());
    } else if (entry->type() == ValueType::kSet && set_of(entry)->table() != nullptr) {
      walk_ = std::make_unique<MemberTable::Walk>(*set_of(entry)->table(), MemberTable::kNoTime,
                                                  c.ns().hash(key));
    }
  }
  // Whether it is one of those that are small enough to be gathered under the lock.
  bool is_small() const { return !sorted_set_ && !list_ && walk_ == nullptr; }
  bool lost() const { return lost_; }

  // Adds some; false after the last.
  bool next(Context& c, Work& work) {
    constexpr uint64_t kStep = 1000;
    if (left_ == 0) return false;
    if (walk_ != nullptr) return next_of_set(c, work);
    const uint64_t n = std::min(left_, kStep);
    const auto add = [&](std::string_view text) { return work.add(text), true; };
    bool there;
    if (sorted_set_) {
      there = sorted_set_->for_each(first_, n, down_,
                                    [&](const SortedSet::Item& item) { work.add(item.member); });
    } else {
      there = list_->read([&](const List::Tree& tree) {
        down_ ? List::walk_back(tree, first_, n, add) : List::walk(tree, first_, n, add);
      });
    }
    lost_ = !there;
    first_ += down_ ? -n : n;
    left_ -= n;
    return there && left_ > 0;
  }

 private:
  bool next_of_set(Context& c, Work& work) {
    StripeLocks lock(c.store);
    lock_set_of(*walk_, lock);
    const bool more = walk_->next([&](auto member, auto) { work.add(member); });
    lost_ = walk_->lost();
    return more && !lost_;
  }

  uint64_t first_, left_;
  const bool down_;
  bool lost_ = false;
  std::optional<SortedSet::View> sorted_set_;
  std::optional<Snapshot<List::Tree>> list_;
  std::unique_ptr<MemberTable::Walk> walk_;
};

constexpr size_t kKeysATurn = 64;

// Calls fn(element, found) for these elements, for each of these patterns in turn, with the keys of
// some of them locked at a time; a blob's bytes are read before. False after an error.
using Take = std::function<void(Element&, const Found&, std::unique_ptr<BlobReader>)>;
awaitable<bool> look_up(Context& c, std::span<Element* const> elements,
                        std::span<const Pattern> patterns, const Take& take) {
  Derived keys;
  for (const Element* e : elements) {
    for (const Pattern& p : patterns) keys.add(c, p, e->text);
  }
  StripeLocks locks(c.store);
  if (!keys.wanted.hashes.empty()) {
    const bool locked = co_await lock(c, locks, keys.wanted);
    if (!locked) co_return false;
  }
  Context::Turn turn(c, locks);
  for (Element* e : elements) {
    for (const Pattern& p : patterns) {
      const Found found = find(c, p, e->text);
      std::unique_ptr<BlobReader> blob;
      if (found.blob != nullptr) {
        BlobRef ref = *BlobRef::decode(found.blob->value());
        const uint64_t size = ref.size;
        blob = std::make_unique<BlobReader>(c.store.extents(), std::move(ref), 0, size);
      }
      take(*e, found, std::move(blob));
    }
  }
  co_return true;
}

// Memory that a work in turns has, and whether it needs more.
class Room {
 public:
  explicit Room(uint64_t bytes) : wanted_(bytes) {}
  awaitable<bool> take(Context& c) {
    share_.reset();
    share_ = co_await c.workspace(wanted_);
    co_return share_ != nullptr;
  }
  bool holds(uint64_t bytes) const { return bytes <= share_->bytes(); }
  // Twice as much next time; false after it answered that there is not so much.
  bool grow(Context& c) {
    wanted_ = share_->bytes() * 2;
    if (share_->bytes() < limits::workspace(c.store.memory_bytes())) return true;
    c.status_error(out_of_memory("the values of this command do not fit in memory together."));
    return false;
  }
  std::unique_ptr<Workspace::Share>& share() { return share_; }

 private:
  uint64_t wanted_;
  std::unique_ptr<Workspace::Share> share_;
};

// What became of a step.
enum class Step : uint8_t { kDone, kAnswered, kMoreRoom };

// What a value is where its bytes are needed: read whole. Nothing, after it answered why not.
awaitable<std::optional<std::string>> read_whole(Context& c, std::unique_ptr<BlobReader> blob) {
  auto text = co_await blob->read_all(Entry::kValueBytesMax);
  if (!text.ok()) {
    c.status_error(text.status());
    co_return std::nullopt;
  }
  co_return std::move(*text);
}

// What the elements are sorted by.
awaitable<Step> weigh_in_turns(Context& c, Work& work, const Room& room) {
  constexpr size_t kStep = 1000;
  const auto executor = co_await asio::this_coro::executor;
  const Question& q = work.question();
  auto& all = work.elements();
  for (size_t i = 0; q.sorts && i < all.size();) {
    std::vector<std::pair<Element*, std::unique_ptr<BlobReader>>> blobs;
    if (!q.by) {
      for (const size_t end = std::min(all.size(), i + kStep); i < end; i++) {
        work.weigh(all[i], all[i].text);
      }
    } else {
      std::vector<Element*> some;
      for (; i < all.size() && some.size() < kKeysATurn; i++) some.push_back(&all[i]);
      const std::span<const Pattern> by(&*q.by, 1);
      const Take take = [&](Element& e, const Found& found, std::unique_ptr<BlobReader> blob) {
        if (blob != nullptr) return void(blobs.emplace_back(&e, std::move(blob)));
        work.weigh(e, found.value);
      };
      const bool looked = co_await look_up(c, some, by, take);
      if (!looked) co_return Step::kAnswered;
    }
    for (auto& [element, blob] : blobs) {
      const auto text = co_await read_whole(c, std::move(blob));
      if (!text) co_return Step::kAnswered;
      work.weigh(*element, *text);
    }
    if (!room.holds(work.bytes())) co_return Step::kMoreRoom;
    if (c.given_up()) co_return Step::kAnswered;
    co_await asio::post(executor, asio::use_awaitable);
  }
  while (work.sort_some()) co_await asio::post(executor, asio::use_awaitable);
  while (!work.failed() && work.skip_some()) co_await asio::post(executor, asio::use_awaitable);
  co_return Step::kDone;
}

// Elements themselves, made into an answer while it is sent.
class Sorted final : public Series {
 public:
  Sorted(std::unique_ptr<Work> work, std::unique_ptr<Workspace::Share> share)
      : work_(std::move(work)), share_(std::move(share)), left_(work_->count()) {}
  bool next(Reply& reply) override {
    constexpr int kStep = 500;
    for (int i = 0; i < kStep && left_ > 0; i++, left_--) reply.bulk(work_->take().text);
    return left_ > 0;
  }

 private:
  const std::unique_ptr<Work> work_;
  const std::unique_ptr<Workspace::Share> share_;
  uint64_t left_;
};

// The next elements that are answered, as many as are looked up in a turn.
std::vector<Element> take_some(Work& work, uint64_t& left) {
  const size_t each = std::max<size_t>(1, work.question().gets.size());
  const uint64_t n = std::min<uint64_t>(left, std::max<size_t>(1, kKeysATurn / each));
  std::vector<Element> some;
  some.reserve(n);
  for (uint64_t i = 0; i < n; i++) some.push_back(work.take());
  left -= n;
  return some;
}
std::vector<Element*> pointers(std::vector<Element>& some) {
  std::vector<Element*> all;
  all.reserve(some.size());
  for (Element& e : some) all.push_back(&e);
  return all;
}

// The values lie in the client's buffers, as an MGET's do, and are limited as these are.
awaitable<void> answer_in_turns(Context& c, std::unique_ptr<Work> work, Room& room) {
  const auto executor = co_await asio::this_coro::executor;
  const Question& q = work->question();
  const Reply::Mark mark = c.reply.mark();
  c.reply.array(work->values());
  uint64_t left = work->count();
  if (q.gets.empty()) {
    if (left > 0) {
      c.reply.series(std::make_unique<Sorted>(std::move(work), std::move(room.share())), left);
    }
    co_return;
  }
  while (left > 0) {
    if (c.session.ends()) {
      c.reply.cut(mark);
      co_return c.give_up();
    }
    if (c.reply.overflowed()) {  // nobody will see it
      co_return c.status_error(absl::ResourceExhaustedError("the answer is too large"));
    }
    std::vector<Element> some = take_some(*work, left);
    const std::vector<Element*> elements = pointers(some);
    const Take take = [&](Element&, const Found& found, std::unique_ptr<BlobReader> blob) {
      if (blob != nullptr) return c.reply.stream(std::move(blob));
      found.value ? c.reply.bulk(*found.value) : c.reply.null();
    };
    const bool looked = co_await look_up(c, elements, q.gets, take);
    if (!looked) co_return;
    co_await asio::post(executor, asio::use_awaitable);
  }
}

// A list that is made in parts: operations, each of some elements.
class Made {
 public:
  void add(std::string_view value) {
    if (pending_.size() + value.size() > kPartBytes) flush();
    ends_.push_back(pending_.size() + value.size());
    pending_.append(value);
    count_++;
  }
  // After the last.
  void flush() {
    if (ends_.empty()) return;
    std::vector<std::string_view> values;
    size_t at = 0;
    for (size_t end : ends_) {
      values.push_back(std::string_view(pending_).substr(at, end - at));
      at = end;
    }
    // Numbers go on where the part before has ended; only its last element is kept for that.
    std::string operation, forget;
    List::add_push(last_.size() == 0 ? nullptr : &last_, false, values, operation);
    if (!last_.apply(operation)) std::abort();
    if (last_.size() > 1) last_.add_erase(0, last_.size() - 1, forget);
    if (!last_.apply(forget)) std::abort();
    bytes_ += operation.size();
    parts_.push_back(std::move(operation));
    pending_.clear();
    ends_.clear();
  }
  uint64_t count() const { return count_; }
  uint64_t bytes() const { return bytes_ + pending_.capacity(); }
  // Of these the next one; an empty one after the last.
  std::string take_part() {
    if (parts_.empty()) return {};
    std::string part = std::move(parts_.front());
    parts_.pop_front();
    return part;
  }

 private:
  static constexpr size_t kPartBytes = 48 << 10;
  List last_;
  std::string pending_;
  std::vector<size_t> ends_;
  std::deque<std::string> parts_;
  uint64_t count_ = 0, bytes_ = 0;
};

awaitable<Step> make_in_turns(Context& c, Work& work, const Room& room, Made& made) {
  const auto executor = co_await asio::this_coro::executor;
  const Question& q = work.question();
  for (uint64_t left = work.count(); left > 0;) {
    if (c.given_up()) co_return Step::kAnswered;
    std::vector<Element> some = take_some(work, left);
    std::vector<std::pair<std::string, std::unique_ptr<BlobReader>>> values;
    if (q.gets.empty()) {
      for (const Element& e : some) made.add(e.text);
    } else {
      const std::vector<Element*> elements = pointers(some);
      const Take take = [&](Element&, const Found& found, std::unique_ptr<BlobReader> blob) {
        values.emplace_back(found.value.value_or(""), std::move(blob));
      };
      const bool looked = co_await look_up(c, elements, q.gets, take);
      if (!looked) co_return Step::kAnswered;
    }
    for (auto& [value, blob] : values) {
      if (blob == nullptr) {
        made.add(value);
        continue;
      }
      const auto text = co_await read_whole(c, std::move(blob));
      if (!text) co_return Step::kAnswered;
      made.add(*text);
    }
    if (!room.holds(work.bytes() + made.bytes())) co_return Step::kMoreRoom;
    co_await asio::post(executor, asio::use_awaitable);
  }
  made.flush();
  co_return Step::kDone;
}

// A work on the elements as they are now; null after it answered.
struct Begun {
  std::unique_ptr<Work> work;
  std::unique_ptr<Source> source;
  Lsn destination;
  uint64_t bytes = 0;
};
awaitable<Begun> begin(Context& c, const Question& q, uint64_t room) {
  StripeLocks locks(c.store);
  const bool locked = co_await lock_keys(c, locks);
  Begun begun;
  if (!locked) co_return begun;
  Context::Turn turn(c, locks);
  const Entry* entry;
  if (!find_source(c, entry)) co_return begun;
  begun.work = std::make_unique<Work>(q, entry);
  const uint64_t text_bytes = entry == nullptr ? 0 : 2 * entry->collection()->image_bytes();
  const uint64_t copies = q.store_at == 0 ? 1 : 2;
  begun.bytes = Work::bytes_for(begun.work->wanted(), copies * text_bytes) + (64 << 10);
  if (begun.bytes > room) co_return begun;  // he waits for it before anything is held
  begun.source = std::make_unique<Source>(c, c.args[1], entry, *begun.work);
  if (begun.source->is_small()) {
    gather_at_once(*begun.work, entry);
  } else {
    begun.work->reserve();
  }
  if (q.store_at != 0) begun.destination = version_at(c, c.args[q.store_at]);
  co_return begun;
}

// False after it answered.
awaitable<bool> gather_in_turns(Context& c, Begun& begun) {
  const auto executor = co_await asio::this_coro::executor;
  if (begun.source->is_small()) co_return true;
  while (begun.source->next(c, *begun.work)) {
    if (c.given_up()) co_return false;
    co_await asio::post(executor, asio::use_awaitable);
  }
  if (!begun.source->lost()) co_return true;
  c.reply.error("ERR the values change faster than they can be read");
  co_return false;
}

// How it ended. kMoreRoom: it has to be done again, and has the room now; kChanged: again, since
// the destination has changed.
enum class Ended : uint8_t { kDone, kMoreRoom, kChanged };

// `anyhow`: what is stored takes the place of whatever is there.
awaitable<Ended> in_turns(Context& c, const Question& q, Room& room, bool anyhow) {
  Begun begun = co_await begin(c, q, room.share() == nullptr ? 0 : room.share()->bytes());
  if (begun.work == nullptr) co_return Ended::kDone;
  if (begun.source == nullptr) {
    room = Room(begun.bytes);
    const bool taken = co_await room.take(c);
    co_return taken ? Ended::kMoreRoom : Ended::kDone;
  }
  const bool gathered = co_await gather_in_turns(c, begun);
  if (!gathered) co_return Ended::kDone;
  begun.source.reset();
  Step step = co_await weigh_in_turns(c, *begun.work, room);
  if (step == Step::kDone && begun.work->failed()) {
    c.reply.error(kNoNumber);
    co_return Ended::kDone;
  }
  auto made = std::make_shared<Made>();
  if (step == Step::kDone && q.store_at != 0) {
    step = co_await make_in_turns(c, *begun.work, room, *made);
  }
  if (step == Step::kMoreRoom) {
    begun = Begun();
    if (!room.grow(c)) co_return Ended::kDone;
    const bool taken = co_await room.take(c);
    co_return taken ? Ended::kMoreRoom : Ended::kDone;
  }
  if (step == Step::kAnswered) co_return Ended::kDone;
  if (q.store_at == 0) {
    co_await answer_in_turns(c, std::move(begun.work), room);
    co_return Ended::kDone;
  }
  const auto version = anyhow ? std::nullopt : std::optional(begun.destination);
  const bool stored = co_await store_made(
      c, ValueType::kList, c.args[q.store_at], version,
      [made](uint64_t) { return std::optional(made->take_part()); }, made->count());
  co_return stored ? Ended::kDone : Ended::kChanged;
}

// With what is sorted, and the destination, locked: others wait.
awaitable<void> at_once(Context& c, const Question& q) {
  StripeLocks locks(c.store);
  const bool locked = co_await lock_keys(c, locks);
  if (!locked) co_return;
  Context::Turn turn(c, locks);
  const Entry* entry;
  if (!may_write_still(c) || !find_source(c, entry)) co_return;
  Work work(q, entry);
  (void)work_at_once(c, work, entry, true);
}

}  // namespace

awaitable<void> run_deferred(Context& c) {
  Question q;
  if (!parse(c, q)) co_return;
  if (q.looks_up()) {
    const Outcome outcome = co_await in_one_turn(c, q);
    if (outcome == Outcome::kDone) co_return;
  }
  Room room(0);
  for (int changed = 0; !c.given_up();) {
    // Nobody can lock all other keys as well. What others add to what is sorted is not to be lost.
    const bool last = changed == kTriesInTurns;
    if (last && !q.looks_up()) co_return co_await at_once(c, q);
    if (last && c.args[q.store_at] == c.args[1]) {
      co_return c.reply.error("ERR the values change faster than they can be sorted");
    }
    const Ended ended = co_await in_turns(c, q, room, last);
    if (ended == Ended::kDone) co_return;
    if (ended == Ended::kChanged) changed++;
  }
}

}  // namespace cairn::kv::sorting
