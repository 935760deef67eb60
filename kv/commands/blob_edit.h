// Changing part of a value that lies in extents, or that grows into them: a new blob is composed
// of what stays (shared, not copied), what is new, and holes; then it replaces the old one, if
// nobody else did meanwhile. Inside MULTI and scripts there is no meanwhile: there such a value is
// a text while it lasts, and written as a whole.
#pragma once

#include <absl/functional/function_ref.h>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kv/engine/command.h"

namespace cairn::kv {

struct BlobEdit {
  static constexpr uint64_t kEnd = UINT64_MAX;
  uint64_t offset = 0;  // where the new bytes go; kEnd: after the last
  size_t word = 0;      // the argument that holds the new bytes, or 0:
  uint64_t length = 0;  //   then this many bytes are read (zeros past the end) …
  std::function<void(std::string&)> change;  // … changed by this, and written back, but for
  uint64_t grows_to = UINT64_MAX;            //   what would make a value longer than this
};

// Writes `value` over an inline entry; its expiry stays, its object metadata goes.
bool put_edited(Context& c, Entry* entry, std::string_view value);

// Returns the new length of the value, or nothing after it answered an error. Where `change` leaves
// the bytes as they are, and no more are added, nothing is written.
awaitable<std::optional<uint64_t>> edit_blob(Context& c, std::string_view key,
                                             const BlobEdit& edit);

// Whether the command goes on in parts: a value lies in extents, or will when it has `becomes`
// bytes. Not inside MULTI and scripts, where it has its values as texts.
bool goes_in_parts(Context& c, const Entry* e, uint64_t becomes = 0);
// The bytes of a string, or of a word, as they are now; none of no entry. What lies in extents is
// fetched for a command of a transaction or a script, which then begins again with it. Nothing: it
// does, or a text would be too long (text_at_once_max), which was answered.
std::optional<std::string_view> text_at_once(Context& c, const Entry* e, uint64_t becomes = 0);
std::optional<std::string_view> word_at_once(Context& c, size_t word);

// A value held for reading without its lock.
struct HeldValue {
  bool exists = false;
  Lsn version;
  std::string inline_bytes;     // iff not a blob
  std::optional<BlobRef> blob;  // one reference held
  uint64_t size() const { return blob ? blob->size : inline_bytes.size(); }
  HeldValue() = default;
  HeldValue(HeldValue&& o) noexcept { swap(o); }
  HeldValue& operator=(HeldValue&& o) noexcept {
    swap(o);
    return *this;
  }
  ~HeldValue() {
    if (blob) store->extents().unref(*blob);
  }
  // Of an entry that has one, under its lock.
  void hold(Store& of, const Entry* e) {
    store = &of;
    blob = BlobRef::decode(e->value());
    store->extents().ref(*blob);
  }
  void swap(HeldValue& o) {
    std::swap(exists, o.exists);
    std::swap(version, o.version);
    std::swap(inline_bytes, o.inline_bytes);
    std::swap(blob, o.blob);
    std::swap(store, o.store);
  }
  Store* store = nullptr;
};
// Calls look(i, entry), which may be null, for each of the keys, whose values are in memory or in
// extents, at one moment under their locks. False after it answered an error: one is no string.
awaitable<bool> look_at_values(Context& c, std::span<const std::string_view> keys,
                               absl::FunctionRef<void(size_t, const Entry*)> look);
// Nothing after it answered an error.
awaitable<std::optional<HeldValue>> hold_value(Context& c, std::string_view key);
// All of them as they are at one moment.
awaitable<std::optional<std::vector<HeldValue>>> hold_values(Context& c,
                                                             std::vector<std::string_view> keys);

// Up to `length` bytes from `offset` on; shorter at the end of the value.
awaitable<StatusOr<std::string>> read_held(Context& c, const HeldValue& value, uint64_t offset,
                                           uint64_t length);

}  // namespace cairn::kv
