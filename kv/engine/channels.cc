#include "kv/engine/channels.h"

#include <algorithm>

#include "core/base/text.h"
#include "kv/engine/session.h"

namespace cairn::kv {

namespace {

// Of a name in the table, a session's place in it and it in the session's, beside its text.
constexpr uint64_t kNameBytes = 112;
// Of a pattern, beside what it takes when it is compiled and the head of its messages.
constexpr uint64_t kPatternBytes = 160;
constexpr size_t kShards = 256, kPatternShards = 8;  // of those each message looks at all

// With what the pattern, if it is one, may come to take when it is compared.
uint64_t bytes_of(std::string_view name, const Glob* pattern) {
  const uint64_t bytes = kNameBytes + name.size();
  return pattern == nullptr ? bytes : bytes + kPatternBytes + name.size() + pattern->memory_bytes();
}

void append_bulk(std::string& to, std::string_view text) {
  append(to, "$", text.size(), "\r\n", text, "\r\n");
}

// Of all messages of a kind: owned by nobody, so that outboxes do not count who holds it.
std::shared_ptr<const std::string> unowned(const std::string& text) {
  return {std::shared_ptr<const std::string>(), &text};
}
const std::string kMessageHead = "3\r\n$7\r\nmessage\r\n";
const std::string kShardMessageHead = "3\r\n$8\r\nsmessage\r\n";

std::shared_ptr<const std::string> pattern_head(std::string_view pattern) {
  std::string text = "4\r\n$8\r\npmessage\r\n";
  append_bulk(text, pattern);
  return std::make_shared<const std::string>(std::move(text));
}

}  // namespace

// What is published, made when the first receiver is met.
struct Channels::Message {
  std::string_view channel, message;
  OutputLimit limit;
  int64_t now_ms = 0;
  std::shared_ptr<const std::string> body;

