// Client-side caching: whoever keeps what he has read is told before it is old.
#include "kv/engine/tracking.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/base/text.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

using Words = std::vector<std::string>;

// What was pushed to a session since it was last asked.
struct Told {
  std::multiset<std::string> keys;
  size_t all = 0;     // that everything is to be forgotten
  size_t broken = 0;  // that whom it redirects to is gone
};

class Parser {
 public:
  explicit Parser(std::string text) : text_(std::move(text)) {}
  bool ended() const { return at_ == text_.size(); }
  std::string line() {
    const size_t end = text_.find("\r\n", at_);
    std::string line = text_.substr(at_, end - at_);
    at_ = end + 2;
    return line;
  }
  std::string bulk() {
    const size_t bytes = std::stoul(line().substr(1));
    std::string text = text_.substr(at_, bytes);
    at_ += bytes + 2;
    return text;
  }

 private:
  const std::string text_;
  size_t at_ = 0;
};

Told told(Session& s) {
  std::string text;
  s.outbox.drain(text, '>');
  Told out;
  for (Parser parser(std::move(text)); !parser.ended();) {
    EXPECT_EQ(parser.line(), ">2");
    const std::string what = parser.bulk();
    const std::string head = parser.line();
    if (what == "tracking-redir-broken") {
      out.broken++;
      continue;
    }
    EXPECT_EQ(what, "invalidate");
    if (head == "_") {
      out.all++;
      continue;
    }
    for (size_t n = std::stoul(head.substr(1)); n > 0; n--) out.keys.insert(parser.bulk());
  }
  return out;
}

struct TrackingTest : EngineTest {
  std::vector<std::shared_ptr<Session>> known;  // that others may redirect to

  Tracking& tracking() { return server->tracking; }
  size_t below(size_t n) { return static_cast<size_t>(rng() % n); }
  std::shared_ptr<Session> client(const Words& words) {
    auto s = new_session();
    s->resp = 3;
    server->sessions.add(s);
    known.push_back(s);
    if (!words.empty()) {
      EXPECT_EQ(answer(*s, words).text(), "+OK");
    }
    return s;
  }
  std::string key() { return cat("k", below(6)); }
  void TearDown() override {
    for (auto& s : known) server->sessions.remove(s->id);
    known.clear();
    EXPECT_FALSE(tracking().any());
    tracking().tidy(SIZE_MAX);
    EXPECT_EQ(tracking().keys() + tracking().items() + tracking().prefixes(), 0u);
    EngineTest::TearDown();
  }
};

// A client with what it keeps.
struct Cache {
  std::shared_ptr<Session> session;
  bool opt_in = false, no_loop = false, broadcast = false;
  std::map<std::string, std::string> kept;

  void hear() {
    const Told heard = told(*session);
    if (heard.all > 0) kept.clear();
    for (const std::string& key : heard.keys) kept.erase(key);
  }
};

struct Step {
  Words words;
  std::vector<std::string> writes;
};

