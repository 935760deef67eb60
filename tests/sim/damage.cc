#include "tests/sim/damage.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <optional>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"

namespace cairn::sim {

namespace {

struct Damage {
  FileId file;
  std::string what;
};

// `crashes`: what was durable counts.
Disk copy_of(const Disk& disk, bool crashes) {
  Disk copy;
  for (auto& [id, file] : disk.files) {
    auto& made = copy.files[id] = std::make_shared<Disk::File>();
    made->view = file->view;
    if (crashes) made->durable = file->durable;
    made->bad = file->bad;
    made->unsynced = file->unsynced;
    made->blocks = file->blocks;
    made->block_count = file->block_count;
    made->linked = file->linked;
  }
  copy.rubble = disk.rubble;
  copy.next_write = disk.next_write;
  return copy;
}

Damage damage(Disk& disk, Rng& rng) {
  auto it = disk.files.begin();
  std::advance(it, rng() % disk.files.size());
  const FileId id = it->first;
  auto& bytes = it->second->view;
  const uint64_t blocks = bytes.size() / kBlockBytes;
  std::string what;
  const uint64_t kind = rng() % 8;
  if (blocks == 0 || kind == 0) {
    disk.files.erase(it);
    return {id, "lost"};
  }
  if (kind == 1) {
    bytes.clear();
    what = "emptied";
  } else if (kind == 2) {
    bytes.resize(rng() % blocks * kBlockBytes);
    what = cat("cut to ", bytes.size());
  } else if (kind == 3) {
    const uint64_t block = rng() % blocks;
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(block * kBlockBytes), kBlockBytes,
                std::byte{});
    what = cat("zeroed at ", block * kBlockBytes);
  } else if (kind == 7) {
    const uint64_t block = rng() % blocks;
    it->second->bad.insert(block);
    return {id, cat("unreadable at ", block * kBlockBytes)};
  } else {
    // Half of the flips hit what comes first: headers.
    const uint64_t range = kind == 4   ? 80
                           : kind == 5 ? std::min<uint64_t>(bytes.size(), 4400)
                                       : bytes.size();
    const uint64_t at = rng() % range;
    bytes[at] ^= std::byte(1 << rng() % 8);
    what = cat("flipped at ", at);
  }
  it->second->durable = bytes;
  return {id, what};
}

Damage put_back(Disk& disk, const Superblocks& older) {
  for (auto& [id, bytes] : older) disk.files.at(id)->view = disk.files.at(id)->durable = bytes;
  return {older.begin()->first, "from an earlier moment, and so is its copy"};
}

// One store over a damaged disk, in a world of its own without crashes.
class Opened {
 public:
  Opened(uint64_t seed, Disk& disk, Rng& rng, StoreOptions options, const Damage& damage,
         int64_t now_ms)
      : seed_(seed),
        damage_(damage),
        scheduler_(context_, rng),
        clock_(scheduler_),
        volume_(disk, scheduler_, rng) {
    scheduler_.set_now_ms(now_ms);
    store_ = std::make_unique<Store>(volume_, clock_, pool_,
                                     std::vector<Executor>(2, Executor(context_.get_executor())),
                                     options);
    auto open = [&]() -> awaitable<void> { status = co_await store_->open(); };
    run(open());
  }
  ~Opened() {
    for (int i = 0; i < 50; i++) {
      scheduler_.clear();
      store_->drop_waiters();
      context_.restart();
      context_.poll();
    }
  }
  Status status;
  Store& store() { return *store_; }

  void run(awaitable<void> work) {
    bool done = false;
    asio::co_spawn(context_, std::move(work), [&](std::exception_ptr) { done = true; });
    scheduler_.run_until([&] { return done; });
    if (!done) wrong("it does not end");
  }
  void close() {
    auto close = [&]() -> awaitable<void> { status = co_await store_->close(); };
    run(close());
  }
  [[noreturn]] void wrong(const std::string& what) const {
    fail(seed_, cat(to_string(damage_.file), " ", damage_.what, ": ", what));
  }

