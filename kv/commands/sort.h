// SORT and SORT_RO: the elements of a list, a set or a sorted set in order of themselves or of what
// other keys hold, and in place of each what other keys hold. Which keys these are follows from the
// elements, so that nobody can name them beforehand (kKeyUnknown): only who may read all keys of
// the database may ask for any.
//
// Three ways, chosen by the size of what is sorted:
//   few elements, no other keys: in place, as other commands.
//   few elements, other keys: their names are made of the elements; then all of these keys are
//     locked together, and if what is sorted is still the same, all is done in that one turn.
//     So it is one moment, as in Redis. Inside an EXEC, which has all keys then, likewise.
//   many elements: in turns over the elements as they were at one moment; other keys are looked at
//     some at a time, each as it is when its turn comes. So here it is not one moment, as it would
//     be in Redis: who changes two keys in one transaction may be seen half. What is stored is
//     stored by one commit; all is done again if the destination was changed meanwhile, some times,
//     and then at once, or, with other keys, in place of whatever is there.
//
// Texts are compared byte by byte, as in Redis where no locale is set, and then end at a zero byte
// unless they are stored.
//
// Here is what is sorted, and what is done with all keys locked; sort_turns.cc does the rest.
//
// Threads: as the command.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/text.h"
#include "kv/commands/lists.h"
#include "kv/commands/run_sort.h"
#include "kv/engine/command.h"

namespace cairn::kv {

// Of a key specification: COMMAND says that nobody can tell which words these keys are. The names
// that BY and GET make are no words; inside an EXEC all stripes are taken for them (kWholeSpace).
inline constexpr uint16_t kKeyUnknown = 1 << 12;

std::span<const Row> sort_rows();

}  // namespace cairn::kv

namespace cairn::kv::sorting {

// Where a value is found for an element: in a key whose name is made of it, or in a field there.
class Pattern {
 public:
  explicit Pattern(std::string_view word) {
    const std::string_view text = word.substr(0, word.find('\0'));  // as Redis sees it
    itself_ = text == "#";
    const size_t star = text.find('*');
    if (star == text.npos) return;
    names_key_ = true;
    const size_t arrow = text.find("->", star + 1);
    size_t end = word.size();
    if (arrow != text.npos && arrow + 2 < text.size()) {
      field_ = word.substr(arrow + 2);
      end = arrow;
    }
    before_ = word.substr(0, star);
    behind_ = word.substr(star + 1, end - star - 1);
  }
  bool itself() const { return itself_; }
  bool names_key() const { return names_key_; }
  std::string key(std::string_view element) const { return cat(before_, element, behind_); }
  std::optional<std::string_view> field() const { return field_; }

 private:
  bool itself_ = false, names_key_ = false;
  std::string_view before_, behind_;
  std::optional<std::string_view> field_;
};

struct Question {
  bool sorts = true, descending = false, alpha = false;
  std::optional<Pattern> by;
  std::vector<Pattern> gets;
  int64_t offset = 0, limit = -1;
  size_t store_at = 0;   // the word of the destination; 0: it is answered
  bool repeats = false;  // what has no order gets one, so that it is the same each time

  bool looks_up() const {
    const auto names = [](const Pattern& p) { return p.names_key(); };
    return (sorts && by) || std::any_of(gets.begin(), gets.end(), names);
  }
  size_t keys_each() const { return gets.size() + (by ? 1 : 0); }
};

// Answers the error.
bool parse(Context& c, Question& q);

// ---- the elements ----

// Texts that are a command's own.
class Texts {
 public:
  std::string_view keep(std::string_view text) {
    constexpr size_t kStretch = 64 << 10, kFirst = 1 << 10;
    if (stretches_.empty() ||
        stretches_.back().capacity() - stretches_.back().size() < text.size()) {
      const size_t room = stretches_.empty() ? kFirst : kStretch;
      stretches_.emplace_back().reserve(std::max(room, text.size()));
      bytes_ += stretches_.back().capacity();
    }
    std::string& stretch = stretches_.back();
    stretch.append(text);
    return std::string_view(stretch).substr(stretch.size() - text.size());
  }
  uint64_t bytes() const { return bytes_; }

