// Encryption: what is read is what was written, at whatever length and in whatever range; what lies
// in the store is something else, and opens for nobody who lacks the key or has other bytes.
#include "objects/encryption.h"

#include <absl/strings/match.h>
#include <gtest/gtest.h>

#include "core/base/text.h"
#include "objects/append.h"
#include "objects/multipart.h"
#include "objects/rename.h"
#include "tests/core/fault_fixture.h"

namespace cairn::objects {
namespace {

const std::string kKey(kCustomerKeyBytes, 'k'), kOtherKey(kCustomerKeyBytes, 'o');

struct EncryptionTest : FaultTest {
  std::unique_ptr<Store> store;
  NamespacePtr bucket;
  MasterKey master = MasterKey::random();

  void start() {
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
    ASSERT_TRUE(store->keys().load(master, false, {}).ok());
    store->keys().begin();
    if (store->find_namespace("photos") == nullptr) {
      ASSERT_TRUE(store->create_bucket("photos").ok());
    }
    bucket = store->find_namespace("photos");
  }
  void restart() {
    ASSERT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
    start();
  }
  void TearDown() override {
    if (store != nullptr) take_apart(std::move(store));
  }

  uint64_t below(uint64_t n) { return rng() % n; }
  std::string random_bytes(uint64_t size) {
    std::string text(size, '\0');
    for (char& c : text) c = static_cast<char>(below(256));
    return text;
  }
  static EncryptionWish wish(EncryptionMode mode) {
    EncryptionWish w{mode};
    if (mode == EncryptionMode::kKms) w.context = R"({"of":"tests"})";
    if (mode == EncryptionMode::kCustomer) w.customer_key = kKey;
    return w;
  }
  static std::string key_of(EncryptionMode mode) {
    return mode == EncryptionMode::kCustomer ? kKey : "";
  }
  // The bytes come in pieces of any length.
  void fill(Upload& upload, const std::string& text) {
    for (size_t at = 0; at < text.size();) {
      const size_t n = std::min<size_t>(text.size() - at, 1 + below(100'000));
      ASSERT_TRUE(run(upload.append(as_bytes(std::string_view(text).substr(at, n))))->ok());
      at += n;
    }
    ASSERT_TRUE(run(upload.finish())->ok());
    EXPECT_EQ(upload.size(), text.size());
  }
  void put(const std::string& key, const std::string& text, const EncryptionWish& w) {
    Upload upload(*store, below(2) == 0 ? text.size() : 0);
    if (w.mode != EncryptionMode::kNone) {
      auto made = make_encryption(*store, w);
      ASSERT_TRUE(made.ok()) << made.status();
      upload.encrypt(*std::move(made));
    }
    fill(upload, text);
    const auto done = objects::put(*store, *bucket, key, upload, {}, 0, {});
    ASSERT_TRUE(done.ok()) << done.status();
  }
  StatusOr<std::string> read(const std::string& key, const Conditions& conditions,
                             const std::optional<Range>& range = std::nullopt) {
    auto opened = run(open(*store, *bucket, key, range, conditions, nullptr));
    if (!opened) return absl::DeadlineExceededError("it does not end");
    if (!opened->ok()) return opened->status();
    if ((*opened)->reader == nullptr) return (*opened)->inline_bytes;
    auto bytes = run((*opened)->reader->read_all(1 << 28));
    if (!bytes) return absl::DeadlineExceededError("it does not end");
    return *std::move(bytes);
  }
  StatusOr<std::string> read(const std::string& key, const std::string& customer_key = "") {
    Conditions conditions;
    conditions.customer_key = customer_key;
    return read(key, conditions);
  }
  void check_ranges(const std::string& key, const std::string& text, const std::string& with) {
    Conditions conditions;
    conditions.customer_key = with;
    ASSERT_EQ(read(key, conditions).value_or("?"), text);
    for (int i = 0; i < 20 && !text.empty(); i++) {
      uint64_t first = below(text.size());
      if (below(2) == 0) first = first / kFrameBytes * kFrameBytes;  // where one begins
      const uint64_t last = first + below(text.size() - first);
      ASSERT_EQ(read(key, conditions, Range{first, last}).value_or("?"),
                text.substr(first, last - first + 1))
          << first << " " << last << " of " << text.size();
    }
  }
};

constexpr EncryptionMode kModes[] = {EncryptionMode::kS3, EncryptionMode::kKms,
                                     EncryptionMode::kCustomer};

TEST_F(EncryptionTest, WhatIsReadIsWhatWasWrittenInAnyRange) {
  start();
  std::map<std::string, std::string> texts;
  for (const EncryptionMode mode : kModes) {
    for (const uint64_t size :
         {uint64_t{0}, uint64_t{1}, uint64_t{5000}, kFrameBytes - 1, kFrameBytes, kFrameBytes + 1,
          2 * kFrameBytes, 3 * kFrameBytes + 17, uint64_t{600'000}, 1 + below(1 << 20)}) {
      const std::string key = cat(static_cast<int>(mode), "/", size);
      texts[key] = random_bytes(size);
      put(key, texts[key], wish(mode));
      if (HasFailure()) return;
    }
  }
  const auto check = [&] {
    for (auto& [key, text] : texts) {
      const auto mode = static_cast<EncryptionMode>(key[0] - '0');
      check_ranges(key, text, key_of(mode));
      EXPECT_EQ(stat(*store, *bucket, key)->size, text.size()) << key;
      if (HasFailure()) return;
    }
    const auto page = run(list(*store, bucket, {}));
    for (const ListItem& item : (*page)->items) EXPECT_EQ(item.size, texts[item.key].size());
    EXPECT_EQ((*page)->items.size(), texts.size());
  };
  check();
  restart();
  check();
}

TEST_F(EncryptionTest, WhatLiesInTheStoreIsCiphertext) {
  start();
  Conditions as_stored;
  as_stored.as_stored = true;
  for (const EncryptionMode mode : kModes) {
    for (const size_t size : {200u, 5000u, 200'000u}) {
      const std::string text(size, 'p');
      put("key", text, wish(mode));
      const std::string stored = *read("key", as_stored);
      EXPECT_GT(stored.size(), text.size());
      EXPECT_EQ(stored.find("pppp"), stored.npos);
      put("again", text, wish(mode));
      EXPECT_NE(*read("again", as_stored), stored);  // no key is used twice
    }
  }
}

TEST_F(EncryptionTest, PartsBecomeOneObjectThatIsNotReadForIt) {
  start();
  for (const EncryptionMode mode : kModes) {
    auto made = make_encryption(*store, wish(mode));
    ASSERT_TRUE(made.ok());
    ObjectMeta meta;
    meta.encryption = made->encryption.encode();
    const auto upload = create_upload(*store, *bucket, "key", meta);
    ASSERT_TRUE(upload.ok());
    std::string whole;
    std::vector<CompletePart> parts;
    for (unsigned number = 1; number <= 4; number++) {
      for (int times = 0; times < 2; times++) {  // the second one counts
        const std::string text = random_bytes(number == 3 ? 0 : below(200'000));
        Upload bytes(*store, text.size());
        const auto found = find_upload(*store, *bucket, "key", upload->id);
        const auto encryption = Encryption::decode(found->meta.encryption);
        ASSERT_TRUE(encryption.has_value());
        const auto key = open_data_key(*store, *encryption, key_of(mode));
        ASSERT_TRUE(key.ok());
        bytes.encrypt({*encryption, *key});
        fill(bytes, text);
        ObjectMeta of_part;
        of_part.etag = random_etag();
        ASSERT_TRUE(put_part(*store, *bucket, "key", upload->id, number, bytes, of_part).ok());
        if (times == 0) continue;
        whole += text;
        parts.push_back({number, of_part.etag, {}});
      }
    }
    uint64_t reads = 0;
    volume.set([&](Call call, std::optional<FileId>) {
      reads += call == Call::kRead;
      return absl::OkStatus();
    });
    auto done = run(
        complete_upload(*store, *bucket, "key", upload->id, parts, Conditions(), Expected(), 0));
    ASSERT_TRUE(done->ok()) << done->status();
    volume.heal();
    check_ranges("key", whole, key_of(mode));
    EXPECT_EQ(stat(*store, *bucket, "key")->size, whole.size());
    restart();
    check_ranges("key", whole, key_of(mode));
    if (HasFailure()) return;
  }
}

// A byte that changed, frames that changed places, an end that is missing.
TEST_F(EncryptionTest, OtherBytesDoNotOpen) {
  start();
  Conditions as_stored;
  as_stored.as_stored = true;
  const std::string text = random_bytes(3 * kFrameBytes + 100);
  put("key", text, wish(EncryptionMode::kS3));
  const std::string stored = *read("key", as_stored);
  const auto e = Encryption::decode(stat(*store, *bucket, "key")->meta.encryption);
  const auto key = open_data_key(*store, *e, "");
  ASSERT_EQ(*decrypt(*e, *key, stored, 0, text.size()), text);
  const auto fails = [&](const Encryption& with, const std::string& bytes, uint64_t size) {
    return absl::IsDataLoss(decrypt(with, *key, bytes, 0, size).status());
  };
  for (size_t i = 0; i < stored.size(); i += i < 100 || i > stored.size() - 100 ? 1 : 997) {
    std::string damaged = stored;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << below(8)));
    ASSERT_TRUE(fails(*e, damaged, text.size())) << i;
  }
  const size_t frame = kFrameBytes + kFrameTagBytes;
  std::string swapped = stored;
  std::swap_ranges(swapped.begin(), swapped.begin() + static_cast<long>(frame),
                   swapped.begin() + static_cast<long>(frame));
  EXPECT_TRUE(fails(*e, swapped, text.size()));
  // Cut at a border of frames, with metadata that says so.
  Encryption shorter = *e;
  shorter.segments[0].size = 2 * kFrameBytes;
  EXPECT_TRUE(fails(shorter, stored.substr(0, 2 * frame), 2 * kFrameBytes));
  EXPECT_TRUE(fails(*e, stored.substr(0, stored.size() - 1), text.size()));
  // Of another segment, or of another object.
  Encryption another = *e;
  another.segments[0].salt[0] ^= 1;
  EXPECT_TRUE(fails(another, stored, text.size()));
  put("another", text, wish(EncryptionMode::kS3));
  EXPECT_TRUE(fails(*e, *read("another", as_stored), text.size()));
}

TEST_F(EncryptionTest, MetadataThatIsNoneIsRefused) {
  start();
  put("key", "text", wish(EncryptionMode::kKms));
  const std::string encoded = stat(*store, *bucket, "key")->meta.encryption;
  EXPECT_EQ(Encryption::decode(encoded)->encode(), encoded);
  for (size_t n = 0; n < encoded.size(); n++) {
    const auto cut = Encryption::decode(encoded.substr(0, n));
    EXPECT_TRUE(!cut || cut->encode() != encoded);
  }
  for (int i = 0; i < 2000; i++) {
    std::string damaged = encoded;
    damaged[below(damaged.size())] = static_cast<char>(below(256));
    const auto e = Encryption::decode(damaged);
    if (!e) continue;
    EXPECT_LE(e->size(), kBlobBytesMax);
    const auto key = open_data_key(*store, *e, "");
    if (key.ok()) (void)decrypt(*e, *key, "xxxx", 0, std::min<uint64_t>(e->size(), 100));
  }
}

TEST_F(EncryptionTest, OnlyTheCustomersKeyOpens) {
  start();
  for (const size_t size : {10u, 100'000u}) {
    put("key", std::string(size, 'x'), wish(EncryptionMode::kCustomer));
    EXPECT_EQ(read("key", kKey)->size(), size);
    EXPECT_TRUE(absl::StartsWith(read("key").status().message(), "InvalidRequest "));
    EXPECT_TRUE(absl::StartsWith(read("key", kOtherKey).status().message(), "AccessDenied "));
    const Info info = *stat(*store, *bucket, "key");  // what is known of it needs none
    EXPECT_EQ(info.size, size);
    EXPECT_EQ(info.meta.encryption.find(kKey), std::string::npos);
  }
  put("plain", "x", {});
  EXPECT_TRUE(absl::StartsWith(read("plain", kKey).status().message(), "InvalidRequest "));
  put("sealed", "x", wish(EncryptionMode::kS3));
  EXPECT_TRUE(absl::StartsWith(read("sealed", kKey).status().message(), "InvalidRequest "));
}

TEST_F(EncryptionTest, WhatWasSealedBeforeARotationOpensAfterIt) {
  start();
  const auto made = store->keys().create("mine");
  ASSERT_TRUE(made.ok());
  EncryptionWish w{EncryptionMode::kKms, made->key->id};
  std::vector<std::string> stored;
  for (int i = 0; i < 3; i++) {
    put(cat("key", i), cat("text ", i), w);
    put(cat("sealed", i), cat("text ", i), wish(EncryptionMode::kS3));
    ASSERT_TRUE(store->keys().rotate(made->key->id).ok());
    const auto standard = store->keys().standard(KeyRing::Purpose::kS3);
    ASSERT_TRUE(store->keys().rotate((*standard)->id).ok());
  }
  const auto check = [&] {
    for (int i = 0; i < 3; i++) {
      EXPECT_EQ(*read(cat("key", i)), cat("text ", i));
      EXPECT_EQ(*read(cat("sealed", i)), cat("text ", i));
    }
    EXPECT_EQ((*store->keys().find(made->key->id))->versions.size(), 4u);
  };
  check();
  restart();
  check();
  ASSERT_TRUE(store->keys().enable(made->key->id, false).ok());
  EXPECT_TRUE(absl::StartsWith(read("key0").status().message(), "KMS.DisabledException "));
  EXPECT_FALSE(make_encryption(*store, w).ok());
  restart();
  EXPECT_TRUE(absl::StartsWith(read("key1").status().message(), "KMS.DisabledException "));
  ASSERT_TRUE(store->keys().enable(made->key->id, true).ok());
  check();
  w.key_id = "none";
  EXPECT_TRUE(
      absl::StartsWith(make_encryption(*store, w).status().message(), "KMS.NotFoundException "));
}

TEST_F(EncryptionTest, AnotherMasterKeyIsNotTakenForTheStores) {
  start();
  put("key", "text", wish(EncryptionMode::kS3));
  ASSERT_TRUE(run(store->close())->ok());
  take_apart(std::move(store));
  store = make();
  ASSERT_TRUE(run(store->open())->ok());
  const MasterKey other = MasterKey::random();
  EXPECT_TRUE(absl::IsFailedPrecondition(store->keys().load(other, false, {})));
  EXPECT_TRUE(store->keys().load(other, true, {}).ok());
  store->keys().begin();
  bucket = store->find_namespace("photos");
  EXPECT_TRUE(absl::StartsWith(read("key").status().message(), "KMS.KMSInvalidStateException "));
}

// What is put from then on opens; it was refused for ever, and at each start anew.
TEST_F(EncryptionTest, KeysThatWereGivenUpHaveSuccessors) {
  const MasterKey first = master, second = MasterKey::random();
  const auto start_with = [&](const MasterKey& with, bool repair) {
    if (store != nullptr) {
      ASSERT_TRUE(run(store->close())->ok());
      take_apart(std::move(store));
    }
    store = make();
    ASSERT_TRUE(run(store->open())->ok());
    ASSERT_EQ(store->keys().load(with, false, {}).ok(), !repair);
    ASSERT_TRUE(!repair || store->keys().load(with, true, {}).ok());
    store->keys().begin();
    bucket = store->find_namespace("photos");
  };
  const auto lost = [&](const std::string& key) {
    return absl::StartsWith(read(key).status().message(), "KMS.KMSInvalidStateException ");
  };
  start();
  put("old", "text", wish(EncryptionMode::kS3));
  put("kms", "text", wish(EncryptionMode::kKms));
  start_with(second, true);
  EXPECT_TRUE(lost("old"));
  put("new", "text", wish(EncryptionMode::kS3));
  EXPECT_EQ(store->keys().list().size(), 3u);
  for (const auto& key : store->keys().list()) {
    const bool is_lost = !key->versions.back().key;
    EXPECT_TRUE(!is_lost || absl::IsUnavailable(store->keys().rotate(key->id).status()));
  }
  start_with(second, false);
  EXPECT_EQ(*read("new"), "text");
  put("more", "text", wish(EncryptionMode::kS3));
  EXPECT_EQ(store->keys().list().size(), 3u);
  start_with(first, true);
  EXPECT_EQ(*read("old"), "text");
  EXPECT_EQ(*read("kms"), "text");
  EXPECT_TRUE(lost("new"));
  put("again", "text", wish(EncryptionMode::kS3));
  EXPECT_EQ(store->keys().list().size(), 3u);
  start_with(first, false);
  EXPECT_EQ(*read("again"), "text");
}

TEST_F(EncryptionTest, CopiesAreSharedOrEncryptedAgain) {
  start();
  Conditions as_stored;
  as_stored.as_stored = true;
  const std::optional<Range> whole;
  for (const EncryptionMode from : {EncryptionMode::kNone, EncryptionMode::kS3,
                                    EncryptionMode::kKms, EncryptionMode::kCustomer}) {
    for (const EncryptionMode to : {EncryptionMode::kNone, EncryptionMode::kS3,
                                    EncryptionMode::kKms, EncryptionMode::kCustomer}) {
      for (const size_t size : {0u, 100u, 200'000u}) {
        SCOPED_TRACE(cat(static_cast<int>(from), " to ", static_cast<int>(to), " ", size));
        const std::string text = random_bytes(size);
        put("from", text, wish(from));
        auto opened = run(open(*store, *bucket, "from", whole, as_stored, nullptr));
        ASSERT_TRUE(opened->ok());
        Upload upload(*store, 0);
        EncryptionWish w = wish(to);
        if (w.mode == EncryptionMode::kCustomer) w.customer_key = kOtherKey;
        ASSERT_TRUE(begin_copy(*store, **opened, key_of(from), w, upload).ok());
        ASSERT_TRUE(run(upload.append_object(**opened))->ok());
        ASSERT_TRUE(run(upload.finish())->ok());
        ASSERT_TRUE(objects::put(*store, *bucket, "to", upload, (*opened)->info.meta, 0, {}).ok());
        EncryptionMode becomes = to;
        if (to == EncryptionMode::kNone) {
          becomes = from == EncryptionMode::kCustomer ? EncryptionMode::kS3 : from;
        }
        const auto now = Encryption::decode(stat(*store, *bucket, "to")->meta.encryption);
        EXPECT_EQ(now ? now->mode : EncryptionMode::kNone, becomes);
        EXPECT_EQ(*read("to", becomes == EncryptionMode::kCustomer ? kOtherKey : ""), text);
        const bool shared = becomes == from && becomes != EncryptionMode::kCustomer;
        EXPECT_EQ(*read("to", as_stored) == *read("from", as_stored), shared);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_F(EncryptionTest, ATailIsEncryptedAsWhatItComesBehind) {
  start();
  for (const EncryptionMode mode : kModes) {
    std::string whole;
    for (const size_t size : {300u, 70'000u, 1u, 200'000u}) {
      const std::string text = random_bytes(size);
      Append append(*store, *bucket, cat("key", static_cast<int>(mode)), whole.size(), size);
      const Conditions none;
      const EncryptionWish w = wish(mode);
      const auto begun = run(append.begin(none, w));
      ASSERT_TRUE(begun->ok()) << *begun;
      ASSERT_TRUE(run(append.upload().append(as_bytes(text)))->ok());
      ASSERT_TRUE(run(append.upload().finish())->ok());
      ASSERT_TRUE(append.put({}, std::nullopt).ok());
      whole += text;
      check_ranges(cat("key", static_cast<int>(mode)), whole, key_of(mode));
    }
  }
  Append without(*store, *bucket, "key3", 270'301, 1);
  const Conditions none;
  const EncryptionWish nothing;
  EXPECT_FALSE(run(without.begin(none, nothing))->ok());
}

// A segment without bytes in front of all others was left out by who has all of the ciphertext.
TEST_F(EncryptionTest, AnEmptyBeginningIsOfTheWhole) {
  start();
  Conditions as_stored;
  as_stored.as_stored = true;
  const std::optional<Range> whole;
  for (const EncryptionMode mode : kModes) {
    for (const size_t size : {10u, 200'000u}) {
      const EncryptionWish w = wish(mode);
      put("from", "", w);
      const std::string text = random_bytes(size);
      Append append(*store, *bucket, "from", 0, size);
      const Conditions none;
      ASSERT_TRUE(run(append.begin(none, w))->ok());
      ASSERT_TRUE(run(append.upload().append(as_bytes(text)))->ok());
      ASSERT_TRUE(run(append.upload().finish())->ok());
      ASSERT_TRUE(append.put({}, std::nullopt).ok());
      check_ranges("from", text, key_of(mode));
      auto opened = run(open(*store, *bucket, "from", whole, as_stored, nullptr));
      ASSERT_TRUE(opened->ok());
      EXPECT_EQ((*opened)->stored->segments.size(), 2u);
      Upload upload(*store, 0);
      EncryptionWish other{EncryptionMode::kCustomer};
      other.customer_key = kOtherKey;
      ASSERT_TRUE(begin_copy(*store, **opened, key_of(mode), other, upload).ok());
      ASSERT_TRUE(run(upload.append_object(**opened))->ok());
      ASSERT_TRUE(run(upload.finish())->ok());
      ASSERT_TRUE(objects::put(*store, *bucket, "to", upload, (*opened)->info.meta, 0, {}).ok());
      EXPECT_EQ(*read("to", kOtherKey), text);
    }
  }
}

TEST_F(EncryptionTest, RenamingAndTaggingKeepIt) {
  start();
  for (const size_t size : {100u, 200'000u}) {
    const std::string text = random_bytes(size);
    put("from", text, wish(EncryptionMode::kKms));
    Renaming renaming;
    renaming.from = "from";
    renaming.to = "to";
    ASSERT_TRUE(run(rename(*store, *bucket, renaming))->ok());
    ASSERT_TRUE(run(set_tags(*store, *bucket, "to", {{"a", "b"}}, Cause::kTagsPut))->ok());
    EXPECT_EQ(*read("to"), text);
    restart();
    EXPECT_EQ(*read("to"), text);
  }
}

}  // namespace
}  // namespace cairn::objects
