#include "kv/engine/session.h"

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/engine/errand.h"
#include "kv/engine/lookout.h"

namespace cairn::kv {

std::string namespace_name(std::string_view word) {
  return parse_int<uint32_t>(word) ? cat("db", word) : std::string(word);
}

Session::Session(Store& store, uint64_t id, std::string address, std::string local_address)
    : ns(store.find_namespace("db0")),
      id(id),
      address(std::move(address)),
      local_address(std::move(local_address)),
      created_ms(store.now_ms()) {
  publish();
}

Session::~Session() {
  if (monitored_by != nullptr) monitored_by->monitor(*this, false);
}

std::string Session::Lacking::name_of(const BlobReader& reader) {
  return cat(reader.blob().encode(), ":", reader.left());
}

const std::string* Session::Lacking::find_fetched(const BlobReader& reader) const {
  const std::string name = name_of(reader);
  for (auto& [known, value] : fetched) {
    if (known == name) return &value;
  }
  return nullptr;
}

void Session::leave_multi() {
  in_multi = multi_failed = false;
  executed_count = -1;
  queue.clear();
  queued_bytes = 0;
  queued_ns = nullptr;
  watched.clear();
}

void Session::publish() {
  MutexLock lock(mutex);
  if (listed_ns != ns) listed_ns = ns;
  if (listed_principal != principal) listed_principal = principal;
  listed_resp = resp;
  listed_no_touch = no_touch;
  listed_multi = in_multi ? static_cast<int>(queue.size()) : executed_count;
}

std::string Session::describe(int64_t now_ms) const {
  MutexLock lock(mutex);
  std::string_view db = listed_ns->name;
  const Row* row = listed_row.load(std::memory_order_relaxed);
  if (db.substr(0, 2) == "db" && parse_int<int>(db.substr(2))) db.remove_prefix(2);
  const uint64_t answers = held.answers, answer_room = held.answer_room, pushed = outbox.bytes();
  using Kind = Channels::Kind;
  std::string flags;  // as Redis orders them
  if (monitors) flags += 'O';
  if (subscriptions.any_seen()) flags += 'P';
  if (listed_multi >= 0) flags += 'x';
  if (blocked.load()) flags += 'b';
  flags += tracker->letters();
  if (watched.touched()) flags += 'd';
  if (reads_replicas) flags += 'r';
  if (no_evict) flags += 'e';
  if (listed_no_touch) flags += 'T';
  if (flags.empty()) flags = "N";
  // The buffer of answers grows to what they took: its size is its peak.
  return cat("id=", id, " addr=", address, " laddr=", local_address, " fd=", descriptor,
             " name=", name, " age=", (now_ms - created_ms) / 1000, " idle=", silent_s.load(),
             " flags=", flags, " db=", db, " sub=", subscriptions.size(Kind::kChannel),
             " psub=", subscriptions.size(Kind::kPattern),
             " ssub=", subscriptions.size(Kind::kShardChannel), " multi=", listed_multi,
             " qbuf=", held.query.load(), " qbuf-free=", held.query_room.load(),
             " argv-mem=", held.words.load(), " multi-mem=", held.transaction.load(),
             " rbs=", answer_room, " rbp=", answer_room, " obl=", answers,
             " oll=", pushed > 0 ? 1 : 0, " omem=", (answers > 0 ? answer_room : 0) + pushed,
             " tot-mem=", buffer_bytes.load(),
             " events=r cmd=", row == nullptr ? "NULL" : row->name, " user=", listed_user(),
             " redir=", tracker->redirect(), " resp=", listed_resp, " lib-name=", lib_name,
             " lib-ver=", lib_version);
}

awaitable<Woken> Session::wait(std::shared_ptr<Waiter> waiter, Clock& clock, int64_t ms,
                               Seen seen) {
  {
    MutexLock lock(mutex);
    waiter_ = waiter;
    for_command_ = true;
    blocked = seen != Seen::kNot;
    may_be_unblocked_ = seen == Seen::kBlocked;
    timed = may_be_unblocked_ && ms > 0;
    if (peer_ended_ || ends_) {
      unblocked_ = Unblock::kGone;
      waiter_->cancel();
    }
  }
  const int64_t begun = steady_ns();
  Woken how = Woken::kCalled;
  if (ms > 0) {
    how = co_await waiter->wait(clock, ms);
  } else {
    how = co_await waiter->wait();
  }
  waited_ns += steady_ns() - begun;
  MutexLock lock(mutex);
  waiter_ = nullptr;
  blocked = timed = false;
  co_return how;
}

namespace {
struct Durable final : Waiter {
  Status status = absl::CancelledError("the client is gone");
};
}  // namespace

awaitable<Status> Session::wait_durable(Log& log, Lsn lsn) {
  auto waiter = std::make_shared<Durable>();
  const Executor executor = co_await asio::this_coro::executor;
  log.when_durable(lsn, executor, [waiter](const Status& durable) {
    waiter->status = durable;
    waiter->wake_here();
  });
  {
    MutexLock lock(mutex);
    waiter_ = waiter;
    for_command_ = false;
  }
  (void)co_await waiter->wait();
  MutexLock lock(mutex);
  waiter_ = nullptr;
  co_return waiter->status;
}

void Session::unblock_all() {
  MutexLock lock(mutex);
  ends_ = true;
  unblocked_ = Unblock::kGone;
  if (waiter_ != nullptr) waiter_->cancel();
}

void Session::peer_ended() {
  {
    MutexLock lock(mutex);
    peer_ended_ = true;
  }
  unblock(Unblock::kGone);
}

bool Session::unblock(Unblock how) {
  MutexLock lock(mutex);
  if (waiter_ == nullptr || !for_command_) return false;
  if (how != Unblock::kGone && !may_be_unblocked_) return false;
  unblocked_ = how;
  return waiter_->cancel();
}

void Sessions::add(std::shared_ptr<Session> session) {
  MutexLock lock(mutex_);
  uint64_t id = session->id;
  by_id_[id] = std::move(session);
}

void Sessions::remove(uint64_t id) {
  MutexLock lock(mutex_);
  auto it = by_id_.find(id);
  if (it == by_id_.end()) return;
  it->second->sent_away = true;  // it notes nothing any more
  buffer_bytes_ -= static_cast<int64_t>(it->second->buffer_bytes.exchange(0));
  by_id_.erase(it);
}

bool Sessions::note_buffers(Session& session, uint64_t bytes, uint64_t most) {
  if (session.id == kNoClient) return true;
  if (session.sent_away) return false;
  const auto before = static_cast<int64_t>(session.buffer_bytes.exchange(bytes));
  const int64_t grown = static_cast<int64_t>(bytes) - before;
  const int64_t sum = buffer_bytes_.fetch_add(grown) + grown;
  if (within(sum, most) && !session.sent_away) return true;
  keep_buffers_within(most);
  if (!session.sent_away) return true;
  // Whoever sent it away meanwhile may have taken off what it held before.
  buffer_bytes_ -= static_cast<int64_t>(session.buffer_bytes.exchange(0));
  return false;
}

void Sessions::keep_buffers_within(uint64_t most) {
  MutexLock lock(mutex_);
  for (;;) {
    constexpr uint64_t kRestBytes = 4 << 10;  // a stranger who does nothing takes no more
    Session* largest = nullptr;
    std::pair<bool, uint64_t> rank_of_largest;
    // What those hold who stay, each looked at once: who gives something back, or goes, may not
    // have taken it off buffer_bytes_ yet, and nobody else is to be sent away for that.
    int64_t sum = 0;
    for (auto& [id, s] : by_id_) {
      const uint64_t bytes = s->sent_away ? 0 : s->buffer_bytes.load();
      sum += static_cast<int64_t>(bytes);
      if (s->no_evict || bytes == 0) continue;
      const std::pair rank(s->stranger && bytes > kRestBytes, bytes);
      if (largest != nullptr && rank <= rank_of_largest) continue;
      largest = s.get();
      rank_of_largest = rank;
    }
    if (largest == nullptr || within(sum, most)) return;
    largest->sent_away = true;
    buffer_bytes_ -= static_cast<int64_t>(largest->buffer_bytes.exchange(0));
    sent_away_++;
    largest->kill();  // posts
  }
}

std::vector<std::shared_ptr<Session>> Sessions::all() const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Session>> out;
  for (auto& [id, s] : by_id_) out.push_back(s);
  return out;
}

std::shared_ptr<Session> Sessions::find(uint64_t id) const {
  MutexLock lock(mutex_);
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : it->second;
}

size_t Sessions::size() const {
  MutexLock lock(mutex_);
  return by_id_.size();
}

}  // namespace cairn::kv
