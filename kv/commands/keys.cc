// Commands on keys of any type.
#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "core/store/collection_copy.h"
#include "kv/commands/key_walk.h"
#include "kv/engine/engine.h"
#include "kv/engine/frequency.h"
#include "kv/engine/session.h"
#include "kv/types/glob.h"
#include "kv/types/type.h"

namespace cairn::kv {
namespace {

void del(Context& c) {
  int64_t n = 0;
  for (size_t i = 1; i < c.args.size(); i++) {
    Entry* e = c.find(c.args[i]);
    if (e == nullptr) continue;
    if (!c.remove(c.ns(), e)) return;
    n++;
  }
  c.reply.integer(n);
}

void exists(Context& c) {
  int64_t n = 0;
  for (size_t i = 1; i < c.args.size(); i++) {
    n += c.find(c.args[i]) != nullptr;
  }
  c.reply.integer(n);
}

void type(Context& c) {
  const Entry* e = c.find(c.args[1]);
  c.reply.simple(e == nullptr ? "none" : type_of(e->type()).name);
}

// Puts the value of `from` under another key; the blob is shared.
bool put_copy(Context& c, Entry* from, Namespace& to, std::string_view key) {
  RecordView r = from->record(to.id);
  r.key = key;
  std::string image;
  if (const Collection* collection = from->collection()) {
    // Before the image is made: of 10 million fields that took 24 s, in which nobody was answered.
    if (collection->image_bytes() > c.store.log().record_bytes_max()) {
      c.reply.error("ERR a value larger than a log segment cannot be written at once");
      return false;
    }
    image = collection->image();
    r.value = image;
  }
  if (!from->is_blob()) return c.put(to, r);
  BlobRef blob = *BlobRef::decode(from->value());
  c.store.extents().ref(blob);
  if (c.put(to, r)) return true;
  c.store.extents().unref(blob);
  return false;
}

// A large collection by one record; what is small is put and removed.
bool move_to(Context& c, Entry* from, Namespace& to, std::string_view key) {
  c.replaces(to, key);
  // Their events differ from those of a value that is put or removed.
  const bool moves = c.row.name == "move";
  const std::string_view old = c.args[1];
  c.set_event({});
  const bool moved = Transaction::has_identity(from)
                         ? c.rename(from, to, key)
                         : put_copy(c, from, to, key) && c.remove(c.ns(), from);
  c.add_event(Events::kGeneric, moves ? "move_from" : "rename_from", c.ns(), old);
  c.add_event(Events::kGeneric, moves ? "move_to" : "rename_to", to, key);
  return moved;
}

bool rename_to(Context& c) {
  Entry* from = c.find(c.args[1]);
  return c.args[1] == c.args[2] || move_to(c, from, c.ns(), c.args[2]);
}

void rename(Context& c) {
  if (c.find(c.args[1]) == nullptr) return c.reply.error("ERR no such key");
  if (rename_to(c)) c.reply.ok();
}

void renamenx(Context& c) {
  if (c.find(c.args[1]) == nullptr) return c.reply.error("ERR no such key");
  if (c.find(c.args[2]) != nullptr) return c.reply.integer(0);
  if (rename_to(c)) c.reply.integer(1);
}

// Answers the error if this word names no namespace.
bool names_space(Context& c, std::string_view word) {
  c.saw(c.store.newest_name());
  if (c.store.find_namespace(namespace_name(word)) != nullptr) return true;
  const auto number = parse_ll(word);
  if (!number) {
    c.reply.error("ERR value is not an integer or out of range");
  } else if (*number < INT32_MIN || *number > INT32_MAX) {
    c.reply.error(
        cat("ERR value is out of range, value must between ", INT32_MIN, " and ", INT32_MAX));
  } else {
    c.reply.error("ERR DB index is out of range");
  }
  return false;
}

// The namespace of a key that goes elsewhere, as it was when the request's keys were resolved;
// null, after it answered the error, if it has come into being only since.
Namespace* target(Context& c, const Key& key) {
  if (key.ns == nullptr) c.reply.error("ERR DB index is out of range");
  return key.ns;
}

struct CopyTo {
  Namespace* ns = nullptr;
  bool replace = false;
};

bool parse(Context& c, CopyTo& to) {
  for (size_t i = 3; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "replace")) {
      to.replace = true;
    } else if (equals_ignoring_case(c.args[i], "db") && i + 1 < c.args.size()) {
      if (!names_space(c, c.args[++i])) return false;
    } else {
      c.syntax_error();
      return false;
    }
  }
  to.ns = target(c, c.request.keys[1]);
  if (to.ns != nullptr && to.ns != &c.ns() && c.engine.server().cluster.enabled) {
    c.reply.error("ERR Copying to another database is not allowed in cluster mode");
    return false;
  }
  if (to.ns == &c.ns() && c.args[1] == c.args[2]) {
    c.reply.error("ERR source and destination objects are the same");
    return false;
  }
  return to.ns != nullptr;
}

