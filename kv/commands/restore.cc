// RESTORE: a value out of a payload of DUMP.
//
// A short payload is read at once. A long one lies in extents: it is read twice, first for its
// checksum, and what it holds is made in turns, part by part (core/store/collection_copy.h), so
// that neither its length nor what it may grow to is ever in memory at once. It counts when it is
// whole.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "core/store/collection_copy.h"
#include "kv/commands/blob_edit.h"
#include "kv/commands/dump.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/frequency.h"
#include "kv/engine/session.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/rdb_read.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "kv/types/type.h"

namespace cairn::kv {

namespace {

constexpr size_t kPayload = 3;  // the word
constexpr std::string_view kBadFormat = "ERR Bad data format";
constexpr std::string_view kBadChecksum = "ERR DUMP payload version or checksum are wrong";
constexpr std::string_view kTooLong = "ERR a part of the value takes too much memory";

struct Options {
  bool replace = false, absolute = false;
  int64_t idle_s = -1, frequency = -1;
  int64_t until_ms = 0;  // 0: never
};

bool parse(Context& c, Options& o) {
  for (size_t i = 4; i < c.args.size(); i++) {
    const bool more = i + 1 < c.args.size();
    if (equals_ignoring_case(c.args[i], "replace")) {
      o.replace = true;
    } else if (equals_ignoring_case(c.args[i], "absttl")) {
      o.absolute = true;
    } else if (equals_ignoring_case(c.args[i], "idletime") && more && o.frequency == -1) {
      if (!c.integer(++i, o.idle_s)) return false;
      if (o.idle_s < 0) return c.reply.error("ERR Invalid IDLETIME value, must be >= 0"), false;
    } else if (equals_ignoring_case(c.args[i], "freq") && more && o.idle_s == -1) {
      if (!c.integer(++i, o.frequency)) return false;
      if (o.frequency < 0 || o.frequency > Frequency::kMost) {
        return c.reply.error("ERR Invalid FREQ value, must be >= 0 and <= 255"), false;
      }
    } else {
      return c.syntax_error(), false;
    }
  }
  return true;
}

// Whether the key may be given a value now, under its lock.
bool is_free(Context& c, const Options& o) {
  if (o.replace || c.find(c.args[1]) == nullptr) return true;
  c.reply.error("BUSYKEY Target key name already exists.");
  return false;
}

bool parse_time(Context& c, Options& o) {
  constexpr std::string_view kInvalid = "ERR Invalid TTL value, must be >= 0";
  if (!c.integer(2, o.until_ms)) return false;
  return o.until_ms >= 0 || (c.reply.error(kInvalid), false);
}

// What was said from now on becomes a moment, once the payload was believed.
bool fix_time(Context& c, Options& o) {
  if (o.until_ms == 0 || o.absolute) return true;
  if (!__builtin_add_overflow(o.until_ms, c.now_ms(), &o.until_ms)) return true;
  return c.reply.error("ERR invalid expire time in 'restore' command"), false;
}

// How much it was used is as the payload's sender knew it, as far as that is kept here.
void warm(Context& c, const Options& o) {
  Entry* e = c.look(c.args[1]);
  if (e == nullptr) return;
  const bool counts = c.store.memory().counts_frequency();
  if (counts && o.frequency >= 0) {
    Frequency::set(e, static_cast<uint8_t>(o.frequency));
  } else if (!counts && o.idle_s > 0) {
    while (e->heat() > 0) e->cool();
  }
}

// Takes what is there away, since what would be there has gone already. Answers.
void put_nothing(Context& c) {
  Entry* e = c.find(c.args[1]);
  if (e == nullptr || c.remove(c.ns(), e)) c.reply.ok();
}

bool is_past(Context& c, const Options& o) { return o.until_ms != 0 && o.until_ms <= c.now_ms(); }

uint8_t flags_of(ValueType type) { return static_cast<uint8_t>(static_cast<unsigned>(type) << 4); }

// Whether it was; it is answered in any case.
bool put_value(Context& c, const Options& o, uint8_t flags, std::string_view value) {
  RecordView r;
  r.ns = c.ns().id;
  r.key = c.args[1];
  r.value = value;
  r.flags = flags;
  r.expire_ms = o.until_ms;
  if (o.until_ms != 0) r.flags |= kRecordHasExpiry;
  c.replaces(c.ns(), r.key);
  if (!c.put(c.ns(), r)) return false;
  warm(c, o);
  c.reply.ok();
  return true;
}

uint64_t size_of(ValueType type, const Collection& value) {
  switch (type) {
    case ValueType::kHash:
      return static_cast<const Hash&>(value).size(Hash::kNoTime);
    case ValueType::kList:
      return static_cast<const List&>(value).size();
    case ValueType::kSet:
      return static_cast<const Set&>(value).size();
    case ValueType::kSortedSet:
      return static_cast<const SortedSet&>(value).size();
    case ValueType::kStream:
      return static_cast<const Stream&>(value).size();
    default:
      return 0;
  }
}

// Whether this makes a value, in which nothing came twice.
bool makes_value(Context& c, const rdb::Reader& reader, std::string_view operation) {
  const auto made = type_of(reader.type()).collection.make(c.store.random());
  return made->apply(operation) && size_of(reader.type(), *made) == reader.members();
}

bool has_nothing_left(const rdb::Reader& reader) {
  return reader.members() == 0 && reader.skipped_any();
}

// ---- at once ----

void restore(Context& c) {
  Options o;
  if (!parse(c, o) || !is_free(c, o) || !parse_time(c, o)) return;
  if (!c.in_exec && c.args.blob(kPayload) != nullptr) return c.defer();
  const auto payload = word_at_once(c, kPayload);
  if (!payload) return;
  std::string_view body = *payload;
  if (body.size() < rdb::kFooterBytes) return c.reply.error(kBadChecksum);
  const size_t end = body.size() - rdb::kFooterBytes;
  const auto footer = rdb::take_footer(body.substr(end));
  if (!footer || rdb::crc64(0, body.substr(0, end + sizeof(footer->version))) != footer->crc) {
    return c.reply.error(kBadChecksum);
  }
  body = body.substr(0, end);
  if (!fix_time(c, o)) return;
  // Inside MULTI and scripts it is put as one record.
  const uint64_t most =
      c.in_exec
          ? std::min(text_at_once_max(c.store.memory_bytes()), c.store.log().record_bytes_max())
          : std::min(CollectionCopy::part_bytes(c.store), c.store.options().extent_threshold);
  std::string made;
  rdb::Reader reader(most, c.now_ms());
  const auto got = reader.read(body, true, most + 1, made);
  using Got = rdb::Reader::Got;
  if (got == Got::kFull || got == Got::kTooLong || (got == Got::kWhole && made.size() > most)) {
    return c.defer();
  }
  if (got != Got::kWhole) return c.reply.error(kBadFormat);
  const bool is_text = reader.type() == ValueType::kString;
  if (!is_text && !makes_value(c, reader, made)) return c.reply.error(kBadFormat);
  if (is_past(c, o) || has_nothing_left(reader)) return put_nothing(c);
  (void)put_value(c, o, flags_of(reader.type()), made);
}

// ---- in turns ----

// The payload, in pieces.
class Pieces {
 public:
  Pieces(Context& c, uint64_t length) : left_(length), text_(c.args[kPayload]) {
    if (const BlobRef* blob = c.args.blob(kPayload)) {
      reader_.emplace(c.store.extents(), *blob, 0, length);
    }
  }
  uint64_t left() const { return left_; }
  awaitable<StatusOr<std::string_view>> next() {
    std::string_view piece = text_.substr(0, left_);
    if (reader_) {
      auto bytes = co_await reader_->next();
      if (!bytes.ok()) co_return bytes.status();
      piece = {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
    }
    left_ -= piece.size();
    co_return piece;
  }

 private:
  uint64_t left_;
  const std::string_view text_;
  std::optional<BlobReader> reader_;
};

// Whether its checksum holds; `type` is its first byte.
awaitable<StatusOr<bool>> is_whole(Context& c, uint8_t& type) {
  const uint64_t length = c.args.length(kPayload);
  if (length < rdb::kFooterBytes) co_return false;
  const auto executor = co_await asio::this_coro::executor;
  std::string tail;  // the last bytes, which may lie in two pieces
  uint64_t crc = 0;
  Pieces pieces(c, length);
  for (bool first = true; pieces.left() > 0; first = false) {
    const auto piece = co_await pieces.next();
    if (!piece.ok()) co_return piece.status();
    if (first) type = static_cast<uint8_t>((*piece)[0]);
    tail.append(*piece);
    const size_t keep = std::min<size_t>(tail.size(), rdb::kFooterBytes);
    const std::string_view sure = std::string_view(tail).substr(0, tail.size() - keep);
    crc = rdb::crc64(crc, sure);
    tail.erase(0, sure.size());
    co_await asio::post(executor, asio::use_awaitable);
  }
  const auto footer = rdb::take_footer(tail);
  if (!footer) co_return false;
  const std::string_view version = std::string_view(tail).substr(0, sizeof(footer->version));
  co_return rdb::crc64(crc, version) == footer->crc;
}

// A value on its way into the store.
class Making {
 public:
  Making(Context& c, const Options& o) : c_(c), o_(o) {}

