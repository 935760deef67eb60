// Publish and subscribe.
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"

namespace cairn::kv {
namespace {

using Kind = Channels::Kind;

Channels& channels(Context& c) { return c.engine.server().channels; }

template <Kind kKind>
void subscribe(Context& c) {
  if (kKind == Kind::kShardChannel && c.in_exec) {
    return c.reply.error("ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
  }
  c.engine.send_messages(c);  // what EXEC published before
  for (size_t i = 1; i < c.args.size(); i++) {
    channels(c).subscribe(c.session, kKind, c.args[i]);
    c.reply.notice(c.row.name, c.args[i], c.session.subscriptions.counted(kKind), i == 1);
  }
}

// Says that a name is no more listened to, behind the last message of it.
void tell_end(Session& session, Reply& reply, Kind kind, std::string_view what,
              std::string_view name, bool answers, bool in_exec) {
  if (!in_exec) reply.pushed_first();
  reply.notice(what, name, session.subscriptions.counted(kind), answers);
}

// Ends all subscriptions of a kind, some at a time, while it says so.
class Ending final : public Series {
 public:
  Ending(Channels& channels, Session& session, Kind kind, std::string_view what)
      : channels_(channels), session_(session), kind_(kind), what_(what) {}
  bool next(Reply& reply) override {
    channels_.unsubscribe_some(session_, kind_, kAtOnce, [&](std::string_view name) {
      tell_end(session_, reply, kind_, what_, name, false, false);
    });
    return session_.subscriptions.size(kind_) > 0;
  }
  static constexpr size_t kAtOnce = 256;

 private:
  Channels& channels_;
  Session& session_;
  const Kind kind_;
  const std::string_view what_;  // of the row
};

template <Kind kKind>
void unsubscribe(Context& c) {
  Session& session = c.session;
  const std::string_view what = c.row.name;
  c.engine.send_messages(c);
  if (c.args.size() > 1) {
    for (size_t i = 1; i < c.args.size(); i++) {
      channels(c).unsubscribe(session, kKind, c.args[i]);
      tell_end(session, c.reply, kKind, what, c.args[i], i == 1, c.in_exec);
    }
    return;
  }
  if (session.subscriptions.size(kKind) == 0) {
    return c.reply.notice(what, std::nullopt, session.subscriptions.counted(kKind), true);
  }
  // A series is an answer, which a client may not want; these notices come all the same.
  const bool in_parts = !c.in_exec && session.reply_mode == ReplyMode::kOn;
  bool answers = true;
  channels(c).unsubscribe_some(session, kKind, in_parts ? Ending::kAtOnce : SIZE_MAX,
                               [&](std::string_view name) {
                                 tell_end(session, c.reply, kKind, what, name, answers, c.in_exec);
                                 answers = false;
                               });
  if (session.subscriptions.size(kKind) == 0) return;
  c.reply.series(std::make_unique<Ending>(channels(c), session, kKind, what), 0);
}

template <Kind kKind>
void publish(Context& c) {
  const uint64_t receivers = c.in_exec ? channels(c).receivers(kKind, c.args[1])
                                       : channels(c).publish(kKind, c.args[1], c.args[2]);
  if (c.in_exec && receivers > 0) {  // it is sent once all of the transaction is done
    c.session.unsent.push_back({kKind, std::string(c.args[1]), std::string(c.args[2])});
  }
  c.reply.integer(static_cast<int64_t>(receivers));
}

// ---- PUBSUB ----

using Found = std::vector<std::string>;

void find_names(Context& c, Kind kind, size_t shard, Glob& pattern, Found& found) {
  channels(c).for_each(kind, shard, [&](std::string_view name) {
    if (pattern.matches(name)) found.emplace_back(name);
  });
}

void reply_names(Context& c, const Found& found) {
  c.reply.array(found.size());
  for (auto& name : found) c.reply.bulk(name);
}

Glob pattern_of(Context& c) { return Glob(c.args.size() > 2 ? c.args[2] : std::string_view("*")); }

template <Kind kKind>
void list_names(Context& c) {
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             c.args[1].substr(0, 128), "'. Try PUBSUB HELP."));
  }
  constexpr size_t kAtOnce = 10'000;
  if (channels(c).names(kKind) > kAtOnce && !c.in_exec) return c.defer();
  Glob pattern = pattern_of(c);
  Found found;
  for (size_t i = 0; i < channels(c).shards(kKind); i++) find_names(c, kKind, i, pattern, found);
  reply_names(c, found);
}