// What is to be copied; null, after it answered so, if there is nothing or it may not be.
Entry* to_copy(Context& c, const CopyTo& to) {
  Entry* from = c.find(c.args[1]);
  if (from != nullptr && (to.replace || c.find(*to.ns, c.args[2]) == nullptr)) return from;
  c.reply.integer(0);
  return nullptr;
}

void copy(Context& c) {
  CopyTo to;
  if (!parse(c, to)) return;
  Entry* from = to_copy(c, to);
  if (from == nullptr) return;
  if (CollectionCopy::is_for(c.store, from) && !c.in_exec) return c.defer();
  c.replaces(*to.ns, c.args[2]);
  if (put_copy(c, from, *to.ns, c.args[2])) c.reply.integer(1);
}

// What is left to be done of a copy that is made in turns.
enum class Left : uint8_t { kNothing, kSome, kAll };

// A turn of it, with both keys and its own locked. kAll: the key holds something else by now.
Left copy_turn(Context& c, const CopyTo& to, StripeLocks& locks, CollectionCopy& copying,
               bool begins) {
  Context::Turn turn(c, locks, Shape::kSeveral);
  Entry* from = to_copy(c, to);
  if (from == nullptr) return Left::kNothing;
  if (!CollectionCopy::is_for(c.store, from)) {
    c.replaces(*to.ns, c.args[2]);
    if (put_copy(c, from, *to.ns, c.args[2]) && turn.commit()) c.reply.integer(1);
    return Left::kNothing;
  }
  Status status = c.store.check_write(true);
  if (status.ok() && begins) status = copying.begin(c.ns(), from);
  if (status.ok() && !copying.follows(from)) return Left::kAll;
  if (status.ok()) status = copying.step(locks, from);
  if (status.ok() && !copying.whole()) return Left::kSome;
  const Key& key = c.request.keys[1];
  if (status.ok()) {
    c.will_change(*to.ns, key.hash, key.name);
    c.replaces(*to.ns, key.name);
    status = copying.name(*c.txn, from, *to.ns, key.hash, key.name);
    c.did_change(*to.ns, key.name);
  }
  if (!status.ok()) {
    c.status_error(status);
  } else if (turn.commit()) {
    c.reply.integer(1);
  }
  return Left::kNothing;
}

// False if all of it is left to be done.
awaitable<bool> copy_in_turns(Context& c, const CopyTo& to) {
  CollectionCopy copying(c.store);
  const std::vector<KeyHash> hashes{c.request.keys[0].hash, c.request.keys[1].hash, copying.hash()};
  const Faults::Keys values{{c.session.ns, c.args[1]}};
  const auto executor = co_await asio::this_coro::executor;
  for (bool begins = true; !c.given_up(); begins = false) {
    {
      StripeLocks locks(c.store);
      Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
      if (!locked.ok()) {
        c.status_error(locked);
        co_return true;
      }
      const Left left = copy_turn(c, to, locks, copying, begins);
      if (left != Left::kSome) co_return left == Left::kNothing;
    }
    (void)c.store.memory().help();
    if (c.store.log().backlogged()) co_await c.store.log().wait_for_backlog();
    co_await c.store.log().wait_for_large();
    co_await asio::post(executor, asio::use_awaitable);
  }
  co_return true;
}

awaitable<void> copy_deferred(Context& c) {
  CopyTo to;
  if (!parse(c, to)) co_return;
  for (bool done = false; !done;) done = co_await copy_in_turns(c, to);
}

void move(Context& c) {
  if (c.engine.server().cluster.enabled) {
    return c.reply.error("ERR MOVE is not allowed in cluster mode");
  }
  if (!names_space(c, c.args[2])) return;
  Namespace* to = target(c, c.request.keys[1]);
  if (to == nullptr) return;
  if (to == &c.ns()) return c.reply.error("ERR source and destination objects are the same");
  Entry* from = c.find(c.args[1]);
  if (from == nullptr || c.find(*to, c.args[1]) != nullptr) return c.reply.integer(0);
  if (move_to(c, from, *to, c.args[1])) c.reply.integer(1);
}

