#include "kv/commands/blob_edit.h"

#include <algorithm>

#include "core/base/errors.h"
#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

bool put_edited(Context& c, Entry* entry, std::string_view value) {
  RecordView r;
  r.ns = c.ns().id;
  r.key = entry->key();
  r.value = value;
  r.flags = entry->flags & kRecordHasExpiry;
  r.expire_ms = entry->expire_ms();
  return c.put(c.ns(), r);
}

bool goes_in_parts(Context& c, const Entry* e, uint64_t becomes) {
  const bool blob = e != nullptr && e->is_blob();
  if (c.in_exec || (!blob && becomes <= c.store.options().extent_threshold)) return false;
  c.defer();
  return true;
}

namespace {

std::optional<std::string_view> fetched_text(Context& c, const BlobRef& blob) {
  auto reader = std::make_unique<BlobReader>(c.store.extents(), blob, 0, blob.size);
  Session::Lacking& lacking = c.session.lacks();
  if (const std::string* text = lacking.find_fetched(*reader)) return *text;
  lacking.blob = std::move(reader);
  c.again = true;
  return std::nullopt;
}

}  // namespace

std::optional<std::string_view> text_at_once(Context& c, const Entry* e, uint64_t becomes) {
  if (c.in_exec && becomes > text_at_once_max(c.store.memory_bytes())) {
    c.reply.error("ERR the value would be too long for a script or a transaction");
    return std::nullopt;
  }
  if (e == nullptr) return std::string_view();
  return e->is_blob() ? fetched_text(c, *BlobRef::decode(e->value())) : e->value();
}

std::optional<std::string_view> word_at_once(Context& c, size_t word) {
  const BlobRef* blob = c.args.blob(word);
  return blob == nullptr ? c.args[word] : fetched_text(c, *blob);
}

awaitable<std::optional<HeldValue>> hold_value(Context& c, std::string_view key) {
  std::vector<std::string_view> keys{key};
  auto held = co_await hold_values(c, std::move(keys));
  if (!held) co_return std::nullopt;
  co_return std::move(held->front());
}

awaitable<bool> look_at_values(Context& c, std::span<const std::string_view> keys,
                               absl::FunctionRef<void(size_t, const Entry*)> look) {
  std::vector<KeyHash> hashes;
  Faults::Keys wanted;
  for (std::string_view key : keys) {
    hashes.push_back(c.ns().hash(key));
    wanted.emplace_back(c.session.ns, key);
  }
  StripeLocks lock(c.store);
  Status locked = co_await c.store.faults().lock_with_values(lock, hashes, wanted);
  if (!locked.ok()) {
    c.status_error(locked);
    co_return false;
  }
  Context::Turn turn(c, lock);
  for (size_t i = 0; i < keys.size(); i++) {
    const Entry* e = c.find(keys[i]);
    if (e != nullptr && !e->is_string()) {
      c.reply.error(kWrongType);
      co_return false;
    }
    look(i, e);
  }
  co_return true;
}

awaitable<std::optional<std::vector<HeldValue>>> hold_values(Context& c,
                                                             std::vector<std::string_view> keys) {
  std::vector<HeldValue> values(keys.size());
  const bool held = co_await look_at_values(c, keys, [&](size_t i, const Entry* e) {
    HeldValue& v = values[i];
    if (e == nullptr) return;
    v.exists = true;
    v.version = e->version();
    if (e->is_blob()) {
      v.hold(c.store, e);
    } else {
      v.inline_bytes = std::string(e->value());
    }
  });
  if (!held) co_return std::nullopt;
  co_return std::move(values);
}

awaitable<StatusOr<std::string>> read_held(Context& c, const HeldValue& value, uint64_t offset,
                                           uint64_t length) {
  offset = std::min(offset, value.size());
  length = std::min(length, value.size() - offset);
  if (!value.blob) co_return value.inline_bytes.substr(offset, length);
  BlobReader reader(c.store.extents(), *value.blob, offset, length);
  co_return co_await reader.read_all(length);
}

