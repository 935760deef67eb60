#include "kv/commands/sort.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "kv/commands/blob_edit.h"
#include "kv/commands/hash_view.h"
#include "kv/commands/set_view.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/engine/engine.h"
#include "kv/engine/errand.h"
#include "kv/engine/frequency.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace sorting {

// ---- the question ----

namespace {

bool may_look_up(Context& c, std::string_view option) {
  const Action action{c.row.action.door, c.row.action.name, Access::kRead};
  const Principal* who = c.session.principal.get();
  Circumstances from = c.session.circumstances();
  from.granted = c.engine.acl_reads_all(c.session, c.request);
  if (who == nullptr || authorize(*who, action, c.ns().name, {}, from)) return true;
  c.reply.error(cat("ERR ", option, " option of SORT denied due to insufficient ACL permissions."));
  return false;
}

// In a cluster a pattern may look where the key is, and nowhere else.
bool is_near(Context& c, std::string_view option, std::string_view pattern) {
  if (!c.engine.server().cluster.enabled || c.session.id == kNoClient) return true;
  if (cluster_slot_of_pattern(pattern) == cluster_slot(c.args[1])) return true;
  c.reply.error(cat("ERR ", option,
                    " option of SORT denied in cluster mode when keys formed by the pattern may be "
                    "in different slots."));
  return false;
}

bool names(const Context& c, size_t word) {
  const auto& keys = c.request.keys;
  return std::any_of(keys.begin(), keys.end(), [&](const Key& k) { return k.word == word; });
}

bool parse_by(Context& c, Question& q, std::string_view word) {
  q.by.emplace(word);
  if (!q.by->names_key()) {
    q.sorts = false;
    return true;
  }
  return is_near(c, "BY", word) && may_look_up(c, "BY");
}

}  // namespace

bool parse(Context& c, Question& q) {
  const bool may_store = (c.row.flags & kWrite) != 0;
  for (size_t i = 2; i < c.args.size(); i++) {
    const std::string_view word = c.args[i];
    const size_t left = c.args.size() - i - 1;
    if (equals_ignoring_case(word, "asc")) {
      q.descending = false;
    } else if (equals_ignoring_case(word, "desc")) {
      q.descending = true;
    } else if (equals_ignoring_case(word, "alpha")) {
      q.alpha = true;
    } else if (left >= 2 && equals_ignoring_case(word, "limit")) {
      if (!c.integer(i + 1, q.offset) || !c.integer(i + 2, q.limit)) return false;
      i += 2;
    } else if (may_store && left >= 1 && equals_ignoring_case(word, "store")) {
      q.store_at = ++i;
    } else if (left >= 1 && equals_ignoring_case(word, "by")) {
      if (!parse_by(c, q, c.args[++i])) return false;
    } else if (left >= 1 && equals_ignoring_case(word, "get")) {
      const std::string_view pattern = c.args[++i];
      if (pattern != "#" && !is_near(c, "GET", pattern)) return false;
      if (!may_look_up(c, "GET")) return false;
      q.gets.emplace_back(pattern);
    } else {
      return c.syntax_error(), false;
    }
  }
  // The word behind the last STORE is the key that was resolved, and is locked.
  if (q.store_at != 0 && !names(c, q.store_at)) return c.syntax_error(), false;
  q.repeats = q.store_at != 0 || c.script != nullptr;
  return true;
}

// ---- the elements ----

int compare_texts(std::string_view a, std::string_view b, bool whole) {
  if (whole) return a.compare(b);
  return a.substr(0, a.find('\0')).compare(b.substr(0, b.find('\0')));
}

namespace {

// A number as strtod sees it, which may be followed by a zero byte.
bool parse_weight(std::string_view text, double& score) {
  const std::string copy(text.substr(0, text.find('\0')));
  char* end;
  errno = 0;
  score = std::strtod(copy.c_str(), &end);
  return *end == '\0' && errno != ERANGE && !std::isnan(score);
}

bool can_be_sorted(const Entry* e) {
  return e->type() == ValueType::kList || e->type() == ValueType::kSet ||
         e->type() == ValueType::kSortedSet;
}

uint64_t size_of(const Entry* e) {
  if (e == nullptr) return 0;
  if (e->type() == ValueType::kList) return list_of(e)->size();
  return e->type() == ValueType::kSet ? set_of(e)->size() : sorted_set_of(e)->size();
}

}  // namespace