  // How long the next part is to be. What is no longer than the first is put at once; of a sorted
  // set, the others are a millisecond or two.
  uint64_t part_bytes() const {
    constexpr uint64_t kPartBytes = 16 << 10;
    const uint64_t most = CollectionCopy::part_bytes(c_.store);
    return copy_ ? std::min(kPartBytes, most) : most;
  }
  // One more part of a collection.
  Status add(ValueType type, std::string_view operation) {
    if (!copy_) copy_.emplace(c_.store);
    StripeLocks locks(c_.store, copy_->hash());
    Status status = c_.store.check_write(true);
    if (status.ok()) status = copy_->add(locks, flags_of(type), operation);
    return status;
  }
  // Before the end, which cannot wait.
  awaitable<Status> until_idle() {
    return c_.store.busy().until_idle(c_.ns().hash(c_.args[1]), Busy::Patience::kEndless);
  }
  // The end: the last part, and its name. Answers.
  void finish(const rdb::Reader& reader, std::string_view operation) {
    const KeyHash to = c_.ns().hash(c_.args[1]);
    std::vector<KeyHash> hashes{to};
    if (copy_) hashes.push_back(copy_->hash());
    StripeLocks locks(c_.store);
    locks.lock(hashes);
    Context::Turn turn(c_, locks, copy_ ? Shape::kSeveral : Shape::kOne);
    Status status = c_.store.check_write(true);
    if (!copy_ && status.ok()) return finish_small(reader, operation);
    if (status.ok() && !operation.empty()) {
      status = copy_->add(locks, flags_of(reader.type()), operation);
    }
    if (!status.ok()) return c_.status_error(status);
    if (copy_->made() == nullptr || size_of(reader.type(), *copy_->made()) != reader.members()) {
      return c_.reply.error(kBadFormat);
    }
    if (!is_free(c_, o_)) return;
    if (is_past(c_, o_)) return put_nothing(c_);
    c_.replaces(c_.ns(), c_.args[1]);
    c_.will_change(c_.ns(), to, c_.args[1]);
    status = copy_->name(*c_.txn, c_.ns(), to, c_.args[1], o_.until_ms);
    if (!status.ok()) return c_.status_error(status);
    c_.did_change(c_.ns(), c_.args[1]);
    warm(c_, o_);
    if (turn.commit()) c_.reply.ok();
  }
  // A string in extents, whose reference passes. Answers.
  void finish(const BlobRef& blob) {
    StripeLocks locks(c_.store, c_.ns().hash(c_.args[1]));
    Context::Turn turn(c_, locks);
    const Status status = c_.store.check_write(true);
    bool put = false;
    if (!status.ok()) {
      c_.status_error(status);
    } else if (is_free(c_, o_)) {
      if (is_past(c_, o_)) {
        put_nothing(c_);
      } else {
        put = put_value(c_, o_, kRecordIsBlob, blob.encode());
      }
    }
    if (!put) c_.store.extents().unref(blob);
  }

