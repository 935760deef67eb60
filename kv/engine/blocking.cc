// Commands that wait, and how those who wait are served (waiters.h).
#include <absl/container/flat_hash_set.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <memory>

#include "kv/engine/call_session.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

// ---- who waits ----

namespace {

// A place in line, for as long as the command waits.
class InLine {
 public:
  InLine(Server& server, std::shared_ptr<Waiting> waiting)
      : waiters_(server.waiters), waiting_(std::move(waiting)), blocked_(server) {
    waiters_.add(waiting_);
  }
  ~InLine() { waiters_.remove(waiting_); }
  InLine(const InLine&) = delete;

 private:
  Waiters& waiters_;
  const std::shared_ptr<Waiting> waiting_;
  const Blocked blocked_;
};

void answer_unserved(Context& c, Woken how) {
  if (how == Woken::kLate || c.session.unblocked() == Session::Unblock::kTimeout) {
    return c.reply.null_array();
  }
  if (c.session.unblocked() == Session::Unblock::kGone) return c.give_up();
  c.reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
}

void answer_served(Context& c, Waiting& waiting) {
  c.saw(waiting.seen);
  const uint64_t errors = c.reply.errors();
  waiting.reply.give(c.reply);
  c.errors_counted += c.reply.errors() - errors;  // by who served it
}

}  // namespace

awaitable<void> Engine::wait_for(Context& c, Awaited& awaited, int64_t timeout_ms) {
  constexpr size_t kPlaceBytes = 240;  // of a key: its line, the place in it, what finds it here
  std::vector<KeyHash> hashes;
  Faults::Keys values;
  uint64_t bytes = 0;
  absl::flat_hash_set<KeyHash> seen;  // a key may be named by several words, and by many
  for (const Key& key : c.request.keys) {
    if (!seen.insert(key.hash).second) continue;
    hashes.push_back(key.hash);
    values.emplace_back(key.ns->shared_from_this(), key.name);
    bytes += kPlaceBytes + key.name.size();
  }
  const OfClient places(server_, c.session, bytes);
  if (!places.allowed()) co_return c.give_up();
  const auto executor = co_await asio::this_coro::executor;
  const auto waiting = std::make_shared<Waiting>(*this, executor, c.session, c.request, awaited);
  std::optional<InLine> in_line;
  {
    StripeLocks locks(store_);
    Status locked = co_await store_.faults().lock_with_values(locks, hashes, values);
    if (locked.ok() && (c.row.flags & kWrite)) {
      locked = store_.check_write(c.row.flags & kDenyOom);
    }
    if (!locked.ok()) co_return c.status_error(locked);
    bool answered;
    {
      // Also of one key that is named twice: XREADGROUP changes it twice then.
      const bool several = c.request.keys.size() > 1;
      Context::Turn turn(c, locks, several ? Shape::kSeveral : Shape::kOne);
      answered = awaited.begin(c);
    }
    answered |= !c.failure().empty();
    const bool dropped = std::any_of(c.request.keys.begin(), c.request.keys.end(),
                                     [](const Key& key) { return key.ns->dropped.load(); });
    if (!answered && dropped) {  // nothing comes to it any more
      co_return c.status_error(absl::NotFoundError("no such bucket"));
    }
    if (!answered) in_line.emplace(server_, waiting);
    if (!ready_.keys.empty()) serve_ready(locks);
    if (answered) co_return;
  }
  c.session.publish();
  const Woken how =
      co_await c.session.wait(waiting, store_.clock(), timeout_ms, Session::Seen::kBlocked);
  if (how != Woken::kCalled && waiting->end()) co_return answer_unserved(c, how);
  if (how != Woken::kCalled) co_await waiting->until_served();
  answer_served(c, *waiting);
}

// ---- who serves ----

void Engine::hand_over(const Waiters::Claimed& claimed, StripeLocks& locks, const Now& now,
                       bool dropped) {
  Waiting& w = *claimed.waiting;
  {
    Context c(*this, w.session, w.request, w.reply);
    const Reply::Mark mark = c.reply.mark();
    const Shape shape = (c.row.flags & kBatch) ? Shape::kSeveral : Shape::kOne;
    Transaction txn(store_, &locks, shape, c.wish());
    std::construct_at(&txn.now(), now);  // one moment: what was there for the line is there here
    txn.set_committer(committer(w.session.id));
    txn.names_changes();
    c.locks = &locks;
    c.txn = &txn;
    const CallSession* call = call_of(w.session);
    const bool may = call != nullptr ? !call->may_still || call->may_still()
                                     : permitted(w.session, w.request, *w.session.ns, w.reply);
    if (dropped) {
      c.reply.error("UNBLOCKED the bucket no longer exists");
    } else if (!may) {
      if (call != nullptr) c.reply.error("NOPERM the right to it was taken away");
    } else {
      w.awaited.serve(c, claimed.word);
    }
    if (c.failure().empty()) {
      if (auto lsn = txn.commit(); !lsn.ok()) c.status_error(lsn.status());
    }
    c.tell_events(c.failure().empty());
    c.saw(txn.seen());
    finish(c, mark);
    w.seen = c.seen();
  }
  w.served();
}

