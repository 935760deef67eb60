#include "kv/engine/acl.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <string>
#include <vector>

#include "core/store/sealing.h"
#include "core/store/user_table.h"
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

// Ends of ranges were taken by references to what had gone: "[^a-c]*" matched everything.
TEST(Acl, ARangeHasWhatStandsBetweenItsEnds) {
  EXPECT_TRUE(acl_matches("[a-c]*", "aa"));
  EXPECT_FALSE(acl_matches("[^a-c]*", "bb"));
  EXPECT_TRUE(acl_matches("[^a-c]*", "dd"));
  EXPECT_TRUE(acl_matches("x[0-9]", "x5"));
  EXPECT_TRUE(acl_matches("[c-a]", "b"));
  EXPECT_TRUE(acl_matches("[a-]", "_"));  // to the bracket, as Redis reads it
  EXPECT_FALSE(acl_matches("[a-]", "-"));
  std::mt19937 rng(11);
  const auto byte = [&rng] { return static_cast<unsigned char>(rng()); };
  const auto is_plain = [](unsigned char c) { return c != '\\' && c != ']' && c != '^'; };
  size_t inside = 0;
  for (int i = 0; i < 100'000; i++) {
    const bool negated = rng() % 2 == 0;
    std::string pattern = negated ? "p[^" : "p[";
    const unsigned char x = byte();
    bool in = false;
    for (size_t n = 1 + rng() % 3; n > 0; n--) {
      const unsigned char from = byte(), to = byte();
      if (!is_plain(from) || !is_plain(to)) continue;
      pattern += {static_cast<char>(from), '-', static_cast<char>(to)};
      in |= (from <= x && x <= to) || (to <= x && x <= from);
    }
    pattern += "]*";
    const std::string text = {'p', static_cast<char>(x), 'q'};
    ASSERT_EQ(acl_matches(pattern, text), in != negated) << pattern << " and " << text;
    inside += in ? 1 : 0;
  }
  EXPECT_GT(inside, 10'000u);
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

// What was stored could not be read again, and the user had no right any more, nor was changed.
TEST(Acl, WhatIsTakenIsReadAgainAndMeansTheSame) {
  const Table table;
  for (const std::string_view rule : {"(~y) +get)", "(~a &b))", "(+get|x))", "+get|a b"}) {
    EXPECT_NE(AclDraft(table, false).set(rule), "") << rule;
  }
  constexpr std::string_view kRules[] = {"%RW~*",
                                         "%R~*",
                                         "%W~*",
                                         "~a",
                                         "~*",
                                         "%R~b",
                                         "~(x",
                                         "~x)",
                                         "&*",
                                         "&c*",
                                         "&c)",
                                         "resetkeys",
                                         "+@all",
                                         "-@all",
                                         "+@read",
                                         "-@read",
                                         "+@fast",
                                         "-@fast",
                                         "+get",
                                         "-get",
                                         "+get|a1",
                                         "+get|)",
                                         "+config",
                                         "-config",
                                         "+config|get",
                                         "-config|get",
                                         "resetchannels",
                                         "()",
                                         "(~a +get)",
                                         "(%RW~* ~b &* +@all -set)",
                                         "(&(x +get|y)",
                                         "(~)",
                                         "(~a) +get)",
                                         "clearselectors",
                                         "reset",
                                         "allkeys"};
  std::mt19937 rng(13);
  for (int i = 0; i < 20'000; i++) {
    AclDraft draft(table, rng() % 2 == 0);
    std::string said;
    for (size_t n = 1 + rng() % 8; n > 0; n--) {
      const std::string_view rule = kRules[rng() % std::size(kRules)];
      if (draft.set(rule).empty()) append(said, rule, " ");
    }
    ASSERT_TRUE(draft.reads_back()) << said << "is kept as " << draft.record().rules;
    ASSERT_NE(compile_acl(table, draft.record().rules), nullptr) << said;
  }
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

TEST_F(AclOfCommands, WhatCannotBeReadIsBegunAnewOrDeleted) {
  users.compile_acl_by([this](std::string_view rules) { return compile_acl(table, rules); });
  users.load(*store, MasterKey::random(), [](Severity, std::string_view, std::string_view) {});
  const auto spoil = [this](std::string_view name) {
    AclRecord broken;
    broken.rules = "(~y) resetchannels -@all +get)";
    const auto changed =
        users.change([&](Draft& draft) { return draft.set_acl(name, std::move(broken)); });
    ASSERT_TRUE(changed.ok()) << changed.status();
  };
  spoil("u");
  EXPECT_TRUE(
      run({"ACL", "SETUSER", "u", "+get"}).starts_with("-ERR the rules of this user cannot"));
  EXPECT_EQ(run({"ACL", "SETUSER", "u", "reset", "+get"}), "+OK");
  EXPECT_TRUE(run({"ACL", "GETUSER", "u"}).find("-@all +get") != std::string::npos);
  spoil("u");
  EXPECT_EQ(run({"ACL", "DELUSER", "u"}), ":1");
  session->principal = users.authenticate("root", "password");
  spoil("default");
  EXPECT_EQ(run({"ACL", "SETUSER", "default", "reset", "on", "nopass", "+@all"}), "+OK");
}

// One of another case took the place of the user "default", and could not go again.
TEST_F(AclOfCommands, NobodyElseIsCalledDefault) {
  users.load(*store, MasterKey::random(), [](Severity, std::string_view, std::string_view) {});
  for (const char* name : {"DEFAULT", "Default", "ROOT"}) {
    EXPECT_EQ(run({"ACL", "SETUSER", name, "on"}),
              cat("-ERR User with name ", name, " already exists."));
  }
  EXPECT_EQ(run({"ACL", "SETUSER", "default", "on"}), "+OK");
}

// The empty word in place of the one key was asked for, too.
TEST_F(AclOfCommands, SeveralKeysOfMigrateAreAskedForAlone) {
  session->principal = principal_of(table, "~a* resetchannels -@all +migrate");
  const auto migrate = [this](std::vector<std::string> keys) {
    std::vector<std::string> words{"MIGRATE", "127.0.0.1", "1", "", "0", "10", "KEYS"};
    words.insert(words.end(), keys.begin(), keys.end());
    return run(words);
  };
  EXPECT_EQ(migrate({"a1", "a2"}), "+NOKEY");
  EXPECT_TRUE(migrate({"a1", "b"}).starts_with("-NOPERM"));
  EXPECT_TRUE(run({"MIGRATE", "127.0.0.1", "1", "", "0", "10"}).starts_with("-NOPERM"));
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
