// MULTI, EXEC, DISCARD, WATCH: a way to take the locks of several commands at once.
#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

void Engine::enqueue(Session& session, Request& request, Reply& reply) {
  constexpr uint64_t kQueuedBytesMax = 512 << 20;
  constexpr size_t kQueuedMax = 1'000'000;
  // What will come to nothing is not kept, as in Redis: nor do its keys matter to EXEC.
  if (session.multi_failed || session.watched.touched()) return reply.simple("QUEUED");
  const Args& args = request.args;
  constexpr uint64_t kCommandBytes = 256, kWordBytes = 64;  // what it takes to keep them
  session.queued_bytes += kCommandBytes;
  for (size_t i = 0; i < args.size(); i++) session.queued_bytes += args[i].size() + kWordBytes;
  if (session.queued_bytes > kQueuedBytesMax || session.queue.size() >= kQueuedMax) {
    session.multi_failed = true;
    return reply.error("ERR the transaction is too large");
  }
  Request& queued = session.queue.emplace_back(store());
  queued.row = request.row;
  if (request.selected != nullptr && !server_.cluster.enabled) session.queued_ns = request.selected;
  queued.args.assign_owned(request.args);
  reply.simple("QUEUED");
}

void Engine::multi(Context& c) {
  if (c.session.in_multi) return c.reply.error("ERR MULTI calls can not be nested");
  c.session.in_multi = true;
  c.reply.ok();
}

void Engine::discard(Context& c) {
  if (!c.session.in_multi) return c.reply.error("ERR DISCARD without MULTI");
  c.session.leave_multi();
  c.reply.ok();
}

void Engine::watch(Context& c) {
  if (c.session.in_multi) return c.reply.error("ERR WATCH inside MULTI is not allowed");
  for (const Key& key : c.request.keys) {
    const bool present = c.look(*key.ns, key.name) != nullptr;
    c.session.watched.add(c.engine.server().watches, key.ns->shared_from_this(), key.name, present);
  }
  c.reply.ok();
}

void Engine::unwatch(Context& c) {
  c.session.watched.clear();
  c.reply.ok();
}

void Engine::discard_refused(Context& c, const Status& status) {
  c.session.leave_multi();
  c.reply.error(cat("EXECABORT Transaction discarded because of: ", error_text(status)));
}

namespace {

// The blobs of queued commands, which take them as they run: should all of it begin again, they are
// there again.
class HeldBlobs {
 public:
  HeldBlobs(Store& store, const std::vector<Request>& queue) : extents_(store.extents()) {
    for (size_t q = 0; q < queue.size(); q++) {
      const Args& args = queue[q].args;
      for (size_t i = 0; args.has_blobs() && i < args.size(); i++) {
        if (const BlobRef* blob = args.blob(i)) held_.push_back({q, i, *blob});
      }
    }
    for (const Held& h : held_) extents_.ref(h.blob);
  }
  ~HeldBlobs() {
    for (const Held& h : held_) extents_.unref(h.blob);
  }
  HeldBlobs(const HeldBlobs&) = delete;
  void give_back(std::vector<Request>& queue) {
    for (const Held& h : held_) {
      Args& args = queue[h.command].args;
      if (args.blob(h.word) != nullptr) continue;
      extents_.ref(h.blob);
      args.put_back(h.word, h.blob);
    }
  }

 private:
  struct Held {
    size_t command, word;
    BlobRef blob;
  };
  ExtentStore& extents_;
  std::vector<Held> held_;
};

}  // namespace