namespace {

// The new blob for one attempt, composed from the value as it was when it was held; none if that
// stays as it is.
awaitable<StatusOr<std::optional<BlobRef>>> compose(Context& c, const HeldValue& old,
                                                    const BlobEdit& edit, uint64_t& new_size) {
  const uint64_t offset = edit.offset == BlobEdit::kEnd ? old.size() : edit.offset;
  const uint64_t added = edit.word != 0 ? c.args.length(edit.word) : edit.length;
  const uint64_t end = std::min(capped_add(offset, added), std::max(old.size(), edit.grows_to));
  if (end > kBlobBytesMax) co_return value_too_long();
  new_size = std::max(old.size(), end);
  std::string changed;
  if (edit.word == 0) {
    auto bytes = co_await read_held(c, old, offset, edit.length);
    if (!bytes.ok()) co_return bytes.status();
    changed = *bytes;
    changed.resize(edit.length);
    edit.change(changed);
    changed.resize(end - std::min(end, offset));
    if (end <= old.size() && changed == *bytes) co_return std::nullopt;
  }
  BlobWriter writer(c.store.extents(), 0);
  auto old_range = [&](uint64_t from, uint64_t length) -> awaitable<Status> {
    if (length == 0) co_return absl::OkStatus();
    if (old.blob) co_return co_await writer.append_range(*old.blob, from, length);
    co_return co_await writer.append(
        as_bytes(std::string_view(old.inline_bytes).substr(from, length)));
  };
  Status status = co_await old_range(0, std::min(offset, old.size()));
  if (status.ok() && offset > old.size())
    status = co_await writer.append_zeros(offset - old.size());
  if (!status.ok()) co_return status;
  if (edit.word == 0) {
    status = co_await writer.append(as_bytes(changed));
  } else if (const BlobRef* blob = c.args.blob(edit.word)) {
    status = co_await writer.append_range(*blob, 0, blob->size);
  } else {
    status = co_await writer.append(as_bytes(c.args[edit.word]));
  }
  if (status.ok() && end < old.size()) status = co_await old_range(end, old.size() - end);
  if (!status.ok()) co_return status;
  auto blob = co_await writer.finish();
  if (!blob.ok()) co_return blob.status();
  co_return std::optional<BlobRef>(*std::move(blob));
}

}  // namespace

awaitable<std::optional<uint64_t>> edit_blob(Context& c, std::string_view key,
                                             const BlobEdit& edit) {
  while (!c.given_up()) {  // until nobody changed it meanwhile
    auto held = co_await hold_value(c, key);
    if (!held) co_return std::nullopt;
    const HeldValue& old = *held;
    uint64_t size = 0;
    auto composed = co_await compose(c, old, edit, size);
    if (!composed.ok()) {
      c.status_error(composed.status());
      co_return std::nullopt;
    }
    if (!*composed) co_return size;
    const BlobRef& blob = **composed;
    (void)co_await c.store.busy().until_idle(c.ns().hash(key), Busy::Patience::kEndless);
    StripeLocks lock(c.store, c.ns().hash(key));
    Context::Turn turn(c, lock);
    Entry* e = c.find(key);
    const bool same = (e == nullptr ? Lsn() : e->version()) == old.version;
    bool put = false;
    if (same) {
      std::string encoded = blob.encode();
      RecordView r;
      r.ns = c.ns().id;
      r.key = key;
      r.value = encoded;
      // As it is now: a new expiry does not make it another version.
      const bool expires = e != nullptr && e->has_expiry();
      r.flags = static_cast<uint8_t>(kRecordIsBlob | (expires ? kRecordHasExpiry : 0));
      r.expire_ms = expires ? e->expire_ms() : 0;
      put = c.put(c.ns(), r);
    }
    if (put) co_return size;
    c.store.extents().unref(blob);
    if (same) co_return std::nullopt;  // put() answered the error
  }
  co_return std::nullopt;
}

}  // namespace cairn::kv
