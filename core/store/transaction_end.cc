// How a transaction ends: undone, or told to who listens.
#include "core/base/plant.h"
#include "core/store/transaction.h"

namespace cairn {

// ---- the way back ----

void Transaction::undo(Step& s) {
  switch (s.type) {
    case RecordType::kPut:
      keyspace_.place(*s.ns, s.hash, s.entry, s.old);
      keyspace_.dispose(s.entry, Lsn());
      break;
    case RecordType::kDelete:
      keyspace_.place(*s.ns, s.hash, nullptr, s.old);
      break;
    case RecordType::kExpiry:
      keyspace_.place(*s.ns, s.hash, s.entry, s.old);
      s.entry->detach();  // the old one has its collection still
      Entry::destroy(s.entry);
      break;
    case RecordType::kOperation:
      if (planted(Bug::kRollBackForgets)) break;
      for (auto& operation : s.details->inverse) {
        apply(*s.ns, s.hash, s.old != nullptr ? s.old : s.entry, operation);
      }
      break;
    case RecordType::kName:
      keyspace_.place(*s.ns, s.hash, s.entry, s.old);
      s.entry->detach();
      Entry::destroy(s.entry);
      keyspace_.place(*s.details->from, s.details->from_hash, nullptr, s.details->before);
      break;
    case RecordType::kSwap:
      keyspace_.exchange(*s.ns, *s.details->from);
      break;
    default:
      for (auto& f : s.details->flushed) {
        f.retired.index.swap(f.ns->index);
        f.ns->index->retired = false;
        f.ns->index->count_in_place_of(*f.retired.index);
        if (f.ns->meter_ != nullptr) {
          f.ns->meter_->add(static_cast<int64_t>(f.ns->size()), f.ns->index->bytes());
        }
        f.ns->volatile_keys = f.volatile_keys;
      }
  }
}

void Transaction::roll_back() {
  for (size_t i = work_->steps.size(); i-- > 0;) undo(work_->steps[i]);
  leave_work();
}

// ---- its room ----

void Transaction::Work::clear() {
  steps.clear();
  bytes = 0;
  newest = Lsn();
  swaps = false;
  frees = false;
  grown.clear();
  numbers.clear();
  all.parts.clear();
  all.lsns.clear();
  lsns.clear();
}

std::unique_ptr<Transaction::Work>& Transaction::spare_work() {
  thread_local std::unique_ptr<Work> spare;
  return spare;
}

std::unique_ptr<Transaction::Work> Transaction::take_work() {
  auto spare = std::move(spare_work());
  return spare != nullptr ? std::move(spare) : std::make_unique<Work>();
}

void Transaction::leave_work() {
  constexpr size_t kStepsKept = 256;
  if (work_ == nullptr || work_->steps.capacity() > kStepsKept) return work_.reset();
  work_->clear();
  spare_work() = std::move(work_);
}

void Transaction::end() {
  if (!work_->newest.valid()) return roll_back();
  const Lsn newest = work_->newest;
  for (Step& s : work_->steps) {
    if (s.type == RecordType::kNamespaceFlush) {
      for (auto& f : s.details->flushed) keyspace_.destroy_later(std::move(f.retired), newest);
    } else if (s.type == RecordType::kExpiry) {
      s.old->detach();  // its blob or collection went to the entry that took its place
      Entry::destroy(s.old);
    } else if (s.old != nullptr) {
      keyspace_.dispose(s.old, newest);
    }
    if (s.type == RecordType::kName) {
      s.details->before->detach();
      Entry::destroy(s.details->before);
    }
  }
}

// ---- telling others ----

void Transaction::tell(Namespace& ns, std::string_view key, What what, Lsn lsn) {
  const Change change{&ns, key, what, cause_, lsn, named_, last_part_, unseen_};
  keyspace_.listeners().tell({&change, 1}, committer_);
}

void Transaction::tell(std::span<const Lsn> lsns) {
  std::vector<Change> changes;
  for (size_t i = 0; i < lsns.size(); i++) {
    const Step& s = work_->steps[i];
    if (s.type == RecordType::kSwap) {
      Namespace* const other = s.details->from;
      changes.push_back({s.ns, {}, What::kSwap, cause_, lsns[i], named_, false, false, other});
      changes.push_back({other, {}, What::kSwap, cause_, lsns[i], named_, false, false, s.ns});
      continue;
    }
    const std::string_view key = s.type == RecordType::kNamespaceFlush
                                     ? std::string_view()
                                     : (s.entry != nullptr ? s.entry : s.old)->key();
    const What what = s.type == RecordType::kExpiry           ? What::kExpiry
                      : s.type == RecordType::kPut            ? What::kPut
                      : s.type == RecordType::kName           ? What::kPut
                      : s.type == RecordType::kDelete         ? What::kRemove
                      : s.type == RecordType::kNamespaceFlush ? What::kFlush
                                                              : What::kOperate;
    if (s.ns != nullptr && !is_told_of(*s.ns)) continue;
    if (s.type == RecordType::kName && s.details->from->id != kIdentities) {
      changes.push_back(
          {s.details->from, s.details->before->key(), What::kRemove, cause_, lsns[i], named_});
    }
    if (what != What::kFlush) {
      changes.push_back({s.ns, key, what, cause_, lsns[i], named_, false, s.unseen});
      continue;
    }
    for (auto& f : s.details->flushed) {
      if (!is_told_of(*f.ns)) continue;
      changes.push_back({f.ns, {}, what, cause_, lsns[i], named_});
    }
  }
  keyspace_.listeners().tell(changes, committer_);
}

}  // namespace cairn
