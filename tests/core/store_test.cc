// A whole store over a simulated volume: what it refuses to open, and how it keeps its files.
#include "core/store/store.h"

#include <gtest/gtest.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/log/manifest.h"
#include "core/store/checkpoint.h"
#include "core/store/transaction.h"
#include "tests/sim/sim_volume.h"

namespace cairn {
namespace {

struct StoreTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};
  ChunkPool pool;

  Status run(awaitable<Status> work) {
    std::optional<Status> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }
  // Opens, puts one key, closes; or says why it would not open.
  Status once() {
    StoreOptions options;
    options.segment_bytes = 64 << 10;
    options.random_seed = 5;
    Store store(volume, clock, pool, {context.get_executor()}, options);
    Status opened = run(store.open());
    if (!opened.ok()) return opened;
    Namespace& ns = store.database(0);
    {
      RecordView r;
      r.ns = ns.id;
      r.key = "key";
      r.value = "value";
      StripeLocks lock(store, ns.hash(r.key));
      Transaction t(store, &lock, Shape::kOne);
      EXPECT_TRUE(t.put(ns, ns.hash(r.key), r).ok());
    }
    return run(store.close());
  }
  // Changes a header in a file and makes its checksum right again.
  template <class Header>
  std::string age(FileKind kind, uint64_t seed_store, uint64_t offset_from_end) {
    for (auto& [id, file] : disk.files) {
      Header h;
      const uint64_t at = offset_from_end == 0 ? 0 : file->view.size() - offset_from_end;
      if (id.kind != kind || file->view.size() < at + sizeof(h)) continue;
      std::memcpy(&h, file->view.data() + at, sizeof(h));
      if (h.version == 0) continue;
      h.version = 99;
      seal_header(h, seed_store, id.number, at);
      std::memcpy(file->view.data() + at, &h, sizeof(h));
      return to_string(id);
    }
    return "none";
  }
  ManifestState manifest() {
    const auto& view = disk.files.at({FileKind::kSuperblock, 0})->view;
    return *ManifestState::decode(view, 0);
  }
  uint64_t store_id() { return manifest().store; }
  void expect_refused(const std::string& name) {
    Status s = once();
    EXPECT_TRUE(absl::IsFailedPrecondition(s)) << s;
    EXPECT_NE(s.message().find("format version 99"), std::string::npos) << s;
    EXPECT_NE(s.message().find(name), std::string::npos) << s << name;
  }
};

TEST_F(StoreTest, ALaterSegmentIsRefusedByName) {
  ASSERT_TRUE(once().ok());
  expect_refused(age<SegmentHeader>(FileKind::kSegment, store_id(), 0));
}

TEST_F(StoreTest, ALaterCheckpointIsRefusedByName) {
  ASSERT_TRUE(once().ok());
  expect_refused(age<CheckpointFooter>(FileKind::kCheckpoint, store_id(), kBlockBytes));
}

TEST_F(StoreTest, ALaterSuperblockIsRefused) {
  ASSERT_TRUE(once().ok());
  auto& view = disk.files.at({FileKind::kSuperblock, 1})->view;
  const uint32_t version = 99;
  const size_t size = manifest().encode(1).size();
  std::memcpy(view.data() + 8, &version, 4);
  const uint32_t crc = crc32c(place_seed(0, 1, 0), Bytes(view).subspan(8, size - 8));
  std::memcpy(view.data() + 4, &crc, 4);
  expect_refused("superblock-1");
}

