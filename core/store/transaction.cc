#include "core/store/transaction.h"

#include <algorithm>
#include <cassert>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace cairn {

// ---- what is refused ----

Status Transaction::refuse(Status status) {
  if (status_.ok()) status_ = status;
  return status;
}

Status Transaction::reserve(const RecordView& r, Need need) {
  if (!status_.ok()) return status_;
  if (several_ && work_ == nullptr) work_ = take_work();
  const auto bytes = RecordParts::bytes(r, keyspace_.log_.record_bytes_max());
  if (!bytes) {
    return refuse(absl::ResourceExhaustedError("the change is larger than a log segment"));
  }
  const uint64_t before = work_ == nullptr ? 0 : work_->bytes;
  if (Status s = keyspace_.log_.admit(need, before + *bytes); !s.ok()) return refuse(s);
  if (work_ != nullptr) work_->bytes += *bytes;
  return absl::OkStatus();
}

Status Transaction::check_put(const Namespace& ns, const RecordView& r) {
  if (ns.dropped.load(std::memory_order_relaxed) && !planted(Bug::kPutIntoDropped)) {
    return refuse(resting_on(absl::NotFoundError("no such bucket"), keyspace_.newest_name()));
  }
  if (r.key.size() > kKeyBytesMax) {
    return refuse(absl::InvalidArgumentError("the key is too long"));
  }
  if (r.type == RecordType::kPut && r.flags >> 4 == 0 && r.value.size() > Entry::kValueBytesMax) {
    return refuse(absl::ResourceExhaustedError("the value is too long to be kept inline"));
  }
  return absl::OkStatus();
}

Lsn Transaction::append_in_parts(const RecordView& record, Appended& appended) {
  RecordView caused = record;
  caused.cause = cause_;
  appended.lsns.resize(appended.parts.add(caused, keyspace_.log_.record_bytes_max()));
  keyspace_.log_.append_batch(appended.parts.records(), appended.lsns);
  return appended.lsns.back();
}

// ---- put ----

Status Transaction::put(Namespace& ns, KeyHash hash, const RecordView& r) {
  assert(covers(hash));
  if (taken_at_once(ns, r)) {
    put_now(ns, hash, r, nullptr);
    return absl::OkStatus();
  }
  if (makes_versions(ns)) [[unlikely]]
    return at_once([&] { return add_version(ns, hash, r); }, &r);
  if (asks_quota(ns)) return at_once([&] { return put_plain(ns, hash, r); }, &r);
  return put_plain(ns, hash, r);
}

Status Transaction::put_plain(Namespace& ns, KeyHash hash, const RecordView& r) {
  if (Status s = check_put(ns, r); !s.ok()) return s;
  std::unique_ptr<Collection> collection;
  if (r.flags >> 4 != 0) {
    collection = keyspace_.make_collection(r.flags, r.value);
    if (collection == nullptr) {
      return refuse(absl::InvalidArgumentError("not a value of this type"));
    }
  }
  if (Status s = reserve(r, Need::kPut); !s.ok()) return s;
  if (!several_) {
    put_now(ns, hash, r, std::move(collection));
  } else {
    put_later(ns, hash, r, std::move(collection));
  }
  return absl::OkStatus();
}

void Transaction::put_now(Namespace& ns, KeyHash hash, const RecordView& r,
                          std::unique_ptr<Collection> collection) {
  Appended parts;
  const bool named = collection != nullptr && keyspace_.wants_identity(ns, *collection);
  if (named) {
    RecordView caused = r;
    caused.cause = cause_;
    lsn_ = keyspace_.append_named(ns, caused, *collection);
  } else {
    lsn_ = fits(r) ? append_to(ns, r) : append_in_parts(of(ns, r), parts);
  }
  const Lsn lsn = lsn_;
  if (r.size() > Log::kLargeBytes) saw(lsn);
  Entry* old = ns.index->find(r.key, hash);
  // In place when nothing else looks at the entry and its shape stays.
  if (old != nullptr && !ns.orders(hash) && !old->has_expiry() && !r.has_expiry() &&
      !old->is_blob()) {
    const Lsn before = old->lsn();
    const bool wished = this->wished(old);
    if (old->assign(r, lsn)) {
      old->set_wished(wished);
      keyspace_.usage_.move(before, lsn, r.size());  // both are of this size
      return changed(ns, r.key, What::kPut, lsn);
    }
  }
  Entry* entry =
      collection == nullptr ? Entry::make(r, lsn) : Entry::make(r, lsn, std::move(collection));
  if (Collection* c = entry->collection()) {
    c->set_version(lsn);
    if (!named && parts.lsns.empty()) {
      keyspace_.begin_charges(*c, lsn, r);
    } else if (!named) {
      keyspace_.begin_charges(*c, parts.records(), 0, r.has_expiry());
    }
  }
  entry->set_wished(wished(old));
  keyspace_.link(ns, hash, old, entry);
  changed(ns, entry->key(), What::kPut, lsn);
  if (old != nullptr) keyspace_.dispose(old, lsn);
}

