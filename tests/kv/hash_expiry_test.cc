// Fields with a time, as commands see them. The scheduler's clock is turned without anybody having
// a turn: then what is due is still in the store.
#include <boost/asio/post.hpp>

#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

struct HashExpiry : EngineTest {
  // "HSET h a 1", by words.
  std::string say(std::string_view line) {
    std::vector<std::string> words;
    for (size_t at = 0; at < line.size();) {
      const size_t end = std::min(line.find(' ', at), line.size());
      words.emplace_back(line.substr(at, end - at));
      at = end + 1;
    }
    return run(words);
  }
  void later(int64_t ms) { scheduler.turn_wall_ms(ms); }
  int64_t now() { return store->now_ms(); }
  // Of all that is in memory, due or not.
  size_t fields(const std::string& key) {
    Namespace& ns = store->database(0);
    const KeyHash hash = ns.hash(key);
    StripeLocks lock(*store, hash);
    const Entry* e = ns.index->find(key, hash);
    return e == nullptr ? 0 : static_cast<const Hash*>(e->collection())->size(Hash::kNoTime);
  }
};

TEST_F(HashExpiry, ADueFieldIsAbsentToEveryCommandBeforeItsTurnHasCome) {
  for (int more : {0, 300}) {  // bytes, and a table
    run({"DEL", "h"});
    for (int i = 0; i < more; i++) run({"HSET", "h", cat("more", i), "v"});
    ASSERT_EQ(say("HSET h stays 5"), ":1");
    ASSERT_EQ(say("HSETEX h PX 100 FIELDS 2 goes 1 too 2"), ":1");
    ASSERT_EQ(run({"HLEN", "h"}), cat(":", more + 3));
    later(99);
    EXPECT_EQ(say("HMGET h goes too stays"), "*3 1 2 5");
    later(1);
    ASSERT_EQ(fields("h"), static_cast<size_t>(more + 3));
    EXPECT_EQ(say("HGET h goes"), "null");
    EXPECT_EQ(say("HMGET h goes stays too"), "*3 null 5 null");
    EXPECT_EQ(say("HEXISTS h goes"), ":0");
    EXPECT_EQ(say("HSTRLEN h goes"), ":0");
    EXPECT_EQ(run({"HLEN", "h"}), cat(":", more + 1));
    EXPECT_EQ(say("HTTL h FIELDS 2 goes stays"), "*2 :-2 :-1");
    EXPECT_EQ(say("HPEXPIRETIME h FIELDS 1 goes"), "*1 :-2");
    EXPECT_EQ(say("HPERSIST h FIELDS 1 goes"), "*1 :-2");
    EXPECT_EQ(say("HEXPIRE h 10 FIELDS 1 goes"), "*1 :-2");
    EXPECT_EQ(say("HGETEX h PERSIST FIELDS 1 goes"), "*1 null");
    EXPECT_EQ(say("HGETDEL h FIELDS 1 goes"), "*1 null");
    EXPECT_EQ(say("HSETEX h FXX FIELDS 1 goes x"), ":0");
    EXPECT_EQ(say("HDEL h goes"), ":0");
    for (std::string_view all : {"HKEYS h", "HVALS h", "HGETALL h", "HSCAN h 0 COUNT 1000",
                                 "HRANDFIELD h 1000 WITHVALUES", "HRANDFIELD h -200"}) {
      EXPECT_EQ(say(all).find("goes"), std::string::npos) << all;
    }
    EXPECT_EQ(answer(*session, {"HGETALL", "h"}).values.size(), 1u + 2 * (more + 1));
    EXPECT_EQ(answer(*session, {"HRANDFIELD", "h", "1000"}).values.size(), 1u + more + 1);
    if (more == 0) {
      EXPECT_EQ(say("HRANDFIELD h"), "stays");
      EXPECT_EQ(say("HGETALL h"), "%1 stays 5");
      EXPECT_EQ(say("HSCAN h 0"), "*2 0 *2 stays 5");
    }
    // A write finds it absent too.
    EXPECT_EQ(say("HINCRBY h goes 3"), ":3");
    EXPECT_EQ(say("HSETNX h too new"), ":1");
    EXPECT_EQ(say("HTTL h FIELDS 2 goes too"), "*2 :-1 :-1");
    EXPECT_EQ(run({"HLEN", "h"}), cat(":", more + 3));
  }
}