// Calls fn() with the stripe locked. False: it is busy.
template <class Fn>
bool with_stripe(Context& c, size_t stripe, Fn fn) {
  StripeLocks lock(c.store);
  const bool has_all = c.locks != nullptr && c.locks->all();
  if (!has_all && !lock.lock_idle(KeyHash{stripe} << (64 - kStripeBits))) return false;
  fn();
  return true;
}

// Draws an entry, each of them with the same chance, and gives it to fn(Entry*) under its stripe's
// lock: from a stripe by chance, which is taken the more likely the more it holds. Not from one
// that is busy, unless there is nothing else: false, and the command is to come again.
template <class Fn>
bool draw(Context& c, Fn fn) {
  bool found = false;
  std::optional<size_t> busy;
  auto take = [&](const Index& index, size_t stripe) {
    fn(index.random(stripe, c.store.random()));
    found = true;
  };
  constexpr int kTriesMax = 64;
  const uint64_t size = c.ns().size();
  const double mean = static_cast<double>(size) / kStripes;
  const auto most = static_cast<uint64_t>(mean + 8 * std::sqrt(mean) + 8);  // hardly one holds more
  for (int tries = 0; tries < kTriesMax && mean >= 1 && !found; tries++) {
    const size_t stripe = c.store.random() % kStripes;
    (void)with_stripe(c, stripe, [&] {
      const Index& index = *c.ns().index;
      if (c.store.random() % most < index.size(stripe)) take(index, stripe);
    });
  }
  // Most hold none: then counted. None is found if keys go meanwhile; the caller draws again.
  uint64_t skip = found || size == 0 ? 0 : c.store.random() % size;
  for (size_t stripe = 0; stripe < kStripes && !found;) {
    const bool looked = with_stripe(c, stripe, [&] {
      const Index& index = *c.ns().index;
      const uint64_t here = index.size(stripe);
      if (here > skip) return take(index, stripe);
      skip -= here;
      stripe += index.touched(stripe) ? 1 : Index::kBlockStripes;  // is a block's first one then
    });
    if (!looked) busy = stripe++;
  }
  if (found || !busy) return true;
  c.meets_busy(KeyHash{*busy} << (64 - kStripeBits));
  return false;
}

void randomkey(Context& c) {
  const int64_t now = c.now_ms();
  std::string key;
  bool found = false;
  constexpr int kDrawsMax = 16;
  for (int draws = 0; draws < kDrawsMax && !found; draws++) {
    const bool drew = draw(c, [&](Entry* e) {
      if (e->expired(now)) return;
      key = e->key();
      found = true;
      c.saw(e);
    });
    if (!drew) return;
  }
  // All that was drawn had expired.
  for (size_t s = 0; s < kStripes && !found && c.ns().size() > 0; s++) {
    const bool looked = with_stripe(c, s, [&] {
      c.ns().index->for_each(s, [&](Entry* e) {
        if (found || e->expired(now)) return;
        key = e->key();
        found = true;
        c.saw(e);
      });
    });
    if (!looked) return c.meets_busy(KeyHash{s} << (64 - kStripeBits));
  }
  c.saw_all(c.ns());  // also those that went while it looked
  if (found) {
    c.reply.bulk(key);
  } else {
    c.reply.null();
  }
}

constexpr uint64_t kScanWork = 4096;  // what counts as another key looked at

bool add_matching(Context& c, Glob& pattern, const Entry* e, Names& names) {
  if (!pattern.matches(e->key())) return true;
  names.add(e->key());
  c.saw(e);
  return true;
}

void keys(Context& c) {
  if (KeyWalk::takes_turns(c)) return c.defer();
  Glob pattern(c.args[1]);
  auto names = std::make_unique<Names>();
  const bool all =
      KeyWalk(c).all([&](const Entry* e) { return add_matching(c, pattern, e, *names); });
  if (all) reply_names(c, std::move(names));
}
awaitable<void> keys_in_turns(Context& c) {
  Glob pattern(c.args[1]);
  co_await reply_names_in_turns(c, [&](KeyWalk& walk, const Entry* e, Names& names) {
    walk.costs(pattern.work(e->key()) / kScanWork);
    return add_matching(c, pattern, e, names);
  });
}

