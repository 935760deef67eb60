// SINTER, SUNION, SDIFF and their like.
//
// Where few members have to be looked at, all is done in place. Otherwise it is done in turns over
// the sets as they were at one moment (MemberTable::Walk and Past), so that others have theirs, and
// what is to be stored is put at the end (store_made.h). What is made lies in the command's own
// memory meanwhile, for which it waits its turn (Workspace). Inside an EXEC, which is one moment
// however long, all is done in place.
#include <absl/hash/hash.h>

#include <algorithm>
#include <bit>
#include <boost/asio/post.hpp>

#include "core/base/text.h"
#include "kv/commands/set_view.h"
#include "kv/commands/store_made.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

// ---- members on their way ----

// Some members of a set, which stay what they are while others change it.
class Batch {
 public:
  void clear() {
    text_.clear();
    sizes_.clear();
    members_.clear();
  }
  void add(std::string_view member) {
    text_.append(member);
    sizes_.push_back(static_cast<uint32_t>(member.size()));
  }
  // Once all are added.
  void seal() {
    size_t at = 0;
    for (uint32_t size : sizes_) {
      members_.push_back(std::string_view(text_).substr(at, size));
      at += size;
    }
  }
  std::vector<std::string_view>& members() { return members_; }

 private:
  std::string text_;
  std::vector<uint32_t> sizes_;
  std::vector<std::string_view> members_;
};

// Members, each once: many small tables, since a single one would stop its thread while it grows.
class Union {
 public:
  explicit Union(uint64_t most)
      : parts_(std::clamp<uint64_t>(std::bit_ceil(most / kPartMembers + 1), 1, kPartsMax)) {}
  void add(std::string_view member) { part_of(member).add(member); }
  bool contains(std::string_view member) { return part_of(member).contains(member); }
  void take(Gathered& to) {
    for (TextSet& part : parts_) {
      const size_t n = part.size();
      to.add_stretch(part.take_items(), n);
    }
  }

 private:
  static constexpr uint64_t kPartMembers = 4096, kPartsMax = 1 << 14;
  TextSet& part_of(std::string_view member) {
    if (parts_.size() == 1) return parts_[0];
    const size_t hash = absl::HashOf(absl::string_view(member.data(), member.size()));
    return parts_[hash >> 40 & (parts_.size() - 1)];
  }
  std::vector<TextSet> parts_;
};

// ---- the sets that go in ----

// One of them, as it is under the locks that its command holds, or as it was.
class Input {
 public:
  explicit Input(const Set* set) : set_(set) { note(set); }
  Input(Store& store, KeyHash key, const Set* set) : store_(&store), key_(key) {
    note(set);
    if (set == nullptr) return;
    table_ = set->table();
    if (table_ != nullptr) return;
    copy_ = set->copy_of_small();
    set_ = copy_.get();
  }

  uint64_t size() const { return size_; }
  uint64_t bytes() const { return bytes_; }  // of all members
  uint64_t copied_bytes() const { return copy_ == nullptr ? 0 : copy_->memory_bytes(); }
  // Of a large one, while its key is locked: whether its members are wanted, or only whether
  // something is among them.
  void begin(bool walk) {
    if (table_ == nullptr) return;
    if (walk) {
      walk_ = std::make_unique<MemberTable::Walk>(*table_, MemberTable::kNoTime, key_);
    } else {
      past_ = std::make_unique<MemberTable::Past>(*table_, MemberTable::kNoTime, key_);
    }
  }
  // The next members; false after the last.
  bool next(Batch& batch) {
    batch.clear();
    bool more = false;
    if (walk_ != nullptr) {
      StripeLocks lock(*store_);
      lock_set_of(*walk_, lock);
      more = walk_->next([&](std::string_view member, auto) { batch.add(member); });
    } else if (set_ != nullptr) {
      at_ = set_->walk(at_, [&](std::string_view member) { batch.add(member); });
      more = at_ != 0;
    }
    batch.seal();
    return more;
  }
  // Leaves those of which this is true: they are in it.
  void keep(Batch& batch, bool there) {
    const auto drop = [&](auto has) {
      std::erase_if(batch.members(), [&](std::string_view member) { return has(member) != there; });
    };
    if (past_ != nullptr) {
      StripeLocks lock(*store_);
      lock_set_of(*past_, lock);
      drop([&](std::string_view member) { return past_->had(member); });
    } else {
      drop([&](std::string_view member) { return set_ != nullptr && set_->contains(member); });
    }
  }
  // Others changed so much meanwhile that it could not be kept as it was.
  bool lost() const {
    return (walk_ != nullptr && walk_->lost()) || (past_ != nullptr && past_->lost());
  }

