// The lives of a store that runs commands, and the laws that hold between them; see
// command_world.h.
#include "tests/sim/command_world.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/extents/extent_format.h"
#include "kv/types/type.h"
#include "tests/sim/command_life.h"
#include "tests/sim/command_running.h"
#include "tests/sim/proven.h"

namespace cairn::sim {

void CommandWorld::wrong(const std::string& what) const {
  std::printf(
      "FAILED seed %llu, life %d: %s\nreplay: build/release/tests/command_sim --from %llu --seeds "
      "1\n",
      static_cast<unsigned long long>(seed_), life_, what.c_str(),
      static_cast<unsigned long long>(seed_));
  std::exit(1);
}

void CommandWorld::say(const std::string& what) const {
  if (verbose_) std::printf("%s\n", what.c_str());
}

CommandWorld::CommandWorld(uint64_t seed, int crashes, bool verbose)
    : seed_(seed),
      verbose_(verbose),
      long_(seed % 20 == 0),
      rng_(seed),
      crashes_(long_ ? 3 : crashes),
      commands_(rng_, surroundings()) {}

// ---- lives ----

StoreOptions CommandWorld::make_options() {
  StoreOptions options;
  options.segment_bytes = kSegmentBytes;
  options.extent_threshold = kExtentThreshold;
  options.extent_file_bytes = 1 << 20;
  options.random_seed = rng_() | 1;
  options.collections = kv::collection_types();
  limited_ = pick(3) == 0;
  if (limited_) options.memory_bytes = (150 << 10) + (16 << 10 << pick(5));
  return options;
}

bool CommandWorld::finish(awaitable<void> work) {
  constexpr int64_t kStuckMs = 600'000;
  Life& life = *now_running_;
  const auto done = std::make_shared<bool>(false);
  const int64_t begun = life.scheduler.now_ms();
  asio::co_spawn(life.context, std::move(work), [done](std::exception_ptr) { *done = true; });
  life.scheduler.run_until([&] {
    if (life.scheduler.now_ms() - begun > kStuckMs) wrong("something waits for ever");
    return *done || life.volume.crashed();
  });
  return *done && !life.volume.crashed();
}

void CommandWorld::live(bool last) {
  if (life_ > 0 && pick(8) == 0) now_ms_ += static_cast<int64_t>(pick(5000));
  Faults faults;
  const uint64_t calls_max = pick(4) == 0 ? 60 : long_ ? 8'000 : 700;
  if (!last && pick(6) != 0) faults.crash_at_call = 1 + pick(calls_max);
  const bool errors = pick(16) == 0;
  if (errors) faults.write_error = faults.sync_error = 0.01;
  const bool full = !last && (long_ || pick(10) == 0);
  disk_.capacity_bytes = UINT64_MAX;
  if (full) disk_.capacity_bytes = disk_.used_bytes() + pick(long_ ? 400 << 10 : 2 << 20);
  always_ = pick(4) != 0;
  Life life(disk_, rng_, faults, make_options(), now_ms_);
  now_running_ = &life;
  life.store->listeners().add(*this);
  life.store->listeners().interest(1);
  if (limited_ && pick(4) == 0) life.store->memory().set_policy(EvictionPolicy::kAllKeysLru);
  acked_ = Lsn();
  Status opened = absl::UnknownError("");
  const auto open = [&]() -> awaitable<void> { opened = co_await life.store->open(); };
  bool clean = false, has_reserve = false;
  disk_.aside.clear();
  if (!finish(open())) {
    seen.crashes_in_recovery++;
  } else if (!opened.ok()) {
    if (!errors && !(full && absl::IsResourceExhausted(opened))) {
      wrong(cat("recovery refused: ", opened.message()));
    }
  } else {
    if (!disk_.aside.empty() && !errors) wrong("what a crash left was taken for another's");
    seen.from_checkpoint += life.store->recovered_items() > 0;
    settle();
    over_ = false;
    life.start_engine(always_, [this](std::string_view text) { wrong(std::string(text)); });
    bool on = finish(check());
    on = on && finish(life.clock.sleep_ms(200));  // segments are prepared by then
    has_reserve = life.store->log().room() > kSegmentBytes * 5 / 2 &&
                  disk_.capacity_bytes > kSegmentBytes * 8;
    if (on && !limited_ && !full && !errors && pick(3) == 0) on = finish(ask_both());
    std::vector<awaitable<void>> clients;
    clients.reserve(kClients);
    for (int i = 0; i < kClients; i++) {
      clients.push_back(client(last ? 10 : long_ ? 200 + pick(200) : 15 + pick(40)));
    }
    if (on) on = finish(together(std::move(clients)));
    check_memory();
    if (on && pick(4) == 0) on = finish(check());
    if (on && (last || pick(2) == 0)) {
      Status closed;
      const auto close = [&]() -> awaitable<void> { closed = co_await life.store->close(); };
      // What a client asked for that has hung up since may be done while the store closes.
      const Lsn newest = commits_.empty() ? Lsn() : commits_.back().last;
      clean = finish(close()) && closed.ok();
      if (clean) acked_ = std::max(acked_, newest);
    }
  }
  if (has_reserve && !errors && !life.volume.crashed() && !life.store->log().status().ok()) {
    wrong(cat("the log failed: ", life.store->log().status().message()));
  }
  over_ = true;
  now_ms_ = life.scheduler.wall_ms();
  seen.cleaned += life.store->cleaner().stats().segments_freed;
  seen.cold += life.store->faults().reads();
  durable_floor_ = std::max(durable_floor_, acked_);
  life.end();
  trace = life.volume.trace(trace);
  now_running_ = nullptr;
  if (!clean) {
    disk_.crash(rng_);
    seen.crashes++;
  }
}

awaitable<void> CommandWorld::together(std::vector<awaitable<void>> work) {
  auto executor = co_await asio::this_coro::executor;
  Tasks tasks;
  for (auto& w : work) tasks.spawn(executor, "a client", std::move(w));
  co_await tasks.ended();
}

// ---- what is noted ----

std::string CommandWorld::blob_bytes(std::string_view encoded) const {
  const BlobRef ref = *BlobRef::decode(encoded);
  std::string out;
  for (const Piece& p : ref.pieces) {
    if (p.is_hole()) {
      out.append(p.length, '\0');
      continue;
    }
    const uint64_t at =
        data_offset({p.file, p.header_page}, uint64_t{p.first_block} * kExtentBlockBytes);
    const auto file = disk_.files.find(file_id(p.file));
    if (file == disk_.files.end() || file->second->view.size() < at + p.length) {
      wrong("a value is named whose bytes were not written");
    }
    out.append(reinterpret_cast<const char*>(file->second->view.data()) + at, p.length);
  }
  return out;
}

ImagePtr CommandWorld::image_now(uint32_t was, const std::string& key, const Entry* e) {
  if (e == nullptr) return nullptr;
  Image image;
  if (const Collection* c = e->collection()) {
    image = image_of(e->type(), *c);
  } else if (e->is_cold()) {  // its expiry alone changed
    const auto before = now_.find({was, key});
    if (before == now_.end()) wrong(cat("key ", key, " was made without a value"));
    image = *before->second;
  } else {
    image.bytes = e->is_blob() ? blob_bytes(e->value()) : std::string(e->value());
    seen.blobs += e->is_blob();
  }
  image.type = e->type();
  image.expire_ms = e->expire_ms();
  return std::make_shared<const Image>(std::move(image));
}

void CommandWorld::changed(std::span<const Change> changes, Committer* by) {
  // Of a part of a copy that has no name yet nothing is told.
  if (over_ || changes.empty()) return;
  Commit commit{changes.front().lsn, changes.back().lsn, {}};
  const bool asked = changes.front().cause == Cause::kUser;
  const bool wished = now_running_->server->durability == Durability::kAlways;
  const uint64_t client = by == nullptr ? 0 : static_cast<kv::ReadyKeys*>(by)->client;
  for (const auto& session : now_running_->server->sessions.all()) {
    seen.served += session->id == client && session->blocked;
  }
  std::map<uint32_t, uint32_t> origin;  // of databases that were swapped
  for (const Change& c : changes) {
    const uint32_t ns = c.ns->id.value();
    origin.try_emplace(ns, ns);
    if (c.what != What::kSwap || c.ns > c.other) continue;  // it is told of both
    const uint32_t other = c.other->id.value();
    origin.try_emplace(other, other);
    std::swap(origin[ns], origin[other]);
  }
  std::string what;
  for (const Change& c : changes) {
    const uint32_t ns = c.ns->id.value();
    if (c.cause == Cause::kEviction) seen.evicted++;
    if (c.cause == Cause::kExpiry) (c.what == What::kOperate ? seen.lapsed : seen.expired)++;
    if (c.what == What::kFlush) {
      for (auto it = now_.lower_bound({ns, ""}); it != now_.end() && it->first.first == ns; ++it) {
        commit.made.emplace_back(it->first, nullptr);
      }
      if (verbose_) append(what, " flush of ", c.ns->name);
      continue;
    }
    if (c.what == What::kSwap) {
      for (auto it = now_.lower_bound({ns, ""}); it != now_.end() && it->first.first == ns; ++it) {
        commit.made.emplace_back(it->first, nullptr);
      }
      for (size_t s = 0; s < kStripes && c.ns->size() > 0; s++) {
        c.ns->index->for_each(s, [&](const Entry* e) {
          const std::string key(e->key());
          commit.made.emplace_back(KeyOf{ns, key}, image_now(origin[ns], key, e));
        });
      }
      if (verbose_) append(what, " swap of ", c.ns->name);
      continue;
    }
    const std::string key(c.key);
    const Entry* e = c.ns->index->find(key, c.ns->hash(key));
    if (verbose_) append(what, " ", c.ns->name, "/", key, e == nullptr ? " gone" : "");
    commit.made.emplace_back(KeyOf{ns, key}, image_now(origin[ns], key, e));
  }
  for (auto& [key, image] : commit.made) {
    if (image == nullptr) {
      now_.erase(key);
    } else {
      now_[key] = image;
    }
    if (!asked) continue;
    if (wished) {
      newest_[key] = commit.last;
    } else {
      newest_.erase(key);
    }
  }
  if (verbose_) {
    say(cat("  LSN ", commit.first.value(), " to ", commit.last.value(), " by ", client, ":",
            what));
  }
  // FLUSHALL is one record, and told of once for each database.
  const bool same = !commits_.empty() && commits_.back().last == commit.first;
  if (asked) {
    told_[client].commits += !same;
    told_[client].newest = commit.last;
  }
  if (same) {
    auto& made = commits_.back().made;
    made.insert(made.end(), commit.made.begin(), commit.made.end());
    return;
  }
  seen.commits++;
  commits_.push_back(std::move(commit));
}

// ---- what came back ----

void CommandWorld::settle() {
  const Proven& proven = now_running_->store->recovered();
  const auto is_proven = [&](Lsn lsn) { return happened(proven, lsn, durable_floor_); };
  if (durable_floor_.valid() && !is_proven(durable_floor_)) {
    wrong(cat("the acknowledged LSN ", durable_floor_.value(), " is not proven"));
  }
  bool missing = false;
  for (const Commit& commit : commits_) {
    const bool there = is_proven(commit.first);
    if (there != is_proven(commit.last)) {
      wrong(cat("of the commit at LSN ", commit.first.value(), " a part came back"));
    }
    seen.lost += !there;
    missing |= !there;
    if (missing && there) {
      wrong(cat("LSN ", commit.first.value(), " came back, one before it did not"));
    }
    for (auto& [key, image] : commit.made) {
      if (!there) continue;
      if (image == nullptr) {
        proven_.erase(key);
      } else {
        proven_[key] = image;
      }
    }
  }
  commits_.clear();
  newest_.clear();
  told_.clear();
  now_ = proven_;
}

NamespacePtr CommandWorld::find_space(uint32_t id) const {
  for (NamespacePtr& ns : now_running_->store->spaces()) {
    if (ns->id.value() == id) return ns;
  }
  return nullptr;
}

// Every key is there, or was due; after a start, and later too.
awaitable<void> CommandWorld::check() {
  const Held all = now_;
  for (auto& [key, image] : all) {
    const bool on = co_await check_key(key);
    if (!on) co_return;
  }
  check_nothing_else();
}

// False: the log has failed.
awaitable<bool> CommandWorld::check_key(KeyOf key) {
  Store& store = *now_running_->store;
  const NamespacePtr ns = find_space(key.first);
  if (ns == nullptr) wrong(cat("key ", key.second, " of a bucket that is gone"));
  const KeyHash hash = ns->hash(key.second);
  seen.checked++;
  for (;;) {
    ImagePtr expected, got;
    std::unique_ptr<BlobReader> reader;
    {
      StripeLocks lock(store, hash);
      const auto known = now_.find(key);
      if (known != now_.end()) expected = known->second;
      const Entry* e = ns->index->find(key.second, hash);
      if (e == nullptr) {
        if (expected == nullptr || expected->expired(store.now_ms())) co_return true;
        wrong(cat("key ", ns->name, "/", key.second, " is lost: ", expected->describe()));
      }
      if (expected == nullptr) wrong(cat("key ", ns->name, "/", key.second, " came back"));
      if (!e->is_cold()) {
        got = image_now(*ns, key.second, e);
        const Collection* c = e->collection();
        const std::string damage = c == nullptr ? "" : inner_damage(e->type(), *c);
        if (!damage.empty()) wrong(cat("key ", ns->name, "/", key.second, ": ", damage));
        if (e->is_blob()) {
          const BlobRef ref = *BlobRef::decode(e->value());
          reader = std::make_unique<BlobReader>(store.extents(), ref, 0, ref.size);
        }
      }
    }
    if (got != nullptr) {
      if (!got->looks_like(*expected, store.now_ms())) {
        wrong(cat("key ", ns->name, "/", key.second, " is ", got->describe(), "\nmodel ",
                  expected->describe()));
      }
      if (reader == nullptr) co_return true;
      auto bytes = co_await reader->read_all(1 << 24);
      if (!bytes.ok()) wrong(cat("key ", key.second, ": ", bytes.status().message()));
      if (*bytes != expected->bytes) wrong(cat("key ", key.second, " reads other bytes"));
      co_return true;
    }
    Status fetched = co_await store.faults().fetch(ns, key.second);
    if (!fetched.ok() && !store.log().status().ok()) co_return false;
    if (!fetched.ok()) wrong(cat("key ", key.second, ": ", fetched.message()));
  }
}

void CommandWorld::check_nothing_else() {
  Store& store = *now_running_->store;
  for (const NamespacePtr& ns : store.spaces()) {
    for (size_t s = 0; s < kStripes && ns->size() > 0; s++) {
      ns->index->for_each(s, [&](Entry* e) {
        if (now_.contains({ns->id.value(), std::string(e->key())})) return;
        if (!e->expired(store.now_ms())) wrong(cat("key ", ns->name, "/", e->key(), " is there"));
      });
    }
  }
}

// Law 4, without a look at the disk: also where the world has just ended.
void CommandWorld::check_memory() {
  Store& store = *now_running_->store;
  check_nothing_else();
  for (auto& [key, image] : now_) {
    const NamespacePtr ns = find_space(key.first);
    const Entry* e = ns == nullptr ? nullptr : ns->index->find(key.second, ns->hash(key.second));
    if (e == nullptr && image->expired(store.now_ms())) continue;
    if (e == nullptr) wrong(cat("key ", key.second, " went without a commit"));
    seen.live_checked++;
    if (e->expire_ms() != image->expire_ms) {
      wrong(cat("key ", key.second, " expires at ", e->expire_ms(), " without a commit, model ",
                image->describe()));
    }
    if (e->is_cold()) continue;
    const ImagePtr got = image_now(*ns, key.second, e);
    if (*got != *image) {
      wrong(cat("key ", ns->name, "/", key.second, " became ", got->describe(),
                " without a commit, model ", image->describe()));
    }
    const Collection* c = e->collection();
    const std::string damage = c == nullptr ? "" : inner_damage(e->type(), *c);
    if (!damage.empty()) wrong(cat("key ", ns->name, "/", key.second, ": ", damage));
  }
}

CommandsOutcome run_command_world(uint64_t seed, int crashes, bool verbose) {
  CommandWorld world(seed, crashes, verbose);
  world.run();
  return {world.seen, world.trace};
}

}  // namespace cairn::sim
