#include "kv/engine/command.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/engine/call_session.h"
#include "kv/engine/engine.h"
#include "kv/engine/frequency.h"
#include "kv/types/type.h"

namespace cairn::kv {

void Args::clear_rest() {
  if (words_.capacity() > kWordsKept) words_ = {};
  for (auto& [i, blob] : blobs_) store_.extents().unref(blob);
  blobs_.clear();
  owned_.clear();
  lost_ = absl::OkStatus();
  plain_ = true;
}

void Args::add_blob(BlobRef blob) {
  plain_ = false;
  blobs_.emplace_back(words_.size(), std::move(blob));
  words_.emplace_back();
}

void Args::add_lost(const Status& why) {
  plain_ = false;
  words_.emplace_back();
  if (lost_.ok()) lost_ = why;
}

void Args::assign_owned(Args& from) {
  clear();
  for (std::string_view w : from.words_) add_copy(w);
  blobs_.swap(from.blobs_);
  plain_ = false;
}

void Args::set_text(size_t i, std::string text) {
  plain_ = false;
  store_.extents().unref(take_blob(i));
  words_[i] = owned_.emplace_back(std::move(text));
}

const BlobRef* Args::blob(size_t i) const {
  for (auto& [at, blob] : blobs_) {
    if (at == i) return &blob;
  }
  return nullptr;
}

uint64_t Args::length(size_t i) const {
  const BlobRef* b = blob(i);
  return b != nullptr ? b->size : words_[i].size();
}

BlobRef Args::take_blob(size_t i) {
  for (auto it = blobs_.begin(); it != blobs_.end(); ++it) {
    if (it->first != i) continue;
    BlobRef blob = std::move(it->second);
    blobs_.erase(it);
    // For whoever is shown the command when it ran: SLOWLOG, MONITOR.
    words_[i] = owned_.emplace_back(cat("(", blob.size, " bytes)"));
    return blob;
  }
  return {};
}

void Args::put_back(size_t i, BlobRef blob) {
  blobs_.emplace_back(i, std::move(blob));
  words_[i] = {};
}

Context::Context(Engine& engine, Session& session, Request& request, Reply& reply)
    : engine(engine),
      store(engine.store()),
      session(session),
      request(request),
      row(*request.row),
      args(request.args),
      reply(reply),
      event_(row.event) {
  if (row.selects != 0 || session.ns->is_bucket()) saw(store.newest_name());
}

Namespace& Context::ns() const { return *session.ns; }

Committer* Context::committer() const { return engine.committer(session.id); }

Wish Context::wish() const {
  const CallSession* call = call_of(session);
  return call != nullptr && call->durable ? Wish::kDurable : engine.server().wish();
}

const Key* Context::resolved_of_all(const Namespace& ns, std::string_view key, bool change) {
  const size_t n = request.keys.size();
  for (size_t i = 0, at = last_key_; i < n; i++, at++) {
    if (at >= n) at -= n;
    const Key& k = request.keys[at];
    const auto itself = [key](const Key& one) {
      return one.name.data() == key.data() && one.name.size() == key.size();
    };
    if (k.ns != &ns || !(itself(k) || k.name == key)) continue;
    // Of two words that are the same the one that was meant: they mostly follow on each other.
    if (!itself(k) && at + 1 < n && itself(request.keys[at + 1])) continue;
    last_key_ = at;
    const bool allowed = !change || (k.flags & kKeyChanges) != 0;
    if (allowed && locks != nullptr && locks->covers(k.hash)) return &k;
  }
#ifdef CAIRN_DEBUG
  assert(!"a command touched a key that its row does not name");
#endif
  status_error(absl::InternalError("the command touched a key that it does not name"));
  return nullptr;
}

Entry* Context::look(Namespace& ns, std::string_view key) {
  const Key* k = resolved(ns, key, false);
  return k == nullptr ? nullptr : txn->find(ns, key, k->hash);
}

Entry* Context::look(std::string_view key) { return look(ns(), key); }

Entry* Context::find(Namespace& ns, std::string_view key) {
  const Key* k = resolved(ns, key, false);
  if (k == nullptr) return nullptr;
  Entry* e = txn->find(ns, key, k->hash);
  // As Redis's lookupKeyRead: what is looked for to be changed is not read, unless the row says so;
  // and however often a command looks for it, it reads it once.
  const bool only_changed = (k->flags & kKeyChanges) != 0 && (k->flags & kKeyLooked) == 0;
  if (!only_changed && !std::exchange(k->missed, true)) {
    engine.count_hit(e != nullptr);
    if (e == nullptr && engine.server().events.tells(Events::kKeyMiss)) missed(*k);
  }
  // It was asked before the command ran; another value may have come since.
  if (e != nullptr && ns.may_hold_encrypted() && looks_at_value(k->flags) && is_encrypted(e)) {
    status_error(absl::FailedPreconditionError(std::string(kEncrypted)));
  }
  if (e == nullptr || session.no_touch) return e;
  if (store.memory().counts_frequency()) {
    Frequency::note_use(e, store.random());
  } else {
    e->touch();
  }
  return e;
}

bool Context::find(std::string_view key, ValueType type, Entry*& entry) {
  entry = find(key);
  if (entry == nullptr || entry->type() == type) return true;
  reply.error(kWrongType);
  return false;
}

std::string busy_text(std::string_view who) {
  return cat("BUSY Redis is busy running a script. You can only call ",
             who == kBusyFunction ? "FUNCTION" : "SCRIPT", " KILL or SHUTDOWN NOSAVE.");
}

std::string error_text(const Status& status) {
  std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      if (is_disk_full(status)) return cat("MISCONF Errors writing to the log: ", text);
      if (is_quota_exceeded(status)) return cat("OOM command not allowed: ", text);
      return cat(is_out_of_memory(status) ? "OOM " : "ERR ", text);
    case absl::StatusCode::kUnavailable:
      if (const std::string who = held_too_long_by(status); !who.empty()) return busy_text(who);
      return cat("MISCONF ", text);
    case absl::StatusCode::kPermissionDenied:
      return cat("NOPERM ", text);
    case absl::StatusCode::kDataLoss:
      return cat("IOERR ", text);
    default:
      return cat("ERR ", text);
  }
}

