// ZUNION, ZINTER, ZDIFF and their like.
//
// Where few members have to be looked at, all is done in place, and inside an EXEC always.
// Otherwise it is done in turns over the inputs as they were at one moment (SortedSet::View), so
// that others have theirs; what is made lies in the command's own memory (Workspace), and is
// answered in parts, or put at the end (store_made.h).
#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cmath>
#include <deque>

#include "core/base/text.h"
#include "kv/commands/set_view.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/commands/store_made.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

using Item = SortedSet::Item;

enum class Op : uint8_t { kUnion, kInter, kDiff };
enum class Answer : uint8_t { kMembers, kCount, kStored };
enum class Aggregate : uint8_t { kSum, kMin, kMax };

// ---- the inputs ----

// A set is an input, too: each of its members has the score 1.
bool is_set(const Entry* entry) { return entry->type() == ValueType::kSet; }
bool is_input(const Entry* entry) {
  return entry->type() == ValueType::kSortedSet || is_set(entry);
}
uint64_t size_of(const Entry* entry) {
  if (entry == nullptr) return 0;
  return is_set(entry) ? set_of(entry)->size() : sorted_set_of(entry)->size();
}
void for_each_member(const Set& set, SortedSet::Visit visit) {
  set.for_each([&](std::string_view member) { visit({1, member}); });
}
void for_each_member(const Entry* entry, SortedSet::Visit visit) {
  if (entry == nullptr) return;
  if (is_set(entry)) return for_each_member(*set_of(entry), visit);
  sorted_set_of(entry)->for_each(visit);
}
std::optional<double> score_in(const Entry* entry, std::string_view member) {
  if (entry == nullptr) return std::nullopt;
  if (!is_set(entry)) return sorted_set_of(entry)->score(member);
  return set_of(entry)->contains(member) ? std::optional(1.0) : std::nullopt;
}

struct Input {
  const Entry* entry = nullptr;  // null: there is nothing
  double weight = 1;
  uint64_t size = 0;
  // As it is now, where it is done in turns: of a sorted set, of a small set, of another set.
  SortedSet::View view;
  std::unique_ptr<Set> copy;
  std::unique_ptr<MemberTable::Walk> walk;

  void hold(Context& c, std::string_view key) {
    if (!is_set(entry)) {
      view = SortedSet::View(*sorted_set_of(entry));
    } else if (set_of(entry)->table() == nullptr) {
      copy = set_of(entry)->copy_of_small();
    } else {
      walk = std::make_unique<MemberTable::Walk>(*set_of(entry)->table(), c.now_ms(),
                                                 c.ns().hash(key));
    }
    entry = nullptr;  // good under the locks alone
  }
  uint64_t image_bytes() const {
    return is_set(entry) ? set_of(entry)->image_bytes() : sorted_set_of(entry)->image_bytes();
  }
};

struct Question {
  Op op;
  Answer answer;
  size_t count_at = 1;  // the word that says how many inputs there are
  std::vector<Input> inputs;
  Aggregate aggregate = Aggregate::kSum;
  bool scores = false;
  uint64_t most = UINT64_MAX;

  uint64_t cost() const {
    uint64_t all = 0, least = UINT64_MAX;
    for (const Input& input : inputs) {
      all += input.size;
      least = std::min(least, input.size);
    }
    return op == Op::kInter ? least * inputs.size() : all;
  }
  // What is made takes at most so much, about. While the inputs are those of parse().
  uint64_t bytes() const {
    constexpr uint64_t kEach = 16;  // with a score
    uint64_t all = 0;
    for (const Input& input : inputs) {
      if (input.entry != nullptr) all += input.image_bytes() + kEach * input.size;
      if (op != Op::kUnion) break;
    }
    return all;
  }
};

bool parse_weights(Context& c, Question& q, size_t first) {
  for (size_t i = 0; i < q.inputs.size(); i++) {
    const auto weight = parse_score(c.args[first + i]);
    if (!weight) return c.reply.error("ERR weight value is not a float"), false;
    q.inputs[i].weight = *weight;
  }
  return true;
}

