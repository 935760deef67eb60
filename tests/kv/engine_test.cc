// Laws of the command engine, over all rows of the table.
#include <cmath>
#include <map>
#include <random>
#include <thread>

#include "tests/core/principals.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

enum class State {
  kAbsent,
  kInline,
  kInteger,
  kCold,
  kExtents,
  kHash,
  kLargeHash,
  kExpired,
  kTimedHash,
  kDueHash
};
constexpr State kStates[] = {State::kAbsent,    State::kInline, State::kInteger,   State::kCold,
                             State::kExtents,   State::kHash,   State::kLargeHash, State::kExpired,
                             State::kTimedHash, State::kDueHash};

struct EveryRow : EngineTest {
  std::mt19937_64 random{11};

  void make(State state, const std::string& key) {
    run({"DEL", key});
    switch (state) {
      case State::kAbsent:
        return;
      case State::kInline:
        run({"SET", key, "hello world"});
        return;
      case State::kInteger:
        run({"SET", key, "17"});
        return;
      case State::kCold:
        run({"SET", key, std::string(3000, 'c')});
        return make_cold();
      case State::kExtents:
        run({"SETRANGE", key, "20000", "end"});
        ASSERT_EQ(run({"STRLEN", key}), ":20003");
        return;
      case State::kHash:
        run({"HSET", key, "1", "2", "b", "x"});
        return;
      case State::kLargeHash:
        for (int i = 0; i < 40; i++) run({"HSET", key, cat(i), std::string(8000, 'v')});
        return;
      case State::kExpired:
        run({"SET", key, "x", "PX", "1"});
        pass_ms(5);
        return;
      case State::kTimedHash:  // of which one is due, and no turn has come
      case State::kDueHash:
        run({"HSETEX", key, "PX", "5", "FIELDS", "1", "1", "2"});
        if (state == State::kTimedHash) run({"HSETEX", key, "EX", "50", "FIELDS", "1", "x", "2"});
        scheduler.turn_wall_ms(5);
    }
  }

  std::string word() {
    constexpr std::string_view kWords[] = {"0",
                                           "1",
                                           "-1",
                                           "10",
                                           "x",
                                           "",
                                           "NX",
                                           "XX",
                                           "GET",
                                           "EX",
                                           "PX",
                                           "KEEPTTL",
                                           "PERSIST",
                                           "WITHVALUES",
                                           "MATCH",
                                           "*",
                                           "COUNT",
                                           "BIT",
                                           "BYTE",
                                           "LEN",
                                           "IDX",
                                           "AND",
                                           "NOT",
                                           "u8",
                                           "i8",
                                           "#1",
                                           "SET",
                                           "INCRBY",
                                           "OVERFLOW",
                                           "SAT",
                                           "FAIL",
                                           "DB",
                                           "REPLACE",
                                           "SYNC",
                                           "1.5",
                                           "inf",
                                           "ON",
                                           "YES",
                                           "default",
                                           "9223372036854775807",
                                           "-9223372036854775808",
                                           "GT",
                                           "FIELDS",
                                           "FXX",
                                           "photos"};
    return std::string(kWords[random() % std::size(kWords)]);
  }
  // The row's name, then keys where keys stand, and anything elsewhere.
  std::vector<std::string> words_for(const Row& row, size_t n) {
    std::vector<std::string> words;
    const size_t bar = row.name.find('|');
    words.emplace_back(row.name.substr(0, bar));
    if (row.name == "migrate") words.insert(words.end(), {"127.0.0.1", "1"});  // nobody is there
    if (bar != row.name.npos) words.emplace_back(row.name.substr(bar + 1));
    while (words.size() < n) words.push_back(word());
    std::vector<size_t> keys;
    for_each_key(row.keys, words, [&](size_t i, auto&, auto) { keys.push_back(i); });
    for (size_t i : keys) words[i] = random() % 4 == 0 ? "other" : "key";
    return words;
  }
  static bool is_skipped(const Row& row) {  // they are what a transaction is made of
    return row.flags & (kNoQueue | kQueue);
  }
};

std::string show(const std::vector<std::string>& words) {
  std::string out;
  for (auto& w : words) append(out, w.substr(0, 40), " ");
  return out;
}

