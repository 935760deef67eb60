#include "gateway/resp/parser.h"

#include <gtest/gtest.h>

#include <random>

#include "core/base/text.h"

namespace cairn::resp {
namespace {

// All commands of a stream, fed `step` bytes at a time; words joined by '|', commands by newline.
std::string parse_all(std::string_view input, size_t step) {
  Parser parser;
  ParserLimits limits;
  std::string buffer, out;
  size_t fed = 0;
  for (;;) {
    auto result = parser.parse(buffer, limits);
    if (result == Parser::Result::kNeedMore) {
      if (fed == input.size()) return out + "(end)";
      size_t n = std::min(step, input.size() - fed);
      buffer.append(input.substr(fed, n));
      fed += n;
      continue;
    }
    if (result == Parser::Result::kError) return out + parser.error();
    if (result == Parser::Result::kStream) return out + cat("(stream ", parser.stream_bytes(), ")");
    if (result == Parser::Result::kCommand) {
      for (auto& w : parser.words()) append(out, parser.text(w, buffer), "|");
      out += "\n";
    }
    buffer.erase(0, parser.consumed());
    parser.reset();
  }
}

TEST(Parser, PiecewiseEqualsAtOnce) {
  std::mt19937_64 rng(5);
  const std::string_view parts[] = {"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
                                    "PING\r\n",
                                    "\r\n",
                                    "*0\r\n",
                                    "*1\r\n$0\r\n\r\n",
                                    "SET \"a b\" 'c'\r\n",
                                    "*1\r\n$100000\r\n",
                                    "*x\r\n",
                                    "*1\r\n$-1\r\n",
                                    "echo \"\\x41\\n\"\n"};
  for (int round = 0; round < 2000; round++) {
    std::string input;
    for (int i = 0; i < 6; i++) input += parts[rng() % std::size(parts)];
    if (rng() % 3 == 0) input[rng() % input.size()] = static_cast<char>(rng());
    std::string once = parse_all(input, input.size());
    for (size_t step : {1, 2, 3, 7}) ASSERT_EQ(parse_all(input, step), once) << input;
  }
}

// A client that had sent one command of 40,000 words held 1.5 MB from then on, and was sent away
// before others that held more than it needed.
TEST(Parser, HoldsLittleAfterALongCommand) {
  Parser parser;
  const size_t words = 40'000;
  std::string command = cat("*", words, "\r\n");
  for (size_t i = 0; i < words; i++) command += "$1\r\na\r\n";
  ASSERT_EQ(parser.parse(command, ParserLimits()), Parser::Result::kCommand);
  EXPECT_EQ(parser.words().size(), words);
  parser.reset();
  EXPECT_LT(parser.buffer_bytes(), 100'000u);
}

TEST(Parser, LengthsPastTheLimitsAreErrors) {
  EXPECT_EQ(parse_all("*1\r\n$536870913\r\n", 99), "ERR Protocol error: invalid bulk length");
  EXPECT_EQ(parse_all("*1048577\r\n", 99), "ERR Protocol error: invalid multibulk length");
  EXPECT_EQ(parse_all("*99999999999999999999\r\n", 99),
            "ERR Protocol error: invalid multibulk length");
  for (const char* length : {"01", "001", "0001", "00", "-0", "-01", "+1", " 1", "1 ", "-", ""}) {
    EXPECT_EQ(parse_all(cat("*", length, "\r\n$1\r\na\r\n"), 99),
              "ERR Protocol error: invalid multibulk length")
        << length;
    EXPECT_EQ(parse_all(cat("*1\r\n$", length, "\r\na\r\n"), 99),
              "ERR Protocol error: invalid bulk length")
        << length;
  }
  EXPECT_EQ(parse_all(std::string(70000, 'x'), 4096), "ERR Protocol error: too big inline request");
  EXPECT_EQ(parse_all("*1\r\n$65537\r\n", 99), "(stream 65537)");
}

}  // namespace
}  // namespace cairn::resp
