// XDELEX and XACKDEL, and what they share with XADD and XTRIM.
#include "kv/commands/stream_references.h"

#include <absl/container/btree_set.h>

#include <algorithm>
#include <vector>

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

References::References(const Stream& stream) : stream_(stream) {
  for (auto& [name, group] : stream.groups()) delivered_ = std::min(delivered_, group->last());
}

uint64_t References::at_once(const Context& c) const {
  constexpr uint64_t kLooksAtOnce = 1 << 14, kLooksInExec = 1 << 20;
  const uint64_t looks = c.in_exec ? kLooksInExec : kLooksAtOnce;
  return std::max<uint64_t>(1, looks / std::max<size_t>(1, stream_.groups().size()));
}

bool References::hold(StreamId id, const StreamGroup* but) const {
  if (id > delivered_) return true;
  return std::any_of(stream_.groups().begin(), stream_.groups().end(), [&](auto& named) {
    return named.second.get() != but && named.second->pending().contains(id);
  });
}

void References::release(std::span<const StreamId> ids, std::string& operation) const {
  std::vector<StreamId> pending;
  for (auto& [name, group] : stream_.groups()) {
    pending.clear();
    for (const StreamId& id : ids) {
      if (group->pending().contains(id)) pending.push_back(id);
    }
    if (pending.empty()) continue;
    Stream::add_group_name(operation, name);
    Stream::add_acknowledged(operation, pending);
  }
}

bool take_policy(std::string_view word, std::optional<Refs>& policy) {
  constexpr std::pair<std::string_view, Refs> kPolicies[] = {
      {"keepref", Refs::kKeep}, {"delref", Refs::kDelete}, {"acked", Refs::kAcked}};
  if (policy) return false;
  for (auto [name, known] : kPolicies) {
    if (equals_ignoring_case(word, name)) policy = known;
  }
  return policy.has_value();
}

void trim_some(const Stream& stream, Refs policy, StreamId added, uint64_t most, Trimming& t,
               std::string& operation) {
  const References references(stream);
  std::vector<StreamId> released, alone;
  StreamId up_to;  // all from the first entry on go, up to this one
  bool from_first = t.from <= stream.first_id();
  t.gone = t.bytes = 0;
  t.more = false;
  // False: that is the end of it.
  const auto look = [&](StreamId id, uint64_t bytes) {
    if (id > t.to || t.excess == 0 || t.looks == 0) return false;
    if (policy == Refs::kAcked && id > references.delivered()) return false;
    if (most-- == 0) return t.more = true, false;
    t.looks--;
    t.from = id == kStreamIdMax ? id : id.next();
    if (policy == Refs::kAcked && references.hold(id)) return from_first = false, true;
    if (from_first) {
      up_to = id;
    } else {
      alone.push_back(id);
    }
    if (policy == Refs::kDelete) released.push_back(id);
    t.excess--;
    t.gone++;
    t.bytes += bytes;
    return true;
  };
  Stream::Walk walk(stream.tree(), t.from, kStreamIdMax);
  StreamEntry e;
  bool goes_on = true;
  while (goes_on && walk.next(e)) goes_on = look(e.id, e.names.size() + e.values.size());
  if (goes_on && added != kStreamIdMin && look(added, 0)) t.gone--;  // it was not there
  references.release(released, operation);
  if (up_to != kStreamIdMin) Stream::add_trim(operation, up_to);
  for (const StreamId& id : alone) Stream::add_delete(operation, id);
}

namespace {

// ---- XDELEX key and XACKDEL key group: … [KEEPREF | DELREF | ACKED] IDS n id ... ----

struct Deletion {
  Refs policy = Refs::kKeep;
  size_t first = 0, count = 0;  // words: the IDs
};

bool parse(Context& c, size_t from, Deletion& deletion) {
  constexpr std::string_view kNoCount = "ERR Number of IDs must be a positive integer";
  std::optional<Refs> policy;
  for (size_t i = from; i < c.args.size(); i++) {
    if (take_policy(c.args[i], policy)) continue;
    if (!equals_ignoring_case(c.args[i], "ids") || i + 1 >= c.args.size()) {
      return c.syntax_error(), false;
    }
    int64_t count;
    if (!c.integer(i + 1, count, kNoCount)) return false;
    if (count < 1) return c.reply.error(kNoCount), false;
    if (static_cast<uint64_t>(count) > c.args.size() - i - 2) {
      c.reply.error("ERR The `numids` parameter must match the number of arguments");
      return false;
    }
    deletion.first = i + 2;
    deletion.count = static_cast<size_t>(count);
    i += 1 + deletion.count;
  }
  if (deletion.first == 0) return c.reply.error("ERR IDS option is required"), false;
  deletion.policy = policy.value_or(Refs::kKeep);
  return true;
}

// What became of an ID.
enum Fate : int8_t { kNotThere = -1, kDeleted = 1, kReferred = 2 };

// The work of one command, in one turn or in several.
class Deleting {
 public:
  Deleting(Context& c, const Deletion& how, bool acknowledges)
      : c_(c), how_(how), acknowledges_(acknowledges), fates_(how.count, kNotThere) {}

  // False after it answered an error: an ID is none.
  bool read_ids() {
    ids_.reserve(how_.count);
    for (size_t i = 0; i < how_.count; i++) {
      if (!stream_id(c_, how_.first + i, ids_.emplace_back())) return false;
    }
    return true;
  }
  bool takes_turns(const StreamView& s) const { return how_.count > References(*s).at_once(c_); }
  // The next of them; all of them if it takes no turns. False: the store refused.
  bool work(const StreamView& s, bool all);
  bool is_done() const { return at_ == how_.count; }
  void answer() const {
    c_.reply.array(fates_.size());
    for (const Fate fate : fates_) c_.reply.integer(fate);
  }

