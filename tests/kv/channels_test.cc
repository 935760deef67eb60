// Who listens to what, and what comes of it: over generated histories against a model.
#include "kv/engine/channels.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <thread>

#include "core/base/text.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

using Kind = Channels::Kind;
constexpr std::array kKinds{Kind::kChannel, Kind::kPattern, Kind::kShardChannel};

std::string bulk(std::string_view text) { return cat("$", text.size(), "\r\n", text, "\r\n"); }
std::string message(std::string_view kind, std::initializer_list<std::string_view> words) {
  std::string text = cat(">", words.size() + 1, "\r\n", bulk(kind));
  for (std::string_view w : words) text += bulk(w);
  return text;
}

// What waits for a session.
std::string pushed(Session& s) {
  std::string text;
  s.outbox.drain(text, '>');
  return text;
}

struct ChannelsTest : EngineTest {
  Channels& channels() { return server->channels; }
  size_t below(size_t n) { return static_cast<size_t>(rng() % n); }
};

struct Model {
  std::array<std::map<std::string, std::set<size_t>>, Channels::kKinds> names;

  size_t of(size_t session, Kind kind) const {
    size_t n = 0;
    for (auto& [name, who] : names[static_cast<size_t>(kind)]) n += who.count(session);
    return n;
  }
  std::map<std::string, std::set<size_t>>& at(Kind kind) {
    return names[static_cast<size_t>(kind)];
  }
};

TEST_F(ChannelsTest, DoWhatAModelDoes) {
  constexpr size_t kSessions = 5;
  std::vector<std::shared_ptr<Session>> sessions;
  for (size_t i = 0; i < kSessions; i++) sessions.push_back(new_session());
  Model model;
  const std::vector<std::string> channel_names{"", "a", "ab", "abc", "b", "news.1", "news.22"};
  const std::vector<std::string> pattern_names{"*",      "a*", "?",    "news.[12]",
                                               "news.*", "ab", "[^a]*"};
  for (int step = 0; step < 20'000; step++) {
    const Kind kind = kKinds[below(3)];
    const auto& of = kind == Kind::kPattern ? pattern_names : channel_names;
    const std::string& name = of[below(of.size())];
    const size_t who = below(kSessions);
    Session& s = *sessions[who];
    auto& subscribers = model.at(kind);
    const auto dice = below(100);
    if (dice < 35) {
      ASSERT_EQ(channels().subscribe(s, kind, name), subscribers[name].insert(who).second);
    } else if (dice < 60) {
      const bool was = subscribers.count(name) != 0 && subscribers[name].erase(who) != 0;
      ASSERT_EQ(channels().unsubscribe(s, kind, name), was);
    } else if (dice < 63) {
      std::set<std::string> ended, want;
      for (auto& [n, whom] : subscribers) {
        if (whom.erase(who) != 0) want.insert(n);
      }
      while (s.subscriptions.size(kind) > 0) {
        channels().unsubscribe_some(s, kind, 2, [&](std::string_view n) { ended.emplace(n); });
      }
      ASSERT_EQ(ended, want);
    } else if (dice < 65) {
      while (channels().leave(s, 1 + below(4))) {
      }
      for (Kind k : kKinds) {
        for (auto& [n, whom] : model.at(k)) whom.erase(who);
      }
    } else if (kind != Kind::kPattern) {
      const std::string text = cat("message ", step);
      uint64_t receivers = 0;
      std::vector<std::vector<std::string>> want(kSessions);
      for (size_t to : subscribers[name]) {
        const bool shard = kind == Kind::kShardChannel;
        want[to].push_back(message(shard ? "smessage" : "message", {name, text}));
        receivers++;
      }
      for (auto& [pattern, whom] : model.at(Kind::kPattern)) {
        if (kind != Kind::kChannel || !glob_match(pattern, name)) continue;
        for (size_t to : whom) {
          want[to].push_back(message("pmessage", {pattern, name, text}));
          receivers++;
        }
      }
      ASSERT_EQ(channels().publish(kind, name, text), receivers);
      for (size_t to = 0; to < kSessions; to++) {
        // Those of the patterns come in any order, behind that of the channel.
        std::string got = pushed(*sessions[to]);
        for (auto& part : want[to]) {
          const size_t at = got.find(part);
          ASSERT_NE(at, got.npos) << part;
          ASSERT_TRUE(at == 0 || part != want[to].front() || part.find("pmess") != part.npos);
          got.erase(at, part.size());
        }
        ASSERT_EQ(got, "");
      }
    }
    for (auto& names : model.names) std::erase_if(names, [](auto& n) { return n.second.empty(); });
    for (Kind k : kKinds) {
      ASSERT_EQ(channels().names(k), model.at(k).size());
      ASSERT_EQ(s.subscriptions.size(k), model.of(who, k));
    }
    const auto at = subscribers.find(name);
    ASSERT_EQ(channels().subscribers(kind, name), at == subscribers.end() ? 0 : at->second.size());
  }
  for (auto& s : sessions) {
    while (channels().leave(*s, 100)) {
    }
    EXPECT_EQ(s->subscriptions.bytes(), 0u);
    EXPECT_FALSE(s->subscriptions.any());
  }
  for (Kind k : kKinds) EXPECT_EQ(channels().names(k), 0u);
  EXPECT_EQ(channels().clients(), 0u);
}

