// Bytes on disk: records, checksums, metadata, references; hostile lengths are refused.
#include <gtest/gtest.h>

#include <random>

#include "core/base/checksum.h"
#include "core/extents/blob_ref.h"
#include "core/log/log_format.h"
#include "core/log/record_parts.h"
#include "core/store/value.h"

namespace cairn {
namespace {

TEST(Checksum, AgreesWithPublishedCheckValues) {  // of "123456789"
  EXPECT_EQ(crc32(0, as_bytes("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc32c(0, as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(crc64nvme(0, as_bytes("123456789")), 0xae8b14860a799888u);
}

TEST(Checksum, ContinuesWhereItStopped) {
  std::string_view all = "the quick brown fox jumps over the lazy dog";
  for (size_t cut = 0; cut <= all.size(); cut++) {
    auto a = as_bytes(all.substr(0, cut)), b = as_bytes(all.substr(cut));
    EXPECT_EQ(crc32c(crc32c(0, a), b), crc32c(0, as_bytes(all)));
    EXPECT_EQ(crc64nvme(crc64nvme(0, a), b), crc64nvme(0, as_bytes(all)));
  }
}

TEST(Record, EveryFlippedBitIsDetected) {
  RecordView r;
  r.flags = kRecordHasExpiry;
  r.ns = NamespaceId(3);
  r.expire_ms = 5;
  r.key = "key";
  r.value = "value";
  std::vector<std::byte> bytes(r.size());
  r.cause = Cause::kLifecycle;
  const SegmentId segment(3);
  const uint32_t seed = record_seed(1, segment, 4160, 7);
  encode_record(r, true, seed, bytes.data());
  ASSERT_TRUE(decode_record(bytes, seed));
  EXPECT_EQ(decode_record(bytes, seed)->value, "value");
  EXPECT_EQ(decode_record(bytes, seed)->cause, Cause::kLifecycle);
  EXPECT_TRUE(decode_record(bytes, seed)->goes_on);
  EXPECT_FALSE(decode_record(bytes, record_seed(1, segment, 4160, 8)));  // another epoch
  EXPECT_FALSE(decode_record(bytes, record_seed(1, segment, 4168, 7)));  // another place
  for (size_t bit = 0; bit < r.unpadded_size() * 8; bit++) {
    bytes[bit / 8] ^= std::byte(1 << (bit % 8));
    EXPECT_FALSE(decode_record(bytes, seed)) << bit;
    bytes[bit / 8] ^= std::byte(1 << (bit % 8));
  }
}

// Whatever the record and the most that goes at once: the parts fit, and make the operation again;
// with the first of them missing, or any, nothing.
TEST(RecordParts, MakeTheOperationAgain) {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 20000; i++) {
    RecordView r;
    r.type = rng() % 2 == 0 ? RecordType::kOperation : RecordType::kPut;
    r.flags = rng() % 4 == 0 ? 0 : 1 << 4;
    if (rng() % 2 == 0) r.flags |= kRecordHasExpiry;
    if (rng() % 2 == 0) r.flags |= kRecordHasOrigin;
    std::string key(rng() % (rng() % 4 == 0 ? 900 : 50), 'k'), value(rng() % 6000, '\0');
    for (char& c : value) c = static_cast<char>(rng());
    r.key = key;
    r.value = value;
    const uint64_t most = 200 + rng() % 1000;
    const auto bytes = RecordParts::bytes(r, most);
    RecordParts parts;
    if (!bytes) {
      EXPECT_GT(r.size(), most);
      EXPECT_TRUE(r.flags >> 4 == 0 || key.size() + 200 > most * 7 / 8) << key.size() << most;
      continue;
    }
    const size_t count = parts.add(r, most);
    const auto records = parts.records();
    ASSERT_EQ(records.size(), count);
    uint64_t sum = 0;
    for (const RecordView& part : records) {
      EXPECT_LE(part.size(), most);
      EXPECT_EQ(part.key, r.key);
      EXPECT_EQ(part.flags, r.flags);
      sum += part.size();
    }
    EXPECT_LE(sum, *bytes);
    if (count == 1) continue;
    const bool put = r.type == RecordType::kPut;
    EXPECT_TRUE(!put || (records[0].type == RecordType::kPut && records[0].value.empty()));
    const auto stretches = records.subspan(put ? 1 : 0);
    const size_t missing = rng() % (2 * stretches.size());
    PartJoiner joiner;
    bool whole = false;
    for (size_t k = 0; k < stretches.size(); k++) {
      if (k == missing) continue;
      const auto place = PartPlace::decode(stretches[k].meta);
      ASSERT_TRUE(place);
      for (uint64_t times = 1 + rng() % 2; times > 0 && !whole; times--) {
        whole = joiner.add(*place, stretches[k].value);
        EXPECT_TRUE(!whole || k + 1 == stretches.size());
      }
    }
    EXPECT_EQ(whole, missing >= stretches.size());
    if (whole) {
      EXPECT_EQ(joiner.take(), value);
    }
  }
}

TEST(Record, HostileBytesAreRefused) {
  std::mt19937_64 rng(1);
  for (int i = 0; i < 100000; i++) {
    std::vector<std::byte> bytes(rng() % 64);
    for (auto& b : bytes) b = std::byte(rng());
    EXPECT_FALSE(decode_record(bytes, 99));
  }
}

TEST(ObjectMeta, RoundTripsAndRefusesCutBytes) {
  ObjectMeta m;
  m.tags = {{"color", "red"}, {"empty", ""}};
  m.content_type = "text/plain";
  m.etag = "abc";
  m.modified_ms = 42;
  m.user["k"] = "v";
  m.headers["cache-control"] = "no-cache";
  m.checksums["crc32"] = "AAAA";
  m.part_sizes = {5, 6};
  std::string bytes = m.encode();
  auto back = ObjectMeta::decode(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->encode(), bytes);
  size_t accepted = 0;
  for (size_t n = 1; n < bytes.size(); n++) {
    accepted += ObjectMeta::decode(std::string_view(bytes).substr(0, n)).has_value();
  }
  EXPECT_LE(accepted, 9u);  // only where a field ends
}

TEST(BlobRef, ReferencesThatDoNotAddUpAreRefused) {
  BlobRef ref{100, {{1, 2, 0, 60}, {0, 0, 0, 40}}};
  std::string bytes = ref.encode();
  ASSERT_TRUE(BlobRef::decode(bytes));
  EXPECT_EQ(BlobRef::decode(bytes)->pieces, ref.pieces);
  bytes[0]++;
  EXPECT_FALSE(BlobRef::decode(bytes));
  EXPECT_FALSE(BlobRef::decode("short"));
}

}  // namespace
}  // namespace cairn