TEST_F(HashExpiry, WhatIsDueIsTakenOutAndAnEarlierClockBringsNothingBack) {
  for (int n : {3, 1000}) {
    run({"DEL", "h"});
    for (int i = 0; i < n; i++) {
      run({"HSETEX", "h", "PX", cat(i % 2 == 0 ? 100 : 100'000), "FIELDS", "1", cat("f", i), "v"});
    }
    run({"HSET", "h", "stays", "v"});
    pass_ms(500);
    EXPECT_EQ(fields("h"), static_cast<size_t>(n / 2 + 1));
    later(-450);
    EXPECT_EQ(run({"HLEN", "h"}), cat(":", n / 2 + 1));
    later(450);
  }
}

TEST_F(HashExpiry, AHashOfWhichNothingIsLeftIsNoKey) {
  for (int more : {0, 300}) {
    run({"SET", "other", "x"});
    ASSERT_EQ(say("HSETEX h PX 100 FIELDS 2 a 1 b 2"), ":1");
    for (int i = 0; i < more; i++) run({"HSETEX", "h", "PX", "50", "FIELDS", "1", cat(i), "v"});
    later(60);
    EXPECT_EQ(say("EXISTS h"), ":1");
    later(40);
    EXPECT_EQ(say("EXISTS h"), ":0");
    EXPECT_EQ(say("TYPE h"), "+none");
    EXPECT_EQ(say("HLEN h"), ":0");
    EXPECT_EQ(say("HGETALL h"), "%0");
    EXPECT_EQ(say("HRANDFIELD h"), "null");
    EXPECT_EQ(say("HRANDFIELD h -5"), "*0");
    EXPECT_EQ(say("KEYS *"), "*1 other");
    EXPECT_EQ(say("SCAN 0 COUNT 1000").find(" h"), std::string::npos);
    EXPECT_EQ(say("TTL h"), ":-2");
    EXPECT_EQ(say("PERSIST h"), ":0");
    EXPECT_EQ(say("DEL h"), ":0");
    EXPECT_EQ(say("SET h string NX"), "+OK");
    EXPECT_EQ(say("DEL h"), ":1");
    ASSERT_EQ(say("HSETEX h PX 100 FIELDS 1 a 1"), ":1");
    later(100);
    EXPECT_EQ(say("HSET h b 2"), ":1");
    EXPECT_EQ(say("HGETALL h"), "%1 b 2");
    run({"DEL", "h"});
    ASSERT_EQ(say("HSETEX h PX 100 FIELDS 1 a 1"), ":1");
    pass_ms(500);
    EXPECT_EQ(say("DBSIZE"), ":1");
    EXPECT_EQ(fields("h"), 0u);
  }
}

// The last field that is left may go while others are due and not taken out yet.
TEST_F(HashExpiry, TakingTheLastFieldThatIsThereTakesTheKey) {
  for (std::string_view last : {"HDEL h a", "HGETDEL h FIELDS 1 a", "HPEXPIRE h 0 FIELDS 1 a",
                                "HGETEX h PXAT 1 FIELDS 1 a", "HSETEX h PXAT 1 FIELDS 1 a x"}) {
    ASSERT_EQ(say("HSET h a 1"), ":1");
    ASSERT_EQ(say("HSETEX h PX 100 FIELDS 1 due 1"), ":1");
    later(100);
    say(last);
    EXPECT_EQ(say("EXISTS h"), ":0") << last;
    EXPECT_EQ(fields("h"), 0u) << last;
  }
}

TEST_F(HashExpiry, AValueThatIsSetIsForEverAndOneThatIsChangedKeepsItsTime) {
  ASSERT_EQ(say("HSETEX h EX 100 FIELDS 4 a 1 b 2 c 3 d 4"), ":1");
  EXPECT_EQ(say("HSET h a 9"), ":0");
  EXPECT_EQ(say("HINCRBY h b 1"), ":3");
  EXPECT_EQ(say("HINCRBYFLOAT h c 1"), "4");
  EXPECT_EQ(say("HSETNX h d x"), ":0");
  EXPECT_EQ(say("HTTL h FIELDS 4 a b c d"), "*4 :-1 :100 :100 :100");
  EXPECT_EQ(say("HSETEX h KEEPTTL FIELDS 3 a 5 b 6 e 7"), ":1");
  EXPECT_EQ(say("HTTL h FIELDS 3 a b e"), "*3 :-1 :100 :-1");
  EXPECT_EQ(say("HSETEX h FIELDS 1 b 7"), ":1");
  EXPECT_EQ(say("HTTL h FIELDS 1 b"), "*1 :-1");
  EXPECT_EQ(say("HMSET h c 1"), "+OK");
  EXPECT_EQ(say("HTTL h FIELDS 2 c d"), "*2 :-1 :100");
  EXPECT_EQ(say("HMGET h a b c d e"), "*5 5 7 1 4 7");
  EXPECT_EQ(say("COPY h copy"), ":1");
  EXPECT_EQ(say("RENAME copy moved"), "+OK");
  EXPECT_EQ(say("HTTL moved FIELDS 2 c d"), "*2 :-1 :100");
}

TEST_F(HashExpiry, EachFieldHasItsAnswer) {
  run({"HSET", "h", "a", "1", "b", "2", "c", "3", "past", "4"});
  const std::string at = cat(now() + 5000);
  const std::pair<std::string, std::string> cases[] = {
      {"HEXPIRE none 10 FIELDS 2 a b", "*2 :-2 :-2"},
      {"HTTL none FIELDS 1 a", "*1 :-2"},
      {"HPERSIST none FIELDS 1 a", "*1 :-2"},
      {"HGETEX none FIELDS 2 a b", "*2 null null"},
      {"HGETDEL none FIELDS 1 a", "*1 null"},
      {"HEXPIRE h 10 XX FIELDS 1 a", "*1 :0"},
      {"HEXPIRE h 10 GT FIELDS 1 a", "*1 :0"},  // for ever is the latest
      {"HEXPIRE h 10 LT FIELDS 1 a", "*1 :1"},
      {"HEXPIRE h 10 NX FIELDS 3 a b none", "*3 :0 :1 :-2"},
      {"HEXPIRE h 20 GT FIELDS 2 a a", "*2 :1 :0"},
      {"HEXPIRE h 5 gt FIELDS 1 a", "*1 :0"},
      {"HEXPIRE h 20 LT FIELDS 1 a", "*1 :0"},
      {"HEXPIRE h 15 lt fields 1 a", "*1 :1"},
      {"HTTL h FIELDS 3 a b c", "*3 :15 :10 :-1"},
      {"HPTTL h FIELDS 1 a", "*1 :15000"},
      {"HPEXPIRE h 1500 FIELDS 1 c", "*1 :1"},
      {"HTTL h FIELDS 1 c", "*1 :2"},  // rounded up
      {"HPEXPIREAT h " + at + " FIELDS 1 c", "*1 :1"},
      {"HPEXPIRETIME h FIELDS 1 c", "*1 :" + at},
      {"HEXPIRETIME h FIELDS 1 c", cat("*1 :", (now() + 5999) / 1000)},
      {"HEXPIREAT h 70368744177 FIELDS 1 c", "*1 :1"},  // the latest that there is
      {"HEXPIRETIME h FIELDS 1 c", "*1 :70368744177"},
      {"HPERSIST h FIELDS 3 c c none", "*3 :1 :-1 :-2"},
      {"HEXPIREAT h 1 FIELDS 2 past past", "*2 :2 :-2"},
      {"HGET h past", "null"},
      {"HEXPIRE h 0 NX FIELDS 1 a", "*1 :0"},
      {"HGETEX h EX 50 FIELDS 3 a a none", "*3 1 1 null"},
      {"HGETEX h FIELDS 1 a", "*1 1"},
      {"HTTL h FIELDS 1 a", "*1 :50"},
      {"HGETEX h PERSIST FIELDS 1 a", "*1 1"},
      {"HTTL h FIELDS 1 a", "*1 :-1"},
      {"HGETEX h PX 0 FIELDS 2 b b", "*2 2 null"},
      {"HGETEX h PXAT " + at + " FIELDS 1 c", "*1 3"},
      {"HPEXPIRETIME h FIELDS 1 c", "*1 :" + at},
      {"HGETDEL h FIELDS 3 c c none", "*3 3 null null"},
      {"HKEYS h", "*1 a"},
      {"HSETEX h FNX FIELDS 2 a 1 x 2", ":0"},
      {"HSETEX h FXX FIELDS 2 a 1 x 2", ":0"},
      {"HSETEX h FXX EX 9 FIELDS 1 a 7", ":1"},
      {"HSETEX h EXAT 70368744177 FNX FIELDS 2 y 1 y 2", ":1"},
      {"HGET h y", "2"},
      {"HSETEX h PX 0 FIELDS 2 y 1 z 2", ":1"},  // set, and gone at once
      {"HKEYS h", "*1 a"},
      {"HSETEX h2 PXAT 1 FIELDS 1 y 1", ":1"},
      {"EXISTS h2", ":0"},
      {"OBJECT ENCODING h", "listpackex"},
      {"HGETDEL h FIELDS 1 a", "*1 7"},
      {"EXISTS h", ":0"},
  };
  for (auto& [words, expected] : cases) EXPECT_EQ(say(words), expected) << words;
}

TEST_F(HashExpiry, ErrorsAreRediss) {
  run({"HSET", "h", "a", "1"});
  run({"SET", "s", "x"});
  const std::string position =
      "-ERR Mandatory argument FIELDS is missing or not at the right position";
  const std::string mismatch = "-ERR The `numfields` parameter must match the number of arguments";
  const std::string positive = "-ERR Number of fields must be a positive integer";
  const std::string one_time =
      "-ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
  const std::string number = "-ERR value is not an integer or out of range";
  const std::pair<std::string, std::string> cases[] = {
      {"HEXPIRE s x x x x", cat("-", kWrongType)},
      {"HTTL s x x x", cat("-", kWrongType)},
      {"HGETEX s x x x", cat("-", kWrongType)},
      {"HGETDEL s x x x", cat("-", kWrongType)},
      {"HPERSIST s x x x", cat("-", kWrongType)},
      {"HSETEX s FIELDS 1 a b", cat("-", kWrongType)},
      {"HSETEX s FIELDS x a b", "-ERR invalid number of fields"},
      {"HEXPIRE h x FIELDS 1 a", number},
      {"HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"},
      {"HEXPIRE h 70368744178 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"},
      {"HPEXPIRE h 70368744177663 FIELDS 1 a", "-ERR invalid expire time in 'hpexpire' command"},
      {"HPEXPIREAT h 70368744177664 FIELDS 1 a",
       "-ERR invalid expire time in 'hpexpireat' command"},
      {"HEXPIRE h 9223372036854775807 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"},
      {"HEXPIRE h 10 1 a b", position},
      {"HEXPIRE h 10 NX 1 a", position},
      {"HEXPIRE h 10 NX XX FIELDS 1 a", position},
      {"HEXPIRE h 10 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0"},
      {"HEXPIRE h 10 FIELDS x a", "-ERR Parameter `numFields` should be greater than 0"},
      {"HEXPIRE h 10 FIELDS 2 a", mismatch},
      {"HEXPIRE h 10 NX FIELDS 1", mismatch},
      {"HEXPIRE h 10 FIELDS 1 a b", mismatch},
      {"HEXPIRE h 10 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command"},
      {"HTTL h x 1 a", position},
      {"HTTL h FIELDS -1 a", positive},
      {"HTTL h FIELDS 2 a", mismatch},
      {"HPERSIST h FIELDS 0 a", positive},
      {"HGETDEL h x 1 a", position},
      {"HGETDEL h FIELDS 3 a", mismatch},
      {"HGETEX h EX x FIELDS 1 a", number},
      {"HGETEX h EX 10 FIELDS", positive},
      {"HGETEX h PERSIST FIELDS 1", mismatch},
      {"HGETEX h EX 10 PERSIST FIELDS 1 a", position},
      {"HGETEX h EX -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"},
      {"HSETEX h EX 1 PX 1 FIELDS 1 a b", one_time},
      {"HSETEX h KEEPTTL EX 1 FIELDS 1 a b", one_time},
      {"HSETEX h FNX FXX FIELDS 1 a b", "-ERR Only one of FXX or FNX arguments can be specified"},
      {"HSETEX h FNX KEEPTTL x EX", "-ERR unknown argument: x"},
      {"HSETEX h FNX KEEPTTL EX 1", one_time},
      {"HSETEX h x FIELDS 1 a b", "-ERR unknown argument: x"},
      {"HSETEX h FIELDS 0 a b", "-ERR invalid number of fields"},
      {"HSETEX h FIELDS 1 a b c", "-ERR wrong number of arguments for 'hsetex' command"},
      {"HSETEX h FIELDS 2 a b", "-ERR wrong number of arguments for 'hsetex' command"},
      {"HSETEX h FNX FNX FIELDS 1", "-ERR Only one of FXX or FNX arguments can be specified"},
      {"HGETALL h", "%1 a 1"},
  };
  for (auto& [words, expected] : cases) EXPECT_EQ(say(words), expected) << words;
}

// A transaction that is refused leaves times as they were, and wakes at them.
TEST_F(HashExpiry, ATransactionThatIsRefusedLeavesTimesAsTheyWere) {
  make_scarce();
  ASSERT_EQ(say("HSETEX h PX 300 FIELDS 2 a 1 b 2"), ":1");
  ASSERT_EQ(say("HSET h c 3"), ":1");
  say("MULTI");
  say("HPERSIST h FIELDS 1 a");
  say("HPEXPIRE h 50 FIELDS 2 b c");
  say("HSETEX new PX 50 FIELDS 1 x y");
  run({"HSET", "h", "huge", std::string(2 << 20, 'x')});
  EXPECT_EQ(say("EXEC").substr(0, 10), "-EXECABORT");
  EXPECT_EQ(say("EXISTS new"), ":0");
  EXPECT_EQ(say("HPTTL h FIELDS 3 a b c"), "*3 :300 :300 :-1");
  pass_ms(100);
  EXPECT_EQ(say("HLEN h"), ":3");
  pass_ms(300);
  EXPECT_EQ(fields("h"), 1u);
}

TEST_F(HashExpiry, WithATimeAHashStaysInMemoryAndWithoutItLeaves) {
  ASSERT_EQ(run({"HSETEX", "timed", "PX", "1000", "FIELDS", "1", "a", std::string(500, 'x')}),
            ":1");
  ASSERT_EQ(run({"HSET", "timed", "b", std::string(500, 'y')}), ":1");
  ASSERT_EQ(run({"HSET", "plain", "b", std::string(500, 'y')}), ":1");
  store->set_memory_bytes(1);
  const auto is_cold = [&](const std::string& key) {
    Namespace& ns = store->database(0);
    StripeLocks lock(*store, ns.hash(key));
    return ns.index->find(key, ns.hash(key))->is_cold();
  };
  scheduler.run_until([&] { return is_cold("plain"); });
  EXPECT_FALSE(is_cold("timed"));
  scheduler.run_until([&] { return is_cold("timed"); });  // once its field expired
  EXPECT_EQ(say("HKEYS timed"), "*1 b");
}

// Fields that are due together go in steps, between which others have their turn.
TEST_F(HashExpiry, ManyFieldsGoInSteps) {
  struct Turns : ChangeListener {
    explicit Turns(asio::io_context& context) : context(context) {}
    void changed(std::span<const Change> changes, Committer* /*by*/) override {
      if (changes[0].cause != Cause::kExpiry) return;
      all += changes.size();
      most = std::max(most, in_turn += changes.size());
      if (in_turn == 1) asio::post(context, [this] { in_turn = 0; });
    }
    asio::io_context& context;
    size_t all = 0, in_turn = 0, most = 0;
  } turns(context);
  store->listeners().add(turns);
  store->listeners().interest(1);
  constexpr size_t kFields = 20'000;
  for (size_t i = 0; i < kFields; i += 100) {
    std::vector<std::string> words{"HSETEX", "h", "PX", "100", "FIELDS", "100"};
    for (size_t k = i; k < i + 100; k++) {
      words.push_back(cat("f", k));
      words.emplace_back("v");
    }
    ASSERT_EQ(run(words), ":1");
  }
  ASSERT_EQ(say("HSET h stays v"), ":1");
  scheduler.run_until([&] { return fields("h") == 1; });
  EXPECT_GE(turns.all, kFields / 64);
  EXPECT_LE(turns.most, 8u);
  EXPECT_EQ(say("HGETALL h"), "%1 stays v");
}

}  // namespace
}  // namespace cairn::kv