 private:
  void note(const Set* set) {
    size_ = set == nullptr ? 0 : set->size();
    bytes_ = set == nullptr ? 0 : set->item_bytes();
  }

  Store* store_ = nullptr;
  KeyHash key_ = 0;
  const Set* set_ = nullptr;  // null: nothing, or a large one as it was
  std::unique_ptr<Set> copy_;
  const MemberTable* table_ = nullptr;
  std::unique_ptr<MemberTable::Walk> walk_;
  std::unique_ptr<MemberTable::Past> past_;
  KeyHash at_ = 0;
  uint64_t size_ = 0, bytes_ = 0;
};

// ---- the work ----

enum class Op : uint8_t { kInter, kUnion, kDiff };

// Made of steps, each short; between two of them nothing is locked.
class Work {
 public:
  // `most`: so many members are enough. `count_only`: nobody asks which.
  Work(Op op, std::vector<Input> inputs, uint64_t most, bool count_only)
      : op_(op), most_(most), count_only_(count_only) {
    if (op == Op::kUnion) {
      sources_ = std::move(inputs);
    } else {
      arrange(std::move(inputs));
    }
    seen_.emplace(sum(op == Op::kUnion ? sources_ : excluded_, &Input::size));
  }

  // How many members have to be looked at, at most.
  uint64_t cost() const {
    return sum(excluded_, &Input::size) + sum(sources_, &Input::size) * (1 + tested_.size());
  }
  // What is made takes at most so much.
  uint64_t made_bytes() const { return sum(sources_, &Input::bytes); }
  // What it takes beside the sets.
  uint64_t memory_bytes() const {
    uint64_t bytes = 0;
    for (const auto* inputs : {&sources_, &tested_, &excluded_}) {
      bytes += sum(*inputs, &Input::copied_bytes);
    }
    const uint64_t count = sum(sources_, &Input::size), all = sum(sources_, &Input::bytes);
    const bool once = op_ != Op::kUnion;
    bytes += TextSet::bytes_for(sum(excluded_, &Input::size), sum(excluded_, &Input::bytes));
    return bytes + (once ? all + 2 * count : TextSet::bytes_for(count, all));
  }
  // The sets are as they are now; while all of them are locked.
  void begin() {
    for (Input& input : sources_) input.begin(true);
    for (Input& input : excluded_) input.begin(true);
    for (Input& input : tested_) input.begin(false);
  }

  // False when all is done.
  bool step() {
    if (next_excluded_ < excluded_.size()) {
      if (!excluded_[next_excluded_].next(batch_)) next_excluded_++;
      for (std::string_view member : batch_.members()) seen_->add(member);
      return true;
    }
    if (!testing_) {
      if (next_source_ == sources_.size()) return false;
      if (!sources_[next_source_].next(batch_)) next_source_++;
      next_test_ = 0;
      testing_ = true;
      if (op_ == Op::kDiff && !excluded_.empty()) {
        std::erase_if(batch_.members(), [&](auto member) { return seen_->contains(member); });
      }
    }
    if (next_test_ < tested_.size() && !batch_.members().empty()) {
      tested_[next_test_++].keep(batch_, op_ == Op::kInter);
      return true;
    }
    testing_ = false;
    return take_batch();
  }
  bool lost() const {
    const auto is_lost = [](const Input& input) { return input.lost(); };
    return std::any_of(sources_.begin(), sources_.end(), is_lost) ||
           std::any_of(tested_.begin(), tested_.end(), is_lost) ||
           std::any_of(excluded_.begin(), excluded_.end(), is_lost);
  }
  Gathered take() {
    if (op_ == Op::kUnion) seen_->take(made_);
    return std::move(made_);
  }