TEST_F(ChannelsTest, AMessageIsOneTextForAllWhoGetIt) {
  std::vector<std::shared_ptr<Session>> sessions;
  for (int i = 0; i < 100; i++) {
    sessions.push_back(new_session());
    channels().subscribe(*sessions.back(), Kind::kChannel, "c");
    channels().subscribe(*sessions.back(), Kind::kPattern, "*");
  }
  const std::string large(1 << 20, 'm');
  const uint64_t before = process_resident_bytes();
  EXPECT_EQ(channels().publish(Kind::kChannel, "c", large), 200u);
  EXPECT_LT(process_resident_bytes() - before, 20u << 20);
  for (auto& s : sessions) EXPECT_GT(s->outbox.bytes(), 2 * large.size());  // to each its own
}

TEST_F(ChannelsTest, WhoReadsTooSlowlyIsSentAwayAndKeepsNobodyWaiting) {
  auto slow = new_session(), quick = new_session();
  int killed = 0;
  slow->kill = [&] { killed++; };
  ASSERT_EQ(server->client_limits.set_output("pubsub 10kb 0 0"), "");
  for (auto& s : {slow, quick}) channels().subscribe(*s, Kind::kChannel, "c");
  for (int i = 0; i < 100; i++) {
    EXPECT_EQ(channels().publish(Kind::kChannel, "c", std::string(1000, 'x')), 2u);
    EXPECT_FALSE(pushed(*quick).empty());
    EXPECT_LE(slow->outbox.bytes(), 10u << 10);
  }
  EXPECT_EQ(killed, 1);
  EXPECT_EQ(slow->outbox.bytes(), 0u);
  EXPECT_EQ(server->stats.output_limit_disconnections, 1u);
}

// Threads publish, listen and leave at once; each listener that stays gets all messages of each
// publisher in their order.
TEST_F(ChannelsTest, EachSubscriberGetsTheMessagesOfEachPublisherInTheirOrder) {
  constexpr int kPublishers = 2, kMessages = 3000, kListeners = 4;
  ASSERT_EQ(server->client_limits.set_output("pubsub 0 0 0"), "");
  std::vector<std::shared_ptr<Session>> listeners;
  for (int i = 0; i < kListeners; i++) {
    listeners.push_back(new_session());
    channels().subscribe(*listeners.back(), Kind::kChannel, "c");
    if (i % 2 == 1) channels().subscribe(*listeners.back(), Kind::kPattern, "d*");
  }
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  threads.reserve(kPublishers);
  for (int p = 0; p < kPublishers; p++) {
    threads.emplace_back([&, p] {
      for (int i = 0; i < kMessages; i++) {
        channels().publish(Kind::kChannel, i % 3 == 0 ? "d1" : "c", cat(p, ":", i, ";"));
      }
    });
  }
  auto passing = new_session();
  std::thread passer([&] {
    while (!done) {
      channels().subscribe(*passing, Kind::kChannel, "c");
      channels().subscribe(*passing, Kind::kPattern, "*");
      channels().leave(*passing, 2);
      (void)pushed(*passing);
    }
  });
  for (auto& t : threads) t.join();
  done = true;
  passer.join();
  for (int l = 0; l < kListeners; l++) {
    const std::string got = pushed(*listeners[static_cast<size_t>(l)]);
    std::array<int, kPublishers> last;
    last.fill(-1);
    int n = 0;
    for (size_t end = got.find(";\r\n"); end != got.npos; end = got.find(";\r\n", end + 1), n++) {
      const size_t colon = got.rfind(':', end), line = got.rfind('\n', end) + 1;
      const auto p = parse_int<size_t>(std::string_view(got).substr(line, colon - line));
      const auto i = parse_int<int>(std::string_view(got).substr(colon + 1, end - colon - 1));
      ASSERT_TRUE(p && i);
      ASSERT_GT(*i, last[*p]);
      last[*p] = *i;
    }
    EXPECT_EQ(n, l % 2 == 1 ? kPublishers * kMessages : kPublishers * kMessages / 3 * 2);
  }
}

// A pattern works out masks of 32 bytes for each of its bytes when it meets a long channel.
TEST_F(ChannelsTest, APatternCountsAllThatItComesToTake) {
  const auto s = new_session();
  const std::string pattern = cat("*", std::string(60'000, '?'), "a*");
  const uint64_t before = process_resident_bytes();
  channels().subscribe(*s, Kind::kPattern, pattern);
  channels().publish(Kind::kChannel, std::string(70'000, 'a'), "m");
  const uint64_t taken = process_resident_bytes() - before;
  EXPECT_GT(s->subscriptions.bytes(), 32 * pattern.size());
  EXPECT_GT(s->subscriptions.bytes() + (1 << 20), taken);
  channels().subscribe(*s, Kind::kPattern, "*?*?*?*");
  channels().leave(*s, SIZE_MAX);
  EXPECT_EQ(s->subscriptions.bytes(), 0u);
}

TEST_F(ChannelsTest, ASubscriptionEndsWithItsSession) {
  {
    auto s = new_session();
    for (int i = 0; i < 1000; i++) channels().subscribe(*s, Kind::kChannel, cat("c", i));
    EXPECT_EQ(channels().names(Kind::kChannel), 1000u);
    EXPECT_GT(s->subscriptions.bytes(), 100'000u);
  }
  EXPECT_EQ(channels().names(Kind::kChannel), 0u);
  EXPECT_EQ(channels().clients(), 0u);
}

}  // namespace
}  // namespace cairn::kv