  void make(const ClientLimits& limits) {
    if (body != nullptr) return;
    constexpr size_t kHeaders = 32;
    std::string text;
    text.reserve(channel.size() + message.size() + kHeaders);
    append_bulk(text, channel);
    append_bulk(text, message);
    body = std::make_shared<const std::string>(std::move(text));
    limit = limits.output(ClientClass::kPubsub);
    now_ms = steady_ns() / 1'000'000;
  }
};

Channels::Pattern::Pattern(std::string_view pattern) : glob(pattern), head(pattern_head(pattern)) {}

Channels::Channels(const ClientLimits& limits, std::atomic<uint64_t>& disconnections)
    : limits_(limits),
      disconnections_(disconnections),
      tables_{Table(kShards), Table(kPatternShards), Table(kShards)},
      message_head_(unowned(kMessageHead)),
      shard_message_head_(unowned(kShardMessageHead)) {}

Channels::~Channels() = default;

bool Channels::subscribe(Session& session, Kind kind, std::string_view text) {
  Subscriptions& own = session.subscriptions;
  auto& names = own.names_[static_cast<size_t>(kind)];
  Shard& shard = table(kind).shard_of(text);
  const Glob* glob = nullptr;
  {
    MutexLock lock(shard.mutex);
    auto it = shard.names.find(text);
    if (it == shard.names.end()) {
      auto name = std::make_unique<Name>();
      name->text = text;
      if (kind == Kind::kPattern) name->pattern = std::make_unique<Pattern>(text);
      it = shard.names.insert(std::move(name)).first;
      table(kind).names.fetch_add(1, std::memory_order_relaxed);
    }
    if (!names.insert(it->get()).second) return false;
    (*it)->sessions.push_back(&session);
    if (kind == Kind::kPattern) glob = &(*it)->pattern->glob;
  }
  own.channels_ = this;
  own.bytes_ += bytes_of(text, glob);
  own.sizes_[static_cast<size_t>(kind)].store(names.size(), std::memory_order_relaxed);
  if (own.all_++ == 0) clients_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

// `text`: gets the name, which may be gone afterwards.
void Channels::end(Session& session, Kind kind, Name* name, std::string* text) {
  Subscriptions& own = session.subscriptions;
  auto& names = own.names_[static_cast<size_t>(kind)];
  own.bytes_ -= bytes_of(name->text, kind == Kind::kPattern ? &name->pattern->glob : nullptr);
  names.erase(name);
  own.sizes_[static_cast<size_t>(kind)].store(names.size(), std::memory_order_relaxed);
  if (--own.all_ == 0) clients_.fetch_sub(1, std::memory_order_relaxed);
  Shard& shard = table(kind).shard_of(name->text);
  if (text != nullptr) *text = name->text;
  std::unique_ptr<Name> gone;  // freed without the lock
  MutexLock lock(shard.mutex);
  auto at = std::find(name->sessions.begin(), name->sessions.end(), &session);
  *at = name->sessions.back();
  name->sessions.pop_back();
  if (!name->sessions.empty()) return;
  gone = std::move(shard.names.extract(shard.names.find(name->text)).value());
  table(kind).names.fetch_sub(1, std::memory_order_relaxed);
}

bool Channels::unsubscribe(Session& session, Kind kind, std::string_view text) {
  Name* name = nullptr;
  {
    Shard& shard = table(kind).shard_of(text);
    MutexLock lock(shard.mutex);
    const auto it = shard.names.find(text);
    if (it != shard.names.end()) name = it->get();
  }
  // Others may have removed it meanwhile; not if it is one of the session's own.
  if (!session.subscriptions.names_[static_cast<size_t>(kind)].contains(name)) return false;
  end(session, kind, name, nullptr);
  return true;
}

void Channels::unsubscribe_some(Session& session, Kind kind, size_t most,
                                absl::FunctionRef<void(std::string_view)> each) {
  auto& names = session.subscriptions.names_[static_cast<size_t>(kind)];
  std::string text;
  for (; most > 0 && !names.empty(); most--) {
    end(session, kind, *names.begin(), &text);
    each(text);
  }
}

bool Channels::leave(Session& session, size_t most) {
  Subscriptions& own = session.subscriptions;
  for (size_t kind = 0; kind < kKinds; kind++) {
    auto& names = own.names_[kind];
    for (; most > 0 && !names.empty(); most--) {
      end(session, static_cast<Kind>(kind), *names.begin(), nullptr);
    }
  }
  return own.any();
}

void Channels::for_each_of(const Session& session, Kind kind,
                           absl::FunctionRef<void(std::string_view)> each) const {
  for (const Name* name : session.subscriptions.names_[static_cast<size_t>(kind)]) each(name->text);
}

Subscriptions::~Subscriptions() {
  if (channels_ != nullptr) (void)channels_->leave(session_, SIZE_MAX);
}

bool Channels::push(Session& session, const Push& push, const OutputLimit& limit, int64_t now_ms) {
  const Outbox::Added added = session.outbox.push(push, limit, now_ms);
  if (added == Outbox::Added::kRefused) {
    disconnections_.fetch_add(1, std::memory_order_relaxed);
    if (session.kill) session.kill();  // posts
  }
  return added == Outbox::Added::kAdded;
}

bool Channels::push(Session& session, const Push& p) {
  return push(session, p, limits_.output(ClientClass::kPubsub), steady_ns() / 1'000'000);
}

uint64_t Channels::deliver(const Name& name, const std::shared_ptr<const std::string>& head,
                           Message& m) {
  m.make(limits_);
  const Push message{head, m.body};
  for (Session* session : name.sessions) (void)push(*session, message, m.limit, m.now_ms);
  return name.sessions.size();
}

uint64_t Channels::publish(Kind kind, std::string_view channel, std::string_view message) {
  constexpr size_t kLarge = 4 << 10;  // not to be copied under a lock
  const bool patterns = kind == Kind::kChannel && names(Kind::kPattern) > 0;
  if (names(kind) == 0 && !patterns) return 0;
  Message m{channel, message, {}, 0, nullptr};
  if (message.size() > kLarge) m.make(limits_);
  uint64_t receivers = 0;
  {
    Shard& shard = table(kind).shard_of(channel);
    MutexLock lock(shard.mutex);
    const auto it = shard.names.find(channel);
    if (it != shard.names.end()) {
      receivers +=
          deliver(**it, kind == Kind::kShardChannel ? shard_message_head_ : message_head_, m);
    }
  }
  if (!patterns) return receivers;
  for (Shard& shard : table(Kind::kPattern).shards) {
    MutexLock lock(shard.mutex);
    for (auto& name : shard.names) {
      if (!name->pattern->glob.matches(channel)) continue;
      receivers += deliver(*name, name->pattern->head, m);
    }
  }
  return receivers;
}

uint64_t Channels::subscribers(Kind kind, std::string_view name) const {
  const Table& t = table(kind);
  const Shard& shard = t.shards[t.index_of(name)];
  MutexLock lock(shard.mutex);
  const auto it = shard.names.find(name);
  return it == shard.names.end() ? 0 : (*it)->sessions.size();
}

uint64_t Channels::receivers(Kind kind, std::string_view channel) const {
  uint64_t sum = names(kind) == 0 ? 0 : subscribers(kind, channel);
  if (kind != Kind::kChannel || names(Kind::kPattern) == 0) return sum;
  for (const Shard& shard : table(Kind::kPattern).shards) {
    MutexLock lock(shard.mutex);
    for (auto& name : shard.names) {
      if (name->pattern->glob.matches(channel)) sum += name->sessions.size();
    }
  }
  return sum;
}

void Channels::for_each(Kind kind, size_t shard,
                        absl::FunctionRef<void(std::string_view)> each) const {
  const Shard& s = table(kind).shards[shard];
  MutexLock lock(s.mutex);
  for (auto& name : s.names) each(name->text);
}

}  // namespace cairn::kv