// A cursor is a place in the order of hashes, without its low 16 bits; see core/index/index.h.
void scan(Context& c) {
  uint64_t cursor;
  if (!parse_cursor(c, c.args[1], cursor)) return;
  int64_t count = 10;
  std::optional<Glob> match;
  std::optional<std::string_view> want_type;
  for (size_t i = 2; i < c.args.size(); i += 2) {
    if (i + 1 >= c.args.size()) return c.syntax_error();
    if (equals_ignoring_case(c.args[i], "match")) {
      match.emplace(c.args[i + 1]);
    } else if (equals_ignoring_case(c.args[i], "count")) {
      if (!c.integer(i + 1, count)) return;
      if (count < 1) return c.syntax_error();
    } else if (equals_ignoring_case(c.args[i], "type")) {
      want_type = c.args[i + 1];
    } else {
      return c.syntax_error();
    }
  }
  count = std::min(count, kScanCountMax);
  if (cursor > UINT64_MAX >> 16) {  // none of ours: behind the last
    c.reply.array(2);
    c.reply.bulk("0");
    return c.reply.array(0);
  }
  constexpr int64_t kScanFew = 16;  // compared with a pattern before that is looked at
  KeyHash at = cursor << 16;
  std::vector<std::string> found;
  std::vector<Entry*> page;
  int64_t looked = 0;
  const int64_t now = c.now_ms();
  size_t stripe = stripe_of(at);
  for (; stripe < kStripes && looked < count; stripe += at == 0) {
    const bool idle = with_stripe(c, stripe, [&] {
      page.clear();
      const int64_t few = match ? std::min<int64_t>(count - looked, kScanFew) : count - looked;
      at = c.ns().index->scan(stripe, at, static_cast<size_t>(few), page);
      for (Entry* e : page) {
        looked += 1 + (match ? static_cast<int64_t>(match->work(e->key()) / kScanWork) : 0);
        if (e->expired(now) || (match && !match->matches(e->key()))) continue;
        if (want_type && !equals_ignoring_case(*want_type, type_of(e->type()).name)) continue;
        found.emplace_back(e->key());
        c.saw(e);
      }
    });
    if (idle) continue;
    // The page ends before it, if there is one.
    if (looked == 0) return c.meets_busy(KeyHash{stripe} << (64 - kStripeBits));
    if (at == 0) at = KeyHash{stripe} << (64 - kStripeBits);
    break;
  }
  c.saw_all(c.ns());
  if (at == 0 && stripe < kStripes) at = KeyHash{stripe} << (64 - kStripeBits);
  c.reply.array(2);
  c.reply.bulk(cat(stripe >= kStripes ? 0 : at >> 16));
  c.reply.array(found.size());
  for (auto& k : found) c.reply.bulk(k);
}

// ---- expiry ----

void expire_at(Context& c, int64_t unit, bool absolute) {
  bool nx = false, xx = false, gt = false, lt = false;
  for (size_t i = 3; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "nx")) {
      nx = true;
    } else if (equals_ignoring_case(c.args[i], "xx")) {
      xx = true;
    } else if (equals_ignoring_case(c.args[i], "gt")) {
      gt = true;
    } else if (equals_ignoring_case(c.args[i], "lt")) {
      lt = true;
    } else {
      const std::string_view word = c.args[i];  // shown as a C string, like Redis
      return c.reply.error(cat("ERR Unsupported option ", word.substr(0, word.find('\0'))));
    }
  }
  if (nx && (xx || gt || lt)) {
    return c.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
  }
  if (gt && lt) {
    return c.reply.error("ERR GT and LT options at the same time are not compatible");
  }
  int64_t n, at;
  if (!c.integer(2, n)) return;
  if (__builtin_mul_overflow(n, unit, &at) ||
      __builtin_add_overflow(at, absolute ? 0 : c.now_ms(), &at)) {
    return c.reply.error(cat("ERR invalid expire time in '", c.row.name, "' command"));
  }
  Entry* e = c.find(c.args[1]);
  if (e == nullptr) return c.reply.integer(0);
  const bool has = e->has_expiry();
  if ((nx && has) || (xx && !has) || (gt && (!has || at <= e->expire_ms())) ||
      (lt && has && at >= e->expire_ms())) {
    return c.reply.integer(0);
  }
  if (at <= c.now_ms()) {
    if (!c.remove(c.ns(), e)) return;
  } else if (!c.put_expiry(e, at)) {
    return;
  }
  c.reply.integer(1);
}
void expire(Context& c) { expire_at(c, 1000, false); }
void pexpire(Context& c) { expire_at(c, 1, false); }
void expireat(Context& c) { expire_at(c, 1000, true); }
void pexpireat(Context& c) { expire_at(c, 1, true); }