Transaction::Step& Transaction::add_step(RecordType type, uint8_t flags, Namespace* ns,
                                         KeyHash hash) {
  return work_->steps.emplace_back(Step{type,
                                        flags,
                                        ns == nullptr ? NamespaceId() : ns->stored(),
                                        ns,
                                        hash,
                                        nullptr,
                                        nullptr,
                                        {},
                                        1,
                                        unseen_});
}

void Transaction::put_later(Namespace& ns, KeyHash hash, const RecordView& r,
                            std::unique_ptr<Collection> collection) {
  Step& step = add_step(RecordType::kPut, r.flags, &ns, hash);
  step.old = ns.index->find(r.key, hash);
  if (collection == nullptr) {
    step.entry = Entry::make(r, Lsn());
  } else {
    step.details = std::make_unique<Details>();
    step.details->bytes = r.value;
    step.details->collection = collection.get();
    step.entry = Entry::make(r, Lsn(), std::move(collection));
  }
  place(ns, hash, step.old, step.entry);
}

// ---- remove ----

Status Transaction::remove(Namespace& ns, KeyHash hash, Entry* entry) {
  assert(covers(hash));
  if (makes_versions(ns)) [[unlikely]]
    return at_once([&] { return freely([&] { return hide(ns, hash, entry->key(), entry); }); });
  return remove_plain(ns, hash, entry);
}

Status Transaction::remove_plain(Namespace& ns, KeyHash hash, Entry* entry, std::string_view meta) {
  RecordView r;
  r.type = RecordType::kDelete;
  r.ns = ns.stored();
  r.key = entry->key();
  r.meta = meta;
  if (Status s = reserve(r, Need::kDelete); !s.ok()) return s;
  if (several_) {
    Step& step = add_step(r.type, 0, &ns, hash);
    step.old = entry;
    if (!meta.empty()) {
      step.details = std::make_unique<Details>();
      step.details->bytes = meta;
    }
    place(ns, hash, entry, nullptr);
    return absl::OkStatus();
  }
  lsn_ = append(r);
  if (wished(entry)) keyspace_.note_removal(ns, hash, lsn_);  // before a listing can miss it
  keyspace_.link(ns, hash, entry, nullptr);
  changed(ns, r.key, What::kRemove, lsn_);
  keyspace_.dispose(entry, lsn_);
  return absl::OkStatus();
}

// ---- operate ----

Status Transaction::operate(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& change) {
  assert(change.type == RecordType::kOperation && covers(hash));
  if (entry == nullptr) {  // the operation alone makes all of it
    RecordView whole = change;
    whole.type = RecordType::kPut;
    return put(ns, hash, whole);
  }
  if (makes_versions(ns) && !is_events(change.key, entry->type())) return refuse(no_collections());
  if (Status s = check_put(ns, change); !s.ok()) return s;
  RecordView r = change;
  r.ns = ns.stored();
  r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
  r.flags |= entry->flags & kRecordHasExpiry;
  r.expire_ms = entry->expire_ms();
  RecordView logged = r;
  Keyspace::set_subject(*entry->collection(), logged);
  if (asks_quota(ns)) {
    return at_once([&] { return operate(ns, hash, entry, change); });
  }
  // What expires makes room, as a removal does.
  const Need need = cause_ == Cause::kExpiry ? Need::kDelete : Need::kPut;
  if (Status s = reserve(logged, need); !s.ok()) return s;
  if (!several_) {
    operate_now(ns, hash, entry, r);
  } else {
    operate_later(ns, hash, entry, r);
  }
  return absl::OkStatus();
}

