#include "kv/command.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/errors.h"
#include "core/text.h"
#include "kv/engine.h"
#include "kv/session.h"

namespace cairn::kv {

void Args::clear() {
  words_.clear();
  for (auto& [i, blob] : blobs_) store_.extents().unref(blob);
  blobs_.clear();
  owned_.clear();
}

void Args::add_blob(BlobRef blob) {
  blobs_.emplace_back(words_.size(), std::move(blob));
  words_.emplace_back();
}

void Args::assign_owned(Args& from) {
  clear();
  for (std::string_view w : from.words_) add_copy(w);
  blobs_.swap(from.blobs_);
}

void Args::set_text(size_t i, std::string text) {
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
    return blob;
  }
  return {};
}

Context::Context(Engine& engine, Session& session, const Row& row, Args& args, Reply& reply)
    : engine(engine),
      store(engine.store()),
      session(session),
      row(row),
      args(args),
      reply(reply),
      begin_(reply.mark()) {}

Namespace& Context::ns() const { return *session.ns; }

Wish Context::wish() const {
  return engine.server().durability == Durability::kAlways ? Wish::kDurable : Wish::kNone;
}

KeyHash Context::hash(Namespace& ns, std::string_view key) {
  const bool known = key.data() == hashed_key_.data() && key.size() == hashed_key_.size();
  if (known && &ns == session.ns.get()) return hash_;
  KeyHash h = ns.hash(key);
  if (&ns == session.ns.get()) {
    hashed_key_ = key;
    hash_ = h;
  }
  return h;
}