void Context::meets_busy(KeyHash hash) {
  session.met_busy = hash;
  again = true;
}

void Context::status_error(const Status& status) {
  if (failure_.empty()) failure_ = error_text(status);  // the first one is the reason
}

bool Context::done(const Status& status) {
  if (!status.ok()) status_error(status);
  return status.ok();
}

namespace {
// It changes something.
void note_change(Session& session) {
  if (CallSession* call = call_of(session)) call->changes = true;
}
}  // namespace

namespace {
// A command that mostly only writes may also make a key vanish: an expiry that is past, an empty
// result that is stored. That is a deletion, which its key's flags do not say.
bool may_vanish(const Context& c, const Key& key) {
  if ((key.flags & (kKeyDelete | kKeyRemove)) != 0) return true;
  const Principal* who = c.session.principal.get();
  if (who == nullptr || who->may_all()) return true;
  Circumstances from = c.session.circumstances();
  from.granted = c.engine.acl_allows(c.session, c.request);
  const Action action{c.row.action.door, c.row.action.name, Access::kDelete};
  return authorize(*who, action, key.ns->name, key.name, from);
}
constexpr const char* kMayNotVanish =
    "this user has no permissions to delete one of the keys used as arguments";
}  // namespace

bool Context::put(Namespace& ns, const RecordView& record) {
  const Key* k = resolved(ns, record.key, true);
  if (k == nullptr) return false;
  const bool vanishes = record.expire_ms != 0 && record.expire_ms <= now_ms();
  if (vanishes && !may_vanish(*this, *k)) return done(absl::PermissionDeniedError(kMayNotVanish));
  if (ns.encrypts() && !encrypted_size(record.meta)) {
    return done(absl::FailedPreconditionError(std::string(kOnlyEncrypted)));
  }
  will_change(ns, k->hash, record.key);
  if (!done(txn->put(ns, k->hash, record))) return false;
  did_change(ns, record.key);
  return true;
}

bool Context::rename(Entry* from, Namespace& to, std::string_view key) {
  const Key* old = resolved(ns(), from->key(), true);
  const Key* k = old == nullptr ? nullptr : resolved(to, key, true);
  if (k == nullptr) return false;
  if (to.encrypts()) return done(absl::FailedPreconditionError(std::string(kOnlyEncrypted)));
  will_change(to, k->hash, key);
  return done(txn->rename(ns(), old->hash, from, to, k->hash, key));
}