void Transaction::apply(Namespace& ns, KeyHash hash, Entry* entry, std::string_view operation) {
  if (operation.empty()) return;
  Collection& c = *entry->collection();
  const uint64_t before = c.memory_bytes(), image = c.image_bytes();
  const int64_t due = entry->due_ms();
  const bool applied = c.apply(operation);
  assert(applied);
  (void)applied;
  if (Identity* identity = c.share_.identity()) identity->done(operation);
  keyspace_.move_due(ns, hash, entry, due);
  keyspace_.memory_count_->add(stripe_of(hash), static_cast<int64_t>(c.memory_bytes() - before));
  const auto more = static_cast<int64_t>(c.image_bytes() - image);
  ns.count(0, more);
  if (several_ && ns.metered()) note_growth(ns, {0, more});
}

void Transaction::operate_now(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& r) {
  Collection& c = *entry->collection();
  RecordView logged = r;
  Keyspace::set_subject(c, logged);
  Appended parts;
  const Lsn lsn = lsn_ = fits(logged) ? append(logged) : append_in_parts(logged, parts);
  if (logged.size() > Log::kLargeBytes) saw(lsn);
  apply(ns, hash, entry, r.value);
  if (parts.lsns.empty()) {
    keyspace_.charge(c, lsn, logged.size(), true);
  } else {
    keyspace_.charge(c, parts.records());
  }
  c.share_.set_record(0, r.has_expiry());
  c.set_version(lsn);
  entry->set_wished(wished(entry));
  entry->set_lsn(lsn);
  changed(ns, entry->key(), What::kOperate, lsn);
  keyspace_.identify(ns, entry);
}

// What is changed under its key would be rewritten for each rename from here on.
void Transaction::identify() {
  for (const Step& s : work_->steps) {
    if (s.details == nullptr || s.details->collection == nullptr || s.entry == nullptr) continue;
    // A later step may have given it another entry, or another name.
    Entry* e = s.ns->index->find(s.entry->key(), s.hash);
    if (e != nullptr && e->collection() == s.details->collection) keyspace_.identify(*s.ns, e);
  }
}

// The collection's version stays until the commit: a listing reads it meanwhile.
void Transaction::operate_later(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& r) {
  Collection& c = *entry->collection();
  Step& step = add_step(r.type, r.flags, &ns, hash);
  step.entry = entry;
  step.details = std::make_unique<Details>();
  step.details->bytes = r.value;
  step.details->collection = &c;
  c.inverse(r.value, step.details->inverse);
  apply(ns, hash, entry, r.value);
}

// ---- expire ----

Status Transaction::expire(Namespace& ns, KeyHash hash, Entry* entry, int64_t expire_ms) {
  assert(covers(hash));
  if (makes_versions(ns) && entry->is_string()) {
    return at_once([&] { return expire_version(ns, hash, entry, expire_ms); });
  }
  RecordView r;
  r.type = RecordType::kExpiry;
  r.ns = ns.stored();
  r.key = entry->key();
  r.expire_ms = expire_ms;
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  if (Status s = check_put(ns, r); !s.ok()) return s;
  if (Status s = reserve(r, Need::kPut); !s.ok()) return s;
  if (!several_) {
    expire_now(ns, hash, entry, r);
  } else {
    expire_later(ns, hash, entry, r);
  }
  return absl::OkStatus();
}

// The entry's own record stays where it is. It is older than the one written here, so the cleaner
// comes to it first, and copies it with the expiry that holds then: this one need not live on, and
// does not count as live.
void Transaction::expire_now(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& r) {
  const Lsn lsn = lsn_ = append(r);
  if (wished(entry)) keyspace_.note_expiry_change(ns, hash, lsn);
  if (entry->has_expiry() && r.has_expiry() && !ns.orders(hash)) {
    keyspace_.set_expiry(ns, hash, entry, r.expire_ms);
    return changed(ns, entry->key(), What::kExpiry, lsn);
  }
  Entry* other = entry->with_expiry(r.expire_ms);
  keyspace_.link(ns, hash, entry, other);
  changed(ns, other->key(), What::kExpiry, lsn);
  entry->detach();
  Entry::destroy(entry);  // the new one holds its blob
}