bool parse_aggregate(Context& c, Question& q, std::string_view word) {
  for (auto [name, value] : {std::pair("sum", Aggregate::kSum), std::pair("min", Aggregate::kMin),
                             std::pair("max", Aggregate::kMax)}) {
    if (!equals_ignoring_case(word, name)) continue;
    q.aggregate = value;
    return true;
  }
  return c.syntax_error(), false;
}

bool parse_options(Context& c, Question& q, size_t i) {
  const bool counts = q.answer == Answer::kCount, combines = q.op != Op::kDiff && !counts;
  const size_t n = q.inputs.size();
  while (i < c.args.size()) {
    const std::string_view word = c.args[i];
    const size_t left = c.args.size() - i;
    if (combines && left >= n + 1 && equals_ignoring_case(word, "weights")) {
      if (!parse_weights(c, q, i + 1)) return false;
      i += n + 1;
    } else if (combines && left >= 2 && equals_ignoring_case(word, "aggregate")) {
      if (!parse_aggregate(c, q, c.args[i + 1])) return false;
      i += 2;
    } else if (q.answer == Answer::kMembers && equals_ignoring_case(word, "withscores")) {
      q.scores = true;
      i++;
    } else if (counts && left >= 2 && equals_ignoring_case(word, "limit")) {
      constexpr std::string_view kNegative = "ERR LIMIT can't be negative";
      int64_t limit;
      if (!c.integer(i + 1, limit, kNegative)) return false;
      if (limit < 0) return c.reply.error(kNegative), false;
      q.most = limit == 0 ? UINT64_MAX : static_cast<uint64_t>(limit);
      i += 2;
    } else {
      return c.syntax_error(), false;
    }
  }
  return true;
}

// With the keys locked. The inputs of the smallest first, in which order scores are combined.
bool parse(Context& c, Question& q) {
  int64_t count;
  if (!c.integer(q.count_at, count)) return false;
  if (count < 1) {
    c.reply.error(cat("ERR at least 1 input key is needed for '", c.row.name, "' command"));
    return false;
  }
  const size_t first = q.count_at + 1;
  if (count > static_cast<int64_t>(c.args.size() - first)) return c.syntax_error(), false;
  q.inputs.resize(static_cast<size_t>(count));
  for (size_t i = 0; i < q.inputs.size(); i++) {
    const Entry* entry = c.find(c.args[first + i]);
    if (entry != nullptr && !is_input(entry)) return c.reply.error(kWrongType), false;
    q.inputs[i].entry = entry;
    q.inputs[i].size = size_of(entry);
  }
  if (!parse_options(c, q, first + q.inputs.size())) return false;
  if (q.op != Op::kDiff) {
    std::stable_sort(q.inputs.begin(), q.inputs.end(),
                     [](const Input& a, const Input& b) { return a.size < b.size; });
  }
  return true;
}

// ---- scores ----

double weighted(const Input& input, double score) {
  const double value = input.weight * score;
  return std::isnan(value) ? 0 : value;  // infinite times nothing
}

void combine(Aggregate how, double& sum, double value) {
  if (how == Aggregate::kSum) {
    sum += value;
    if (std::isnan(sum)) sum = 0;  // of the two infinite ones
  } else if (how == Aggregate::kMin ? value < sum : value > sum) {
    sum = value;
  }
}

// ---- the work ----

// Members and their scores, found by name; the names are its own.
class Made {
  struct Run {
    size_t at, end;
  };
  auto later() const {
    return [this](const Run& a, const Run& b) { return items_[b.at] < items_[a.at]; };
  }

 public:
  struct Sum {
    double score;
    size_t met;  // inputs in which it was found
  };
  static uint64_t bytes_for(uint64_t count, uint64_t name_bytes) {
    return name_bytes + count * 2 * (sizeof(std::string_view) + sizeof(Sum) + 1 + sizeof(Item));
  }
  void reserve(uint64_t count) { sums_.reserve(count); }
  Sum* find(std::string_view member) {
    auto it = sums_.find(member);
    return it == sums_.end() ? nullptr : &it->second;
  }
  void add(std::string_view member, Sum sum) {
    constexpr size_t kStretch = 64 << 10;
    if (stretches_.empty() ||
        stretches_.back().capacity() - stretches_.back().size() < member.size()) {
      stretches_.emplace_back().reserve(std::max(kStretch, member.size()));
    }
    std::string& stretch = stretches_.back();
    stretch.append(member);
    sums_.emplace(std::string_view(stretch).substr(stretch.size() - member.size()), sum);
  }
  void remove(std::string_view member) { sums_.erase(member); }