Entry* Context::find(Namespace& ns, std::string_view key) {
  KeyHash h = hash(ns, key);
  assert(locks != nullptr && locks->covers(h));
  Entry* e = txn->find(ns, key, h);
  if (e == nullptr) return e;
  if (session.no_touch) return e;
  if (store.memory().counts_frequency()) {
    e->touch_often(store.random());
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

std::string error_text(const Status& status) {
  std::string text(status.message());
  switch (status.code()) {
    case absl::StatusCode::kResourceExhausted:
      if (is_disk_full(status)) return cat("MISCONF Errors writing to the log: ", text);
      return cat(is_out_of_memory(status) ? "OOM " : "ERR ", text);
    case absl::StatusCode::kUnavailable:
      return cat("MISCONF ", text);
    case absl::StatusCode::kDataLoss:
      return cat("IOERR ", text);
    default:
      return cat("ERR ", text);
  }
}

void Context::status_error(const Status& status) {
  reply.cut(begin_);
  reply.error(error_text(status));
}

bool Context::done(const Status& status) {
  if (!status.ok()) status_error(status);
  return status.ok();
}

bool Context::put(Namespace& ns, const RecordView& record) {
  return done(txn->put(ns, hash(ns, record.key), record));
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
  if (entry != nullptr && entry->has_expiry()) {
    r.flags |= kRecordHasExpiry;
    r.expire_ms = entry->expire_ms();
  }
  return operate(entry, r);
}

bool Context::operate(Entry* entry, const RecordView& change) {
  return done(txn->operate(ns(), hash(ns(), change.key), entry, change));
}

bool Context::put_expiry(Entry* entry, int64_t expire_ms) {
  if (!entry->is_string()) {
    RecordView r{RecordType::kOperation, entry->flags, ns().id, expire_ms, entry->key(), {}, {}};
    r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
    if (expire_ms != 0) r.flags |= kRecordHasExpiry;
    return operate(entry, r);
  }
  RecordView r = entry->record(ns().id);
  r.flags &= static_cast<uint8_t>(~kRecordHasExpiry);
  r.expire_ms = expire_ms;
  if (expire_ms != 0) r.flags |= kRecordHasExpiry;
  if (entry->version().valid()) {  // conditions and entity tags look at the value alone
    r.flags |= kRecordHasOrigin;
    r.version = entry->version();
    r.wall_ms = store.log().time_of(r.version);
  }
  if (!entry->is_blob()) return put(ns(), r);
  BlobRef blob = *BlobRef::decode(entry->value());
  store.extents().ref(blob);
  if (put(ns(), r)) return true;
  store.extents().unref(blob);
  return false;
}

bool Context::remove(Namespace& ns, Entry* entry) {
  return done(txn->remove(ns, ns.hash(entry->key()), entry));
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

void Context::defer() {
  if (in_exec) {
    return reply.error(
        "ERR a value above the extent threshold cannot be changed in parts inside MULTI");
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

KeyList keys_of(const Row& row, Session& session, const Args& args, Store& store) {
  KeyList keys;
  if (row.first_key == 0 || static_cast<size_t>(row.first_key) >= args.size()) return keys;
  auto n = static_cast<int>(args.size());
  int last = row.last_key < 0 ? n + row.last_key : std::min(row.last_key, n - 1);
  for (int i = row.first_key; i <= last; i += row.key_step) {
    keys.emplace_back(session.ns, args[static_cast<size_t>(i)]);
  }
  // COPY key key DB n and MOVE key n reach into another namespace.
  if (row.name == "copy") {
    for (int i = 3; i + 1 < n; i++) {
      if (equals_ignoring_case(args[static_cast<size_t>(i)], "db")) {
        if (auto to = store.find_namespace(namespace_name(args[static_cast<size_t>(i) + 1]))) {
          keys[1].first = to;
        }
        break;
      }
    }
  } else if (row.name == "move" && n == 3) {
    if (auto to = store.find_namespace(namespace_name(args[2]))) keys.emplace_back(to, args[1]);
  }
  return keys;
}

std::optional<int64_t> parse_ll(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  std::string_view digits = text[0] == '-' ? text.substr(1) : text;
  if (digits.empty() || (digits[0] == '0' && text.size() > 1)) return std::nullopt;
  return parse_int<int64_t>(text);
}

std::optional<long double> parse_float(std::string_view text) {
  if (text.empty() || text.size() > 255 || std::isspace(static_cast<unsigned char>(text[0]))) {
    return std::nullopt;
  }
  std::string copy(text);
  char* end;
  errno = 0;
  long double value = std::strtold(copy.c_str(), &end);
  if (end != copy.c_str() + copy.size() || std::isnan(value) || errno == ERANGE)
    return std::nullopt;
  return value;
}

std::string format_float(long double value) {
  char text[5 * 1024];
  int n = std::snprintf(text, sizeof(text), "%.17Lf", value);
  std::string out(text, static_cast<size_t>(n));
  if (out.find('.') != out.npos) {
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
  }
  return out == "-0" ? "0" : out;
}

namespace {
// One class [..] at the start of `pattern`; moves past it.
bool match_class(std::string_view& pattern, char c, bool fold) {
  auto low = [fold](char x) {
    return fold && x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x;
  };
  size_t i = 1;
  bool negate = i < pattern.size() && pattern[i] == '^';
  if (negate) i++;
  bool match = false;
  for (;; i++) {
    if (i >= pattern.size()) break;  // Redis: an open class ends with the pattern
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      i++;
      match |= pattern[i] == c;
    } else if (pattern[i] == ']') {
      break;
    } else if (i + 2 < pattern.size() && pattern[i + 1] == '-') {
      char a = low(pattern[i]), b = low(pattern[i + 2]);
      if (a > b) std::swap(a, b);
      match |= a <= low(c) && low(c) <= b;
      i += 2;
    } else {
      match |= low(pattern[i]) == low(c);
    }
  }
  pattern.remove_prefix(std::min(i + 1, pattern.size()));
  return match != negate;
}
}  // namespace

bool glob_match(std::string_view pattern, std::string_view text, bool fold) {
  auto low = [fold](char x) {
    return fold && x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x;
  };
  // Backtracks to the last star only: O(pattern * text) at worst, no recursion.
  std::string_view star_pattern, star_text;
  bool star = false;
  for (;;) {
    if (!pattern.empty() && pattern[0] == '*') {
      pattern.remove_prefix(1);
      star = true;
      star_pattern = pattern;
      star_text = text;
      continue;
    }
    bool match = false;
    if (!text.empty() && !pattern.empty()) {
      if (pattern[0] == '?') {
        match = true;
        pattern.remove_prefix(1);
      } else if (pattern[0] == '[') {
        std::string_view rest = pattern;
        match = match_class(rest, text[0], fold);
        if (match) pattern = rest;
      } else {
        std::string_view rest = pattern;
        if (rest[0] == '\\' && rest.size() > 1) rest.remove_prefix(1);
        match = low(rest[0]) == low(text[0]);
        if (match) pattern = rest.substr(1);
      }
    } else if (text.empty() && pattern.empty()) {
      return true;
    }
    if (match) {
      text.remove_prefix(1);
      continue;
    }
    if (!star || star_text.empty()) return false;
    star_text.remove_prefix(1);
    text = star_text;
    pattern = star_pattern;
  }
}

}  // namespace cairn::kv