 private:
  void finish_small(const rdb::Reader& reader, std::string_view value) {
    const bool is_text = reader.type() == ValueType::kString;
    if (!is_text && !makes_value(c_, reader, value)) return c_.reply.error(kBadFormat);
    if (!is_free(c_, o_)) return;
    if (is_past(c_, o_) || has_nothing_left(reader)) return put_nothing(c_);
    (void)put_value(c_, o_, flags_of(reader.type()), value);
  }

  Context& c_;
  const Options& o_;
  std::optional<CollectionCopy> copy_;
};

// A string as it is in the payload goes on from extent to extent.
awaitable<void> make_text(Context& c, Pieces& pieces, std::string_view piece,
                          const rdb::PlainString& plain, Making& making) {
  if (plain.length != piece.size() - plain.begin + pieces.left()) {
    co_return c.reply.error(kBadFormat);
  }
  BlobWriter writer(c.store.extents(), plain.length);
  Status status = co_await writer.append(as_bytes(piece.substr(plain.begin)));
  while (status.ok() && pieces.left() > 0 && !c.session.ends()) {
    const auto next = co_await pieces.next();
    status = next.status();
    if (status.ok()) status = co_await writer.append(as_bytes(*next));
  }
  if (c.given_up()) co_return;
  if (!status.ok()) co_return c.status_error(status);
  const auto blob = co_await writer.finish();
  if (!blob.ok()) co_return c.status_error(blob.status());
  (void)co_await making.until_idle();
  making.finish(*blob);
}

awaitable<void> make_text(Context& c, const std::string& text, Making& making) {
  BlobWriter writer(c.store.extents(), text.size());
  const Status status = co_await writer.append(as_bytes(text));
  if (!status.ok()) co_return c.status_error(status);
  const auto blob = co_await writer.finish();
  if (!blob.ok()) co_return c.status_error(blob.status());
  (void)co_await making.until_idle();
  making.finish(*blob);
}

uint64_t item_bytes_max(Context& c) { return limits::element_bytes_max(c.store.memory_bytes()); }

awaitable<void> make(Context& c, Pieces& pieces, bool is_text, Making& making) {
  using Got = rdb::Reader::Got;
  rdb::Reader reader(item_bytes_max(c), c.store.now_ms());
  std::string body, operation;
  for (bool begun = false; !c.given_up();) {
    if (pieces.left() > 0) {
      const auto piece = co_await pieces.next();
      if (!piece.ok()) co_return c.status_error(piece.status());
      const auto plain = begun ? std::nullopt : rdb::plain_string(*piece);
      if (plain && plain->length > c.store.options().extent_threshold) {
        co_return co_await make_text(c, pieces, *piece, *plain, making);
      }
      body.append(*piece);
    }
    begun = true;
    std::string_view rest = body;
    Got got = Got::kFull;
    while (got == Got::kFull && !c.session.ends()) {
      got = reader.read(rest, pieces.left() == 0, is_text ? UINT64_MAX : making.part_bytes(),
                        operation);
      if (got != Got::kFull) continue;
      const Status added = making.add(reader.type(), operation);
      if (!added.ok()) co_return c.status_error(added);
      operation.clear();
      co_await between_turns(c);
    }
    body.erase(0, body.size() - rest.size());
    if (got == Got::kNeedsMore || got == Got::kFull) continue;
    if (got == Got::kTooLong) co_return c.reply.error(kTooLong);
    if (got == Got::kBad) co_return c.reply.error(kBadFormat);
    if (is_text && operation.size() > c.store.options().extent_threshold) {
      co_return co_await make_text(c, operation, making);
    }
    (void)co_await making.until_idle();
    co_return making.finish(reader, operation);
  }
}

// What it takes beside what it makes: the longest of its strings, once as it came and once as it
// is; of a stream what is pending, until its consumers come.
uint64_t work_bytes(Context& c, uint8_t type) {
  constexpr uint64_t kLeast = 4 << 20;
  const uint64_t length = c.args.length(kPayload);
  const bool stream = type == rdb::kStream || type == rdb::kStream2 || type == rdb::kStream3;
  return kLeast + 2 * std::min(length, item_bytes_max(c)) + (stream ? 2 * length : 0);
}

awaitable<void> restore_deferred(Context& c) {
  Options o;
  if (!parse(c, o)) co_return;
  {
    StripeLocks locks(c.store, c.ns().hash(c.args[1]));
    Context::Turn turn(c, locks);
    if (!is_free(c, o) || !parse_time(c, o)) co_return;
  }
  uint8_t type = 0;
  const auto whole = co_await is_whole(c, type);
  if (!whole.ok()) co_return c.status_error(whole.status());
  if (!*whole) co_return c.reply.error(kBadChecksum);
  if (!fix_time(c, o)) co_return;
  const auto share = co_await c.workspace(work_bytes(c, type));
  if (share == nullptr) co_return;
  Pieces pieces(c, c.args.length(kPayload) - rdb::kFooterBytes);
  Making making(c, o);
  co_await make(c, pieces, type == rdb::kString, making);
}

constexpr KeySpec kRestores[] = {{.flags = kKeyOverwrite | kKeyUpdate | kKeyNameOnly}};
constexpr Row kRows[] = {
    {"restore", -4, kWrite | kDenyOom | kBlobArgs | kDangerous, kRestores, restore,
     restore_deferred, "generic", "Creates a key from the serialized representation of a value.",
     "2.6.0"},
    {"restore-asking", -4, kWrite | kDenyOom | kBlobArgs | kDangerous, kRestores, restore,
     restore_deferred, "server", "RESTORE, as nodes of a cluster say it.", "3.0.0"},
};

}  // namespace
std::span<const Row> restore_rows() { return kRows; }

}  // namespace cairn::kv