  // Afterwards: those that were met so often, in order. Made step by step; false when it is done.
  bool sort_some(size_t met) {
    constexpr size_t kRun = 4096;
    if (!begun_) {
      begun_ = true;
      at_ = sums_.begin();
      items_.reserve(sums_.size());
    }
    const size_t begin = items_.size();
    for (size_t n = 0; at_ != sums_.end() && n < kRun; ++at_, n++) {
      if (at_->second.met >= met) items_.push_back({at_->second.score, at_->first});
    }
    std::sort(items_.begin() + static_cast<ptrdiff_t>(begin), items_.end());
    if (items_.size() > begin) runs_.push_back({begin, items_.size()});
    if (at_ != sums_.end()) return true;
    std::make_heap(runs_.begin(), runs_.end(), later());
    return false;
  }
  size_t size() const { return items_.size(); }
  // The next in order; there must be one.
  Item take() {
    std::pop_heap(runs_.begin(), runs_.end(), later());
    const Item item = items_[runs_.back().at++];
    if (runs_.back().at == runs_.back().end) {
      runs_.pop_back();
    } else {
      std::push_heap(runs_.begin(), runs_.end(), later());
    }
    return item;
  }

 private:
  using Sums = absl::flat_hash_map<std::string_view, Sum>;
  std::deque<std::string> stretches_;
  Sums sums_;
  bool begun_ = false;
  Sums::iterator at_;
  std::vector<Item> items_;
  std::vector<Run> runs_;
};

// One item of the input `i`, where each input is gone through after the other.
void take_item(const Question& q, size_t i, const Item& item, Made& made) {
  const Input& input = q.inputs[i];
  Made::Sum* sum = made.find(item.member);
  if (q.op == Op::kDiff) {
    if (i == 0) {
      if (sum == nullptr) made.add(item.member, {item.score, 1});
    } else if (sum != nullptr) {
      made.remove(item.member);
    }
    return;
  }
  if (sum == nullptr) {
    if (q.op == Op::kUnion || i == 0) made.add(item.member, {weighted(input, item.score), 1});
  } else if (q.op == Op::kUnion || sum->met == i) {
    sum->met++;
    const bool nan_counts = q.op == Op::kInter;  // as in Redis
    const double value = input.weight * item.score;
    combine(q.aggregate, sum->score, nan_counts ? value : weighted(input, item.score));
  }
}

size_t needed(const Question& q) { return q.op == Op::kInter ? q.inputs.size() : 1; }

// Under the locks. An intersection looks its smallest up in the others.
Made work_at_once(const Question& q) {
  Made made;
  if (q.op != Op::kInter) {
    for (size_t i = 0; i < q.inputs.size(); i++) {
      for_each_member(q.inputs[i].entry, [&](const Item& item) { take_item(q, i, item, made); });
    }
  } else {
    uint64_t found = 0;
    for_each_member(q.inputs[0].entry, [&](const Item& item) {
      if (found >= q.most) return;
      double score = weighted(q.inputs[0], item.score);
      for (size_t i = 1; i < q.inputs.size(); i++) {
        const auto other = score_in(q.inputs[i].entry, item.member);
        if (!other) return;
        combine(q.aggregate, score, q.inputs[i].weight * *other);
      }
      made.add(item.member, {score, q.inputs.size()});
      found++;
    });
  }
  while (made.sort_some(needed(q))) {
  }
  return made;
}

// ---- the commands ----

class Result final : public Series {
 public:
  Result(std::unique_ptr<Made> made, std::unique_ptr<Workspace::Share> share, Form form)
      : made_(std::move(made)), share_(std::move(share)), left_(made_->size()), form_(form) {}
  bool next(Reply& reply) override {
    constexpr int kStep = 500;
    for (int i = 0; i < kStep && left_ > 0; i++, left_--) reply_item(reply, form_, made_->take());
    return left_ > 0;
  }

 private:
  std::unique_ptr<Made> made_;
  std::unique_ptr<Workspace::Share> share_;
  size_t left_;
  const Form form_;
};