  // A database, the system's namespace or a bucket that is believed to be there.
  NamespacePtr space(uint32_t id) {
    for (auto& ns : store_->spaces()) {
      if (ns->id.value() == id) return ns;
    }
    return nullptr;
  }

  // What a key holds, or why it cannot be read.
  awaitable<StatusOr<std::optional<Value>>> read(NamespacePtr space, std::string key) {
    Namespace& ns = *space;
    std::unique_ptr<BlobReader> reader;
    Value value;
    const KeyHash hash = ns.hash(key);
    for (;;) {
      {
        StripeLocks lock(*store_, hash);
        Now now(store_->clock());
        Entry* e = store_->find(ns, key, hash, now);
        if (e == nullptr) co_return std::nullopt;
        value.expire_ms = e->expire_ms();
        value.version = e->version();
        value.meta = e->meta();
        if (e->is_blob()) {
          BlobRef ref = *BlobRef::decode(e->value());
          const uint64_t size = ref.size;
          reader = std::make_unique<BlobReader>(store_->extents(), std::move(ref), 0, size);
          break;
        }
        if (e->collection() != nullptr) {
          value.fields = fields_of(*e, now.ms());
          co_return value;
        }
        if (!e->is_cold()) {
          value.bytes = e->value();
          co_return value;
        }
      }
      Status fetched = co_await store_->faults().fetch(space, key);
      if (!fetched.ok()) co_return fetched;
    }
    auto bytes = co_await reader->read_all(1 << 24);
    if (!bytes.ok()) co_return bytes.status();
    value.bytes = std::move(*bytes);
    co_return value;
  }

  // All keys of `expected` are as they should be, or are refused; and there are no others.
  awaitable<void> compare(const State& expected, Seen& seen) {
    std::map<uint32_t, std::string> buckets;
    for (auto& ns : store_->buckets()) buckets[ns->id.value()] = ns->name;
    if (buckets != expected.buckets) wrong("there are other buckets");
    for (auto& [key, value] : expected.keys) {
      auto got = co_await read(space(key.first), key.second);
      const bool expired = value.expired(store_->now_ms());
      if (!got.ok()) {
        if (!absl::IsDataLoss(got.status()))
          wrong(cat("key ", key.second, ": ", got.status().message()));
        seen.values_refused++;
        continue;
      }
      if (expired) continue;
      if (!got->has_value()) wrong(cat("key ", key.second, " is lost"));
      if (!value.is_seen_as(**got, store_->now_ms())) {
        wrong(cat("key ", key.second, " has another value"));
      }
    }
    uint64_t live = 0, found = 0;
    for (auto& [key, value] : expected.keys) {
      live += !value.expired(store_->now_ms());
    }
    for (auto& ns : store_->spaces()) {
      for (size_t s = 0; s < kStripes && ns->size() > 0; s++) {
        ns->index->for_each(s, [&](Entry* e) { found += !e->expired(store_->now_ms()); });
      }
    }
    if (found != live) wrong(cat("keys ", found, ", model ", live));
  }

  // Every value that can be read was written under its key.
  awaitable<void> check_written(const Believed& believed) {
    Ever ever = believed.ever;
    for (auto& [lsn, change] : believed.changes) note(ever, change);
    for (auto& [key, written] : ever) {
      const NamespacePtr ns = space(key.first);
      if (ns == nullptr) continue;
      auto got = co_await read(ns, key.second);
      if (!got.ok() && !absl::IsDataLoss(got.status())) {
        wrong(cat("repaired, key ", key.second, ": ", got.status().message()));
      }
      if (!got.ok() || !got->has_value() || !(*got)->fields.empty()) continue;
      if (!written.contains(std::hash<std::string>()((*got)->bytes))) {
        wrong(cat("repaired, key ", key.second, " has a value that was never written"));
      }
    }
  }

 private:
  const uint64_t seed_;
  const Damage damage_;
  asio::io_context context_;
  Scheduler scheduler_;
  SimClock clock_;
  SimVolume volume_;
  ChunkPool pool_;
  std::unique_ptr<Store> store_;
};

}  // namespace