TEST_F(TrackingTest, NobodyKeepsWhatIsOld) {
  std::vector<Cache> caches;
  caches.push_back({client({"CLIENT", "TRACKING", "ON"})});
  caches.push_back({client({"CLIENT", "TRACKING", "ON", "OPTIN"}), true});
  caches.push_back({client({"CLIENT", "TRACKING", "ON", "NOLOOP"}), false, true});
  caches.push_back({client({"CLIENT", "TRACKING", "ON", "BCAST"}), false, false, true});
  auto other = new_session();
  const auto change = [&]() -> Step {
    const std::string k = key(), to = key(), v = cat(below(1000));
    switch (below(9)) {
      case 0:
        return {{"SET", k, v}, {k}};
      case 1:
        return {{"DEL", k, to}, {k, to}};
      case 2:
        return {{"APPEND", k, v}, {k}};
      case 3:
        return {{"RENAME", k, to}, {k, to}};
      case 4:
        return {{"MSET", k, v, to, v}, {k, to}};
      case 5:
        return {{"SET", k, v, "PX", cat(1 + below(40))}, {k}};
      case 6:
        return {{"GETDEL", k}, {k}};
      case 7:
        return {{"EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", k, v}, {k}};
      default:
        return {{"SETEX", k, "1", v}, {k}};
    }
  };
  const auto say = [&](Cache& c, const Step& step) {
    if (c.no_loop) {
      for (const std::string& key : step.writes) c.kept.erase(key);
    }
    return answer(*c.session, step.words);
  };
  size_t kept = 0;
  for (int round = 0; round < 10'000; round++) {
    Cache& c = caches[below(caches.size())];
    const size_t what = below(20);
    if (what < 8) {
      const std::string k = key();
      if (c.opt_in && below(2) == 0) {
        EXPECT_EQ(answer(*c.session, {"CLIENT", "CACHING", "YES"}).text(), "+OK");
        c.kept[k] = answer(*c.session, {"GET", k}).text();
      } else if (c.opt_in) {
        (void)answer(*c.session, {"GET", k});
      } else {
        c.kept[k] = answer(*c.session, {"GET", k}).text();
      }
    } else if (what < 10 && !c.opt_in &&
               !c.no_loop) {  // a transaction that reads before and after it writes
      std::vector<std::string> reads;
      (void)answer(*c.session, {"MULTI"});
      for (size_t n = 1 + below(5); n > 0; n--) {
        const Step step = below(2) == 0 ? Step{{"GET", key()}, {}} : change();
        reads.push_back(step.words[0] == "GET" ? step.words[1] : "");
        (void)say(c, step);
      }
      const RecordedReply reply = answer(*c.session, {"EXEC"});
      for (size_t i = 0, at = 1; i < reads.size(); i++, at++) {
        if (!reads[i].empty()) c.kept[reads[i]] = reply.values[at].text;
      }
    } else if (what < 11 && !c.opt_in) {  // and a script
      const std::string k = key(), to = key();
      const std::string script =
          "local v = redis.call('GET', KEYS[1]); redis.call('SET', KEYS[2], 's'); return v";
      c.kept[k] = answer(*c.session, {"EVAL", script, "2", k, to}).text();
      if (c.no_loop) c.kept.erase(to);
    } else if (what < 15) {
      (void)say(c, change());
    } else if (what < 18) {
      (void)answer(*other, change().words);
    } else if (what < 19) {
      pass_ms(static_cast<int64_t>(below(60)));
    } else if (below(20) == 0) {
      (void)answer(*other, {below(2) == 0 ? "FLUSHALL" : "FLUSHDB"});
    }
    // A value whose time has come is told of by the clock, a little later.
    const bool waits = below(8) == 0;
    if (waits) pass_ms(100);
    for (Cache& one : caches) one.hear();
    if (!waits) continue;
    const auto old = [&] {
      size_t n = 0;
      for (Cache& one : caches) {
        for (auto& [key, value] : one.kept) n += answer(*other, {"GET", key}).text() != value;
      }
      return n;
    };
    for (Cache& one : caches) kept += one.kept.size();
    if (old() == 0) continue;
    pass_ms(100);  // one had just come due
    for (Cache& one : caches) one.hear();
    ASSERT_EQ(old(), 0u) << "in round " << round;
  }
  EXPECT_GT(kept, 1000u);
}

TEST_F(TrackingTest, AKeyIsToldOnceUntilItIsReadAgain) {
  auto c = client({"CLIENT", "TRACKING", "ON"});
  EXPECT_EQ(answer(*c, {"GET", "a"}).text(), "null");
  for (int i = 0; i < 3; i++) run({"SET", "a", "1"});
  EXPECT_EQ(told(*c).keys.size(), 1u);
  EXPECT_EQ(answer(*c, {"GET", "a"}).text(), "1");
  run({"SELECT", "1"});  // names are of all databases
  run({"SET", "a", "1"});
  EXPECT_EQ(told(*c).keys.size(), 1u);
  run({"SET", "a", "2"});
  EXPECT_EQ(told(*c).keys.size(), 0u);
}

