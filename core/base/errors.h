// What is exhausted, in a ResourceExhausted status: the doors' answers differ.
#pragma once

#include <absl/status/status.h>
#include <absl/strings/cord.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "core/base/types.h"

namespace cairn {

inline constexpr const char* kExhaustedKey = "cairn/exhausted";

// `text` says it to a person.
inline absl::Status out_of_memory(const char* text) {
  absl::Status s = absl::ResourceExhaustedError(text);
  s.SetPayload(kExhaustedKey, absl::Cord("memory"));
  return s;
}
inline absl::Status disk_full(const char* text) {
  absl::Status s = absl::ResourceExhaustedError(text);
  s.SetPayload(kExhaustedKey, absl::Cord("disk"));
  return s;
}
// More bytes, or more pieces, than one value may have.
inline absl::Status value_too_long() {
  absl::Status s = absl::ResourceExhaustedError("the value is longer than a value may be");
  s.SetPayload(kExhaustedKey, absl::Cord("value"));
  return s;
}
// Of a bucket or a database, or of the user whom it counts for; `whose` says which.
inline absl::Status quota_exceeded(const std::string& whose) {
  absl::Status s = absl::ResourceExhaustedError(whose);
  s.SetPayload(kExhaustedKey, absl::Cord("quota"));
  return s;
}
inline bool is_quota_exceeded(const absl::Status& s) {
  auto what = s.GetPayload(kExhaustedKey);
  return what.has_value() && *what == "quota";
}
inline bool is_out_of_memory(const absl::Status& s) {
  auto what = s.GetPayload(kExhaustedKey);
  return what.has_value() && *what == "memory";
}
inline bool is_disk_full(const absl::Status& s) {
  auto what = s.GetPayload(kExhaustedKey);
  return what.has_value() && *what == "disk";
}
inline bool is_value_too_long(const absl::Status& s) {
  auto what = s.GetPayload(kExhaustedKey);
  return what.has_value() && *what == "value";
}

// Who holds the key needs it for longer than others wait. `who` is a script, or a function.
inline constexpr const char* kBusyKey = "cairn/busy";
inline absl::Status held_too_long(const char* who) {
  absl::Status s = absl::UnavailableError("a script that runs for long holds the key");
  s.SetPayload(kBusyKey, absl::Cord(who));
  return s;
}
inline std::string held_too_long_by(const absl::Status& s) {  // empty: it is no such error
  auto who = s.GetPayload(kBusyKey);
  return who.has_value() ? std::string(*who) : std::string();
}

// A value that has to be written again, as a version that is not current or as one that is current
// again, is on disk alone: it is to be fetched (Faults::fetch), and the change begun anew.
inline constexpr const char* kOnDiskKey = "cairn/on-disk";
inline absl::Status value_on_disk(NamespaceId ns, std::string_view key) {
  absl::Status s = absl::AbortedError("a value that becomes another version is on disk");
  const uint32_t id = ns.value();
  std::string where(reinterpret_cast<const char*>(&id), sizeof(id));
  s.SetPayload(kOnDiskKey, absl::Cord(where.append(key)));
  return s;
}
inline bool is_value_on_disk(const absl::Status& s) {
  return absl::IsAborted(s) && s.GetPayload(kOnDiskKey).has_value();
}
inline std::pair<NamespaceId, std::string> where_on_disk(const absl::Status& s) {
  const std::string where(*s.GetPayload(kOnDiskKey));
  uint32_t id;
  std::memcpy(&id, where.data(), sizeof(id));
  return {NamespaceId(id), where.substr(sizeof(id))};
}

// Of a collection, where values are kept in versions.
inline absl::Status no_collections() {
  return absl::FailedPreconditionError(
      "a bucket that keeps versions holds strings and objects, and no collections");
}

// A version is retained, or held, and does not go.
inline absl::Status object_locked() {
  return absl::PermissionDeniedError("the version is protected by object lock");
}

// A refusal rests on what was judged, as an answer does: it may leave only when that is durable.
inline constexpr const char* kRestsOnKey = "cairn/rests-on";
inline absl::Status resting_on(absl::Status s, Lsn lsn) {
  if (!s.ok() && lsn.valid()) {
    const uint64_t value = lsn.value();
    s.SetPayload(kRestsOnKey, absl::Cord(std::string(reinterpret_cast<const char*>(&value), 8)));
  }
  return s;
}
inline Lsn rests_on(const absl::Status& s) {
  uint64_t value = 0;
  if (auto bytes = s.GetPayload(kRestsOnKey)) std::memcpy(&value, std::string(*bytes).data(), 8);
  return Lsn(value);
}

// A command or request for strings met a key that holds something else.
inline constexpr const char* kWrongTypeKey = "cairn/type";
inline absl::Status wrong_type() {
  absl::Status s = absl::FailedPreconditionError(
      "the key holds a collection and no bytes; it is to be read through the Redis door");
  s.SetPayload(kWrongTypeKey, absl::Cord());
  return s;
}
inline bool is_wrong_type(const absl::Status& s) { return s.GetPayload(kWrongTypeKey).has_value(); }

}  // namespace cairn
