// Values as payloads of DUMP, for the commands that make and read them.
//
// Threads: as the command.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/extents/blob_ref.h"
#include "core/store/busy.h"
#include "kv/engine/command.h"

namespace cairn::kv {

// Whether all of a collection can be looked at in one turn.
bool is_small(const Entry* e);
// Adds type and body of what this entry holds at `now_ms`; nothing, and false, if that is to be
// made in turns. `whole`: it is not, unless it lies in extents.
bool add_body_at_once(std::string& out, const Entry* e, int64_t now_ms, uint16_t& version,
                      bool whole = false);
// The same as a payload.
std::optional<std::string> payload_at_once(const Entry* e, int64_t now_ms, bool whole = false);

// A payload that was made in turns: in extents, where nobody but its holder knows of it.
struct HeldPayload {
  explicit HeldPayload(Store& store) : store(store) {}
  ~HeldPayload();
  HeldPayload(const HeldPayload&) = delete;
  Store& store;
  std::optional<BlobRef> blob;  // one reference held
  std::string text;             // or, of a small one
  std::string meta;             // of a blob that is the ciphertext of the value (plaintext.h)
  bool is_bare = false;         // the blob is the value (PayloadOf::bare_strings)
  int64_t expire_ms = 0;        // of the value; 0: never
  Lsn version;                  // that it had
  uint64_t size() const { return blob ? blob->size : text.size(); }
};
// Of what it is to be made, and how.
struct PayloadOf {
  NamespacePtr ns;
  std::string_view key;
  uint64_t bytes_max = UINT64_MAX;
  // The keys that the database has to hold (SWAPDB); else kMoved.
  std::optional<NamespaceId> held = {};
  bool bare_strings = false;  // a string in extents is held as it is, without type and checksum
  // With that: an encrypted value is wanted as it reads; kClosed: no key of the store opens it.
  bool opens = false;
  Busy::Patience patience = Busy::Patience::kOfRequests;
};
enum class Dumped : uint8_t { kMade, kAbsent, kMoved, kClosed, kRefused };
// kRefused: after it answered the error.
awaitable<Dumped> payload_in_turns(Context& c, const PayloadOf& what, HeldPayload& payload);
// For a command about this key; it is no longer than a word may be.
awaitable<Dumped> payload_in_turns(Context& c, std::string_view key, HeldPayload& payload);

std::span<const Row> dump_rows();
std::span<const Row> restore_rows();
std::span<const Row> migrate_rows();

}  // namespace cairn::kv