void Transaction::expire_later(Namespace& ns, KeyHash hash, Entry* entry, const RecordView& r) {
  Step& step = add_step(r.type, r.flags, &ns, hash);
  step.old = entry;
  // The order names the old one until the commit, and who lists it looks into its collection.
  step.entry = entry->with_expiry(r.expire_ms);
  place(ns, hash, entry, step.entry);
}

// ---- rename ----

Status Transaction::rename(Namespace& from, KeyHash from_hash, Entry* entry, Namespace& to,
                           KeyHash to_hash, std::string_view key,
                           std::optional<int64_t> expire_ms) {
  assert(covers(from_hash) && covers(to_hash) && has_identity(entry));
  if (shape_ != Shape::kSeveral) {
    return refuse(absl::InternalError("a rename in a transaction of one change"));
  }
  if (makes_versions(to)) return refuse(no_collections());
  Collection& c = *entry->collection();
  const Identity& identity = *c.identity();
  const std::string name =
      NameRecord{identity.id(), identity.from, identity.to,
                 from.id == kIdentities ? NamespaceId() : from.stored(), entry->key()}
          .encode();
  RecordView r{
      RecordType::kName, entry->record_flags(), to.stored(), entry->expire_ms(), key, {}, name};
  if (expire_ms) {
    r.expire_ms = *expire_ms;
    r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
    if (r.expire_ms != 0) r.flags |= kRecordHasExpiry;
  }
  if (Status s = check_put(to, r); !s.ok()) return s;
  if (Status s = reserve(r, Need::kPut); !s.ok()) return s;
  Step& step = add_step(r.type, r.flags, &to, to_hash);
  step.old = to.index->find(key, to_hash);
  step.details = std::make_unique<Details>();
  step.details->bytes = name;
  step.details->collection = &c;
  step.details->from = &from;
  step.details->from_hash = from_hash;
  step.details->before = entry;
  step.entry = Entry::make(r, entry->lsn(), nullptr);
  step.entry->set_marks(entry->marks());
  std::memcpy(const_cast<char*>(step.entry->value().data()), entry->value().data(), kPointerBytes);
  place(from, from_hash, entry, nullptr);
  place(to, to_hash, step.old, step.entry);
  return absl::OkStatus();
}

// ---- flush ----

Status Transaction::flush(Namespace& ns) {
  Namespace* one = &ns;
  if (ns.versions() != nullptr && ns.properties()->object_lock) return refuse(object_locked());
  if (!makes_versions(ns)) return flush(ns.stored(), {&one, 1});
  StripeLocks own(keyspace_);
  if (Status s = take_all(own); !s.ok()) return s;
  return at_once([&] {
    Namespace* versions = ns.versions();
    Status s = flush_step(ns.stored(), {&one, 1});
    return s.ok() ? flush_step(versions->stored(), {&versions, 1}) : s;
  });
}

Status Transaction::flush_databases() {
  std::vector<Namespace*> all;
  for (uint32_t i = 0; i < keyspace_.databases(); i++) all.push_back(&keyspace_.database(i));
  return flush(NamespaceId(), all);
}

Status Transaction::take_all(StripeLocks& own) {
  if (locks_ != nullptr && locks_->all()) return absl::OkStatus();
  if (shape_ == Shape::kSeveral) {
    return refuse(absl::InternalError("a change of all keys in a transaction without all locks"));
  }
  own.lock_all();
  return absl::OkStatus();
}

Status Transaction::flush_step(NamespaceId id, std::span<Namespace* const> spaces) {
  RecordView r;
  r.type = RecordType::kNamespaceFlush;
  r.ns = id;
  if (Status s = reserve(r, Need::kClean); !s.ok()) return s;
  Step& step = add_step(r.type, 0, nullptr, 0);
  step.ns_id = id;
  step.details = std::make_unique<Details>();
  for (Namespace* ns : spaces) {
    note_growth(*ns, {-static_cast<int64_t>(ns->size()), -ns->index->bytes()});
    const int64_t keys = ns->volatile_keys.exchange(0);
    step.details->flushed.push_back({ns, {keyspace_.replace_index(*ns), {}}, keys});
  }
  return absl::OkStatus();
}