template <Kind kKind>
awaitable<void> list_many_names(Context& c) {
  const Executor executor = co_await asio::this_coro::executor;
  Glob pattern = pattern_of(c);
  Found found;
  for (size_t i = 0; i < channels(c).shards(kKind); i++) {
    find_names(c, kKind, i, pattern, found);
    co_await asio::post(executor, asio::use_awaitable);
    if (c.given_up()) co_return;
  }
  reply_names(c, found);
}

template <Kind kKind>
void count_subscribers(Context& c) {
  c.reply.array(2 * (c.args.size() - 2));
  for (size_t i = 2; i < c.args.size(); i++) {
    c.reply.bulk(c.args[i]);
    c.reply.integer(static_cast<int64_t>(channels(c).subscribers(kKind, c.args[i])));
  }
}

void count_patterns(Context& c) {
  c.reply.integer(static_cast<int64_t>(channels(c).names(Kind::kPattern)));
}

constexpr KeySpec kShardChannel[] = {{.flags = kKeyNotKey}};
constexpr KeySpec kShardChannels[] = {{.flags = kKeyNotKey, .last = -1}};
constexpr std::string_view kGroup = "pubsub";
constexpr uint32_t kLong = kLongArgs | kMessage;
constexpr uint32_t kListens = kPubsub | kNoScript | kLoading | kListener | kLong;
constexpr uint32_t kPublishes = kPubsub | kLoading | kFast | kLong;
constexpr uint32_t kLooks = kPubsub | kLoading | kLongArgs;
constexpr Row kRows[] = {
    {"subscribe",
     -2,
     kListens,
     {},
     subscribe<Kind::kChannel>,
     nullptr,
     kGroup,
     "Listens for messages published to channels.",
     "2.0.0"},
    {"unsubscribe",
     -1,
     kListens,
     {},
     unsubscribe<Kind::kChannel>,
     nullptr,
     kGroup,
     "Stops listening to messages posted to channels.",
     "2.0.0"},
    {"psubscribe",
     -2,
     kListens,
     {},
     subscribe<Kind::kPattern>,
     nullptr,
     kGroup,
     "Listens for messages published to channels that match one or more patterns.",
     "2.0.0"},
    {"punsubscribe",
     -1,
     kListens,
     {},
     unsubscribe<Kind::kPattern>,
     nullptr,
     kGroup,
     "Stops listening to messages published to channels that match one or more patterns.",
     "2.0.0"},
    {"publish",
     3,
     kPublishes,
     {},
     publish<Kind::kChannel>,
     nullptr,
     kGroup,
     "Posts a message to a channel.",
     "2.0.0"},
    {"ssubscribe", -2, kListens, kShardChannels, subscribe<Kind::kShardChannel>, nullptr, kGroup,
     "Listens for messages published to shard channels.", "7.0.0"},
    {"sunsubscribe", -1, kListens, kShardChannels, unsubscribe<Kind::kShardChannel>, nullptr,
     kGroup, "Stops listening to messages posted to shard channels.", "7.0.0"},
    {"spublish", 3, kPublishes, kShardChannel, publish<Kind::kShardChannel>, nullptr, kGroup,
     "Post a message to a shard channel", "7.0.0"},
    {"pubsub", -2, 0, {}, nullptr, nullptr, kGroup, "A container for Pub/Sub commands.", "2.8.0"},
    {"pubsub|channels",
     -2,
     kLooks,
     {},
     list_names<Kind::kChannel>,
     list_many_names<Kind::kChannel>,
     kGroup,
     "Returns the active channels.",
     "2.8.0"},
    {"pubsub|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "6.2.0"},
    {"pubsub|numpat",
     2,
     kLooks,
     {},
     count_patterns,
     nullptr,
     kGroup,
     "Returns a count of unique pattern subscriptions.",
     "2.8.0"},
    {"pubsub|numsub",
     -2,
     kLooks,
     {},
     count_subscribers<Kind::kChannel>,
     nullptr,
     kGroup,
     "Returns a count of subscribers to channels.",
     "2.8.0"},
    {"pubsub|shardchannels",
     -2,
     kLooks,
     {},
     list_names<Kind::kShardChannel>,
     list_many_names<Kind::kShardChannel>,
     kGroup,
     "Returns the active shard channels.",
     "7.0.0"},
    {"pubsub|shardnumsub",
     -2,
     kLooks,
     {},
     count_subscribers<Kind::kShardChannel>,
     nullptr,
     kGroup,
     "Returns the count of subscribers of shard channels.",
     "7.0.0"},
};

}  // namespace
std::span<const Row> pubsub_rows() { return kRows; }

}  // namespace cairn::kv