Superblocks superblocks_of(const Disk& disk) {
  Superblocks both;
  for (auto& [id, file] : disk.files) {
    if (id.kind == FileKind::kSuperblock) both[id] = file->durable;
  }
  return both;
}

namespace {

// All that was durable is served, and of the rest what a crash may leave.
void check_served(Opened& opened, const Believed& believed, Seen& seen) {
  const Proven& proven = opened.store().recovered();
  State state = believed.state;
  if (believed.durable.valid() && !happened(proven, believed.durable, believed.durable)) {
    opened.wrong("less is served than was proven to be durable");
  }
  bool missing = false, goes_on = false;
  for (auto [lsn, change] : believed.changes) {
    if (!happened(proven, lsn, believed.durable)) {
      if (goes_on) opened.wrong("a transaction is there in part");
      missing = true;
      continue;
    }
    if (missing) opened.wrong(cat("LSN ", lsn.value(), " is there, one before it is not"));
    goes_on = change.goes_on;
    change.value.version = lsn;
    state.apply(change);
  }
  auto compare = [&]() -> awaitable<void> { co_await opened.compare(state, seen); };
  opened.run(compare());
}

}  // namespace

void open_damaged(uint64_t seed, Rng& rng, const Disk& disk, const Superblocks* older,
                  const Believed& believed, const StoreOptions& options, int64_t now_ms,
                  Seen& seen) {
  if (disk.files.empty()) return;
  const auto harm = [&](Disk& copy, Rng& from) {
    return older != nullptr ? put_back(copy, *older) : damage(copy, from);
  };
  Disk damaged = copy_of(disk, false);
  Rng same = rng;
  const Damage what = harm(damaged, rng);
  const size_t files = damaged.files.size();
  bool aged = false;  // refused since the superblocks are old
  seen.damages++;
  {
    Opened opened(seed, damaged, rng, options, what, now_ms);
    if (opened.status.ok()) {
      check_served(opened, believed, seen);
      return;
    }
    seen.damages_refused++;
    const std::string message(opened.status.message());
    const bool says = message.find("--repair") != std::string::npos;
    aged = message.find(" are older than ") != std::string::npos;
    // To an old manifest that nothing shows to be so, what was cleaned since is missing.
    const std::string name = older != nullptr && !aged ? "segment-" : to_string(what.file);
    if (!says || message.find(name) == std::string::npos) {
      opened.wrong(cat("it is refused without its name: ", message));
    }
    if (older == nullptr && (aged || what.file.kind == FileKind::kSuperblock)) {
      opened.wrong(cat("it is refused although a copy of the manifest holds: ", message));
    }
    if (damaged.files.size() != files) opened.wrong("a refused start changed files");
  }
  seen.aged += aged;
  Disk again = copy_of(disk, true);
  (void)harm(again, same);
  StoreOptions repairing = options;
  repairing.repair = true;
  {
    Opened opened(seed, again, rng, repairing, what, now_ms);
    if (!opened.status.ok()) opened.wrong(cat("not repaired: ", opened.status.message()));
    if (opened.store().notes().empty()) opened.wrong("repaired without a word");
    if (again.files.size() + again.aside.size() < files) opened.wrong("a repair removed files");
    if (aged) {
      check_served(opened, believed, seen);
      if (opened.store().epoch() <= believed.epoch) opened.wrong("an epoch was used twice");
    }
    auto check = [&]() -> awaitable<void> { co_await opened.check_written(believed); };
    opened.run(check());
    if (rng() % 2 == 0) {
      opened.close();
      if (!opened.status.ok()) opened.wrong(cat("repaired, not closed: ", opened.status.message()));
    }
  }
  again.crash(rng);
  Opened opened(seed, again, rng, options, what, now_ms);
  if (!opened.status.ok()) {
    opened.wrong(cat("repaired and refused again: ", opened.status.message()));
  }
  seen.repaired++;
}

}  // namespace cairn::sim