Work::Work(const Question& q, const Entry* entry) : q_(q), size_(size_of(entry)) {
  const bool is_set = entry != nullptr && entry->type() == ValueType::kSet;
  if (!q_.sorts && is_set && q_.repeats) {
    q_.sorts = q_.alpha = true;
    q_.by.reset();
  }
  const auto n = static_cast<int64_t>(size_);
  const int64_t limit = std::clamp<int64_t>(q_.limit, -1, n);
  const int64_t start = std::clamp<int64_t>(q_.offset, 0, n);
  begin_ = static_cast<uint64_t>(start);
  count_ = static_cast<uint64_t>(limit < 0 ? n - start : std::min(limit, n - start));
  if (!q_.sorts && !is_set) {
    down_ = q_.descending;
    first_ = down_ ? size_ - begin_ - std::min<uint64_t>(1, size_ - begin_) : begin_;
    wanted_ = count_;
    begin_ = 0;
  } else {
    wanted_ = size_;
  }
  const Before before{q_.alpha, q_.by.has_value(), q_.descending, q_.store_at != 0};
  elements_ = RunSort<Element, Before>(before);
}

void Work::weigh(Element& e, std::optional<std::string_view> by) {
  if (!by) return;
  if (q_.alpha) {
    if (q_.by) e.by = texts_.keep(*by);
  } else if (!parse_weight(*by, e.score)) {
    failed_ = true;
  }
}

void gather_at_once(Work& work, const Entry* entry) {
  const uint64_t n = work.wanted();
  if (n == 0) return;
  work.reserve();
  const auto add = [&](std::string_view text) { return work.add(text), true; };
  if (entry->type() == ValueType::kSet) {
    set_of(entry)->for_each(add);
  } else if (entry->type() == ValueType::kSortedSet) {
    sorted_set_of(entry)->for_each(work.first(), n, work.down(),
                                   [&](const SortedSet::Item& item) { work.add(item.member); });
  } else if (work.down()) {
    list_of(entry)->walk_back(work.first(), n, add);
  } else {
    list_of(entry)->walk(work.first(), n, add);
  }
}

bool find_source(Context& c, const Entry*& entry) {
  entry = c.find(c.args[1]);
  if (entry == nullptr || can_be_sorted(entry)) return true;
  c.reply.error(kWrongType);
  return false;
}

// ---- other keys ----

namespace {
// Of a key that is no word of the request; its stripe is locked, and its value may be on disk.
Entry* find_derived(Context& c, std::string_view key) {
  const KeyHash hash = c.ns().hash(key);
  if (!c.locks->covers(hash)) {
    c.status_error(absl::InternalError("SORT has not locked what it looks at"));
    return nullptr;
  }
  Entry* e = c.txn->find(c.ns(), key, hash);
  if (e == nullptr || !e->is_cold()) c.engine.count_hit(e != nullptr);  // else it comes again
  if (e == nullptr) c.add_event(Events::kKeyMiss, "keymiss", c.ns(), key);
  if (e == nullptr || c.session.no_touch) return e;
  if (c.store.memory().counts_frequency()) {
    Frequency::note_use(e, c.store.random());
  } else {
    e->touch();
  }
  return e;
}
}  // namespace

Found find(Context& c, const Pattern& pattern, std::string_view element) {
  Found found;
  if (pattern.itself()) return found.value = element, found;
  if (!pattern.names_key()) return found;
  const std::string key = pattern.key(element);
  if (key.size() > kKeyBytesMax) return found;
  Entry* e = find_derived(c, key);
  if (e == nullptr) return found;
  const ValueType wanted = pattern.field() ? ValueType::kHash : ValueType::kString;
  if (e->type() != wanted) return found;
  if (is_encrypted(e)) {
    c.status_error(absl::FailedPreconditionError(std::string(kEncrypted)));
    return found;
  }
  if (e->is_cold()) return found.cold = e, found;
  if (pattern.field()) {
    found.value = HashView(c, e).get(*pattern.field());
  } else if (e->is_blob()) {
    found.blob = e;
  } else {
    found.value = e->value();
  }
  return found;
}

// ---- all of it in one turn ----