 private:
  static uint64_t sum(const std::vector<Input>& inputs, uint64_t (Input::*of)() const) {
    uint64_t n = 0;
    for (const Input& input : inputs) n += (input.*of)();
    return n;
  }
  // Of an intersection the smallest is gone through. Of a difference the first: what is smaller is
  // gone through before, and what is larger asked.
  void arrange(std::vector<Input> inputs) {
    const auto smaller = [](const Input& a, const Input& b) { return a.size() < b.size(); };
    if (op_ == Op::kInter) std::stable_sort(inputs.begin(), inputs.end(), smaller);
    sources_.push_back(std::move(inputs[0]));
    for (size_t i = 1; i < inputs.size(); i++) {
      const bool through = op_ == Op::kDiff && smaller(inputs[i], sources_[0]);
      (through ? excluded_ : tested_).push_back(std::move(inputs[i]));
    }
  }
  bool take_batch() {
    for (std::string_view member : batch_.members()) {
      if (made_.count() == most_) return false;
      if (op_ == Op::kUnion) {
        seen_->add(member);
      } else if (count_only_) {
        made_.add_count(1);
      } else {
        made_.add(member);
      }
    }
    return made_.count() < most_;
  }

  const Op op_;
  const uint64_t most_;
  const bool count_only_;
  std::vector<Input> sources_, tested_, excluded_;
  std::optional<Union> seen_;  // all members, or those of `excluded_`
  Batch batch_;
  size_t next_excluded_ = 0, next_source_ = 0, next_test_ = 0;
  bool testing_ = false;  // the batch is being asked for in the others
  Gathered made_;
};

// ---- the commands ----

enum class Answer : uint8_t { kMembers, kCount, kStored };

// What a command asks for; its sets are the keys from `first` on.
struct Question {
  Op op;
  Answer answer;
  size_t first = 1, end = 0;
  uint64_t most = UINT64_MAX;
};

bool parse_card(Context& c, Question& q) {
  int64_t count, limit = 0;
  constexpr std::string_view kTooFew = "ERR numkeys should be greater than 0";
  constexpr std::string_view kNegative = "ERR LIMIT can't be negative";
  if (!c.integer(1, count, kTooFew)) return false;
  if (count < 1) return c.reply.error(kTooFew), false;
  if (count > static_cast<int64_t>(c.args.size()) - 2) {
    return c.reply.error("ERR Number of keys can't be greater than number of args"), false;
  }
  q.first = 2;
  q.end = 2 + static_cast<size_t>(count);
  for (size_t i = q.end; i < c.args.size(); i += 2) {
    if (!equals_ignoring_case(c.args[i], "limit") || i + 1 == c.args.size()) {
      return c.syntax_error(), false;
    }
    if (!c.integer(i + 1, limit, kNegative)) return false;
    if (limit < 0) return c.reply.error(kNegative), false;
  }
  if (limit > 0) q.most = static_cast<uint64_t>(limit);
  return true;
}

bool parse(Context& c, Question& q) {
  if (q.answer == Answer::kCount) return parse_card(c, q);
  q.first = q.answer == Answer::kStored ? 2 : 1;
  q.end = c.args.size();
  return true;
}

// What there is to do, with all sets locked; nothing after it answered that a key holds something
// else. `stays`: nobody else has a turn until it is done.
std::unique_ptr<Work> look(Context& c, const Question& q, bool stays) {
  std::vector<Input> inputs;
  inputs.reserve(q.end - q.first);
  for (size_t i = q.first; i < q.end; i++) {
    const Set* set;
    if (!find_set(c, c.args[i], set)) return nullptr;
    if (stays) {
      inputs.emplace_back(set);
    } else {
      inputs.emplace_back(c.store, c.ns().hash(c.args[i]), set);
    }
  }
  return std::make_unique<Work>(q.op, std::move(inputs), q.most, q.answer == Answer::kCount);
}