bool Context::put_string(std::string_view key, std::string_view value, int64_t expire_ms) {
  RecordView r;
  r.ns = ns().id;
  r.key = key;
  r.value = value;
  r.expire_ms = expire_ms;
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  return put(ns(), r);
}

bool Context::put_word(std::string_view key, size_t i, int64_t expire_ms) {
  if (args.blob(i) == nullptr) return put_string(key, args[i], expire_ms);
  BlobRef blob = args.take_blob(i);
  std::string encoded = blob.encode();
  RecordView r;
  r.ns = ns().id;
  r.key = key;
  r.value = encoded;
  r.flags = kRecordIsBlob;
  r.expire_ms = expire_ms;
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  if (put(ns(), r)) return true;
  store.extents().unref(blob);
  return false;
}

bool Context::operate(ValueType type, std::string_view key, Entry* entry,
                      std::string_view operation) {
  RecordView r;
  r.type = RecordType::kOperation;
  r.flags = static_cast<uint8_t>(static_cast<unsigned>(type) << 4);
  r.ns = ns().id;
  r.key = key;
  r.value = operation;
  const Key* k = resolved(ns(), key, true);
  if (k == nullptr) return false;
  if (ns().encrypts()) return done(absl::FailedPreconditionError(std::string(kOnlyEncrypted)));
  note_change(session);
  if (entry == nullptr) will_change(ns(), k->hash, key);
  if (!done(txn->operate(ns(), k->hash, entry, r))) return false;
  did_change(ns(), key);
  return true;
}

bool Context::put_expiry(Entry* entry, int64_t expire_ms) {
  const Key* k = resolved(ns(), entry->key(), true);
  if (k == nullptr || !done(txn->expire(ns(), k->hash, entry, expire_ms))) return false;
  if (tells_events()) {
    add_event(Events::kGeneric, expire_ms == 0 ? "persist" : "expire", ns(), k->name);
  }
  return true;
}

bool Context::remove(Namespace& ns, Entry* entry) {
  const Key* k = resolved(ns, entry->key(), true);
  if (k != nullptr && !may_vanish(*this, *k)) {
    return done(absl::PermissionDeniedError(kMayNotVanish));
  }
  note_change(session);
  if (k == nullptr || !done(txn->remove(ns, k->hash, entry))) return false;
  if (!tells_events() || event_.name.empty()) return true;
  if (event_.before_del) add_event(event_.of, event_.name, ns, k->name);
  add_event(Events::kGeneric, "del", ns, k->name);
  return true;
}

void Context::reply_range(Entry* entry, uint64_t offset, uint64_t length) {
  if (entry == nullptr) return reply.null();
  if (!entry->is_blob()) {
    std::string_view value = entry->value();
    offset = std::min<uint64_t>(offset, value.size());
    return reply.bulk(value.substr(offset, std::min<uint64_t>(length, value.size() - offset)));
  }
  BlobRef blob = *BlobRef::decode(entry->value());
  offset = std::min(offset, blob.size);
  length = std::min(length, blob.size - offset);
  reply.stream(std::make_unique<BlobReader>(store.extents(), std::move(blob), offset, length));
}

bool Context::tells_events() const { return engine.server().events.tells(); }

void Context::add_event(Events::Class of, std::string_view event, const Namespace& ns,
                        std::string_view key) {
  if (event.empty() || !engine.server().events.tells(of)) return;
  Event added{of, event, &ns, std::string(key)};
  if (in_turns_ && !in_turn_.insert(added).second) return;
  events_.push_back(std::move(added));
}

// A value that nobody has looked for since its time came is gone now, and what comes is new.
void Context::will_change(Namespace& ns, KeyHash hash, std::string_view key) {
  note_change(session);
  constexpr uint32_t kTold = Events::kExpired | Events::kNew | Events::kHash | Events::kGeneric;
  if (!engine.server().events.tells(kTold)) return;
  const Entry* there = ns.index->find(key, hash);
  const bool expired = there != nullptr && txn->find(ns, key, hash) == nullptr;
  if (expired && there->has_expiry() && there->expire_ms() <= now_ms()) {
    add_event(Events::kExpired, "expired", ns, key);
  } else if (expired) {  // the last part of it
    add_event(Events::kHash, "hexpired", ns, key);
    add_event(Events::kGeneric, "del", ns, key);
  }
  if (there == nullptr || expired) add_event(Events::kNew, "new", ns, key);
}