Status Transaction::flush(NamespaceId id, std::span<Namespace* const> spaces) {
  RecordView r;
  r.type = RecordType::kNamespaceFlush;
  r.ns = id;
  StripeLocks own(keyspace_);
  if (Status s = take_all(own); !s.ok()) return s;
  if (several_) return flush_step(id, spaces);
  if (Status s = reserve(r, Need::kClean); !s.ok()) return s;
  lsn_ = append(r);
  std::vector<Change> changes;  // told together: it is one flush
  changes.reserve(spaces.size());
  for (Namespace* ns : spaces) {
    if (wish_ == Wish::kDurable) keyspace_.note_flush(*ns, lsn_);
    keyspace_.destroy_later(keyspace_.retire(*ns), lsn_);
    changes.push_back({ns, {}, What::kFlush, cause_, lsn_, named_});
  }
  if (keyspace_.listeners().any()) keyspace_.listeners().tell(changes, committer_);
  return absl::OkStatus();
}

// ---- swap ----

Status Transaction::swap(Namespace& a, Namespace& b) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  assert(&a != &b && is_database(a.id) && is_database(b.id));
  StripeLocks own(keyspace_);
  if (Status s = take_all(own); !s.ok()) return s;
  Holdings after = keyspace_.holdings();
  std::swap(after.numbers[database_number(a.id)], after.numbers[database_number(b.id)]);
  std::string value = after.encode();
  RecordView r;
  r.type = RecordType::kSwap;
  r.value = value;
  if (Status s = reserve(r, Need::kPut); !s.ok()) return s;
  if (Status s = check_swap(a, b); !s.ok()) return s;
  if (several_) {
    Step& step = add_step(r.type, 0, &a, 0);
    step.ns_id = NamespaceId();
    step.details = std::make_unique<Details>();
    step.details->bytes = std::move(value);
    step.details->from = &b;
    work_->swaps = true;
    keyspace_.exchange(a, b);
    return absl::OkStatus();
  }
  lsn_ = append(r);
  const int64_t more = b.committed_size() - a.committed_size();
  keyspace_.exchange(a, b);
  Namespace* const ordered[] = {a.id < b.id ? &a : &b, a.id < b.id ? &b : &a};
  for (Namespace* ns : ordered) ns->order_mutex.lock();
  keyspace_.make_exchange_known(a, b, lsn_, wish_ == Wish::kDurable);
  for (Namespace* ns : ordered) ns->order_mutex.unlock();
  Keyspace::note_keys(a, more, Lsn());
  Keyspace::note_keys(b, -more, Lsn());
  if (!keyspace_.listeners().any()) return absl::OkStatus();
  const Change changes[] = {{&a, {}, What::kSwap, cause_, lsn_, named_, false, false, &b},
                            {&b, {}, What::kSwap, cause_, lsn_, named_, false, false, &a}};
  keyspace_.listeners().tell(changes, committer_);
  return absl::OkStatus();
}

Namespace& Transaction::outside(Namespace& ns) const {
  if (!swaps()) return ns;
  Namespace* at = &ns;
  for (auto s = work_->steps.rbegin(); s != work_->steps.rend(); ++s) {
    if (s->type != RecordType::kSwap) continue;
    at = at == s->ns ? s->details->from : at == s->details->from ? s->ns : at;
  }
  return *at;
}

// ---- commit ----