// BITFIELD without operations on a value in extents answered nothing, and every later answer of the
// connection was shifted; GETSET into a bucket that was dropped answered twice.
TEST_F(EveryRow, AnswersExactlyOnceWhateverTheValueAndTheArguments) {
  ends_waits = true;
  ASSERT_TRUE(store->create_bucket("photos").ok());
  for (const Row& row : table.rows()) {
    const auto least = static_cast<size_t>(std::abs(row.arity));
    for (State state : kStates) {
      if (row.keys.empty() && state != State::kAbsent) continue;
      const bool dear = state == State::kLargeHash || state == State::kCold;  // to make
      for (size_t n = dear ? least : 1; n <= least + (dear ? 2 : 4); n++) {
        for (int round = 0; round < (dear ? 1 : 3); round++) {
          make(state, "key");
          const auto words = words_for(row, n);
          SCOPED_TRACE(cat("state ", static_cast<int>(state), ": ", show(words)));
          const RecordedReply reply = answer(*session, words);
          // SHUTDOWN is answered by the end of the connection, or by an error.
          const bool ended = row.name == "shutdown" && session->close_after_reply;
          // SUBSCRIBE and its like answer each name; an error is one answer.
          constexpr uint32_t kTells = kPubsub | kListener;
          const bool notices = (row.flags & kTells) == kTells && reply.values[0].text[0] == '[';
          const size_t answers = notices ? std::max<size_t>(words.size() - 1, 1) : 1;
          ASSERT_EQ(reply.count(), ended ? 0u : answers);
          ASSERT_EQ(reports.size(), 0u);
          if (round > 0 || is_skipped(row) || notices) {
            session = new_session();
            continue;
          }
          make(state, "key");
          session = new_session();
          ASSERT_EQ(run({"MULTI"}), "+OK");
          ASSERT_EQ(answer(*session, words).count(), 1u);
          ASSERT_EQ(answer(*session, words).count(), 1u);
          ASSERT_EQ(answer(*session, {"EXEC"}).count(), 1u);
          ASSERT_EQ(reports.size(), 0u);
          session = new_session();
        }
      }
    }
    server->max_clients = 10000;
    store->set_memory_bytes(0);
  }
}

// A family of subcommands that stood behind another container belonged to that one.
TEST_F(EveryRow, IsFoundByItsName) {
  for (const Row& row : table.rows()) {
    SCOPED_TRACE(row.name);
    std::vector<std::string_view> words{row.name};
    if (const size_t bar = row.name.find('|'); bar != row.name.npos) {
      words = {row.name.substr(0, bar), row.name.substr(bar + 1)};
    }
    EXPECT_EQ(table.find(words), &row);
  }
}

// What the store refuses is the whole answer, also of a command that had answered already.
TEST_F(EveryRow, AnswersOnceWhereItsNamespaceIsGone) {
  for (const Row& row : table.rows()) {
    if (row.keys.empty() || !(row.flags & kWrite)) continue;
    const auto least = static_cast<size_t>(std::abs(row.arity));
    for (size_t n = least; n <= least + 2; n++) {
      ASSERT_TRUE(store->create_bucket("photos").ok());
      session = new_session();
      ASSERT_EQ(run({"SELECT", "photos"}), "+OK");
      ASSERT_TRUE(store->drop_bucket("photos").ok());
      const auto words = words_for(row, n);
      SCOPED_TRACE(show(words));
      ASSERT_EQ(answer(*session, words).count(), 1u);
    }
  }
}

TEST_F(EngineTest, ARefusedWriteIsAnErrorAndNothingElse) {
  ASSERT_TRUE(store->create_bucket("photos").ok());
  ASSERT_EQ(run({"SELECT", "photos"}), "+OK");
  ASSERT_TRUE(store->drop_bucket("photos").ok());
  for (auto& words :
       std::vector<std::vector<std::string>>{{"GETSET", "k", "v"},
                                             {"SET", "k", "v", "GET"},
                                             {"BITFIELD", "k", "SET", "u8", "0", "1"}}) {
    const RecordedReply reply = answer(*session, words);
    ASSERT_EQ(reply.count(), 1u);
    EXPECT_EQ(reply.text().substr(0, 1), "-") << show(words);
  }
}

