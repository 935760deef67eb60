// What the clients of the simulation do to buckets, listings and multipart uploads, and the laws of
// those; see life.h.
#include <algorithm>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "tests/sim/life.h"

namespace cairn::sim {

namespace {
constexpr uint64_t kBuckets = 3, kUploadsMax = 4;

// Of an upload's record and of a part's ("u/BUCKET/KEY NUL ID", "p/ID/NUMBER"): whose it is.
std::string upload_of(const std::string& name) {
  if (name.starts_with("p/")) return name.substr(2, name.rfind('/') - 2);
  return name.substr(name.rfind('\0') + 1);
}
uint32_t bucket_of(const std::string& name) {
  return parse_int<uint32_t>(std::string_view(name).substr(2, name.find('/', 2) - 2)).value_or(0);
}
}  // namespace

awaitable<bool> World::use_buckets(Lsn& lsn) {
  switch (pick(16)) {
    case 0:
    case 1:
      co_return create_bucket(lsn);
    case 2:
      co_return drop_bucket(lsn);
    case 3:
    case 4: {
      NamespacePtr ns = some_space();
      co_return co_await check_listing(ns);
    }
    case 5:
      co_return set_tag(lsn);
    default:
      co_return co_await multipart(lsn);
  }
}

// ---- buckets ----

bool World::create_bucket(Lsn& lsn) {
  const std::string name = cat_key("bucket", pick(kBuckets));
  const bool there = store_->find_namespace(name) != nullptr;
  auto made = store_->create_bucket(name);
  if (there && made.ok()) wrong("a bucket was made twice");
  if (!made.ok()) return absl::IsAlreadyExists(made.status()) || refused(made.status());
  const uint32_t id = store_->find_namespace(name)->id.value();
  if (!ids_.insert(id).second) wrong(cat("the id ", id, " is that of another bucket too"));
  changes_[lsn = *made] = {Change::kCreate, {id, name}, {}};
  seen.buckets_made++;
  return true;
}

// Full, empty, or with uploads that are open in it.
bool World::drop_bucket(Lsn& lsn) {
  const auto buckets = store_->buckets();
  if (buckets.empty()) return true;
  const NamespacePtr& ns = buckets[pick(buckets.size())];
  if (pick(2) == 0) {
    StripeLocks none(*store_);
    Transaction t(*store_, &none, Shape::kOne);
    (void)t.flush(*ns);
    if (!take(t.commit(), {Change::kFlush, {ns->id.value(), ""}, {}}, lsn)) return false;
  }
  const bool empty = now_in(ns->id.value()).empty();
  heard_.clear();
  // Now and then as where it ends between its two steps, which a crash alone nearly never hits.
  const bool half = pick(8) == 0;
  auto dropped = half ? store_->drop_bucket(ns->name) : objects::drop_bucket(*store_, ns->name);
  if (absl::IsFailedPrecondition(dropped.status())) {
    if (empty) wrong("an empty bucket is not dropped");
    return true;
  }
  if (!heard_.empty() && !empty) wrong("a bucket was dropped with what was in it");
  for (Heard& h : heard_) {
    if (h.what == What::kFlush) changes_[lsn = h.lsn] = {Change::kDrop, h.key, {}};
  }
  std::erase_if(heard_, [](const Heard& h) { return h.what == What::kFlush; });
  const std::vector<Heard> aborted = std::move(heard_);
  seen.uploads_dropped += !aborted.empty();
  note_heard(aborted, "", lsn);
  if (!dropped.ok()) return refused(dropped.status());
  seen.buckets_dropped++;
  return true;
}

// Of a bucket or a database, whatever it holds at the moment.
bool World::set_tag(Lsn& lsn) {
  const NamespacePtr ns = some_space();
  const std::string tag = cat_key("tag", pick(1'000'000));
  auto set = store_->change_properties(*ns, [&](Properties& p) { p.tags["tag"] = tag; });
  if (!set.ok()) return refused(set.status());
  Change change{Change::kTag, {ns->id.value(), ""}, {}};
  change.value.bytes = tag;
  changes_[lsn = *set] = std::move(change);
  seen.tags_set++;
  return true;
}

// Law 10: the buckets are those that were made and not dropped, each with its id, and no id is
// that of two. What was set for one, or for a database, is what was set last.
void World::check_buckets() {
  std::map<uint32_t, std::string> found, tags;
  const auto look = [&](const Namespace& ns) {
    const auto properties = ns.properties();
    if (auto tag = properties->tags.find("tag"); tag != properties->tags.end()) {
      tags[ns.id.value()] = tag->second;
    }
  };
  for (auto& ns : store_->buckets()) {
    found[ns->id.value()] = ns->name;
    look(*ns);
  }
  for (uint32_t i = 0; i < kDatabasesUsed; i++) look(store_->database(i));
  if (tags != state_.tags) {
    wrong(cat(tags.size(), " namespaces have a tag, or another one; model ", state_.tags.size()));
  }
  if (found != state_.buckets) {
    wrong(cat("there are ", found.size(), " buckets, model ", state_.buckets.size()));
  }
}

// ---- listings ----

std::map<std::string, Value> World::now_in_all(uint32_t ns) const {
  State state = state_;
  for (auto& [lsn, c] : changes_) state.apply(c);
  std::map<std::string, Value> now;
  for (auto& [key, value] : state.keys) {
    if (key.first == ns && !value.expired(store_->now_ms())) now.emplace(key.second, value);
  }
  return now;
}

std::map<std::string, Value> World::now_in(uint32_t ns) const {
  const bool swapped = std::any_of(changes_.begin(), changes_.end(),
                                   [](auto& c) { return c.second.kind == Change::kSwap; });
  if (swapped) return now_in_all(ns);
  State state;
  const auto end = state_.keys.lower_bound({ns + 1, ""});
  for (auto it = state_.keys.lower_bound({ns, ""}); it != end; ++it) state.keys.insert(*it);
  for (auto& [lsn, c] : changes_) {
    if (c.kind == Change::kRename) {  // the other name may be in another namespace
      state.keys.erase(c.from);
      if (c.key.first == ns) state.keys[c.key] = c.value;
    } else if (c.key.first == ns) {
      state.apply(c);
    }
  }
  std::map<std::string, Value> now;
  for (auto& [key, value] : state.keys) {
    if (!value.expired(store_->now_ms())) now.emplace(key.second, std::move(value));
  }
  return now;
}

// Law 11: a listing names what is there, in order, right after a crash as later.
awaitable<bool> World::check_listing(NamespacePtr ns) {
  objects::ListQuery query;
  query.collections = true;
  auto listed = co_await objects::list(*store_, ns, query);
  if (!listed.ok()) co_return !absl::IsCancelled(listed.status());  // it closes
  const auto now = now_in(ns->id.value());
  if (ns->dropped) co_return true;
  auto item = listed->items.begin();
  for (auto& [key, value] : now) {
    if (item == listed->items.end() || item->key != key) {
      wrong(cat("key ", ns->name, "/", key, " is not where it should be in a listing"));
    }
    ++item;
  }
  if (item != listed->items.end()) wrong(cat("key ", ns->name, "/", item->key, " is listed"));
  seen.listings++;
  co_return true;
}

// ---- multipart uploads ----

awaitable<bool> World::multipart(Lsn& lsn) {
  NamespacePtr ns = some_space();
  auto open = objects::list_uploads(*store_, *ns, "", "", "", "", kUploadsMax);
  if (open.uploads.size() < kUploadsMax && (open.uploads.empty() || pick(6) == 0)) {
    co_return begin_upload(*ns, lsn);
  }
  objects::UploadInfo upload = open.uploads[pick(open.uploads.size())];
  const uint64_t what = pick(12);
  if (what == 0) {
    heard_.clear();
    auto aborted = objects::abort_upload(*store_, *ns, upload.key, upload.id);
    if (!aborted.ok()) co_return refused(aborted.status());
    const std::vector<Heard> heard = std::move(heard_);
    note_heard(heard, "", lsn);
    check_ended(upload.id);
    seen.uploads_aborted++;
    co_return true;
  }
  if (what < 4) co_return co_await complete(ns, std::move(upload), lsn);
  co_return co_await put_part(ns, std::move(upload), lsn);
}

void World::note_put(Namespace& ns, const std::string& key, Lsn lsn, const std::string& bytes) {
  Change change{Change::kPut, {ns.id.value(), key}, {bytes, {}, 0}};
  const KeyHash hash = ns.hash(key);
  StripeLocks lock(*store_, hash);
  change.value.meta = ns.index->find(key, hash)->meta();
  changes_[lsn] = std::move(change);
}

void World::note_heard(const std::vector<Heard>& heard, const std::string& content, Lsn& lsn) {
  for (const Heard& h : heard) {
    lsn = h.lsn;
    if (h.what == What::kPut) {
      note_put(*find_space(h.key.first), h.key.second, h.lsn, content);
    } else {
      changes_[h.lsn] = {Change::kDelete, h.key, {}};
    }
    changes_[h.lsn].goes_on = h.goes_on;
  }
}

bool World::begin_upload(Namespace& ns, Lsn& lsn) {
  ObjectMeta meta;
  heard_.clear();
  auto made = objects::create_upload(*store_, ns, some_key(), meta);
  if (!made.ok()) return refused(made.status());
  const std::vector<Heard> heard = std::move(heard_);
  note_heard(heard, "", lsn);
  seen.uploads++;
  return true;
}

awaitable<bool> World::put_part(NamespacePtr ns, objects::UploadInfo upload, Lsn& lsn) {
  const std::string bytes = content(pick(4) == 0 ? (9 << 10) + pick(60 << 10) : pick(6000));
  objects::Upload part(*store_, pick(2) == 0 ? bytes.size() : 0);
  part.add_digest(objects::Algorithm::kMd5);
  Status wrote = co_await part.append(as_bytes(bytes));
  if (wrote.ok()) wrote = co_await part.finish();
  if (!wrote.ok()) co_return refused(wrote);
  ObjectMeta meta;
  meta.etag = objects::hex(part.digest(objects::Algorithm::kMd5));
  const auto number = static_cast<unsigned>(1 + pick(5));
  if (pick(4) == 0) co_await store_->clock().sleep_ms(static_cast<int64_t>(pick(50)));
  heard_.clear();
  auto put = objects::put_part(*store_, *ns, upload.key, upload.id, number, part, meta);
  if (!put.ok()) co_return refused(put.status());
  const std::vector<Heard> heard = std::move(heard_);
  note_heard(heard, bytes, lsn);
  parts_[meta.etag] = bytes;
  if (!objects::find_upload(*store_, *ns, upload.key, upload.id).ok()) {
    wrong("a part was taken of an upload that had ended");
  }
  seen.parts++;
  co_return true;
}

// Some of its parts become the object, in one step with the end of all of them.
awaitable<bool> World::complete(NamespacePtr ns, objects::UploadInfo upload, Lsn& lsn) {
  const auto parts = objects::list_parts(*store_, upload.id).parts;
  if (parts.empty()) co_return true;
  std::vector<objects::CompletePart> chosen;
  std::string bytes;
  for (auto& part : parts) {
    if (chosen.size() + 1 < parts.size() && pick(4) == 0) continue;
    const auto known = parts_.find(part.etag);
    if (known == parts_.end()) wrong("a part that nobody uploaded");
    bytes += known->second;
    chosen.push_back({part.number, part.etag, {}});
  }
  if (chosen.empty()) co_return true;
  const objects::Conditions none;
  const objects::Expected expected;
  auto done = co_await objects::complete_upload(*store_, *ns, upload.key, upload.id, chosen, none,
                                                expected, 1);
  if (!done.ok()) {
    if (absl::IsInvalidArgument(done.status())) co_return true;  // others put a part meanwhile
    co_return unread(done.status()) || refused(done.status());
  }
  const std::vector<Heard> heard = groups_[done->put.version];
  if (heard.size() < 3) wrong("a completed upload told of too little");
  note_heard(heard, bytes, lsn);
  check_ended(upload.id);
  seen.uploads_completed++;
  co_return true;
}

void World::check_ended(const std::string& id) {
  if (!objects::list_parts(*store_, id).parts.empty()) wrong("an upload ended without its parts");
}

// Law 12: no part is without its upload while the store runs, but of a bucket that is being
// dropped.
void World::check_parts() {
  std::set<std::string> open;
  const auto now = now_in(kSystemNamespace.value());
  for (auto& [name, value] : now) {
    if (name.starts_with("u/")) open.insert(upload_of(name));
  }
  for (auto& [name, value] : now) {
    if (!open.contains(upload_of(name))) wrong("a part of no upload was taken");
  }
}

// Law 12: what is swept up at a start is what nobody can reach, and then no part is without its
// upload and no upload without its bucket.
void World::check_sweep() {
  std::set<std::string> open;
  const auto before = now_in(kSystemNamespace.value());
  const auto has_bucket = [&](const std::string& name) {
    const uint32_t id = bucket_of(name);
    return id < kDatabasesUsual || state_.buckets.contains(id);
  };
  for (auto& [name, value] : before) {
    if (name.starts_with("u/") && has_bucket(name)) open.insert(upload_of(name));
  }
  heard_.clear();
  Status swept = objects::sweep_uploads(*store_);
  const std::vector<Heard> heard = std::move(heard_);
  for (const Heard& h : heard) {
    if (open.contains(upload_of(h.key.second))) wrong("a part of an open upload is swept away");
  }
  seen.swept += !heard.empty();
  Lsn lsn;
  note_heard(heard, "", lsn);
  if (!swept.ok()) return;
  for (auto& [name, value] : now_in(kSystemNamespace.value())) {
    if (!open.contains(upload_of(name))) wrong("a part is left behind");
  }
}

}  // namespace cairn::sim
