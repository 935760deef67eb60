#include "kv/commands/compare.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <memory>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

namespace {

constexpr size_t kDigestDigits = 16;

std::string digits_of(uint64_t digest) {
  std::string text(kDigestDigits, '0');
  for (size_t i = kDigestDigits; i-- > 0; digest >>= 4) text[i] = "0123456789abcdef"[digest & 15];
  return text;
}

Lsn version_of(const Entry* e) { return e == nullptr ? Lsn() : e->version(); }

// Whether the bytes of both are the same; they are of the same length.
awaitable<StatusOr<bool>> same_bytes(Context& c, const HeldValue& value, size_t word) {
  constexpr uint64_t kStep = 1 << 20;
  for (uint64_t at = 0; at < value.size(); at += kStep) {
    auto bytes = co_await read_held(c, value, at, kStep);
    if (!bytes.ok()) co_return bytes.status();
    if (const BlobRef* blob = c.args.blob(word)) {
      BlobReader reader(c.store.extents(), *blob, at, bytes->size());
      auto others = co_await reader.read_all(bytes->size());
      if (!others.ok()) co_return others.status();
      if (*bytes != *others) co_return false;
    } else if (*bytes != c.args[word].substr(at, bytes->size())) {
      co_return false;
    }
    if (c.session.ends()) co_return absl::CancelledError("the connection ends");
  }
  co_return true;
}

awaitable<StatusOr<bool>> compares(Context& c, const HeldValue& value, const Comparison& how) {
  if (!value.exists) co_return false;
  if (how.by_digest) {
    auto digest = co_await digest_of(c, value);
    if (!digest.ok()) co_return digest.status();
    co_return equals_ignoring_case(*digest, c.args[how.word]);
  }
  if (value.size() != c.args.length(how.word)) co_return false;
  co_return co_await same_bytes(c, value, how.word);
}

}  // namespace

std::string digest_of(std::string_view value) {
  return digits_of(XXH3_64bits(value.data(), value.size()));
}

awaitable<StatusOr<std::string>> digest_of(Context& c, const HeldValue& value) {
  if (!value.blob) co_return digest_of(value.inline_bytes);
  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_64bits_reset(state.get());
  BlobReader reader(c.store.extents(), *value.blob, 0, value.size());
  while (reader.left() > 0) {
    if (c.session.ends()) co_return absl::CancelledError("the connection ends");
    auto bytes = co_await reader.next();
    if (!bytes.ok()) co_return bytes.status();
    XXH3_64bits_update(state.get(), bytes->data(), bytes->size());
  }
  co_return digits_of(XXH3_64bits_digest(state.get()));
}

bool Comparison::parse(const Context& c, size_t& i) {
  struct Condition {
    std::string_view name;
    bool equal, by_digest;
  };
  constexpr Condition kConditions[] = {
      {"ifeq", true, false}, {"ifne", false, false}, {"ifdeq", true, true}, {"ifdne", false, true}};
  if (given || i + 1 >= c.args.size()) return false;
  for (const Condition& known : kConditions) {
    if (!equals_ignoring_case(c.args[i], known.name)) continue;
    *this = {true, known.equal, known.by_digest, ++i};
    return true;
  }
  return false;
}

bool Comparison::holds(Context& c, Entry* e, const Found* found,
                       std::optional<bool>& result) const {
  if (e != nullptr && !e->is_string()) {
    c.reply.error(kWrongType);
    return false;
  }
  if (e == nullptr) {
    result = !equal;
    return true;
  }
  if (by_digest && c.args.length(word) != kDigestDigits) {
    c.reply.error(cat("ERR must be exactly ", kDigestDigits, " hexadecimal characters"));
    return false;
  }
  bool same = false;
  if (found != nullptr && found->version == version_of(e)) {
    same = found->same;
  } else if (!by_digest && value_length(e) != c.args.length(word)) {
    same = false;
  } else if ((e->is_blob() || c.args.blob(word) != nullptr) && !c.in_exec) {
    result = std::nullopt;
    return true;
  } else {
    const auto text = text_at_once(c, e), other = text ? word_at_once(c, word) : text;
    if (!other) return false;
    same = by_digest ? equals_ignoring_case(digest_of(*text), *other) : *text == *other;
  }
  result = same == equal;
  return true;
}

awaitable<void> compare_first(Context& c, std::string_view key, const Comparison& comparison,
                              absl::FunctionRef<bool(const Comparison::Found&)> again) {
  const std::vector<KeyHash> hashes{c.ns().hash(key)};
  const Faults::Keys values{{c.session.ns, key}};
  while (!c.given_up()) {
    Comparison::Found found{};
    {
      const auto held = co_await hold_value(c, key);
      if (!held) co_return;
      const auto same = co_await compares(c, *held, comparison);
      if (c.given_up()) co_return;
      if (!same.ok()) co_return c.status_error(same.status());
      found = {held->version, *same};
    }
    StripeLocks locks(c.store);
    const Status locked = co_await c.store.faults().lock_with_values(locks, hashes, values);
    if (!locked.ok()) co_return c.status_error(locked);
    Context::Turn turn(c, locks);
    if (again(found)) co_return;
  }
}

}  // namespace cairn::kv
