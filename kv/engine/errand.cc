#include "kv/engine/errand.h"

#include <algorithm>
#include <cassert>
#include <utility>

#include "core/base/text.h"

namespace cairn::kv {

// ---- values ----

bool Values::fits_in_array(Kind kind, uint64_t bytes) {
  if (kind == Kind::kCount) in_array_ = array_bytes_ = 0;
  if (array_bytes_ > array_max_) return false;
  array_bytes_ += bytes;
  if (array_bytes_ <= array_max_) return true;
  for (; in_array_ > 0; in_array_--) {
    bytes_ -= sizeof(Value) + values_.back().text.size();
    in_all_ -= values_.back().text.size();
    values_.pop_back();
  }
  bytes_ += sizeof(Value);
  values_.push_back({Kind::kCut});
  return false;
}

void Values::add(Kind kind, int64_t number, double real, std::string_view text) {
  if (overflowed_ || !fits_in_array(kind, text.size())) return;
  const uint64_t bytes = sizeof(Value) + text.size();
  overflowed_ |= (!in_series_ && bytes_ + bytes > held_max_) || in_all_ + text.size() > in_all_max_;
  if (overflowed_) return;
  bytes_ += bytes;
  in_all_ += text.size();
  in_array_++;
  values_.push_back({kind, number, real, std::string(text)});
}

// No collection answers one.
void Values::write_stream(std::unique_ptr<BlobReader> /*blob*/) {
  broken_ = true;
  add(Kind::kNull);
}

void Values::write_series(std::unique_ptr<Series> values) {
  broken_ |= series_ != nullptr;  // no command of ours answers two
  series_ = std::move(values);
}

void Values::cut(const Mark& mark) {
  while (values_.size() > mark.text) {
    bytes_ -= sizeof(Value) + values_.back().text.size();
    values_.pop_back();
  }
  in_array_ = array_bytes_ = 0;
  if (mark.streams == 0) series_ = nullptr;
  due_ = mark.due;
  errors_ = mark.errors;
  if (errors_ == 0) error_text_.clear();
}

bool Values::more() {
  while (values_.empty() && series_ != nullptr && !overflowed_) {
    in_series_ = true;
    const bool more = series_->next(*this);
    in_series_ = false;
    if (more) continue;
    lost_ = series_->lost();
    series_ = nullptr;
  }
  return !values_.empty();
}

std::optional<Values::Value> Values::take() {
  if (!more()) {
    broken_ = true;
    return std::nullopt;
  }
  Value value = std::move(values_.front());
  values_.pop_front();
  bytes_ -= sizeof(Value) + value.text.size();
  return value;
}

std::optional<std::string> Values::text() {
  auto value = take();
  if (!value || value->kind == Kind::kNull) return std::nullopt;
  broken_ |= value->kind != Kind::kText;
  return std::move(value->text);
}

int64_t Values::integer() {
  const auto value = take();
  if (!value || value->kind != Kind::kInteger) broken_ = true;
  return value ? value->number : 0;
}

std::optional<double> Values::real() {
  const auto value = take();
  if (!value || value->kind == Kind::kNull) return std::nullopt;
  if (value->kind == Kind::kReal) return value->real;
  const auto parsed = value->kind == Kind::kText ? parse_float(value->text) : std::nullopt;
  broken_ |= !parsed;
  return parsed ? static_cast<double>(*parsed) : 0;
}

uint64_t Values::count() {
  const auto value = take();
  if (!value || value->kind == Kind::kNull) return 0;
  broken_ |= value->kind != Kind::kCount;
  return static_cast<uint64_t>(value->number);
}

bool Values::is_null() {
  if (!more() || values_.front().kind != Kind::kNull) return false;
  (void)take();
  return true;
}

bool Values::is_cut() {
  if (!more() || values_.front().kind != Kind::kCut) return false;
  (void)take();
  return true;
}

// ---- commands ----

void Command::find_row(const Table& table) {
  request.row = table.find(request.args.words());
  assert(request.row != nullptr && request.row->run != nullptr);
}

void Command::enter(Engine& engine, NamespacePtr in) {
  space = std::move(in);
  engine.resolve(space, request);
}

void Command::add_keys(std::vector<KeyHash>& hashes, Faults::Keys& values) const {
  for (const Key& key : request.keys) {
    hashes.push_back(key.hash);
    if ((key.flags & kKeyNameOnly) == 0) values.emplace_back(space, key.name);
  }
}

// ---- errands ----

Engine& engine_of(const std::vector<std::unique_ptr<Engine>>& engines, const Executor& loop) {
  const auto& loops = engines.front()->store().executors();
  const auto it = std::find(loops.begin(), loops.end(), loop);
  assert(it != loops.end());
  return *engines[static_cast<size_t>(it - loops.begin())];
}

namespace {
// The door has asked whether its caller may.
const PrincipalPtr& itself() {
  static const PrincipalPtr principal = std::make_shared<const Principal>("default");
  return principal;
}

Request& with_row(Request& request, const Table& table) {
  request.row = table.find("exec");
  return request;
}
}  // namespace

Errand::Errand(Engine& engine)
    : engine_(engine),
      session_(engine.store()),
      transaction_(engine.store()),
      told_(engine, session_, with_row(transaction_, engine.table()), nothing_) {
  session_.principal = itself();
}

std::string Errand::run(Command& command, StripeLocks& locks, Transaction& txn) {
  session_.ns = command.space;
  for (size_t i = 0; i < command.words().size(); i++) {  // as what comes over RESP
    const bool is_long = command.words()[i].size() > engine_.store().options().extent_threshold;
    if (is_long && (command.request.row->flags & kLongArgs) == 0) {
      return cat("ERR an argument of '", command.request.row->name, "' is too long");
    }
  }
  Context c(engine_, session_, command.request, command.values);
  c.locks = &locks;
  c.txn = &txn;
  c.in_exec = true;
  engine_.run_inner(c);
  told_.take_events(c);
  if (c.seen() > seen_) seen_ = c.seen();
  return command.values.error_text();
}

void Errand::end(bool committed) { told_.tell_events(committed); }

awaitable<void> Errand::serve(Wish wish) {
  for (ReadyKey& key : std::exchange(ready_.keys, {})) engine_.serve(std::move(key));
  if (!std::exchange(session_.kept_events, false)) co_return;
  EventStreams& streams = engine_.server().events.streams;
  Lsn seen;
  if (!streams.write_at_once(wish, seen)) seen = co_await streams.write(wish);
  seen_ = std::max(seen_, seen);
}

awaitable<std::string> Errand::wait(Command& command) {
  session_.ns = command.space;
  Request& request = command.request;
  Args args(engine_.store());
  Lsn seen;
  if (cancelled()) co_return "ERR the connection ends";
  Engine::Outcome outcome = engine_.run(session_, request, command.values);
  seen = outcome.seen;
  if (outcome.deferred) {
    args.swap(request.args);
    if (outcome.cold) {
      outcome = co_await engine_.run_cold(session_, args, command.values);
      seen = outcome.seen;
    }
    if (outcome.deferred) seen = co_await engine_.run_deferred(session_, args, command.values);
  }
  if (std::exchange(session_.kept_events, false)) {
    Server& server = engine_.server();
    const Wish wish = session_.durable ? Wish::kDurable : server.wish();
    const Lsn written = co_await server.events.streams.write(wish);
    seen = std::max(seen, written);
  }
  if (seen > seen_) seen_ = seen;
  co_return command.values.error_text();
}

}  // namespace cairn::kv