TEST_F(TrackingTest, ATransactionTellsAtItsEndOfWhatItChangedAfterReading) {
  auto c = client({"CLIENT", "TRACKING", "ON"});
  const auto transaction = [&](const std::vector<Words>& commands) {
    (void)answer(*c, {"MULTI"});
    for (const Words& words : commands) (void)answer(*c, words);
    (void)answer(*c, {"EXEC"});
    return told(*c).keys;
  };
  using Keys = std::multiset<std::string>;
  EXPECT_EQ(transaction({{"SET", "a", "1"}, {"GET", "a"}}), Keys{});
  run({"SET", "a", "2"});
  EXPECT_EQ(told(*c).keys, Keys{"a"});
  EXPECT_EQ(transaction({{"GET", "a"}, {"SET", "a", "3"}}), Keys{"a"});
  run({"SET", "a", "4"});
  EXPECT_EQ(told(*c).keys, Keys{});
  EXPECT_EQ(transaction({{"GET", "a"}, {"SET", "a", "5"}, {"GET", "a"}}), Keys{"a"});
  run({"SET", "a", "6"});
  EXPECT_EQ(told(*c).keys, Keys{"a"});
  EXPECT_EQ(transaction({{"FLUSHALL"}, {"GET", "a"}}), Keys{});
  run({"SET", "a", "7"});
  EXPECT_EQ(told(*c).keys, Keys{"a"});
}

TEST_F(TrackingTest, PrefixesAreFoundAsByComparingThemAll) {
  const auto word = [&] {
    std::string text;
    for (size_t n = below(6); n > 0; n--) text += static_cast<char>('a' + below(2));
    return text;
  };
  for (int round = 0; round < 200; round++) {
    std::vector<std::pair<std::shared_ptr<Session>, std::set<std::string>>> clients;
    for (int i = 0; i < 6; i++) {
      auto s = client({});
      std::set<std::string> prefixes;
      for (size_t n = 1 + below(5); n > 0; n--) {
        const std::string p = word();
        const bool fits = std::none_of(prefixes.begin(), prefixes.end(), [&](auto& q) {
          return q.starts_with(p) || p.starts_with(q);
        });
        const std::string said =
            answer(*s, {"CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", p}).text();
        EXPECT_EQ(said == "+OK", fits) << said;
        if (fits) prefixes.insert(p);
      }
      clients.emplace_back(std::move(s), std::move(prefixes));
    }
    for (int i = 0; i < 20; i++) {
      const std::string a = word(), b = word();
      run({"MSET", a, "1", b, "1"});
      for (auto& [s, prefixes] : clients) {
        std::multiset<std::string> due;
        for (const std::string& k : std::set<std::string>{a, b}) {
          for (auto& p : prefixes) {
            if (k.starts_with(p)) due.insert(k);
          }
        }
        ASSERT_EQ(told(*s).keys, due);
      }
    }
    clients.clear();
    for (auto& s : known) server->sessions.remove(s->id);
    known.clear();
    ASSERT_EQ(tracking().prefixes(), 0u);
  }
}