void time_left(Context& c, int64_t unit, bool absolute) {
  Entry* e = c.find(c.args[1]);
  if (e == nullptr) return c.reply.integer(-2);
  if (!e->has_expiry()) return c.reply.integer(-1);
  int64_t ms = e->expire_ms();
  if (!absolute) ms = std::max<int64_t>(0, ms - c.now_ms());
  // To the nearest second, as Redis does.
  c.reply.integer(unit == 1 ? ms : ms / 1000 + (ms % 1000 >= 500 ? 1 : 0));
}
void ttl(Context& c) { time_left(c, 1000, false); }
void pttl(Context& c) { time_left(c, 1, false); }
void expiretime(Context& c) { time_left(c, 1000, true); }
void pexpiretime(Context& c) { time_left(c, 1, true); }

void persist(Context& c) {
  Entry* e = c.find(c.args[1]);
  if (e == nullptr || !e->has_expiry()) return c.reply.integer(0);
  if (c.put_expiry(e, 0)) c.reply.integer(1);
}

// ---- OBJECT ----

// Counted as read, but nobody hears that it is missed, as in Redis.
Entry* find_object(Context& c) {
  Entry* e = c.look(c.args[2]);
  c.engine.count_hit(e != nullptr);
  return e;
}

void object_encoding(Context& c) {
  const Entry* e = find_object(c);
  e == nullptr ? c.reply.null() : c.reply.bulk(encoding_of(e));
}

void object_refcount(Context& c) {
  find_object(c) == nullptr ? c.reply.null() : c.reply.integer(1);
}

void object_idletime(Context& c) {
  if (find_object(c) == nullptr) return c.reply.null();
  if (c.store.memory().counts_frequency()) {
    return c.reply.error(
        "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when "
        "switching between policies at runtime LRU and LFU data will take some time to adjust.");
  }
  // An entry has room for how much it was used of late, and none for when.
  c.reply.error("ERR idle time is not tracked: only how much a key was used of late is");
}

void object_freq(Context& c) {
  const Entry* e = find_object(c);
  if (e == nullptr) return c.reply.null();
  if (!c.store.memory().counts_frequency()) {
    return c.reply.error(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note "
        "that when switching between policies at runtime LRU and LFU data will take some time to "
        "adjust.");
  }
  c.reply.integer(Frequency::of(e));
}

constexpr uint32_t kRead = kReadOnly | kFast;
constexpr uint32_t kChange = kWrite | kFast;
constexpr KeySpec kRemovesKeys[] = {{.flags = kKeyRemove | kKeyDelete | kKeyNameOnly, .last = -1}};
constexpr KeySpec kLooksAtNames[] = {{.flags = kKeyReadOnly | kKeyNameOnly, .last = -1}};
constexpr KeySpec kReadsName[] = {{.flags = kKeyReadOnly | kKeyAccess | kKeyNameOnly}};
constexpr KeySpec kRenames[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete | kKeyPassedOn},
                                {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly, .first = 2}};
constexpr KeySpec kRenamesNx[] = {{.flags = kKeyReadWrite | kKeyAccess | kKeyDelete | kKeyPassedOn},
                                  {.flags = kKeyOverwrite | kKeyInsert | kKeyNameOnly, .first = 2}};
constexpr KeySpec kCopies[] = {{.flags = kKeyReadOnly | kKeyAccess | kKeyPassedOn},
                               {.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly,
                                .first = 2,
                                .space_word = 3,
                                .space_option = "db"}};
constexpr KeySpec kMoves[] = {
    {.flags = kKeyReadWrite | kKeyAccess | kKeyUpdate | kKeyPassedOn},
    {.flags = kKeyOverwrite | kKeyInsert | kKeyNameOnly | kKeyAgain, .space_word = 2}};