RecordView Transaction::record_of(const Step& s) const {
  RecordView r;
  r.type = s.type;
  r.ns = s.ns_id;
  r.cause = cause_;
  switch (s.type) {
    case RecordType::kDelete:
      r.key = s.old->key();
      if (s.details != nullptr) r.meta = s.details->bytes;
      break;
    case RecordType::kPut:
      r.flags = s.flags;
      r.expire_ms = s.entry->expire_ms();
      r.key = s.entry->key();
      r.meta = s.entry->meta();
      r.value = s.details != nullptr ? std::string_view(s.details->bytes) : s.entry->value();
      if (r.has_origin()) {
        r.version = s.entry->version();
        r.wall_ms = keyspace_.log_.time_of(r.version);
      }
      break;
    case RecordType::kOperation:
      r.flags = s.flags;
      r.expire_ms = s.entry->expire_ms();
      r.key = s.entry->key();
      r.value = s.details->bytes;
      Keyspace::set_subject(*s.details->collection, r);
      break;
    case RecordType::kName:
      r.flags = s.flags;
      r.expire_ms = s.entry->expire_ms();
      r.key = s.entry->key();
      r.value = s.details->bytes;
      break;
    case RecordType::kSwap:
      r.value = s.details->bytes;
      break;
    case RecordType::kExpiry:
      r.flags = s.flags;
      r.expire_ms = s.entry->expire_ms();
      r.key = s.entry->key();
      break;
    default:
      break;
  }
  return r;
}

StatusOr<Lsn> Transaction::commit_several() {
  if (status_.ok() && work_ == nullptr) return Lsn();
  if (status_.ok()) {          // room may have gone since each step was taken
    Need need = Need::kClean;  // of the steps, the one that must stop first
    for (const Step& s : work_->steps) {
      if (s.type == RecordType::kDelete && need == Need::kClean) need = Need::kDelete;
      if (s.type != RecordType::kDelete && s.type != RecordType::kNamespaceFlush) {
        need = Need::kPut;
      }
    }
    if (work_->frees && need == Need::kPut) need = Need::kDelete;
    (void)refuse(keyspace_.log_.admit(need, work_->bytes));
    if (status_.ok() && !work_->grown.empty()) (void)check_quotas();
  }
  if (!status_.ok()) {
    if (work_ != nullptr) roll_back();
    return status_;
  }
  if (work_->steps.empty()) return Lsn();
  Appended& all = work_->all;
  size_t count = 0;
  for (Step& s : work_->steps) {
    count += s.records = all.parts.add(record_of(s), keyspace_.log_.record_bytes_max());
  }
  all.lsns.resize(count);
  keyspace_.log_.append_batch(all.parts.records(), all.lsns);
  std::vector<Lsn>& lsns = work_->lsns;
  size_t end = 0;
  for (const Step& s : work_->steps) lsns.push_back(all.lsns[(end += s.records) - 1]);
  make_known(lsns, all.records());
  identify();
  if (wish_ == Wish::kDurable || work_->bytes > Log::kLargeBytes) saw(lsns.back());
  return work_->newest = lsns.back();
}

// Everything that others see without the stripes' locks: the order of names, and what lives where.
void Transaction::make_known(std::span<const Lsn> lsns,
                             Records all) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  std::vector<Namespace*> ordered;
  auto add = [&](Namespace* ns) {
    if (ns->order_end != 0 && (ordered.empty() || ordered.back() != ns)) ordered.push_back(ns);
  };
  for (const Step& s : work_->steps) {
    if (s.type == RecordType::kSwap) {  // whether they have one or come to it
      ordered.insert(ordered.end(), {s.ns, s.details->from});
      continue;
    }
    if (s.ns != nullptr) add(s.ns);
    if (s.type == RecordType::kName) add(s.details->from);
    if (s.type != RecordType::kNamespaceFlush) continue;
    for (auto& f : s.details->flushed) add(f.ns);
  }
  std::sort(ordered.begin(), ordered.end(), [](auto* a, auto* b) { return a->id < b->id; });
  ordered.erase(std::unique(ordered.begin(), ordered.end()), ordered.end());
  for (Namespace* ns : ordered) ns->order_mutex.lock();
  for (Step& s : work_->steps) {
    finish(s, all.first(s.records));
    all = all.behind(s.records);
  }
  for (Namespace* ns : ordered) ns->order_mutex.unlock();
  note_keys(lsns.back());
  if (keyspace_.listeners().any()) tell(lsns);
}