 private:
  std::deque<std::string> stretches_;
  uint64_t bytes_ = 0;
};

struct Element {
  std::string_view text;
  std::optional<std::string_view> by = {};
  double score = 0;
};

// `whole`: beyond a zero byte.
int compare_texts(std::string_view a, std::string_view b, bool whole);

struct Before {
  bool alpha = false, by = false, descending = false, stores = false;
  int compare(const Element& a, const Element& b) const {
    if (!alpha) {
      if (a.score != b.score) return a.score < b.score ? -1 : 1;
      return a.text.compare(b.text);
    }
    if (!by) return compare_texts(a.text, b.text, stores);
    if (!a.by || !b.by) return int{a.by.has_value()} - int{b.by.has_value()};
    return compare_texts(*a.by, *b.by, stores);
  }
  bool operator()(const Element& a, const Element& b) const {
    return descending ? compare(b, a) < 0 : compare(a, b) < 0;
  }
};

// What is sorted: all of it, or, where it has an order that stays, the part that is wanted.
class Work {
 public:
  // With the key locked; null: there is none.
  Work(const Question& q, const Entry* entry);

  const Question& question() const { return q_; }
  uint64_t size() const { return size_; }
  uint64_t wanted() const { return wanted_; }  // elements to be gathered
  uint64_t first() const { return first_; }    // from this one on
  bool down() const { return down_; }          // or back
  uint64_t count() const { return count_; }    // of elements that are answered
  uint64_t values() const { return count_ * std::max<size_t>(1, q_.gets.size()); }
  static uint64_t bytes_for(uint64_t count, uint64_t text_bytes) {
    return text_bytes + count * RunSort<Element, Before>::kBytesEach;
  }
  uint64_t bytes() const { return bytes_for(elements_.size(), texts_.bytes()); }

  void reserve() { elements_.reserve(wanted_); }
  void add(std::string_view text) { elements_.add({texts_.keep(text)}); }
  std::vector<Element>& elements() { return elements_.items(); }
  Texts& texts() { return texts_; }

  // What it is sorted by, if that is found; without a pattern itself.
  void weigh(Element& e, std::optional<std::string_view> by);
  bool failed() const { return failed_; }  // one is no number
  bool sort_some() {
    if (q_.sorts) return elements_.sort_some();
    return false;
  }
  // The elements that are answered, one after the other.
  const Element& take() {
    if (!q_.sorts) return elements_.items()[begin_ + taken_++];
    for (; skipped_ < begin_; skipped_++) elements_.take();
    return elements_.take();
  }
  // Some that are passed over before the first; false when there are none left.
  bool skip_some() {
    constexpr uint64_t kStep = 4096;
    const uint64_t end = q_.sorts ? std::min(begin_, skipped_ + kStep) : skipped_;
    for (; skipped_ < end; skipped_++) elements_.take();
    return q_.sorts && skipped_ < begin_;
  }

 private:
  Question q_;
  const uint64_t size_;
  uint64_t begin_ = 0, count_ = 0, first_ = 0, wanted_ = 0;
  bool down_ = false, failed_ = false;
  uint64_t taken_ = 0, skipped_ = 0;
  Texts texts_;
  RunSort<Element, Before> elements_;
};

// False after it answered that the key holds something else.
bool find_source(Context& c, const Entry*& entry);
inline const List* list_of(const Entry* e) { return static_cast<const List*>(e->collection()); }
// Those of the work, from what is locked.
void gather_at_once(Work& work, const Entry* entry);

// ---- other keys ----

// What a pattern finds for an element, with its key locked.
struct Found {
  std::optional<std::string_view> value;  // good until the locks are given back
  const Entry* blob = nullptr;            // or it lies in extents
  const Entry* cold = nullptr;            // or on disk alone
};

Found find(Context& c, const Pattern& pattern, std::string_view element);

// ---- all of it in one turn ----

enum class Outcome : uint8_t { kDone, kLater };
// With all keys locked that it looks at. kLater: it has to be done in turns; `however_much`: unless
// that is because it stores much.
Outcome work_at_once(Context& c, Work& work, const Entry* entry, bool however_much = false);
inline constexpr std::string_view kNoNumber =
    "ERR One or more scores can't be converted into double";

awaitable<void> run_deferred(Context& c);

}  // namespace cairn::kv::sorting