namespace {

// Puts them in place of what is there, and answers.
void store_at_once(Context& c, const Question& q, std::span<const std::string_view> values) {
  const std::string_view key = c.args[q.store_at];
  if (values.empty()) {
    Entry* to = c.find(key);
    if (to != nullptr && !c.remove(c.ns(), to)) return;
    return c.reply.integer(0);
  }
  std::string operation;
  List::add_push(nullptr, false, values, operation);
  RecordView r;
  r.ns = c.ns().id;
  r.key = key;
  r.value = operation;
  r.flags = static_cast<uint8_t>(static_cast<unsigned>(ValueType::kList) << 4);
  if (c.put(c.ns(), r)) c.reply.integer(static_cast<int64_t>(values.size()));
}

// What cannot be done in one turn is done later, in turns. An EXEC has only one, and begins again
// with what it lacks.
Outcome later(const Context& c) { return c.in_exec ? Outcome::kDone : Outcome::kLater; }

// Of an EXEC: that it lacks this, if it is on disk alone.
bool lacks(Context& c, const Found& found) {
  if (!c.in_exec || found.cold == nullptr) return false;
  c.session.lacks().keys.emplace_back(c.txn->outside(c.ns()).shared_from_this(),
                                      std::string(found.cold->key()));
  c.again = true;
  return true;
}

// Whether there is a text; of an EXEC that in extents is made one, or it lacks it.
bool is_text(Context& c, Found& found) {
  if (found.blob != nullptr && c.in_exec) {
    found.value = text_at_once(c, found.blob);
    return found.value.has_value();
  }
  return found.blob == nullptr && found.cold == nullptr;
}

Outcome answer_at_once(Context& c, Work& work) {
  const Question& q = work.question();
  const Reply::Mark mark = c.reply.mark();
  c.reply.array(work.values());
  for (uint64_t i = 0; i < work.count(); i++) {
    const Element& e = work.take();
    if (q.gets.empty()) c.reply.bulk(e.text);
    for (const Pattern& get : q.gets) {
      const Found found = find(c, get, e.text);
      if (lacks(c, found)) continue;
      if (found.cold != nullptr) {
        c.reply.cut(mark);
        return Outcome::kLater;
      }
      if (found.blob != nullptr) {
        c.reply_value(const_cast<Entry*>(found.blob));
      } else {
        found.value ? c.reply.bulk(*found.value) : c.reply.null();
      }
    }
  }
  return Outcome::kDone;
}

Outcome store_result(Context& c, Work& work, bool however_much) {
  constexpr uint64_t kBytesMax = 4 << 20;  // more are stored in parts, where there are turns
  const Question& q = work.question();
  std::vector<std::string_view> values;
  uint64_t bytes = 0;
  const auto add = [&](std::string_view value) {
    values.push_back(value);
    bytes += value.size();
  };
  for (uint64_t i = 0; i < work.count(); i++) {
    const Element& e = work.take();
    if (q.gets.empty()) add(e.text);
    for (const Pattern& get : q.gets) {
      Found found = find(c, get, e.text);
      if (lacks(c, found)) continue;
      if (!is_text(c, found)) return later(c);
      add(found.value.value_or(""));  // no other key changes before it is stored
    }
    if (bytes > kBytesMax && !c.in_exec && !however_much) return Outcome::kLater;
  }
  if (!c.again) store_at_once(c, q, values);
  return Outcome::kDone;
}

}  // namespace

Outcome work_at_once(Context& c, Work& work, const Entry* entry, bool however_much) {
  gather_at_once(work, entry);
  const Question& q = work.question();
  for (Element& e : work.elements()) {
    if (!q.sorts) break;
    if (!q.by) {
      work.weigh(e, e.text);
      continue;
    }
    Found found = find(c, *q.by, e.text);
    if (lacks(c, found)) continue;
    if (!is_text(c, found)) return later(c);
    work.weigh(e, found.value);
  }
  if (c.again) return Outcome::kDone;
  while (work.sort_some()) {
  }
  if (work.failed()) return c.reply.error(kNoNumber), Outcome::kDone;
  return q.store_at == 0 ? answer_at_once(c, work) : store_result(c, work, however_much);
}

}  // namespace sorting

namespace {

void sort(Context& c) {
  constexpr uint64_t kInPlaceMax = 10'000;
  sorting::Question q;
  if (!sorting::parse(c, q)) return;
  const Entry* entry;
  if (!sorting::find_source(c, entry)) return;
  sorting::Work work(q, entry);
  const bool here = work.size() == 0 || c.in_exec;
  if (!here && (q.looks_up() || work.wanted() > kInPlaceMax)) return c.defer();
  if (sorting::work_at_once(c, work, entry) == sorting::Outcome::kLater) c.defer();
}

constexpr int kNowhere = 1 << 20;  // no word
constexpr KeySpec kDerived = {.flags = kKeyReadOnly | kKeyAccess | kKeyUnknown, .first = kNowhere};
constexpr KeySpec::Option kOptions[] = {{"by", 1}, {"get", 1}, {"limit", 2}};
constexpr KeySpec kSorts[] = {{.flags = kKeyReadOnly | kKeyAccess},
                              kDerived,
                              {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly | kKeyUnknown,
                               .first = 2,
                               .keyword = "store",
                               .options = kOptions,
                               .last_counts = true}};
constexpr KeySpec kReads[] = {{.flags = kKeyReadOnly | kKeyAccess}, kDerived};
constexpr Row kRows[] = {
    {"sort", -2, kWrite | kDenyOom | kDangerous | kWholeSpace | kLongArgs, kSorts, sort,
     sorting::run_deferred, "generic",
     "Sorts the elements in a list, a set, or a sorted set, optionally storing the result."},
    {"sort_ro", -2, kReadOnly | kDangerous | kWholeSpace | kLongArgs, kReads, sort,
     sorting::run_deferred, "generic",
     "Returns the sorted elements of a list, a set, or a sorted set.", "7.0.0"},
};

}  // namespace
std::span<const Row> sort_rows() { return kRows; }

}  // namespace cairn::kv