// Of each namespace once, so that nobody sees a part of it.
void Transaction::note_keys(Lsn newest) {
  absl::InlinedVector<std::pair<Namespace*, int64_t>, 4> more;
  const auto add = [&](Namespace* ns, int64_t keys) -> int64_t {  // so many more, so far
    auto it = std::find_if(more.begin(), more.end(), [ns](auto& m) { return m.first == ns; });
    if (it == more.end()) it = more.insert(it, {ns, 0});
    return it->second += keys;
  };
  for (const Step& s : work_->steps) {
    if (s.type == RecordType::kSwap) {
      Namespace* const other = s.details->from;
      const int64_t larger =
          other->committed_size() + add(other, 0) - (s.ns->committed_size() + add(s.ns, 0));
      add(s.ns, larger);
      add(other, -larger);
    } else if (s.type == RecordType::kNamespaceFlush) {
      for (auto& f : s.details->flushed) add(f.ns, -static_cast<int64_t>(f.retired.index->size()));
    } else if (s.type == RecordType::kPut || s.type == RecordType::kDelete ||
               s.type == RecordType::kName) {
      add(s.ns, int64_t{s.entry != nullptr} - int64_t{s.old != nullptr});
      if (s.type == RecordType::kName) add(s.details->from, -1);
    }
  }
  for (auto& [ns, keys] : more) {
    Keyspace::note_keys(*ns, keys, wish_ == Wish::kDurable ? newest : Lsn());
  }
}

void Transaction::finish(Step& s, Records records) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  const Lsn lsn = records.lsns.back();
  Collection* c = s.details == nullptr ? nullptr : s.details->collection;
  if (s.type == RecordType::kNamespaceFlush) {
    for (auto& f : s.details->flushed) {
      f.retired.order.swap(f.ns->order);
      if (wish_ == Wish::kDurable) keyspace_.note_flush(*f.ns, lsn);
    }
    return;
  }
  if (s.type == RecordType::kSwap) {
    keyspace_.make_exchange_known(*s.ns, *s.details->from, lsn, wish_ == Wish::kDurable);
    return;
  }
  const bool renamed = s.type == RecordType::kName;
  if (renamed && s.details->from->orders(s.details->from_hash)) {
    const auto names = static_cast<int64_t>(s.details->from->order.erase(s.details->before));
    keyspace_.memory_count_->add(stripe_of(s.details->from_hash), -names * Keyspace::kOrderBytes);
  }
  if (s.ns->orders(s.hash)) {
    int64_t names = 0;
    if (s.old != nullptr) names -= static_cast<int64_t>(s.ns->order.erase(s.old));
    if (s.entry != nullptr && s.type != RecordType::kOperation) {
      names += static_cast<int64_t>(s.ns->order.insert(s.entry).second);
    }
    keyspace_.memory_count_->add(stripe_of(s.hash), names * Keyspace::kOrderBytes);
  }
  bool wished = s.wished || this->wished(s.old != nullptr ? s.old : s.entry);
  if (s.type == RecordType::kExpiry) {
    if (wished) keyspace_.note_expiry_change(*s.ns, s.hash, lsn);
    s.entry->set_wished(s.old->wished());
    s.entry->set_lsn(s.old->lsn());  // not known before, if this transaction made it
    return;
  }
  if (s.old != nullptr) keyspace_.count(s.old, -1);
  if (renamed) {  // so is that the old name is gone, and so was what changed its expiry
    const Entry* before = s.details->before;
    wished |= this->wished(before) || !keyspace_.log_.is_durable(keyspace_.rests_on(
                                          *s.details->from, s.details->from_hash, before));
    if (wished) keyspace_.note_removal(*s.details->from, s.details->from_hash, lsn);
    c->share_.identity()->rename(s.ns_id, s.entry->key());
    c->moved(s.hash);
  }
  if (s.entry == nullptr) {
    if (wished) keyspace_.note_removal(*s.ns, s.hash, lsn);
    return;
  }
  s.entry->set_wished(wished);
  s.entry->set_lsn(lsn);
  if (s.type == RecordType::kOperation || renamed) {
    keyspace_.charge(*c, records);
    c->share_.set_record(0, (s.flags & kRecordHasExpiry) != 0);
    c->set_version(lsn);
  } else if (c != nullptr) {
    c->set_version(lsn);
    keyspace_.begin_charges(*c, records, s.records == 1 ? s.details->bytes.size() : 0,
                            (s.flags & kRecordHasExpiry) != 0);
    keyspace_.count(*c, 1);
  } else {
    keyspace_.usage_.add(lsn, records.views.back().size());
  }
}

}  // namespace cairn