constexpr KeySpec kLooksAtObject[] = {{.flags = kKeyReadOnly, .first = 2}};
constexpr KeySpec kNamesObject[] = {{.flags = kKeyReadOnly | kKeyNameOnly, .first = 2}};
constexpr Row kRows[] = {
    {"del", -2, kWrite | kBatch, kRemovesKeys, del, nullptr, "generic",
     "Deletes one or more keys."},
    {"unlink", -2, kWrite | kBatch | kFast, kRemovesKeys, del, nullptr, "generic",
     "Asynchronously deletes one or more keys.", "4.0.0"},
    {"exists", -2, kRead, kLooksAtNames, exists, nullptr, "generic",
     "Determines whether one or more keys exist."},
    {"touch", -2, kRead, kLooksAtNames, exists, nullptr, "generic",
     "Returns the number of existing keys out of those specified.", "3.2.1"},
    {"type", 2, kRead, kLooksAtName, type, nullptr, "generic",
     "Determines the type of value stored at a key."},
    {"rename", 3, kWrite | kBatch, kRenames, rename, nullptr, "generic",
     "Renames a key and overwrites the destination."},
    {"renamenx", 3, kChange | kBatch, kRenamesNx, renamenx, nullptr, "generic",
     "Renames a key only when the target key name doesn't exist."},
    {"copy", -3, kWrite | kDenyOom, kCopies, copy, copy_deferred, "generic",
     "Copies the value of a key to a new key.", "6.2.0"},
    {"move", 3, kChange | kBatch, kMoves, move, nullptr, "generic",
     "Moves a key to another database."},
    {"randomkey",
     1,
     kReadOnly | kWholeSpace,
     {},
     randomkey,
     nullptr,
     "generic",
     "Returns a random key name from the database."},
    {"keys",
     2,
     kReadOnly | kWholeSpace | kLongArgs | kDangerous,
     {},
     keys,
     keys_in_turns,
     "generic",
     "Returns all key names that match a pattern."},
    {"scan",
     -2,
     kReadOnly | kWholeSpace | kLongArgs,
     {},
     scan,
     nullptr,
     "generic",
     "Iterates over the key names in the database.",
     "2.8.0"},
    {"expire", -3, kChange, kUpdatesName, expire, nullptr, "generic",
     "Sets the expiration time of a key in seconds."},
    {"pexpire", -3, kChange, kUpdatesName, pexpire, nullptr, "generic",
     "Sets the expiration time of a key in milliseconds.", "2.6.0"},
    {"expireat", -3, kChange, kUpdatesName, expireat, nullptr, "generic",
     "Sets the expiration time of a key to a Unix timestamp.", "1.2.0"},
    {"pexpireat", -3, kChange, kUpdatesName, pexpireat, nullptr, "generic",
     "Sets the expiration time of a key to a Unix milliseconds timestamp.", "2.6.0"},
    {"ttl", 2, kRead, kReadsName, ttl, nullptr, "generic",
     "Returns the expiration time in seconds of a key."},
    {"pttl", 2, kRead, kReadsName, pttl, nullptr, "generic",
     "Returns the expiration time in milliseconds of a key.", "2.6.0"},
    {"expiretime", 2, kRead, kReadsName, expiretime, nullptr, "generic",
     "Returns the expiration time of a key as a Unix timestamp.", "7.0.0"},
    {"pexpiretime", 2, kRead, kReadsName, pexpiretime, nullptr, "generic",
     "Returns the expiration time of a key as a Unix milliseconds timestamp.", "7.0.0"},
    {"persist", 2, kChange, kUpdatesName, persist, nullptr, "generic",
     "Removes the expiration time of a key.", "2.2.0"},
    {"object",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     "generic",
     "A container for object introspection commands.",
     "2.2.3"},
    {"object|encoding", 3, kReadOnly, kLooksAtObject, object_encoding, nullptr, "generic",
     "Returns the internal encoding of a value.", "2.2.3"},
    {"object|freq", 3, kReadOnly, kNamesObject, object_freq, nullptr, "generic",
     "Returns the logarithmic access frequency counter of a key.", "4.0.0"},
    {"object|help", 2, kLoading, {}, help, nullptr, "generic", "Prints this help.", "6.2.0"},
    {"object|idletime", 3, kReadOnly, kNamesObject, object_idletime, nullptr, "generic",
     "Not tracked here: an error.", "2.2.3"},
    {"object|refcount", 3, kReadOnly, kNamesObject, object_refcount, nullptr, "generic",
     "Returns the number of references to a value: always 1.", "2.2.3"},
};

}  // namespace
std::span<const Row> key_rows() { return kRows; }

}  // namespace cairn::kv