TEST_F(TrackingTest, TheFirstOfOverlappingPrefixesIsNamed) {
  auto c = client({});
  const auto on = [&](const Words& prefixes) {
    Words words{"CLIENT", "TRACKING", "ON", "BCAST"};
    for (auto& p : prefixes) words.insert(words.end(), {"PREFIX", p});
    return answer(*c, words).text();
  };
  const std::string rest = "'. Prefixes for a single client must not overlap.";
  EXPECT_EQ(on({"x", "foobar", "y", "foo", "foob"}),
            "-ERR Prefix 'foobar' overlaps with another provided prefix 'foo" + rest);
  EXPECT_EQ(on({"foo", "b", "foobar", "", "bar"}),
            "-ERR Prefix 'foo' overlaps with another provided prefix 'foobar" + rest);
  EXPECT_EQ(on({"foo", "bar"}), "+OK");
  EXPECT_EQ(on({"z", "fo"}), "-ERR Prefix 'fo' overlaps with an existing prefix 'foo" + rest);
  EXPECT_EQ(on({"barb"}), "-ERR Prefix 'barb' overlaps with an existing prefix 'bar" + rest);
  EXPECT_EQ(on({""}), "-ERR Prefix '' overlaps with an existing prefix 'bar" + rest);
  Words many;  // comparing each with each would take long
  for (int i = 0; i < 20'000; i++) many.push_back(cat("p", i, ":"));
  EXPECT_EQ(on(many), "+OK");
  EXPECT_EQ(tracking().prefixes(), 20'002u);
  EXPECT_GT(c->tracker->bytes(), 20'000u * 100);
  EXPECT_EQ(answer(*c, {"CLIENT", "TRACKING", "OFF"}).text(), "+OK");
  EXPECT_EQ(c->tracker->bytes(), 0u);
  EXPECT_EQ(tracking().prefixes(), 0u);
}

TEST_F(TrackingTest, WhatIsTooMuchIsToldAndForgotten) {
  const uint64_t before = store->used_bytes();
  auto c = client({"CLIENT", "TRACKING", "ON"});
  run({"CONFIG", "SET", "tracking-table-max-keys", "100"});
  std::multiset<std::string> heard;
  for (int i = 0; i < 5000; i++) {
    (void)answer(*c, {"GET", cat("a key of more than fifteen bytes ", i)});
    heard.merge(told(*c).keys);
    ASSERT_LE(tracking().keys(), 100u);
  }
  EXPECT_EQ(heard.size(), 4900u);
  EXPECT_EQ(std::set<std::string>(heard.begin(), heard.end()).size(), 4900u);
  EXPECT_GT(store->used_bytes(), before + uint64_t{100} * 96);
  run({"CONFIG", "SET", "tracking-table-max-keys", "1"});
  tracking().tidy(1000);
  EXPECT_EQ(tracking().keys(), 1u);
  EXPECT_EQ(told(*c).keys.size(), 99u);
  (void)answer(*c, {"CLIENT", "TRACKING", "OFF"});
  tracking().tidy(1000);
  EXPECT_EQ(store->used_bytes(), before);
}

TEST_F(TrackingTest, ReadersWhoAreGoneDoNotStayForever) {
  auto c = client({"CLIENT", "TRACKING", "ON"});
  for (int i = 0; i < 1000; i++) {
    auto s = new_session();
    s->resp = 3;
    (void)answer(*s, {"CLIENT", "TRACKING", "ON"});
    (void)answer(*s, {"GET", "a"});
  }
  EXPECT_LE(tracking().items(), 16u);
  EXPECT_EQ(tracking().clients(), 1u);
  EXPECT_EQ(tracking().keys(), 1u);
}

TEST_F(TrackingTest, RedirectsAndSaysWhenNobodyIsThere) {
  auto to = client({});
  auto c = client({"CLIENT", "TRACKING", "ON", "REDIRECT", cat(to->id)});
  (void)answer(*to, {"HELLO", "3"});
  (void)answer(*c, {"GET", "a"});
  run({"SET", "a", "1"});
  EXPECT_EQ(told(*c).keys.size(), 0u);
  EXPECT_EQ(told(*to).keys.size(), 1u);
  to->outbox.close();
  (void)answer(*c, {"GET", "a"});
  run({"SET", "a", "2"});
  EXPECT_EQ(told(*c).broken, 1u);
  EXPECT_EQ(answer(*c, {"CLIENT", "TRACKINGINFO"}).text(),
            cat("%3 flags ~2 on broken_redirect redirect :", to->id, " prefixes *0"));
}

}  // namespace
}  // namespace cairn::kv
