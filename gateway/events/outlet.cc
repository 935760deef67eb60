#include "gateway/events/outlet.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/store/transaction.h"
#include "gateway/events/webhook.h"
#include "kv/engine/errand.h"

namespace cairn::events {

namespace {

class WebhookOutlet final : public Outlet {
 public:
  WebhookOutlet(const OutletParts& parts, const Target& target)
      : webhook_(target.url, target.secret, parts.tls),
        store_(parts.server.store),
        together_(parts.records_max) {}

  awaitable<Status> deliver(const Delivery& d) override {
    const auto status = co_await webhook_.post(d.id, store_.now_ms() / 1000, d.body);
    if (!status.ok()) co_return status.status();
    if (*status >= 200 && *status < 300) co_return absl::OkStatus();
    const std::string what = cat("it answered ", *status);
    // These say that the message is what is wrong.
    constexpr int kRefusals[] = {400, 413, 415, 422};
    if (std::find(std::begin(kRefusals), std::end(kRefusals), *status) != std::end(kRefusals)) {
      co_return absl::InvalidArgumentError(what);
    }
    co_return absl::UnavailableError(what);
  }
  size_t together() const override { return together_; }

 private:
  Webhook webhook_;
  Store& store_;
  const size_t together_;
};

// Entries and position are one transaction: each event is in the stream once, whatever happens.
class StreamOutlet final : public Outlet {
 public:
  StreamOutlet(const OutletParts& parts, const Target& target)
      : parts_(parts), target_(target), position_key_(position_key(target)) {}

  awaitable<Status> deliver(const Delivery& d) override {
    Store& store = parts_.server.store;
    const Executor loop = co_await asio::this_coro::executor;
    kv::Errand errand(kv::engine_of(parts_.engines, loop));
    const NamespacePtr ns = store.database(target_.database).shared_from_this();
    std::vector<std::unique_ptr<kv::Command>> commands;
    std::vector<KeyHash> hashes{store.system().hash(position_key_)};
    Faults::Keys values;
    const uint64_t most = parts_.server.event_stream_length_max;
    const std::string length = cat(most);
    for (const Message& m : d.messages) {
      auto command = std::make_unique<kv::Command>(store);
      const auto add = [&](std::initializer_list<std::string_view> words) {
        for (std::string_view word : words) command->words().add(word);
      };
      add({"XADD", target_.key});
      if (most != 0) add({"MAXLEN", "~", length});
      add({"*", "event", m.event, "key", m.path, "json", m.text});
      command->find_row(errand.engine().table());
      command->enter(errand.engine(), ns);
      command->add_keys(hashes, values);
      commands.push_back(std::move(command));
    }
    Status status;
    {
      StripeLocks locks(store);
      status = co_await store.faults().lock_with_values(locks, hashes, values);
      if (status.ok()) status = store.check_write(true);
      if (!status.ok()) co_return status;
      Transaction t(store, &locks, Shape::kSeveral, Wish::kDurable);
      t.set_committer(errand.committer());
      t.names_changes();
      for (auto& command : commands) {
        const std::string failure = errand.run(*command, locks, t);
        if (status.ok() && !failure.empty()) status = absl::UnavailableError(failure);
        if (!t.status().ok()) status = t.status();
        if (!status.ok()) break;
      }
      const uint64_t next = d.next.value();
      if (status.ok()) {
        status = t.put(store.system(), hashes.front(), position_record(position_key_, next));
      }
      if (status.ok()) status = t.commit().status();
      errand.end(status.ok());
    }
    co_await errand.serve(Wish::kDurable);
    co_return status;
  }
  size_t together() const override { return 64; }
  bool notes_position() const override { return true; }

 private:
  const OutletParts parts_;
  const Target target_;
  const std::string position_key_;
};

// Who listens now hears of it; nobody else ever does.
class ChannelOutlet final : public Outlet {
 public:
  ChannelOutlet(const OutletParts& parts, const Target& target)
      : channels_(parts.server.channels), channel_(target.key) {}

  awaitable<Status> deliver(const Delivery& d) override {
    for (const Message& m : d.messages) {
      (void)channels_.publish(kv::Channels::Kind::kChannel, channel_, m.text);
    }
    co_return absl::OkStatus();
  }
  size_t together() const override { return 64; }

 private:
  kv::Channels& channels_;
  const std::string channel_;
};

}  // namespace

std::unique_ptr<Outlet> make_outlet(const OutletParts& parts, const Target& target) {
  switch (target.kind) {
    case Target::Kind::kWebhook:
      return std::make_unique<WebhookOutlet>(parts, target);
    case Target::Kind::kStream:
      return std::make_unique<StreamOutlet>(parts, target);
    case Target::Kind::kChannel:
      break;
  }
  return std::make_unique<ChannelOutlet>(parts, target);
}

std::string position_key(const Target& target) { return cat("n/", target.id); }

RecordView position_record(std::string_view key, const uint64_t& lsn) {
  RecordView r;
  r.ns = kSystemNamespace;
  r.key = key;
  r.value = {reinterpret_cast<const char*>(&lsn), sizeof(lsn)};
  return r;
}

}  // namespace cairn::events