// Puts them at once in place of what is there.
void store_at_once(Context& c, Gathered members) {
  if (members.count() == 0) {
    Entry* to = c.find(c.args[1]);
    if (to != nullptr && !c.remove(c.ns(), to)) return;
    return c.reply.integer(0);
  }
  std::string items;
  items.reserve(members.bytes());
  for (const std::string& stretch : members.stretches()) items.append(stretch);
  const std::string image = Set::all_there(items);
  RecordView r;
  r.ns = c.ns().id;
  r.key = c.args[1];
  r.value = image;
  r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kSet) << 4);
  if (c.put(c.ns(), r)) c.reply.integer(static_cast<int64_t>(members.count()));
}

void answer_at_once(Context& c, const Question& q, Work& work) {
  while (work.step()) {
  }
  Gathered made = work.take();
  switch (q.answer) {
    case Answer::kMembers:
      return reply_gathered(c, std::move(made));
    case Answer::kCount:
      return c.reply.integer(static_cast<int64_t>(made.count()));
    case Answer::kStored:
      return store_at_once(c, std::move(made));
  }
}

template <Op kOp, Answer kAnswer>
void run(Context& c) {
  constexpr uint64_t kInPlaceMax = 10'000;
  Question q{kOp, kAnswer};
  if (!parse(c, q)) return;
  if (q.answer == Answer::kMembers && q.end - q.first == 1) {  // a command on one set
    const Set* set;
    if (find_set(c, c.args[q.first], set)) reply_members(c, c.args[q.first], set);
    return;
  }
  const auto work = look(c, q, true);
  if (!work) return;
  const bool much = work->cost() > kInPlaceMax ||
                    (q.answer != Answer::kCount && work->made_bytes() > put_at_once_max(c));
  if (much && !c.in_exec) return c.defer();
  answer_at_once(c, q, *work);
}

// The members that were made, as operations.
class Operations {
 public:
  explicit Operations(Gathered members) : members_(std::move(members)) {}
  std::string next(uint64_t bytes) {
    std::string operation;
    auto& stretches = members_.stretches();
    while (!stretches.empty() && operation.size() < bytes) {
      std::string_view rest = std::string_view(stretches.front()).substr(at_), member;
      while (operation.size() < bytes && take_item(rest, member)) {
        Set::add_there(operation, member);
      }
      at_ = stretches.front().size() - rest.size();
      if (!rest.empty()) break;
      stretches.pop_front();
      at_ = 0;
    }
    return operation;
  }

 private:
  Gathered members_;
  size_t at_ = 0;  // in the first stretch
};

// What is there to be done in turns.
struct Begun {
  std::unique_ptr<Work> work;
  std::unique_ptr<Workspace::Share> share;  // memory for it
  Lsn version;                              // of the destination
};

// On the sets as they are now; nothing after it answered.
awaitable<std::optional<Begun>> begin(Context& c, const Question& q) {
  Begun begun;
  for (;;) {  // nothing is held by who waits; what is there may change meanwhile
    uint64_t needed = 0;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked) co_return std::nullopt;
      Context::Turn turn(c, locks);
      begun.work = look(c, q, false);
      if (!begun.work) co_return std::nullopt;
      needed = begun.work->memory_bytes();
      if (begun.share != nullptr && needed <= begun.share->bytes()) {
        begun.work->begin();
        if (q.answer == Answer::kStored) begun.version = version_at(c, c.args[1]);
        co_return begun;
      }
    }
    begun.work.reset();
    begun.share.reset();
    begun.share = co_await c.workspace(needed);
    if (begun.share == nullptr) co_return std::nullopt;
  }
}