TEST_F(StoreTest, FilesThatAreFullOfHolesAreEmptied) {
  constexpr int kBlobs = 500, kEvery = 50;
  StoreOptions options;
  options.random_seed = 5;
  options.extent_file_bytes = 1 << 20;
  const std::string bytes(20'000, 'b');
  auto key = [](int i) { return "key" + std::to_string(i); };
  {
    Store store(volume, clock, pool, {context.get_executor()}, options);
    ASSERT_TRUE(run(store.open()).ok());
    Namespace& ns = store.database(0);
    auto put = [&](const std::string& name, const BlobRef& blob) {
      const std::string encoded = blob.encode();
      RecordView r;
      r.flags = kRecordIsBlob;
      r.ns = ns.id;
      r.key = name;
      r.value = encoded;
      StripeLocks lock(store, ns.hash(name));
      return Transaction(store, &lock, Shape::kOne).put(ns, ns.hash(name), r);
    };
    auto fill = [&]() -> awaitable<Status> {
      for (int i = 0; i < kBlobs; i++) {
        BlobWriter writer(store.extents(), bytes.size());
        Status added = co_await writer.append(as_bytes(bytes));
        if (!added.ok()) co_return added;
        auto blob = co_await writer.finish();
        if (!blob.ok()) co_return blob.status();
        if (i % kEvery == 0) {  // the same extent under another key
          store.extents().ref(*blob);
          added = put("copy" + std::to_string(i), *blob);
        }
        if (added.ok()) added = put(key(i), *blob);
        if (!added.ok()) co_return added;
      }
      for (int i = 0; i < kBlobs; i++) {
        const KeyHash hash = ns.hash(key(i));
        StripeLocks lock(store, hash);
        if (i % kEvery == 0) continue;
        Transaction t(store, &lock, Shape::kOne);
        Status removed = t.remove(ns, hash, t.find(ns, key(i), hash));
        if (!removed.ok()) co_return removed;
      }
      co_await clock.sleep_ms(20'000);
      co_return absl::OkStatus();
    };
    ASSERT_TRUE(run(fill()).ok());
    EXPECT_EQ(store.extents().stats().extents, kBlobs / kEvery);  // shared by two keys each
    EXPECT_LE(store.extents().stats().files, 2u);
    EXPECT_GE(store.compactor().stats().blobs_moved, kBlobs / kEvery);
    ASSERT_TRUE(run(store.close()).ok());
  }
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  Namespace& ns = store.database(0);
  EXPECT_EQ(ns.size(), 2u * kBlobs / kEvery);
  auto check = [&]() -> awaitable<Status> {
    for (int i = 0; i < kBlobs; i += kEvery) {
      const std::array<std::string, 2> names{key(i), "copy" + std::to_string(i)};
      for (const std::string& name : names) {
        const KeyHash hash = ns.hash(name);
        std::unique_ptr<BlobReader> reader;
        {
          StripeLocks lock(store, hash);
          Now now(clock);
          Entry* e = store.find(ns, name, hash, now);
          if (e == nullptr) co_return absl::NotFoundError(name);
          reader = std::make_unique<BlobReader>(store.extents(), *BlobRef::decode(e->value()), 0,
                                                bytes.size());
        }
        auto got = co_await reader->read_all(1 << 20);
        if (!got.ok()) co_return got.status();
        if (*got != bytes) co_return absl::DataLossError(name);
      }
    }
    co_return absl::OkStatus();
  };
  EXPECT_TRUE(run(check()).ok());
  ASSERT_TRUE(run(store.close()).ok());
}

// The first listing of a database held all stripes: 2 s for a GET beside a million keys.
TEST_F(StoreTest, NamesArePutInOrderBesideTheTraffic) {
  StoreOptions options;
  options.random_seed = 5;
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  Namespace& ns = store.database(3);
  std::set<std::string> names;
  auto put = [&](const std::string& name) {
    RecordView r;
    r.ns = ns.id;
    r.key = name;
    r.value = "value";
    StripeLocks lock(store, ns.hash(name));
    ASSERT_TRUE(Transaction(store, &lock, Shape::kOne).put(ns, ns.hash(name), r).ok());
    names.insert(name);
  };
  auto remove = [&](const std::string& name) {
    const KeyHash hash = ns.hash(name);
    StripeLocks lock(store, hash);
    Transaction t(store, &lock, Shape::kOne);
    Entry* e = t.find(ns, name, hash);
    if (e == nullptr) return;
    ASSERT_TRUE(t.remove(ns, hash, e).ok());
    names.erase(name);
  };
  for (int i = 0; i < 20'000; i++) put("key" + std::to_string(i));
  int turns = 0, ended = 0;
  for (int i = 0; i < 2; i++) {  // who comes second waits for the first
    asio::co_spawn(
        context,
        [&]() -> awaitable<void> {
          Status ordered = co_await store.ensure_ordered(ns.shared_from_this());
          EXPECT_TRUE(ordered.ok());
          ended++;
        },
        asio::detached);
  }
  while (ended < 2) {  // a slice of it, then other work, until it is done
    context.restart();
    ASSERT_EQ(context.poll_one(), 1u);
    if (ns.order_end == 0 || ns.ordered()) continue;
    turns++;
    put("new" + std::to_string(rng() % 10'000));
    put("key" + std::to_string(rng() % 20'000));
    remove("key" + std::to_string(rng() % 20'000));
    if (turns == 3) {
      ASSERT_TRUE(Transaction(store, nullptr, Shape::kOne).flush(ns).ok());
      names.clear();
    }
    if (turns >= 4 && turns < 100) {
      for (int n = 0; n < 100; n++) put("again" + std::to_string(turns * 100 + n));
    }
  }
  EXPECT_GE(turns, 5);  // three before the flush, two over the stripes that are left
  std::vector<std::string> listed;
  {
    MutexLock lock(ns.order_mutex);
    for (const Entry* e : ns.order) listed.emplace_back(e->key());
  }
  EXPECT_EQ(listed, std::vector<std::string>(names.begin(), names.end()));
  ASSERT_TRUE(run(store.close()).ok());
}

// What has expired when a store opens is removed by a record, as everything is: a clock that is set
// back at a later start brings nothing back, and finds no reference to bytes that are gone.
TEST_F(StoreTest, WhatExpiredBeforeTheStartStaysGoneWhenTheClockIsSetBack) {
  constexpr int64_t kNow = 1'700'000'000'000, kDay = 86'400'000;
  StoreOptions options;
  options.segment_bytes = 64 << 10;
  auto live = [&](int64_t now_ms, bool fill, size_t keys) {
    asio::io_context context{1};
    sim::Scheduler scheduler(context, rng);
    scheduler.set_now_ms(now_ms);
    sim::SimClock clock(scheduler);
    sim::SimVolume volume(disk, scheduler, rng);
    ChunkPool pool;
    Store store(volume, clock, pool, {context.get_executor()}, options);
    std::optional<Status> result;
    auto work = [&]() -> awaitable<void> {
      Status status = co_await store.open();
      EXPECT_TRUE(status.ok()) << status;
      Namespace& ns = store.database(0);
      for (int i = 0; fill && i < 20; i++) {
        const std::string key = "key" + std::to_string(i), bytes(20'000, 'b');
        std::string value = "value";
        RecordView r;
        r.ns = ns.id;
        r.flags = kRecordHasExpiry;
        r.expire_ms = kNow + kDay;
        if (i % 2 == 0) {
          BlobWriter writer(store.extents(), bytes.size());
          Status wrote = co_await writer.append(as_bytes(bytes));
          EXPECT_TRUE(wrote.ok());
          auto blob = co_await writer.finish();
          EXPECT_TRUE(blob.ok());
          value = blob->encode();
          r.flags |= kRecordIsBlob;
        }
        r.key = key;
        r.value = value;
        StripeLocks lock(store, ns.hash(key));
        EXPECT_TRUE(Transaction(store, &lock, Shape::kOne).put(ns, ns.hash(key), r).ok());
      }
      if (!fill) co_await clock.sleep_ms(20'000);
      EXPECT_EQ(ns.size(), keys) << "at " << now_ms;
      result = co_await store.close();
    };
    asio::co_spawn(context, work(), asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    EXPECT_TRUE(result->ok()) << *result;
  };
  live(kNow, true, 20);
  live(kNow + 2 * kDay, false, 0);
  std::erase_if(disk.files, [](auto& file) { return file.first.kind == FileKind::kCheckpoint; });
  live(kNow, false, 0);
}

TEST_F(StoreTest, ADamagedCheckpointCostsNothing) {
  ASSERT_TRUE(once().ok());
  for (auto& [id, file] : disk.files) {
    if (id.kind == FileKind::kCheckpoint) file->view[40] ^= std::byte{1};
  }
  StoreOptions options;
  options.random_seed = 6;
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  EXPECT_EQ(store.recovered_items(), 0u);
  EXPECT_EQ(store.database(0).size(), 1u);
  ASSERT_TRUE(run(store.close()).ok());
}

// So that a start makes their tables at once.
TEST_F(StoreTest, ACheckpointSaysHowManyKeysOfAStripeFollow) {
  StoreOptions options;
  options.segment_bytes = 64 << 10;
  options.random_seed = 5;
  const std::array<size_t, 3> counts = {40, 3, 200};
  std::map<std::string, size_t, std::less<>> stripes;  // of the keys
  {
    Store store(volume, clock, pool, {context.get_executor()}, options);
    ASSERT_TRUE(run(store.open()).ok());
    Namespace& ns = store.database(2);
    auto left = counts;
    for (int i = 0; left != std::array<size_t, 3>{}; i++) {
      const std::string key = cat("key", i);
      const KeyHash hash = ns.hash(key);
      if (stripe_of(hash) >= left.size() || left[stripe_of(hash)] == 0) continue;
      left[stripe_of(hash)]--;
      stripes[key] = stripe_of(hash);
      RecordView r;
      r.ns = ns.id;
      r.key = key;
      r.value = "value";
      StripeLocks lock(store, hash);
      ASSERT_TRUE(Transaction(store, &lock, Shape::kOne).put(ns, hash, r).ok());
    }
    ASSERT_TRUE(run(store.close()).ok());
  }
  std::map<uint64_t, size_t> said, there;  // by stripe
  auto read = [&]() -> awaitable<Status> {
    std::vector<FileId> others, foreign;
    auto found = co_await find_checkpoint(volume, store_id(), others, foreign);
    if (!found.ok() || !found->has_value()) co_return absl::NotFoundError("no checkpoint");
    const FoundCheckpoint& checkpoint = **found;
    EXPECT_EQ(checkpoint.footer.chunks, 1u);
    const std::function<void(const CheckpointItem&)> look = [&](const CheckpointItem& item) {
      if (item.record.ns != NamespaceId(2)) return;
      if (item.kind == ItemKind::kStripe) said[item.lsn.value()] = item.value_size;
      if (item.kind != ItemKind::kValue) return;
      const size_t stripe = stripes.find(item.record.key)->second;
      there[stripe]++;
      EXPECT_EQ(said.contains(stripe), counts.at(stripe) >= 16) << "it comes before its keys";
    };
    Status looked = co_await read_chunk(volume, checkpoint, 0, look);
    co_return looked;
  };
  ASSERT_TRUE(run(read()).ok());
  EXPECT_EQ(there, (std::map<uint64_t, size_t>{{0, 40}, {1, 3}, {2, 200}}));
  EXPECT_EQ(said, (std::map<uint64_t, size_t>{{0, 40}, {2, 200}}));
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  EXPECT_EQ(store.database(2).size(), counts[0] + counts[1] + counts[2]);
  ASSERT_TRUE(run(store.close()).ok());
}

// Properties of buckets and of databases are as they were set last, with a checkpoint and without,
// and after their record was moved; who read them before a change keeps what he read.
TEST_F(StoreTest, PropertiesAreAsTheyWereSetLast) {
  StoreOptions options;
  options.segment_bytes = 64 << 10;
  for (int life = 0; life < 6; life++) {
    if (life % 3 == 2) {
      std::erase_if(disk.files,
                    [](auto& file) { return file.first.kind == FileKind::kCheckpoint; });
    }
    Store store(volume, clock, pool, {context.get_executor()}, options);
    ASSERT_TRUE(run(store.open()).ok());
    if (life == 0) {
      ASSERT_TRUE(store.create_bucket("bucket").ok());
    }
    for (const char* name : {"bucket", "db3"}) {
      NamespacePtr ns = store.find_namespace(name);
      ASSERT_NE(ns, nullptr);
      const auto before = ns->properties();
      if (life > 0) {
        EXPECT_EQ(before->created_ms, 1000 + life - 1) << name;
      }
      const int64_t was = before->created_ms;
      if (life > 0) {
        EXPECT_EQ(before->tags, (std::map<std::string, std::string>{{"life", cat(life - 1)}}));
      }
      auto set = store.change_properties(*ns, [&](Properties& p) {
        p.created_ms = 1000 + life;
        p.tags["life"] = cat(life);
      });
      ASSERT_TRUE(set.ok());
      EXPECT_EQ(before->created_ms, was);
      EXPECT_EQ(ns->properties()->created_ms, 1000 + life);
    }
    auto fill = [&]() -> awaitable<Status> {  // so that the cleaner moves on
      Namespace& ns = store.database(0);
      const std::string value(20'000, 'v');
      for (int i = 0; i < 60; i++) {
        RecordView r;
        r.ns = ns.id;
        r.key = "key";
        r.value = value;
        {
          StripeLocks lock(store, ns.hash(r.key));
          Transaction t(store, &lock, Shape::kOne);
          EXPECT_TRUE(t.put(ns, ns.hash(r.key), r).ok());
        }
        co_await clock.sleep_ms(100);
      }
      co_return absl::OkStatus();
    };
    ASSERT_TRUE(run(fill()).ok());
    EXPECT_GT(store.cleaner().stats().segments_freed, 0u);
    NamespacePtr gone = store.find_namespace("bucket");
    if (life == 5) {
      ASSERT_TRUE(store.drop_bucket("bucket").ok());
      EXPECT_TRUE(absl::IsNotFound(store.change_properties(*gone, [](Properties&) {}).status()));
    }
    ASSERT_TRUE(run(store.close()).ok());
  }
}

TEST(Properties, WhatALaterVersionSetIsNotOverlooked) {
  const std::string bytes = Properties{77}.encode();
  ASSERT_TRUE(Properties::decode(bytes).has_value());
  EXPECT_EQ(Properties::decode(bytes)->created_ms, 77);
  for (size_t n = 0; n < 20; n++) {
    std::string other = bytes;
    other.resize(n, 'x');
    EXPECT_EQ(Properties::decode(other).has_value(), n == 8) << n;
  }
  for (int tag = 0; tag < 256; tag++) {  // one of a later version, with nothing in it
    std::string other = bytes;
    other += static_cast<char>(tag) + std::string(4, '\0');
    // A rule without anything.
    EXPECT_EQ(Properties::decode(other).has_value(), tag == 2 || tag == 24) << tag;
  }
}

std::string some_text(std::mt19937_64& rng, uint64_t most) {
  std::string text(rng() % most, 'x');
  for (char& c : text) c = static_cast<char>('a' + rng() % 26);
  return text;
}
std::vector<std::string> some_texts(std::mt19937_64& rng) {
  std::vector<std::string> texts(rng() % 3);
  for (auto& text : texts) text = some_text(rng, 12);
  return texts;
}
Acl some_acl(std::mt19937_64& rng) {
  constexpr Permission kPermissions[] = {Permission::kRead, Permission::kWrite,
                                         Permission::kReadAcp, Permission::kWriteAcp,
                                         Permission::kFullControl};
  Acl acl;
  acl.grants.resize(rng() % 4);
  for (Grant& g : acl.grants) {
    g.whom = static_cast<Whom>(1 + rng() % 5);
    g.permission = kPermissions[rng() % std::size(kPermissions)];
    if (g.whom == Whom::kUser) g.user = std::string(64, "0123456789abcdef"[rng() % 16]);
  }
  return acl;
}
Website some_website(std::mt19937_64& rng) {
  Website site{"index.html", some_text(rng, 9), some_text(rng, 9), some_text(rng, 9), {}};
  site.rules.resize(rng() % 3);
  for (RoutingRule& rule : site.rules) {
    if (rng() % 2 == 0) rule.prefix = some_text(rng, 9);
    rule.error = static_cast<uint16_t>(rng() % 600);
    rule.host = some_text(rng, 9);
    if (rng() % 2 == 0) rule.replace_key = some_text(rng, 9);
    if (rng() % 2 == 0) rule.replace_prefix = some_text(rng, 9);
    rule.status = static_cast<uint16_t>(rng() % 400);
  }
  return site;
}
void set_access(Properties& p, std::mt19937_64& rng) {
  p.policy = some_text(rng, 20);
  p.ownership = static_cast<Ownership>(rng() % 4);
  if (rng() % 2 == 0) {
    p.public_access_block =
        PublicAccessBlock{rng() % 2 == 0, rng() % 2 == 0, rng() % 2 == 0, rng() % 2 == 0};
  }
  if (rng() % 2 == 0) p.acl = some_acl(rng);
  if (p.acl && p.acl->is_default()) p.acl.reset();
  p.requester_pays = rng() % 2 == 0;
  p.fast_etags = rng() % 2 == 0;
  if (rng() % 2 == 0) p.website = some_website(rng);
}
Properties some_properties(std::mt19937_64& rng) {
  Properties p;
  set_access(p, rng);
  p.created_ms = static_cast<int64_t>(rng() % 1'000'000);
  for (uint64_t i = rng() % 4; i > 0; i--) p.tags[some_text(rng, 9)] = some_text(rng, 9);
  p.cors.resize(rng() % 3);
  for (CorsRule& rule : p.cors) {
    rule = {some_text(rng, 9), some_texts(rng), some_texts(rng), some_texts(rng), some_texts(rng)};
    if (rng() % 2 == 0) rule.max_age_s = static_cast<uint32_t>(rng());
  }
  p.notifications.resize(rng() % 3);
  for (NotificationRule& rule : p.notifications) {
    rule = {some_text(rng, 9), some_text(rng, 9), some_texts(rng), some_text(rng, 9),
            some_text(rng, 9)};
  }
  return p;
}

// What is written is read back, and of all other bytes that are read none has another form.
TEST(Properties, HaveOneForm) {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 2000; i++) {
    const Properties p = some_properties(rng);
    const std::string bytes = p.encode();
    const auto back = Properties::decode(bytes);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, p);
    for (int change = 0; change < 20; change++) {
      std::string other = bytes;
      if (change % 2 == 0) {
        other[rng() % other.size()] ^= static_cast<char>(1 << (rng() % 8));
      } else {
        other.resize(rng() % other.size());
      }
      if (const auto read = Properties::decode(other)) {
        EXPECT_EQ(read->encode(), other);
      }
    }
  }
}

// Two who change different properties at once both have what they set; and whoever sees a change
// finds newest_name() where it can wait for it.
TEST_F(StoreTest, OfChangesAtOnceNoneIsLostAndNoneIsSeenTooEarly) {
  Store store(volume, clock, pool, {context.get_executor()}, {});
  ASSERT_TRUE(run(store.open()).ok());
  ASSERT_TRUE(store.create_bucket("bucket").ok());
  const NamespacePtr ns = store.find_namespace("bucket");
  constexpr int kThreads = 3, kChanges = 300;
  ASSERT_TRUE(store.change_properties(*ns, [](Properties& p) { p.created_ms = 0; }).ok());
  std::atomic<int> running{kThreads};
  std::vector<Lsn> lsns(kThreads * kChanges + 1);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int thread = 0; thread < kThreads; thread++) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kChanges; i++) {
        int64_t count = 0;
        auto set = store.change_properties(*ns, [&](Properties& p) {
          p.tags[cat("thread", thread)] = cat(i);
          count = ++p.created_ms;
        });
        ASSERT_TRUE(set.ok());
        lsns[static_cast<size_t>(count)] = *set;
      }
      running--;
    });
  }
  std::vector<std::pair<int64_t, Lsn>> seen;  // by who looks, and then asks what to wait for
  while (running > 0) {
    const int64_t count = ns->properties()->created_ms;
    seen.emplace_back(count, store.newest_name());
  }
  for (auto& thread : threads) thread.join();
  for (auto& [count, newest] : seen) {
    EXPECT_GE(newest, lsns[static_cast<size_t>(count)]);
  }
  const auto last = ns->properties();
  EXPECT_EQ(last->created_ms, kThreads * kChanges);
  for (int thread = 0; thread < kThreads; thread++) {
    EXPECT_EQ(last->tags.at(cat("thread", thread)), cat(kChanges - 1));
  }
  ASSERT_TRUE(run(store.close()).ok());
}

TEST_F(StoreTest, PropertiesLongerThanARecordAreRefused) {
  StoreOptions options;
  options.segment_bytes = 64 << 10;
  Store store(volume, clock, pool, {context.get_executor()}, options);
  ASSERT_TRUE(run(store.open()).ok());
  ASSERT_TRUE(store.create_bucket("bucket").ok());
  const NamespacePtr ns = store.find_namespace("bucket");
  auto set = store.change_properties(
      *ns, [](Properties& p) { p.tags["long"] = std::string(64 << 10, 'x'); });
  EXPECT_TRUE(absl::IsResourceExhausted(set.status()));
  EXPECT_TRUE(ns->properties()->tags.empty());
  ASSERT_TRUE(run(store.close()).ok());
}

}  // namespace
}  // namespace cairn