void answer(Context& c, const Question& q, std::unique_ptr<Made> made,
            std::unique_ptr<Workspace::Share> share) {
  const size_t n = made->size();
  if (q.answer == Answer::kCount) {
    return c.reply.integer(static_cast<int64_t>(std::min<uint64_t>(n, q.most)));
  }
  const Form form = form_of(q.scores, c.session.resp);
  const uint64_t values = announce(c.reply, form, n);
  if (share != nullptr && n > kMembersAtOnce) {
    return c.reply.series(std::make_unique<Result>(std::move(made), std::move(share), form),
                          values);
  }
  for (size_t i = 0; i < n; i++) reply_item(c.reply, form, made->take());
}

Question question(Op op, Answer answer) {
  return {op, answer, answer == Answer::kStored ? 2U : 1U, {}};
}

void answer_at_once(Context& c, const Question& q) {
  auto made = std::make_unique<Made>(work_at_once(q));
  if (q.answer != Answer::kStored) return answer(c, q, std::move(made), nullptr);
  std::string operation;
  const size_t n = made->size();
  for (size_t i = 0; i < n; i++) SortedSet::add_score(operation, made->take());
  if (store(c, c.args[1], operation, n)) c.reply.integer(static_cast<int64_t>(n));
}

template <Op kOp, Answer kAnswer>
void run(Context& c) {
  constexpr uint64_t kInPlaceMax = 10'000;
  Question q = question(kOp, kAnswer);
  if (!parse(c, q)) return;
  const bool much = q.cost() > kInPlaceMax || q.bytes() > put_at_once_max(c);
  if (much && !c.in_exec) return c.defer();
  answer_at_once(c, q);
}

// A part of an input, from `at` on; false if it cannot be had any more. `at` becomes where the next
// part begins, or the input's size.
bool take_part(Context& c, const Question& q, size_t i, uint64_t& at, Made& made) {
  constexpr uint64_t kStep = 1000;
  const Input& input = q.inputs[i];
  const auto take = [&](const Item& item) { take_item(q, i, item, made); };
  if (input.walk != nullptr) {
    StripeLocks lock(c.store);
    lock_set_of(*input.walk, lock);
    const bool more = input.walk->next([&](auto member, auto) { take({1, member}); });
    if (!more) at = input.size;
    return !input.walk->lost();
  }
  if (input.copy != nullptr) {
    for_each_member(*input.copy, take);
    at = input.size;
    return true;
  }
  const uint64_t n = std::min(kStep, input.size - at);
  at += n;
  return input.view.for_each(at - n, n, false, take);
}

// The inputs as they were; false when one was lost, or the connection ends.
awaitable<bool> work_in_turns(Context& c, const Question& q, Made& made) {
  const auto executor = co_await asio::this_coro::executor;
  uint64_t most = 0;
  for (const Input& input : q.inputs) most += input.size;
  made.reserve(q.op == Op::kUnion ? most : q.inputs[0].size);
  for (size_t i = 0; i < q.inputs.size(); i++) {
    for (uint64_t at = 0; at < q.inputs[i].size;) {
      if (!take_part(c, q, i, at, made) || c.session.ends()) co_return false;
      co_await asio::post(executor, asio::use_awaitable);
    }
  }
  while (made.sort_some(needed(q))) co_await asio::post(executor, asio::use_awaitable);
  co_return true;
}

// What is there to be done in turns.
struct Begun {
  Question question;                        // on inputs as they were
  std::unique_ptr<Workspace::Share> share;  // memory for it
  Lsn version;                              // of the destination
};

// On the inputs as they are now; nothing after it answered.
awaitable<std::optional<Begun>> begin(Context& c, Op op, Answer answer) {
  std::unique_ptr<Workspace::Share> share;
  for (;;) {  // nothing is held by who waits; what is there may change meanwhile
    uint64_t bytes = 0;
    {
      StripeLocks locks(c.store);
      const bool locked = co_await lock_keys(c, locks);
      if (!locked) co_return std::nullopt;
      Context::Turn turn(c, locks);
      Question q = question(op, answer);
      if (!parse(c, q)) co_return std::nullopt;
      for (const Input& input : q.inputs) {
        if (input.entry != nullptr) bytes += Made::bytes_for(input.size, 2 * input.image_bytes());
      }
      if (share != nullptr && bytes <= share->bytes()) {
        for (Input& input : q.inputs) {
          if (input.entry != nullptr) input.hold(c, input.entry->key());
        }
        const Lsn version = answer == Answer::kStored ? version_at(c, c.args[1]) : Lsn();
        co_return Begun{std::move(q), std::move(share), version};
      }
    }
    share.reset();
    share = co_await c.workspace(bytes);
    if (share == nullptr) co_return std::nullopt;
  }
}

