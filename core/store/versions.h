// Versions of the keys of a bucket: what they are called, and where those lie that are not current.
//
// A bucket whose versioning was ever switched on has a companion: a namespace that no list names,
// which holds the versions that are not current, and the delete markers, as entries like all
// others. So log, replay, checkpoint, cleaner and memory do for them what they do for any key. The
// bucket itself holds the current version only, and nothing where the newest is a delete marker.
//
// The companion's id is the bucket's with the highest bit set, and not one of the counter's own: a
// replay has to know of a record alone, in any order, which stripe its key lies in.
//
//   key    = escaped 00 00 number?     escaped: the bucket's key, each 00 in it as 00 01
//   number = 8 bytes, big-endian, inverted
//
// In order of bytes that is the bucket's key ascending, then its null version, then the others from
// the newest on; what the keys of the bucket begin with, these do. The null version has no number
// in its key: so there is one of a bucket's key at most, and a look-up finds it. All versions of a
// key lie in the stripe of the key itself, whose lock covers them.
//
// A number is max(now in microseconds, all of the key so far + 1) and stands in the metadata of the
// value (core/store/value.h), also of the null version, which is one that was written while
// versioning was suspended. A value without it was written before versioning was switched on: it
// is the null version too, and as old as its record. In the companion each entry has one.
//
// A removal of a key says in its record's metadata which version it is about, in the same way: of
// the bucket's key and of the companion's, that which is gone for good; of the bucket's key behind
// a delete marker, the marker. One that says nothing took away what the same transaction put
// elsewhere, or put something else for; and a put with an origin is of a version that was there
// before.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/types.h"
#include "core/index/index.h"
#include "core/store/holdings.h"

namespace cairn {

inline constexpr uint32_t kVersionsBit = 0x80000000;  // buckets' own ids are below

// Whether the id is that of a companion, and whose companion it is; and the other way round.
constexpr bool is_versions(NamespaceId id) {
  return id.value() >= kVersionsBit && id.value() < kFirstHighDatabase;
}
constexpr NamespaceId bucket_of(NamespaceId versions) {
  return NamespaceId(versions.value() & ~kVersionsBit);
}
constexpr NamespaceId versions_of(NamespaceId bucket) {
  return NamespaceId(bucket.value() | kVersionsBit);
}

// One of a key's versions, or of its delete markers.
struct Version {
  uint64_t number = 0;
  bool null = false;
  bool marker = false;
  bool operator==(const Version&) const = default;
};

// What all versions of a key begin with in the companion; that of the null version.
std::string version_prefix(std::string_view key);
std::string version_key(std::string_view key, const Version& version);
// The bucket's key of a key in the companion; nothing: it is none.
std::optional<std::string> key_of_version(std::string_view version_key);
// Which of them it is, without what stands in its metadata alone; nothing: it is none.
std::optional<Version> version_of_key(std::string_view version_key);
// Of a key in the companion: by the bucket's key, the stripe.
KeyHash hash_version_key(std::string_view version_key, uint64_t seed);

}  // namespace cairn