Engine::Stop Engine::serve_line(const ReadyKey& key, StripeLocks& locks, size_t& left,
                                std::vector<ReadyKey>& beside) {
  const KeyHash hash = key.ns->hash(key.name);
  if (!locks.covers(hash)) return Stop::kLocks;
  const bool dropped = key.ns->dropped;
  for (uint64_t after = 0;;) {
    Now now(store_.clock());
    Entry* entry = store_.find(*key.ns, key.name, hash, now);
    if (entry != nullptr && entry->is_cold()) return Stop::kValues;
    Stop stop = Stop::kEnd;
    const auto ask = [&](const Waiting& w, size_t word) {
      if (w.ended() || (!dropped && !w.awaited.wants(entry, word))) return Waiters::Offer::kPass;
      if ((w.request.row->flags & kWrite) && !store_.check_write(false).ok()) {
        return Waiters::Offer::kPass;
      }
      for (size_t i = w.awaited.keys(); i < w.request.keys.size(); i++) {
        const Key& k = w.request.keys[i];
        const bool covered = locks.covers(k.hash);
        if (covered) {
          const Entry* e = k.ns->index->find(k.name, k.hash);
          if (e == nullptr || !e->is_cold()) continue;
        }
        beside.push_back({k.ns->shared_from_this(), std::string(k.name)});
        stop = covered ? Stop::kValues : Stop::kLocks;
      }
      if (left == 0) stop = Stop::kTurn;
      return stop == Stop::kEnd ? Waiters::Offer::kTake : Waiters::Offer::kStop;
    };
    const auto claimed = server_.waiters.claim(key, entry != nullptr || dropped, after, ask);
    if (!claimed) return stop;
    left--;
    hand_over(claimed, locks, now, dropped);
  }
}

void Engine::serve_under(StripeLocks& locks, size_t& left, std::vector<Unserved>& rest) {
  for (size_t i = 0; i < ready_.keys.size(); i++) {  // it grows: BLMOVE makes another key ready
    Unserved unserved{std::move(ready_.keys[i]), {}};
    unserved.why = serve_line(unserved.key, locks, left, unserved.beside);
    if (unserved.why != Stop::kEnd) rest.push_back(std::move(unserved));
  }
  ready_.keys.clear();
}

void Engine::serve_ready(StripeLocks& locks) {
  constexpr size_t kAtOnce = 256;  // clients, before others have their turn
  size_t left = kAtOnce;
  std::vector<Unserved> rest;
  serve_under(locks, left, rest);
  if (rest.empty()) return;
  if (home_ != nullptr) {  // its own thread has no coroutines
    for (Unserved& unserved : rest) {
      asio::post(home_->executor_, [home = home_, key = std::move(unserved.key)]() mutable {
        home->serve(std::move(key));
      });
    }
    return;
  }
  locks.unlock();
  for (size_t i = 0; i < rest.size(); i++) {
    Unserved unserved = std::move(rest[i]);
    if (unserved.why != Stop::kLocks || i >= kAtOnce) {
      spawn(executor_, "serving who waits", serve_in_turns(std::move(unserved)));
      continue;
    }
    std::vector<KeyHash> hashes{unserved.key.ns->hash(unserved.key.name)};
    for (const ReadyKey& k : unserved.beside) hashes.push_back(k.ns->hash(k.name));
    StripeLocks own(store_);
    if (!own.lock_idle(hashes)) {
      spawn(executor_, "serving who waits", serve_in_turns(std::move(unserved)));
      continue;
    }
    ready_.keys.push_back(std::move(unserved.key));
    serve_under(own, left, rest);
  }
}

void Engine::serve(ReadyKey key) {
  ready_.keys.push_back(std::move(key));
  StripeLocks none(store_);
  serve_ready(none);
}

awaitable<void> Engine::serve_in_turns(Unserved unserved) {
  constexpr size_t kTurn = 64;
  const auto executor = co_await asio::this_coro::executor;
  std::vector<Unserved> rest;
  rest.push_back(std::move(unserved));
  while (!rest.empty()) {
    const Unserved now = std::move(rest.back());
    rest.pop_back();
    std::vector<KeyHash> hashes{now.key.ns->hash(now.key.name)};
    Faults::Keys values{{now.key.ns, now.key.name}};
    for (const ReadyKey& k : now.beside) {
      hashes.push_back(k.ns->hash(k.name));
      values.emplace_back(k.ns, k.name);
    }
    {
      StripeLocks locks(store_);
      // Of a value that cannot be read the report tells; who waits for it goes on to wait.
      const Status locked = co_await store_.faults().lock_with_values(locks, hashes, values,
                                                                      Busy::Patience::kEndless);
      if (!locked.ok()) continue;
      size_t left = kTurn;
      ready_.keys.push_back(now.key);
      serve_under(locks, left, rest);
    }
    co_await asio::post(executor, asio::use_awaitable);
  }
}

}  // namespace cairn::kv
