// Copies of large collections, turn by turn, with what others do to the source between the turns.
#include "core/store/collection_copy.h"

#include <gtest/gtest.h>

#include <map>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "tests/core/fault_fixture.h"

namespace cairn {
namespace {

constexpr uint64_t kPartBytes = 8 << 10;  // of a store with segments of 64 KiB
using Values = std::map<std::string, std::pair<std::string, int64_t>>;

struct CollectionCopyTest : FaultTest {
  std::unique_ptr<Store> store;
  void SetUp() override {
    store = make();
    const auto opened = run(store->open());
    ASSERT_TRUE(opened && opened->ok());
  }
  void TearDown() override { take_apart(std::move(store)); }
  Namespace& ns() { return store->database(0); }
  KeyHash hash(std::string_view key) { return ns().hash(key); }
  const kv::Hash* find(std::string_view key) {
    const Entry* e = ns().index->find(key, hash(key));
    return e == nullptr ? nullptr : static_cast<const kv::Hash*>(e->collection());
  }
  Values values(std::string_view key) {
    Values all;
    const kv::Hash* h = find(key);
    if (h == nullptr) return all;
    h->for_each(kv::Hash::kNoTime, [&](auto field, auto value) {
      all[std::string(field)] = {std::string(value), h->find(field, kv::Hash::kNoTime)->until_ms};
    });
    return all;
  }
  void operate(std::string_view key, std::string_view operation) {
    StripeLocks lock(*store, hash(key));
    Transaction t(*store, &lock, Shape::kOne);
    RecordView r;
    r.type = RecordType::kOperation;
    r.flags = static_cast<uint8_t>(static_cast<uint8_t>(ValueType::kHash) << 4);
    r.ns = ns().id;
    r.key = key;
    r.value = operation;
    ASSERT_TRUE(t.operate(ns(), hash(key), t.find(ns(), key, hash(key)), r).ok());
  }
  void set(int field, size_t bytes, int64_t until_ms) {
    std::string operation;
    kv::Hash::add_set_until(operation, cat("f", field), std::string(bytes, 'x'), until_ms);
    operate("from", operation);
  }
  // Until it is whole; `between` runs after each turn but the last.
  void copy(const std::function<void(int turn)>& between) {
    CollectionCopy copying(*store);
    const std::vector<KeyHash> hashes{hash("from"), hash("to"), copying.hash()};
    for (int turn = 0;; turn++) {
      {
        StripeLocks lock(*store);
        lock.lock(hashes);
        Transaction t(*store, &lock, Shape::kSeveral);
        Entry* e = t.find(ns(), "from", hashes[0]);
        ASSERT_NE(e, nullptr);
        if (turn == 0) {
          ASSERT_TRUE(CollectionCopy::is_for(*store, e));
          ASSERT_TRUE(copying.begin(ns(), e).ok());
        }
        ASSERT_TRUE(copying.follows(e));
        ASSERT_TRUE(copying.step(lock, e).ok());
        if (copying.whole()) {
          ASSERT_TRUE(copying.name(t, e, ns(), hashes[1], "to").ok());
          ASSERT_TRUE(t.commit().ok());
          return;
        }
      }
      between(turn);
    }
  }
};

// Whatever is changed between its turns, the copy is what the source is at the last one.
TEST_F(CollectionCopyTest, IsWhatItsSourceIsAtTheEnd) {
  constexpr int kFields = 600;
  for (int round = 0; round < 20; round++) {
    const int64_t now = store->now_ms();
    for (int i = 0; i < kFields; i++) set(i, 200, i % 2 == 0 ? 0 : now + 100'000'000);
    copy([&](int) {
      for (int n = 0; n < 40; n++) {
        const auto field = static_cast<int>(rng() % kFields);
        std::string operation;
        switch (rng() % 3) {
          case 0:
            set(field, rng() % 400, rng() % 2 == 0 ? 0 : now + 200'000'000);
            break;
          case 1:
            kv::Hash::add_delete(operation, cat("f", field));
            operate("from", operation);
            break;
          default:
            kv::Hash::add_until(operation, cat("f", field), now + 300'000'000);
            operate("from", operation);
        }
      }
    });
    ASSERT_EQ(values("to"), values("from")) << "round " << round;
  }
}

// What the next part would have been may be gone: then there is nothing in it.
TEST_F(CollectionCopyTest, TakesAPartOfNothing) {
  for (int i = 0; i < 600; i++) set(i, 200, 0);
  copy([&](int turn) {
    if (turn != 3) return;
    // All that is not in the copy yet.
    uint64_t cursor = 0;
    std::string part, operation;
    for (int i = 0; i <= turn; i++) cursor = find("from")->save(cursor, kPartBytes, part);
    part.clear();
    ASSERT_NE(cursor, 0);
    while (cursor != 0) cursor = find("from")->save(cursor, UINT64_MAX / 4, part);
    kv::Hash left(1);
    ASSERT_TRUE(left.apply(part));
    left.for_each(kv::Hash::kNoTime,
                  [&](auto field, auto) { kv::Hash::add_delete(operation, field); });
    ASSERT_FALSE(operation.empty());
    operate("from", operation);
  });
  EXPECT_EQ(values("to"), values("from"));
  for (uint64_t cursor = 0, parts = 0; parts < 100; parts++) {  // each place at which it can end
    std::string part;
    kv::Hash hash(1);
    cursor = find("from")->save(cursor, 1000, part);
    EXPECT_TRUE(hash.apply(part));
    std::vector<std::string> undo;
    find("from")->inverse(part, undo);
    if (cursor == 0) break;
  }
  std::vector<std::string> undo;
  find("from")->inverse("", undo);
  EXPECT_TRUE(undo.empty());
}

// A field whose time was put off in the source is not lost because its old time ran out in the
// copy.
TEST_F(CollectionCopyTest, NothingOfItExpiresBeforeItHasItsName) {
  const int64_t soon = store->now_ms() + 5000;
  for (int i = 0; i < 600; i++) set(i, 200, i < 300 ? soon : 0);
  copy([&](int turn) {
    if (turn != 2) return;
    sleep(4900);
    std::string operation;
    for (int i = 0; i < 300; i++) kv::Hash::add_until(operation, cat("f", i), kv::Hash::kForEver);
    operate("from", operation);
    sleep(1000);
  });
  EXPECT_EQ(find("from")->size(store->now_ms()), 600);
  EXPECT_EQ(values("to"), values("from"));
}

}  // namespace
}  // namespace cairn