 private:
  Fate fate_of(const StreamView& s, const References& references, StreamId id);

  Context& c_;
  const Deletion how_;
  const bool acknowledges_;
  std::vector<Fate> fates_;
  std::vector<StreamId> ids_;
  size_t at_ = 0;
  // Of one turn.
  const StreamGroup* group_ = nullptr;
  absl::btree_set<StreamId> acknowledged_, deleted_;
  uint64_t bytes_ = 0;
};

// An ID that is named twice finds what the first time left.
Fate Deleting::fate_of(const StreamView& s, const References& references, StreamId id) {
  if (acknowledges_) {
    if (!group_->pending().contains(id) || !acknowledged_.insert(id).second) return kNotThere;
  }
  if (how_.policy == Refs::kAcked && references.hold(id, group_)) return kReferred;
  if (how_.policy == Refs::kDelete) acknowledged_.insert(id);
  const auto entry = s->find(id);
  const bool goes = entry && deleted_.insert(id).second;
  if (goes) bytes_ += entry->names.size() + entry->values.size();
  // What is only pending, and not there any more, is acknowledged for good.
  return goes || acknowledges_ ? kDeleted : kNotThere;
}

bool Deleting::work(const StreamView& s, bool all) {
  const References references(*s);
  const size_t end = all ? how_.count : std::min(how_.count, at_ + references.at_once(c_));
  group_ = acknowledges_ ? s->group(c_.args[2]) : nullptr;
  acknowledged_.clear();
  deleted_.clear();
  bytes_ = 0;
  if (acknowledges_ && group_ == nullptr) at_ = end;  // it is gone by now
  for (; at_ < end; at_++) fates_[at_] = fate_of(s, references, ids_[at_]);
  if (!may_take_away(c_, bytes_)) return false;
  const std::vector<StreamId> free(acknowledged_.begin(), acknowledged_.end());
  std::string operation;
  if (how_.policy == Refs::kDelete) {
    references.release(free, operation);
  } else if (!free.empty()) {
    Stream::add_group_name(operation, group_->name());
    Stream::add_acknowledged(operation, free);
  }
  for (const StreamId& id : deleted_) Stream::add_delete(operation, id);
  if (!deleted_.empty()) {
    Stream::State state = s->state();
    state.max_deleted = std::max(state.max_deleted, *deleted_.rbegin());
    Stream::add_state(operation, state);
  }
  if (operation.empty()) return true;
  c_.set_event("");
  const bool done =
      deleted_.empty() ? operate_beside(c_, 1, s, operation) : operate(c_, 1, s, operation);
  if (!done) return false;
  if (!deleted_.empty()) c_.add_event(Events::kStream, "xdel", c_.ns(), c_.args[1]);
  return true;
}

// Where there is no stream, or no such group, no ID is looked at.
bool answers_nothing(Context& c, const StreamView& s, const Deletion& how, bool acknowledges) {
  if (s && (!acknowledges || s->group(c.args[2]) != nullptr)) return false;
  Deleting(c, how, acknowledges).answer();
  return true;
}

void delete_ids(Context& c, bool acknowledges) {
  StreamView s;
  Deletion how;
  if (!find(c, 1, s) || !parse(c, acknowledges ? 3 : 2, how)) return;
  if (answers_nothing(c, s, how, acknowledges)) return;
  Deleting deleting(c, how, acknowledges);
  if (!deleting.read_ids()) return;
  if (deleting.takes_turns(s)) {
    if (may_take_away(c, UINT64_MAX)) c.defer();
    return;
  }
  if (deleting.work(s, true)) deleting.answer();
}

awaitable<void> delete_in_turns(Context& c, bool acknowledges) {
  Deletion how;
  if (!parse(c, acknowledges ? 3 : 2, how)) co_return;
  Deleting deleting(c, how, acknowledges);
  if (!deleting.read_ids()) co_return;
  const uint64_t before = c.reply.due();
  bool refused = false;
  co_await in_turns(c, [&] {
    StreamView s;
    if (!look_for_stream(c, 1, s)) return false;  // it is gone by now
    refused = !deleting.work(s, false);
    return !refused && !deleting.is_done();
  });
  if (!refused && c.reply.due() == before) deleting.answer();
}

void xdelex(Context& c) { delete_ids(c, false); }
void xackdel(Context& c) { delete_ids(c, true); }
awaitable<void> xdelex_deferred(Context& c) { return delete_in_turns(c, false); }
awaitable<void> xackdel_deferred(Context& c) { return delete_in_turns(c, true); }

constexpr std::string_view kGroup = "stream";
constexpr KeySpec kDeletesFromKey[] = {{.flags = kKeyReadWrite | kKeyDelete}};
constexpr KeySpec kAcknowledgesInKey[] = {
    {.flags = kKeyReadWrite | kKeyDelete | kKeyUpdate | kKeyLooked}};
constexpr Row kRows[] = {
    {"xackdel", -6, kWrite | kFast, kAcknowledgesInKey, xackdel, xackdel_deferred, kGroup,
     "Acknowledges and conditionally deletes one or multiple entries for a stream consumer group.",
     "8.2.0"},
    {"xdelex", -5, kWrite | kFast, kDeletesFromKey, xdelex, xdelex_deferred, kGroup,
     "Deletes one or multiple entries from the stream.", "8.2.0"},
};

}  // namespace
std::span<const Row> stream_reference_rows() { return kRows; }

}  // namespace cairn::kv