void Context::missed(const Key& key) {
  events_.push_back({Events::kKeyMiss, "keymiss", key.ns, std::string(key.name)});
}

void Context::tell_events(bool committed) {
  for (const Event& e : events_) {
    if (committed) session.kept_events |= engine.server().events.tell(*e.ns, e.of, e.name, e.key);
    if (!committed && in_turns_) in_turn_.erase(e);
  }
  events_.clear();
  CallSession* call = call_of(session);
  if (call == nullptr || !std::exchange(call->changes, false)) return;
  if (committed && txn != nullptr) call->changed = txn->seen();
}

void Context::take_events(Context& inner) {
  for (Event& e : inner.events_) events_.push_back(std::move(e));
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  return out;
}

void Context::defer() {
  if (in_exec) {
    return reply.error(
        "ERR a value so large is worked on in parts, which neither MULTI nor a script can");
  }
  deferred_ = true;
}

bool Context::integer(size_t i, int64_t& value, std::string_view error) {
  auto parsed = parse_ll(args[i]);
  if (!parsed) {
    reply.error(error);
    return false;
  }
  value = *parsed;
  return true;
}

bool parse_cursor(Context& c, std::string_view word, uint64_t& cursor) {
  const std::string text(word);
  char* end;
  errno = 0;
  cursor = std::strtoull(text.c_str(), &end, 10);
  if (*end == '\0' && errno == 0 && std::isspace(static_cast<unsigned char>(text[0])) == 0) {
    return true;
  }
  c.reply.error("ERR invalid cursor");
  return false;
}

std::string_view encoding_of(const Entry* e) {
  if (const Collection* c = e->collection()) return type_of(e->type()).encoding(*c);
  constexpr size_t kEmbeddedMax = 44;
  if (e->is_blob() || is_encrypted(e)) return "raw";
  if (parse_ll(e->value())) return "int";
  return e->value_bytes() <= kEmbeddedMax ? "embstr" : "raw";
}

std::optional<int64_t> parse_ll(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  std::string_view digits = text[0] == '-' ? text.substr(1) : text;
  if (digits.empty() || (digits[0] == '0' && text.size() > 1)) return std::nullopt;
  return parse_int<int64_t>(text);
}

std::optional<long double> parse_float(std::string_view text) {
  if (text.empty() || text.size() >= kFloatCharsMax ||
      std::isspace(static_cast<unsigned char>(text[0]))) {
    return std::nullopt;
  }
  const std::string copy(text);
  char* end;
  errno = 0;
  const long double value = std::strtold(copy.c_str(), &end);
  const bool beyond = errno == ERANGE && (std::isinf(value) || value == 0);
  if (end != copy.c_str() + copy.size() || std::isnan(value) || beyond) return std::nullopt;
  return value;
}

std::string format_float(long double value) {
  char text[kFloatCharsMax];
  int n = std::snprintf(text, sizeof(text), "%.17Lf", value);
  std::string out(text, static_cast<size_t>(n));
  if (out.find('.') != out.npos) {
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
  }
  return out == "-0" ? "0" : out;
}

void Context::give_up() {
  session.close_after_reply = true;  // what comes behind it may rest on it
  reply.error("ERR the connection ends");
}

bool Context::given_up() {
  if (!session.ends()) return false;
  give_up();
  return true;
}

awaitable<std::unique_ptr<Workspace::Share>> Context::workspace(uint64_t bytes) {
  Server& server = engine.server();
  const uint64_t most = limits::workspace(store.memory_bytes());
  for (;;) {
    auto share =
        co_await server.workspace.take(bytes, most, [this](std::shared_ptr<Waiter> waiter) {
          return session.wait(std::move(waiter), store.clock(), 0);
        });
    if (share != nullptr) co_return share;
    // CLIENT UNBLOCK is for commands that block: who waits for room stands in line again.
    if (session.ends() || session.unblocked() == Session::Unblock::kGone) break;
  }
  give_up();
  co_return nullptr;
}

}  // namespace cairn::kv
