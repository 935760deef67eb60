#include "gateway/events/notifier.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/base/text.h"
#include "core/store/transaction.h"
#include "objects/notifications.h"
#include "objects/object.h"

namespace cairn::events {

namespace {
constexpr int64_t kTurnMs = 1000;
constexpr int64_t kSaveMs = 1000;
constexpr uint64_t kSaveBytes = 16 << 20;  // of log that had nothing for a target
constexpr int64_t kFirstPauseMs = 1000, kLastPauseMs = 60'000;
constexpr int64_t kPartingMs = 1000;
}  // namespace

Notifier::Notifier(ChangeFeed& feed, const OutletParts& parts, std::vector<Target> targets,
                   std::string owner, std::string region)
    : feed_(feed),
      store_(parts.server.store),
      owner_(std::move(owner)),
      region_(std::move(region)) {
  for (Target& target : targets) {
    auto runner = std::make_unique<Runner>();
    runner->arn = target.arn();
    runner->outlet = make_outlet(parts, target);
    runner->target = std::move(target);
    runners_.push_back(std::move(runner));
  }
  MutexLock lock(mutex_);
  if (!runners_.empty()) all_ = std::make_unique<LogPins::Pin>(store_.pins());
}

std::vector<std::string> Notifier::arns() const {
  std::vector<std::string> arns;
  for (auto& runner : runners_) arns.push_back(runner->arn);
  return arns;
}

void Notifier::report(Severity severity, const Runner& runner, std::string_view text) const {
  if (!store_.options().report) return;
  store_.options().report(severity, "events", cat("target ", runner.target.id, ": ", text));
}

// ---- which targets are named ----

bool Notifier::is_named(const std::string& arn) const {
  for (const NamespacePtr& bucket : store_.buckets()) {
    const auto properties = bucket->properties();
    for (const NotificationRule& rule : properties->notifications) {
      if (rule.target == arn) return true;
    }
  }
  return false;
}

awaitable<std::optional<Lsn>> Notifier::read_position(const Target& target) {
  const std::string key = position_key(target);
  auto opened = co_await objects::open(store_, store_.system(), key, std::nullopt);
  if (!opened.ok() || opened->inline_bytes.size() != sizeof(uint64_t)) co_return std::nullopt;
  uint64_t lsn;
  std::memcpy(&lsn, opened->inline_bytes.data(), sizeof(lsn));
  co_return Lsn(lsn);
}

Status Notifier::save(Runner& runner) {
  const uint64_t lsn = runner.done;
  if (lsn == runner.saved) return absl::OkStatus();
  if (Status s = store_.check_write(false); !s.ok()) return s;
  const std::string key = position_key(runner.target);
  const KeyHash hash = store_.system().hash(key);
  StripeLocks lock(store_, hash);
  Transaction t(store_, &lock, Shape::kOne, Wish::kNone);
  Status put = t.put(store_.system(), hash, position_record(key, lsn));
  if (put.ok()) runner.saved = lsn;
  return put;
}

void Notifier::forget(Runner& runner) {
  runner.pin = nullptr;
  const std::string key = position_key(runner.target);
  const KeyHash hash = store_.system().hash(key);
  StripeLocks lock(store_, hash);
  Transaction t(store_, &lock, Shape::kOne, Wish::kNone);
  Entry* e = t.find(store_.system(), key, hash);
  if (e != nullptr) (void)t.remove(store_.system(), hash, e);
  runner.saved = 0;
}

Status Notifier::activate(Runner& runner, Lsn from) {
  runner.pin = std::make_unique<LogPins::Pin>(store_.pins(), from);
  runner.done = from.value();
  if (Status s = save(runner); !s.ok()) {
    runner.pin = nullptr;
    return s;
  }
  runner.turn++;
  runner.active = true;
  return absl::OkStatus();
}

awaitable<Status> Notifier::start() {
  std::set<std::string> named;
  for (const NamespacePtr& bucket : store_.buckets()) {
    const auto properties = bucket->properties();
    for (const NotificationRule& rule : properties->notifications) {
      const bool known = std::any_of(runners_.begin(), runners_.end(),
                                     [&](auto& r) { return r->arn == rule.target; });
      if (!known && store_.options().report) {
        store_.options().report(Severity::kWarning, "events",
                                cat("bucket ", bucket->name, " sends events to ", rule.target,
                                    ", which no option names: they are sent to nobody"));
      }
      named.insert(rule.target);
    }
  }
  for (auto& runner : runners_) {
    const auto position = co_await read_position(runner->target);
    MutexLock lock(mutex_);
    if (runner->active) continue;  // since a moment ago
    if (position) runner->saved = position->value();
    if (named.contains(runner->arn)) {
      const Lsn tail = store_.log().tail();  // a repair may have lost what is before a position
      Status active = activate(*runner, std::min(position.value_or(tail), tail));
      if (!active.ok()) report(Severity::kError, *runner, cat(active.message()));
    } else if (position) {
      forget(*runner);
    }
  }
  for (auto& runner : runners_) {
    running_++;
    spawn(store_.any_executor(), "a target of events", run(*runner));
  }
  MutexLock lock(mutex_);
  all_ = nullptr;
  co_return absl::OkStatus();
}

awaitable<Status> Notifier::begin_naming(std::vector<std::string> arns) {
  Status status;
  {
    MutexLock lock(mutex_);
    naming_++;
    for (const std::string& arn : arns) {
      const auto runner =
          std::find_if(runners_.begin(), runners_.end(), [&](auto& r) { return r->arn == arn; });
      if (runner == runners_.end()) {
        status = absl::InvalidArgumentError(cat("there is no target ", arn));
      } else if (!(*runner)->active) {
        status = activate(**runner, store_.log().tail());
      }
      if (!status.ok()) break;
    }
  }
  changed_.notify();
  const Lsn newest(store_.log().tail().value() - 1);
  if (status.ok()) status = co_await store_.log().wait_durable(newest);
  if (!status.ok()) end_naming();
  co_return status;
}

void Notifier::end_naming() {
  {
    MutexLock lock(mutex_);
    naming_--;
  }
  look_at_rules();
}

void Notifier::look_at_rules() {
  {
    MutexLock lock(mutex_);
    if (naming_ > 0) return;  // whoever does it looks again
    for (auto& runner : runners_) {
      if (!runner->active || is_named(runner->arn)) continue;
      runner->active = false;
      forget(*runner);
    }
  }
  changed_.notify();
}

// ---- telling one ----

void Notifier::move(Runner& runner, uint64_t turn, Lsn next) {
  MutexLock lock(mutex_);
  if (!runner.active || runner.turn != turn || next.value() <= runner.done) return;
  runner.done = next.value();
  runner.pin->move(next);
}

void Notifier::save_now_and_then(Runner& runner, uint64_t turn) {
  const int64_t now = store_.now_ms();
  MutexLock lock(mutex_);
  if (!goes_on(runner, turn) || runner.done == runner.saved) return;
  // What had nothing for the target is passed over again after a crash, which costs time alone.
  const bool far = runner.done - runner.saved > kSaveBytes;
  if ((!runner.unsaved && !far) || (now >= runner.saved_ms && now - runner.saved_ms < kSaveMs))
    return;
  if (!save(runner).ok()) return;
  runner.saved_ms = now;
  runner.unsaved = false;
}

awaitable<void> Notifier::run(Runner& runner) {
  while (!stopping_) {
    const uint64_t turn = runner.turn;
    if (runner.active) {
      co_await follow(runner, turn);
    } else {
      co_await changed_.until([&] { return stopping_ || runner.active; });
    }
  }
  running_--;
  changed_.notify();
}

awaitable<void> Notifier::follow(Runner& runner, uint64_t turn) {
  ChangeFeed::Cursor cursor(feed_, Lsn(runner.done));
  while (goes_on(runner, turn)) {
    auto taken = co_await cursor.next(kTurnMs);
    if (absl::IsOutOfRange(taken.status())) {
      const Lsn from = cursor.at();
      cursor.skip_to_oldest();
      const uint64_t lost = cursor.at().value() - from.value();
      // What lies behind the end of a segment is nothing.
      if (lost > kBlockBytes) {
        runner.lost_bytes += lost;
        report(Severity::kError, runner,
               cat("it was not told of ", lost, " bytes of the log in time, and will not be: from ",
                   from.value(), " to ", cursor.at().value()));
      }
      move(runner, turn, cursor.at());
      continue;
    }
    if (!taken.ok()) {
      if (!absl::IsCancelled(taken.status())) {
        report(Severity::kError, runner, cat(taken.status().message()));
      }
      co_await changed_.until([&] { return !goes_on(runner, turn); }, store_.clock(), kTurnMs);
      co_return;
    }
    const bool told = co_await tell(runner, turn, taken->events());
    if (!told) continue;
    move(runner, turn, cursor.at());
    save_now_and_then(runner, turn);
  }
}

// False: it is to be told no more.
awaitable<bool> Notifier::tell(Runner& runner, uint64_t turn, std::span<const FeedEvent> events) {
  Delivery next;
  std::vector<std::string> records;
  const FeedEvent* last = nullptr;
  bool dropped = false;
  for (const FeedEvent& e : events) {
    dropped |= e.kind == FeedEvent::Kind::kDrop;
    const std::string_view name = objects::event_name(e);
    if (name.empty()) continue;
    const auto properties = e.ns->properties();
    const NotificationRule* rule = objects::rule_for(*properties, runner.arn, name, e.key);
    if (rule == nullptr) continue;
    if (next.messages.empty()) next.id = objects::sequencer_of(e.lsn);
    last = &e;
    records.push_back(objects::record_json(e, rule->id, owner_, region_));
    next.messages.push_back({std::string(name), cat(e.ns->name, "/", e.key),
                             objects::message_json({records.back()}, &e)});
    next.next = Lsn(e.lsn.value() + 1);
    if (records.size() < runner.outlet->together()) continue;
    next.body =
        records.size() == 1 ? next.messages.front().text : objects::message_json(records, nullptr);
    const bool told = co_await deliver(runner, turn, next, *last);
    if (!told) co_return false;
    next = Delivery();
    records.clear();
  }
  if (!records.empty()) {
    next.body =
        records.size() == 1 ? next.messages.front().text : objects::message_json(records, nullptr);
    const bool told = co_await deliver(runner, turn, next, *last);
    if (!told) co_return false;
  }
  if (dropped) look_at_rules();
  co_return true;
}

awaitable<bool> Notifier::deliver(Runner& runner, uint64_t turn, const Delivery& delivery,
                                  const FeedEvent& last) {
  const size_t count = delivery.messages.size();
  for (int tries = 1;; tries++) {
    if (!goes_on(runner, turn)) co_return false;
    const Status taken = co_await runner.outlet->deliver(delivery);
    if (taken.ok()) {
      if (std::exchange(runner.failing, false)) report(Severity::kInfo, runner, "it takes events");
      runner.sent += count;
      break;
    }
    runner.failures++;
    if (absl::IsInvalidArgument(taken) && tries >= kRefusalsMax) {
      runner.refused += count;
      report(Severity::kError, runner,
             cat("passed over ", count, " events up to ", last.ns->name, "/", last.key, ": ",
                 taken.message()));
      break;
    }
    if (!std::exchange(runner.failing, true)) {
      report(Severity::kWarning, runner, cat("it does not take events: ", taken.message()));
    }
    const int64_t most = std::min(kLastPauseMs, kFirstPauseMs << std::min(tries - 1, 6));
    const auto pause =
        most / 2 + static_cast<int64_t>(store_.random() % static_cast<uint64_t>(most / 2));
    save_now_and_then(runner, turn);
    co_await changed_.until([&] { return !goes_on(runner, turn); }, store_.clock(), pause);
  }
  move(runner, turn, delivery.next);
  runner.unsaved = true;
  if (runner.outlet->notes_position()) {
    MutexLock lock(mutex_);
    if (runner.active && runner.turn == turn) runner.saved = delivery.next.value();
    runner.unsaved = false;
  } else {
    save_now_and_then(runner, turn);
  }
  co_return true;
}

awaitable<void> Notifier::stop() {
  stopping_ = true;
  changed_.notify();
  (void)co_await changed_.until([this] { return running_ == 0; }, store_.clock(), kPartingMs);
  MutexLock lock(mutex_);
  for (auto& runner : runners_) {
    // Who notes his own position may be doing so.
    const bool own = runner->outlet->notes_position() && running_ > 0;
    if (runner->active && !own) (void)save(*runner);
  }
}

std::vector<Notifier::Stats> Notifier::stats() const {
  std::vector<Stats> all;
  const uint64_t durable = store_.log().durable().value();
  for (auto& r : runners_) {
    Stats s{r->target.id, r->active, 0, r->sent, r->failures, r->refused, r->lost_bytes};
    const uint64_t done = r->done;
    if (s.active && done < durable) s.behind = durable - done;
    all.push_back(std::move(s));
  }
  return all;
}

}  // namespace cairn::events
