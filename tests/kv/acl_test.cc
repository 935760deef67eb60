#include "kv/engine/acl.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <vector>

#include "kv/commands/acl_rules.h"
#include "kv/types/glob.h"
#include "tests/allocations.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

TEST(Acl, MatchesAsOtherPatternsDo) {
  std::mt19937 rng(7);
  const auto below = [&rng](size_t n) { return rng() % n; };
  constexpr std::string_view kPattern = "ab*?[]^-\\c", kText = "abc-^]";
  size_t matched = 0;
  for (int i = 0; i < 300'000; i++) {
    std::string pattern, text;
    for (size_t n = below(7); n > 0; n--) pattern += kPattern[below(kPattern.size())];
    for (size_t n = below(7); n > 0; n--) text += kText[below(kText.size())];
    const bool fits = glob_match(pattern, text);
    ASSERT_EQ(acl_matches(pattern, text), fits) << pattern << " and " << text;
    matched += fits ? 1 : 0;
  }
  EXPECT_GT(matched, 1000u);
}

AclRecord with(const Table& table, std::initializer_list<std::string_view> rules) {
  AclDraft draft(table, false);
  for (const auto rule : rules) EXPECT_EQ(draft.set(rule), "") << rule;
  return draft.record();
}

TEST(Acl, ARuleTakesThePlaceOfOneAboutTheSame) {
  const Table table;
  EXPECT_EQ(with(table, {"+get", "-get", "+get"}).rules, "resetchannels -@all +get");
  EXPECT_EQ(with(table, {"+config|get", "+config|set", "-config"}).rules,
            "resetchannels -@all -config");
  EXPECT_EQ(with(table, {"+@read", "-@slow", "+@read"}).rules, "resetchannels -@all -@slow +@read");
  EXPECT_EQ(with(table, {"+get", "+@all", "-set"}).rules, "resetchannels +@all -set");
  EXPECT_EQ(with(table, {"%R~a", "%W~a", "%R~b", "~*"}).rules, "~* resetchannels -@all");
  EXPECT_EQ(with(table, {"%R~a", "%W~a", "%R~b"}).rules, "~a %R~b resetchannels -@all");
}

TEST(Acl, APasswordIsKeptByItsHash) {
  const Table table;
  const AclRecord r = with(table, {"on", ">word", ">word", "nopass", ">other"});
  EXPECT_EQ(r.hashes, std::vector<std::string>{acl_hash("other")});
  EXPECT_FALSE(r.nopass);
  EXPECT_EQ(acl_hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_TRUE(is_acl_password(r, "other"));
  EXPECT_FALSE(is_acl_password(r, "word"));
}

using AclOfCommands = EngineTest;

PrincipalPtr principal_of(const Table& table, std::string_view rules) {
  auto rights = std::make_shared<Rights>();
  static const SystemClock clock;
  rights->clock = &clock;
  rights->acl = compile_acl(table, rules);
  EXPECT_NE(rights->acl, nullptr);
  return std::make_shared<Principal>("u", std::move(rights));
}

TEST_F(AclOfCommands, OneSelectorAllowsTheCommandAndAllItsKeys) {
  session->principal = principal_of(table, "~a resetchannels -@all +set (%R~b &* -@all +get)");
  EXPECT_EQ(run({"SET", "a", "1"}), "+OK");
  EXPECT_EQ(run({"GET", "b"}), "null");
  using Words = std::vector<std::string>;
  for (const Words& words : {Words{"GET", "a"}, Words{"SET", "b", "1"}}) {
    EXPECT_EQ(run(words),
              "-NOPERM this user has no permissions to access one of the keys used as "
              "arguments");
  }
  EXPECT_EQ(run({"PING"}), "-NOPERM this user has no permissions to run the 'ping' command");
  EXPECT_EQ(server->acl_log.newest(10).size(), 3u);
}

TEST_F(AclOfCommands, AskingTakesNoMemory) {
  session->principal = principal_of(
      table, "%R~a* %W~b* &c* -@all +@read +@write -keys (~x* resetchannels -@all +get)");
  Request request(*store);
  for (auto word : {"mget", "a1", "a2", "x1"}) request.args.add_copy(word);
  engines.front()->prepare(*session, request);
  engines.front()->resolve(session->ns, request);
  (void)engines.front()->ask(*session, request, *session->ns);
  std::atomic<uint64_t> taken{0};
  count_allocations(&taken);
  for (int i = 0; i < 100; i++) {
    ASSERT_EQ(engines.front()->ask(*session, request, *session->ns).denied, AclDenied::kKey);
  }
  count_allocations(nullptr);
  if (kCountsAllocations) {
    EXPECT_EQ(taken.load(), 0u);
  }
}

}  // namespace
}  // namespace cairn::kv