void Engine::exec(Context& c) {
  Session& session = c.session;
  Engine& engine = c.engine;
  if (!session.in_multi) return c.reply.error("ERR EXEC without MULTI");
  if (session.multi_failed) {
    session.leave_multi();
    return c.reply.error("EXECABORT Transaction discarded because of previous errors.");
  }
  uint32_t flags = 0;  // of any of them
  for (const Request& queued : session.queue) flags |= queued.row->flags;
  if (flags & kWrite) {
    session.wrote = true;
    Status status = c.store.check_write(flags & kDenyOom);
    if (!status.ok()) return discard_refused(c, status);
  }
  std::vector<Request> queue = std::move(session.queue);
  bool touched = session.watched.touched();
  for (auto& w : session.watched.keys()) {  // all of them: a refusal rests on what they are now
    const Entry* e = c.txn->find(*w.ns, w.key, w.ns->hash(w.key));
    touched |= w.present && e == nullptr;  // one that expired may still be there
  }
  if (touched) {
    session.leave_multi();
    return c.reply.null_array();
  }
  session.in_multi = false;
  session.executed_count = static_cast<int>(queue.size());
  const Reply::Mark begin = c.reply.mark();
  const NamespacePtr home = session.ns;
  Transaction txn(c.store, c.locks, Shape::kSeveral, c.wish());
  txn.set_committer(c.committer());
  txn.names_changes();
  HeldBlobs blobs(c.store, queue);
  c.reply.array(queue.size());
  for (Request& queued : queue) {
    const Reply::Mark mark = c.reply.mark();
    Context inner(engine, session, queued, c.reply);
    inner.locks = c.locks;
    inner.txn = &txn;
    inner.in_exec = true;
    if (txn.swaps() && looks_at_cold(queued)) {  // in memory are what its keys held before
      note_lacking(session, queued, txn);
      inner.again = true;
    } else if (engine.still_permitted(session, queued, c.reply)) {
      engine.call(inner);
    }
    if (inner.again) {  // of a script: all of it is taken back, and begins again
      c.tell_events(false);
      session.ns = home;
      blobs.give_back(queue);
      session.queue = std::move(queue);
      session.executed_count = -1;
      session.in_multi = c.again = true;
      return;
    }
    engine.finish(inner, mark);
    if (inner.dooms) {
      c.tell_events(false);
      session.unsent.clear();
      c.reply.cut(begin);
      session.ns = home;
      session.leave_multi();
      return c.reply.error(cat("EXECABORT Transaction discarded because of: ", inner.failure()));
    }
    c.errors_counted += c.reply.errors() - mark.errors;
    c.saw(inner.seen());
    c.take_events(inner);
    if (!txn.status().ok()) break;
    if (c.reply.overflowed()) {  // nobody would hear of it: nothing of it is done
      session.ns = home;
      session.leave_multi();
      return c.status_error(absl::ResourceExhaustedError("the answer is too large"));
    }
  }
  c.locks->settle();
  auto lsn = txn.commit();
  c.saw(txn.seen());
  session.leave_multi();
  c.tell_events(lsn.ok());
  if (lsn.ok()) return;
  session.unsent.clear();
  c.reply.cut(begin);
  c.errors_counted = 0;
  session.ns = home;
  discard_refused(c, lsn.status());
}

namespace {
constexpr std::string_view kGroup = "transactions";
constexpr uint32_t kAtOnce = kFast | kNoQueue | kLoading | kNoScript;
constexpr KeySpec kWatched[] = {{.flags = kKeyReadOnly | kKeyNameOnly, .last = -1}};
constexpr Row kTransactionRows[] = {
    {"multi", 1, kAtOnce, {}, Engine::multi, nullptr, kGroup, "Starts a transaction.", "1.2.0"},
    {"exec",
     1,
     kNoQueue | kQueue | kLoading | kNoScript,
     {},
     Engine::exec,
     nullptr,
     kGroup,
     "Executes all commands in a transaction.",
     "1.2.0"},
    {"discard",
     1,
     kAtOnce,
     {},
     Engine::discard,
     nullptr,
     kGroup,
     "Discards a transaction.",
     "2.0.0"},
    {"watch", -2, kAtOnce, kWatched, Engine::watch, nullptr, kGroup,
     "Monitors changes to keys to determine the execution of a transaction.", "2.2.0"},
    {"unwatch",
     1,
     kFast | kLoading | kNoScript,
     {},
     Engine::unwatch,
     nullptr,
     kGroup,
     "Forgets about watched keys of a transaction.",
     "2.2.0"},
};
}  // namespace
std::span<const Row> transaction_rows() { return kTransactionRows; }

}  // namespace cairn::kv