// A command that waits was counted twice, and one that was refused for want of memory as one that
// ran and failed.
TEST_F(EngineTest, ACallIsCountedOnceAsWhatBecameOfIt) {
  const auto counts = [&](std::string_view name) {
    return engines.front()->calls()[table.index_of(*table.find(name))];
  };
  for (int i = 0; i < 100; i++) run({"SET", "key", "x"});
  EXPECT_EQ(counts("set").calls, 100u);
  EXPECT_GT(counts("set").us, 0);
  EXPECT_EQ(run({"WAITAOF", "1", "0", "0"}), "*2 :1 :0");
  EXPECT_EQ(counts("waitaof").calls, 1u);
  run({"SET", "blob", std::string(20'000, 'x')});
  EXPECT_EQ(run({"SETBIT", "blob", "7", "1"}), ":0");
  EXPECT_EQ(counts("setbit").calls, 1u);
  run({"GET"});
  run({"HGET", "key", "field"});
  EXPECT_EQ(counts("get").rejected, 1u);
  EXPECT_EQ(counts("hget").calls, 1u);
  EXPECT_EQ(counts("hget").failed, 1u);
  run({"SET", "cold", std::string(1000, 'x')});
  EXPECT_EQ(run({"WAITAOF", "1", "0", "0"}), "*2 :1 :0");
  make_cold();
  run({"GET", "cold"});
  EXPECT_EQ(counts("get").calls, 1u);
}

// Of two keys one came 71 times of 100, and of a hundred some a hundred times as often as others.
TEST_F(EngineTest, ADrawnKeyOrFieldIsEachWithTheSameChance) {
  auto check = [&](size_t count, size_t draws, const std::vector<std::string>& draw) {
    std::map<std::string, size_t> drawn;
    for (size_t i = 0; i < count * draws; i++) drawn[run(draw)]++;
    double chi_square = 0;
    for (auto& [name, times] : drawn) {
      const double off = static_cast<double>(times) - static_cast<double>(draws);
      chi_square += off * off / static_cast<double>(draws);
    }
    EXPECT_EQ(drawn.size(), count) << draw[0];
    const auto freedom = static_cast<double>(count);
    EXPECT_LT(chi_square, freedom + 6 * std::sqrt(2 * freedom)) << draw[0] << " of " << count;
  };
  size_t made = 0;
  for (size_t count : {2, 100, 6000}) {
    for (; made < count; made++) run({"SET", cat("key", made), "v"});
    check(count, count > 1000 ? 20 : 100, {"RANDOMKEY"});
  }
  for (size_t field = 0; field < 2000; field++) run({"HSET", "h", cat("field", field), "v"});
  check(2000, 40, {"HRANDFIELD", "h"});
}

TEST_F(EngineTest, KeysAreThoseThatTheCommandTouches) {
  ASSERT_EQ(run({"SET", "a", "1"}), "+OK");
  EXPECT_EQ(run({"COPY", "a", "b", "DB", "1", "DB", "2"}), ":1");  // aborted the server
  ASSERT_EQ(run({"SELECT", "2"}), "+OK");
  EXPECT_EQ(run({"GET", "b"}), "1");
  ASSERT_EQ(run({"SELECT", "1"}), "+OK");
  EXPECT_EQ(run({"GET", "b"}), "null");
}

TEST_F(EngineTest, SelectInsideATransactionMovesTheKeysThatFollow) {
  ASSERT_TRUE(store->create_bucket("photos").ok());
  for (auto& words : std::vector<std::vector<std::string>>{{"MULTI"},
                                                           {"SET", "a", "0"},
                                                           {"SELECT", "photos"},
                                                           {"SET", "a", "1"},
                                                           {"COPY", "a", "a", "DB", "3"},
                                                           {"SELECT", "nowhere"},
                                                           {"SET", "b", "2"}}) {
    run(words);
  }
  EXPECT_EQ(run({"EXEC"}), "*6 +OK +OK +OK :1 -ERR no such bucket 'nowhere' +OK");
  EXPECT_EQ(run({"MGET", "a", "b"}), "*2 1 2");  // still there
  ASSERT_EQ(run({"SELECT", "3"}), "+OK");
  EXPECT_EQ(run({"GET", "a"}), "1");
}

// What one client held was taken off the sum before it had been added: the sum was less than
// nothing, which was more than anything, and all clients were sent away.
TEST_F(EngineTest, WhoHoldsLittleIsNotSentAwayForOthers) {
  constexpr uint64_t kMost = 1 << 20;
  Sessions sessions;
  const auto add = [&] {
    auto s = std::make_shared<Session>(*store, sessions.next_id(), "here:1", "here:2");
    s->kill = [] {};
    sessions.add(s);
    return s;
  };
  const auto small = add();
  ASSERT_TRUE(sessions.note_buffers(*small, 100, kMost));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; t++) {
    threads.emplace_back([&, rng = std::mt19937(t)]() mutable {
      auto s = add();
      for (int i = 0; i < 2'000'000; i++) {
        if (sessions.note_buffers(*s, rng() % 8 == 0 ? 4 * kMost : 1000, kMost)) continue;
        sessions.remove(s->id);
        s = add();
      }
      sessions.remove(s->id);
    });
  }
  for (std::thread& t : threads) t.join();
  EXPECT_FALSE(small->sent_away);
  EXPECT_EQ(sessions.buffer_bytes(), 100u);
}

// The bucket that a transaction or a command names is looked up once.
TEST_F(EngineTest, ABucketMadeAnewIsAnotherOne) {
  ASSERT_TRUE(store->create_bucket("photos").ok());
  ASSERT_EQ(run({"SELECT", "photos"}), "+OK");
  ASSERT_EQ(run({"MULTI"}), "+OK");
  ASSERT_EQ(run({"SET", "a", "1"}), "+QUEUED");
  ASSERT_EQ(run({"SELECT", "photos"}), "+QUEUED");
  ASSERT_EQ(run({"SET", "b", "1"}), "+QUEUED");
  ASSERT_TRUE(store->drop_bucket("photos").ok());
  ASSERT_TRUE(store->create_bucket("photos").ok());
  const RecordedReply reply = answer(*session, {"EXEC"});
  EXPECT_EQ(reply.count(), 1u);
  EXPECT_EQ(run({"GET", "a"}), "null");
}

// ---- who may ----

struct Permissions : EngineTest {
  std::string as(const std::string& statements, const std::vector<std::string>& words) {
    auto s = new_session();
    s->principal = principal_with(statements);
    return answer(*s, words).text();
  }
  static constexpr std::string_view kNoKey =
      "-NOPERM this user has no permissions to access one of the keys used as arguments";
};

TEST_F(Permissions, AreAskedForEachKeyAndWhatIsDoneToIt) {
  run({"MSET", "a:1", "x", "b:1", "y"});
  const std::string reads_a = allow("s3:GetObject", "db0/a:*");
  EXPECT_EQ(as(reads_a, {"GET", "a:1"}), "x");
  EXPECT_EQ(as(reads_a, {"PING"}), "+PONG");
  EXPECT_EQ(as(reads_a, {"OBJECT", "ENCODING", "a:1"}), "embstr");
  for (auto& words : std::vector<std::vector<std::string>>{{"GET", "b:1"},
                                                           {"MGET", "a:1", "b:1"},
                                                           {"SET", "a:1", "z"},
                                                           {"GETSET", "a:1", "z"},
                                                           {"DEL", "a:1"},
                                                           {"COPY", "a:1", "a:2"},
                                                           {"OBJECT", "ENCODING", "b:1"},
                                                           {"WATCH", "b:1"}}) {
    EXPECT_EQ(as(reads_a, words), kNoKey) << show(words);
  }
  for (auto& words : std::vector<std::vector<std::string>>{
           {"KEYS", "*"}, {"FLUSHDB"}, {"FLUSHALL"}, {"DBSIZE"}, {"CONFIG", "GET", "*"}}) {
    EXPECT_EQ(as(reads_a, words).substr(0, 47), "-NOPERM this user has no permissions to run the")
        << show(words);
  }
  EXPECT_EQ(run({"MGET", "a:1", "b:1"}), "*2 x y");
  // What reaches all keys must be allowed for all, and denied for none; names are listed by a right
  // of their own.
  const std::string all = allow("s3:*Object", "db0/*");
  EXPECT_EQ(as(all, {"KEYS", "*"}).substr(0, 7), "-NOPERM");
  EXPECT_EQ(as(allow("s3:ListBucket", "db0"), {"DBSIZE"}), ":2");
  EXPECT_EQ(as(cat(all, ",", deny("s3:DeleteObject", "db0/b:*")), {"FLUSHDB"}).substr(0, 7),
            "-NOPERM");
  EXPECT_EQ(as(all, {"FLUSHDB"}), "+OK");
}

TEST_F(Permissions, AreAskedByTheActionsName) {
  const std::string gets = allow("resp:get");
  EXPECT_EQ(as(gets, {"GET", "a"}), "null");
  EXPECT_EQ(as(gets, {"STRLEN", "a"}), kNoKey);
  EXPECT_EQ(as("", {"PING"}), "+PONG");
  constexpr const char* kNoCommand =
      "-NOPERM this user has no permissions to run the 'publish' command";
  EXPECT_EQ(as(gets, {"PUBLISH", "c", "m"}), kNoCommand);
  EXPECT_EQ(as(allow("s3:*"), {"PUBLISH", "c", "m"}), kNoCommand);
  EXPECT_EQ(as(allow("resp:pub*"), {"PUBLISH", "c", "m"}), ":0");
  EXPECT_EQ(as(cat(allow("*"), ",", deny("resp:get")), {"GET", "a"}),
            "-NOPERM this user has no permissions to run the 'get' command");
}

TEST_F(Permissions, HoldInsideATransactionForTheNamespaceThatItIsIn) {
  auto s = new_session();
  s->principal = principal_with(allow("s3:*Object", "db1/*"));
  for (auto& words :
       std::vector<std::vector<std::string>>{{"MULTI"}, {"SELECT", "1"}, {"SET", "a", "1"}}) {
    answer(*s, words);
  }
  EXPECT_EQ(answer(*s, {"EXEC"}).text(), "*2 +OK +OK");
  for (auto& words : std::vector<std::vector<std::string>>{{"SELECT", "0"}, {"MULTI"}}) {
    answer(*s, words);
  }
  EXPECT_EQ(answer(*s, {"SET", "a", "1"}).text(), kNoKey);
  EXPECT_TRUE(answer(*s, {"EXEC"}).text().starts_with("-EXECABORT"));
}

}  // namespace
}  // namespace cairn::kv
