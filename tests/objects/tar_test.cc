// Archives as other programs read them: test_batch.py has Python's read what the server sends.
#include "objects/tar.h"

#include <gtest/gtest.h>

#include <cstdlib>

namespace cairn::objects::tar {
namespace {

// The checksum of a header is of its bytes with blanks in the place of the checksum.
void expect_checksum(const std::string& header) {
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlockBytes; i++) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
  }
  EXPECT_EQ(std::strtoull(header.data() + 148, nullptr, 8), sum);
}

TEST(Tar, APlainMemberIsOneBlock) {
  const std::string h = header({"dir/name", 1234, 1'700'000'000'999});
  ASSERT_EQ(h.size(), kBlockBytes);
  EXPECT_STREQ(h.data(), "dir/name");
  EXPECT_STREQ(h.data() + 124, "00000002322");
  EXPECT_EQ(std::strtoll(h.data() + 136, nullptr, 8), 1'700'000'000);
  EXPECT_EQ(h.substr(257, 8), std::string("ustar\00000", 8));
  expect_checksum(h);
}

TEST(Tar, WhatDoesNotFitIsInExtendedRecords) {
  const std::string name(300, 'n');
  const std::string h = header({name, uint64_t{9} << 30, 0, {{"CAIRN.error", "NoSuchKey"}}});
  ASSERT_EQ(h.size(), 3 * kBlockBytes);
  EXPECT_EQ(h[156], 'x');
  expect_checksum(h);
  expect_checksum(h.substr(2 * kBlockBytes));
  const std::string records = h.substr(kBlockBytes, std::strtoull(h.data() + 124, nullptr, 8));
  EXPECT_EQ(records, "310 path=" + name + "\n19 size=9663676416\n" + "25 CAIRN.error=NoSuchKey\n");
}

TEST(Tar, LengthsCountThemselves) {
  for (size_t n = 80; n < 1100; n++) {  // where a digit more is needed
    const std::string name(n, '\x80');
    const std::string h = header({name, 0, 0});
    const size_t length = std::strtoull(h.data() + kBlockBytes, nullptr, 10);
    EXPECT_EQ(length, std::strtoull(h.data() + 124, nullptr, 8));
    EXPECT_EQ(h[kBlockBytes + length - 1], '\n');
  }
}

TEST(Tar, Padding) {
  EXPECT_EQ(padding(0), 0u);
  EXPECT_EQ(padding(1), 511u);
  EXPECT_EQ(padding(512), 0u);
  EXPECT_EQ(end().size(), 1024u);
}

}  // namespace
}  // namespace cairn::objects::tar
