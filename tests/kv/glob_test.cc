#include "kv/types/glob.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "kv/engine/key_spec.h"

namespace cairn::kv {
namespace {

// Redis's stringmatchlen, as it is.
bool redis_match(const char* p, int pn, const char* s, int sn, bool nocase) {
  while (pn && sn) {
    switch (p[0]) {
      case '*':
        while (pn && p[1] == '*') p++, pn--;
        if (pn == 1) return true;
        while (sn) {
          if (redis_match(p + 1, pn - 1, s, sn, nocase)) return true;
          s++, sn--;
        }
        return false;
      case '?':
        s++, sn--;
        break;
      case '[': {
        p++, pn--;
        const bool negate = p[0] == '^';
        if (negate) p++, pn--;
        bool match = false;
        for (;;) {
          if (pn >= 2 && p[0] == '\\') {
            p++, pn--;
            if (p[0] == s[0]) match = true;
          } else if (p[0] == ']') {
            break;
          } else if (pn == 0) {
            p--, pn++;
            break;
          } else if (pn >= 3 && p[1] == '-') {
            // Signed, as there. NOLINTNEXTLINE(bugprone-signed-char-misuse)
            int start = p[0], end = p[2], c = s[0];
            if (start > end) std::swap(start, end);
            if (nocase) start = tolower(start), end = tolower(end), c = tolower(c);
            p += 2, pn -= 2;
            if (c >= start && c <= end) match = true;
          } else if (nocase ? tolower(p[0]) == tolower(s[0]) : p[0] == s[0]) {
            match = true;
          }
          p++, pn--;
        }
        if (match == negate) return false;
        s++, sn--;
        break;
      }
      case '\\':
        if (pn >= 2) p++, pn--;
        [[fallthrough]];
      default:
        if (nocase ? tolower(p[0]) != tolower(s[0]) : p[0] != s[0]) return false;
        s++, sn--;
    }
    p++, pn--;
    if (sn == 0) {
      while (pn > 0 && *p == '*') p++, pn--;
      break;
    }
  }
  return pn == 0 && sn == 0;
}

TEST(Glob, MatchesWhatRedisMatches) {
  std::mt19937_64 random(7);
  const auto text = [&](std::string_view from, size_t most) {
    std::string out;
    for (size_t n = random() % (most + 1); n > 0; n--) out.push_back(from[random() % from.size()]);
    return out;
  };
  for (int i = 0; i < 200000; i++) {
    const std::string pattern = text("abcAB***??[]^-\\z", 8), s = text("abcABz-]", 6);
    const bool fold = random() % 2 == 0;
    const bool expected = s.empty() ? pattern.find_first_not_of('*') == pattern.npos
                                    : redis_match(pattern.c_str(), static_cast<int>(pattern.size()),
                                                  s.c_str(), static_cast<int>(s.size()), fold);
    ASSERT_EQ(glob_match(pattern, s, fold), expected) << pattern << " against " << s;
  }
}

TEST(Glob, LongPiecesAreFoundByMasksAsByHand) {
  std::mt19937_64 random(8);
  for (int i = 0; i < 300; i++) {
    std::string s, piece;
    for (int k = 0; k < 3000; k++) s.push_back(static_cast<char>('a' + random() % 2));
    const size_t n = 1 + random() % 300, at = random() % (s.size() - n);
    piece = s.substr(at, n);
    for (size_t k = 0; k < n; k += 1 + random() % 7) piece[k] = '?';
    EXPECT_TRUE(glob_match("*" + piece + "*", s));
    if (n > 100) {
      EXPECT_FALSE(glob_match("*" + piece + "c*", s));
    }
  }
}

// A pattern of 32 KB against a key of 64 KB took two seconds. Here are the shapes that make a
// matcher go back and forth; what they cost grows with the product only in steps of 64.
TEST(Glob, LongPatternsComeToAnEnd) {
  const std::string s(65535, 'a');
  const std::string half(32 << 10, 'a');
  std::string stars, any(32 << 10, '?');
  for (int i = 0; i < 16 << 10; i++) stars += "*a";
  EXPECT_FALSE(glob_match("*" + half + "b*", s));
  EXPECT_FALSE(glob_match("*" + any + "b*", s));
  EXPECT_TRUE(glob_match("*" + any + "*", s));
  EXPECT_FALSE(glob_match(stars + "b", s));
  EXPECT_FALSE(glob_match(stars + "*b*", s));
  EXPECT_TRUE(glob_match(stars, s));
}

// ---- the other thing that is data: which words are keys ----

std::string keys(std::span<const KeySpec> specs, const std::vector<std::string_view>& words) {
  std::string out;
  for_each_key(specs, words, [&](size_t word, const KeySpec&, uint16_t flags) {
    append(out, words[word], (flags & kKeyChanges) != 0 ? "! " : " ");
  });
  return out;
}

TEST(KeySpec, NamesRangesCountsAndWhatFollowsAKeyword) {
  const KeySpec pairs[] = {{.flags = kKeyOverwrite, .last = -1, .step = 2}};
  EXPECT_EQ(keys(pairs, {"mset", "a", "1", "b", "2"}), "a! b! ");
  const KeySpec counted[] = {{.flags = kKeyReadOnly, .first = 2, .count_at = 0},
                             {.flags = kKeyOverwrite}};  // ZUNIONSTORE to 2 a b
  EXPECT_EQ(keys(counted, {"z", "to", "2", "a", "b", "weights"}), "a b to! ");
  for (auto count : {"0", "-1", "4", "x", "", "9223372036854775807"}) {
    EXPECT_EQ(keys(counted, {"z", "to", count, "a", "b", "c"}), "to! ") << count;
  }
  const KeySpec streams[] = {
      {.flags = kKeyReadOnly, .first = 1, .keyword = "streams", .last = -1, .limit = 2}};
  EXPECT_EQ(keys(streams, {"xread", "count", "5", "STREAMS", "a", "b", "0", "0"}), "a b ");
  EXPECT_EQ(keys(streams, {"xread", "count", "5"}), "");
  EXPECT_EQ(keys(streams, {"xread", "streams"}), "");
  const KeySpec store[] = {{.flags = kKeyReadOnly},
                           {.flags = kKeyOverwrite, .first = 2, .keyword = "store"}};
  EXPECT_EQ(keys(store, {"sort", "a", "limit", "0", "5", "store", "b"}), "a b! ");
  EXPECT_EQ(keys(store, {"sort", "a", "limit"}), "a ");
}

TEST(KeySpec, AnOptionDecidesWhatIsDone) {
  const KeySpec set[] = {
      {.flags = kKeyReadOnly, .unless_from = 3, .unless = {"get"}, .otherwise = kKeyOverwrite}};
  EXPECT_EQ(keys(set, {"set", "get", "get"}), "get! ");
  EXPECT_EQ(keys(set, {"set", "a", "b", "nx", "GET"}), "a ");
}

TEST(KeySpec, TheLastOptionNamesTheNamespace) {
  const KeySpec copy{.first = 2, .space_word = 3, .space_option = "db"};
  const std::vector<std::string_view> twice{"copy", "a", "b", "DB", "1", "db", "2"};
  EXPECT_EQ(space_of(copy, twice), 6u);
  const std::vector<std::string_view> odd{"copy", "a", "b", "db", "db"};
  EXPECT_EQ(space_of(copy, odd), 4u);
  const std::vector<std::string_view> none{"copy", "a", "db", "replace"};
  EXPECT_EQ(space_of(copy, none), 0u);
}

}  // namespace
}  // namespace cairn::kv