// False if an input was lost or what it is to take the place of was changed, or the connection
// ends.
awaitable<bool> in_turns(Context& c, Op op, Answer answers) {
  auto begun = co_await begin(c, op, answers);
  if (!begun) co_return true;
  auto made = std::make_unique<Made>();
  const bool whole = co_await work_in_turns(c, begun->question, *made);
  if (!whole) co_return false;
  if (answers != Answer::kStored) {
    answer(c, begun->question, std::move(made), std::move(begun->share));
    co_return true;
  }
  begun->question.inputs.clear();  // a change need not keep anything for it
  const uint64_t count = made->size();
  co_return co_await store_made(c, ValueType::kSortedSet, c.args[1], begun->version,
                                parts_of(std::shared_ptr<Made>(std::move(made))), count);
}

template <Op kOp, Answer kAnswer>
awaitable<void> run_deferred(Context& c) {
  for (int tries = 0; tries < kTriesInTurns; tries++) {
    if (c.given_up()) co_return;
    const bool done = co_await in_turns(c, kOp, kAnswer);
    if (done) co_return;
  }
  if (c.given_up()) co_return;
  // Nobody may change them any more: then others wait for once.
  Question q = question(kOp, kAnswer);
  StripeLocks locks(c.store);
  const bool locked = co_await lock_keys(c, locks);
  if (!locked) co_return;
  Context::Turn turn(c, locks);
  if (q.answer == Answer::kStored && !may_write_still(c)) co_return;
  if (parse(c, q)) answer_at_once(c, q);
}

constexpr std::string_view kGroup = kSortedSetGroup;
constexpr KeySpec kReadsSome[] = {{.flags = kKeyReadOnly | kKeyAccess, .count_at = 0}};
constexpr KeySpec kStoresSome[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly},
                                   {.flags = kKeyReadOnly | kKeyAccess, .first = 2, .count_at = 0}};
template <Op kOp, Answer kAnswer>
constexpr Row row(std::string_view name, std::string_view summary, std::string_view since) {
  if (kAnswer == Answer::kStored) {
    return {name,
            -4,
            kWrite | kDenyOom,
            kStoresSome,
            run<kOp, kAnswer>,
            run_deferred<kOp, kAnswer>,
            kGroup,
            summary,
            since};
  }
  return {name,   -3,      kReadOnly, kReadsSome, run<kOp, kAnswer>, run_deferred<kOp, kAnswer>,
          kGroup, summary, since};
}
constexpr Row kRows[] = {
    row<Op::kUnion, Answer::kMembers>("zunion", "Returns the union of multiple sorted sets.",
                                      "6.2.0"),
    row<Op::kInter, Answer::kMembers>("zinter", "Returns the intersect of multiple sorted sets.",
                                      "6.2.0"),
    row<Op::kDiff, Answer::kMembers>(
        "zdiff", "Returns the difference between multiple sorted sets.", "6.2.0"),
    row<Op::kUnion, Answer::kStored>("zunionstore",
                                     "Stores the union of multiple sorted sets in a key.", "2.0.0"),
    row<Op::kInter, Answer::kStored>(
        "zinterstore", "Stores the intersect of multiple sorted sets in a key.", "2.0.0"),
    row<Op::kDiff, Answer::kStored>(
        "zdiffstore", "Stores the difference of multiple sorted sets in a key.", "6.2.0"),
    row<Op::kInter, Answer::kCount>(
        "zintercard", "Returns the number of members of the intersect of multiple sorted sets.",
        "7.0.0"),
};

}  // namespace
std::span<const Row> sorted_set_algebra_rows() { return kRows; }

}  // namespace cairn::kv