// False if others changed the sets faster than they could be kept as they were, or changed what it
// is to take the place of.
awaitable<bool> in_turns(Context& c, const Question& q) {
  constexpr int64_t kTurnNs = 500'000;
  auto begun = co_await begin(c, q);
  if (!begun) co_return true;
  auto& work = begun->work;
  const auto executor = co_await asio::this_coro::executor;
  for (int64_t since = steady_ns(); work->step();) {
    if (steady_ns() - since < kTurnNs) continue;
    if (c.given_up()) co_return true;
    co_await asio::post(executor, asio::use_awaitable);
    since = steady_ns();
  }
  if (work->lost()) co_return false;
  Gathered made = work->take();
  work.reset();
  if (q.answer == Answer::kStored) {
    const uint64_t count = made.count();
    auto operations = std::make_shared<Operations>(std::move(made));
    co_return co_await store_made(
        c, ValueType::kSet, c.args[1], begun->version,
        [operations](uint64_t bytes) { return std::optional(operations->next(bytes)); }, count);
  }
  if (q.answer == Answer::kMembers) {
    reply_gathered(c, std::move(made));
  } else {
    c.reply.integer(static_cast<int64_t>(made.count()));
  }
  co_return true;
}

template <Op kOp, Answer kAnswer>
awaitable<void> run_deferred(Context& c) {
  Question q{kOp, kAnswer};
  if (!parse(c, q)) co_return;
  for (int tries = 0; tries < kTriesInTurns; tries++) {
    const bool done = co_await in_turns(c, q);
    if (done) co_return;
  }
  // Nobody may change them any more: then others wait for once.
  StripeLocks locks(c.store);
  const bool locked = co_await lock_keys(c, locks);
  if (!locked) co_return;
  Context::Turn turn(c, locks);
  if (q.answer == Answer::kStored && !may_write_still(c)) co_return;
  const auto work = look(c, q, true);
  if (work) answer_at_once(c, q, *work);
}

constexpr std::string_view kGroup = "set";
constexpr KeySpec kReadsKeys[] = {{.flags = kKeyReadOnly | kKeyAccess, .last = -1}};
constexpr KeySpec kReadsCounted[] = {
    {.flags = kKeyReadOnly | kKeyAccess, .count_at = 0, .after_count = 1}};
constexpr KeySpec kStores[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly},
                               {.flags = kKeyReadOnly | kKeyAccess, .first = 2, .last = -1}};
constexpr KeySpec kStoresInter[] = {{.flags = kKeyReadWrite | kKeyUpdate | kKeyNameOnly},
                                    {.flags = kKeyReadOnly | kKeyAccess, .first = 2, .last = -1}};
constexpr uint32_t kStore = kWrite | kDenyOom;
constexpr Row kRows[] = {
    {"sinter", -2, kReadOnly, kReadsKeys, run<Op::kInter, Answer::kMembers>,
     run_deferred<Op::kInter, Answer::kMembers>, kGroup, "Returns the intersect of multiple sets."},
    {"sintercard", -3, kReadOnly, kReadsCounted, run<Op::kInter, Answer::kCount>,
     run_deferred<Op::kInter, Answer::kCount>, kGroup,
     "Returns the number of members of the intersect of multiple sets.", "7.0.0"},
    {"sinterstore", -3, kStore, kStoresInter, run<Op::kInter, Answer::kStored>,
     run_deferred<Op::kInter, Answer::kStored>, kGroup,
     "Stores the intersect of multiple sets in a key."},
    {"sunion", -2, kReadOnly, kReadsKeys, run<Op::kUnion, Answer::kMembers>,
     run_deferred<Op::kUnion, Answer::kMembers>, kGroup, "Returns the union of multiple sets."},
    {"sunionstore", -3, kStore, kStores, run<Op::kUnion, Answer::kStored>,
     run_deferred<Op::kUnion, Answer::kStored>, kGroup,
     "Stores the union of multiple sets in a key."},
    {"sdiff", -2, kReadOnly, kReadsKeys, run<Op::kDiff, Answer::kMembers>,
     run_deferred<Op::kDiff, Answer::kMembers>, kGroup, "Returns the difference of multiple sets."},
    {"sdiffstore", -3, kStore, kStores, run<Op::kDiff, Answer::kStored>,
     run_deferred<Op::kDiff, Answer::kStored>, kGroup,
     "Stores the difference of multiple sets in a key."},
};

}  // namespace
std::span<const Row> set_algebra_rows() { return kRows; }

}  // namespace cairn::kv
