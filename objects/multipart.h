// Multipart uploads, as S3 defines them. An upload and its parts are records of the store's own
// namespace, so they survive restarts; a part's bytes land in their final extents, and completing
// is one batch: the object appears, the parts and the upload go.
//
//   upload  = "u/" bucket id "/" key NUL id  value empty, meta as the object will have it
//   part    = "p/" id "/" number             number in five digits
//
// Threads and errors as in objects/object.h; NotFound: no such upload.
#pragma once

#include "objects/object.h"

namespace cairn::objects {

inline constexpr unsigned kPartNumberMax = 10000;
inline constexpr uint64_t kPartBytesMin = 5 << 20;

struct PartInfo {
  unsigned number = 0;
  uint64_t size = 0;
  std::string etag;
  int64_t modified_ms = 0;
  std::map<std::string, std::string> checksums;  // algorithm -> base64
};
struct UploadInfo {
  std::string key, id;
  int64_t started_ms = 0;
  ObjectMeta meta;
  Lsn seen;  // what an answer about it has to wait for
};

// What an upload's record is called, and the other way round.
struct UploadName {
  uint32_t bucket = 0;
  std::string_view key, id;
};
std::string upload_name(const Namespace& bucket, std::string_view key, std::string_view id);
std::optional<UploadName> parse_upload_name(std::string_view name);

struct PutUpload {
  std::string id;
  Lsn version;
};
StatusOr<PutUpload> create_upload(Store& store, const Namespace& bucket, std::string_view key,
                                  ObjectMeta meta);
StatusOr<UploadInfo> find_upload(Store& store, const Namespace& bucket, std::string_view key,
                                 std::string_view id);
StatusOr<PutResult> put_part(Store& store, const Namespace& bucket, std::string_view key,
                             std::string_view id, unsigned number, Upload& bytes, ObjectMeta meta);
struct PartList {
  std::vector<PartInfo> parts;  // in order
  Lsn newest;                   // of what the answer rests on and has to wait for
};
PartList list_parts(Store& store, std::string_view id);
struct UploadPage {
  std::vector<UploadInfo> uploads;
  std::vector<std::string> prefixes;
  bool truncated = false;
  Lsn newest;  // as of a PartList
};
UploadPage list_uploads(Store& store, const Namespace& bucket, std::string_view prefix,
                        std::string_view delimiter, std::string_view key_marker,
                        std::string_view id_marker, size_t limit);
StatusOr<Lsn> abort_upload(Store& store, const Namespace& bucket, std::string_view key,
                           std::string_view id);

struct CompletePart {
  unsigned number;
  std::string etag;
  std::map<std::string, std::string> checksums;
};
// What the client says that the object will be; empty fields do not count.
struct Expected {
  std::string algorithm, checksum;  // "crc32", its value
  std::string checksum_type;        // COMPOSITE, FULL_OBJECT
  std::optional<uint64_t> size;
};
struct Completed {
  PutResult put;
  std::string checksum_algorithm, checksum;  // if the upload declared one
  bool full_object = false;
};
// An upload that was completed already answers again, while its object is there. NotFound
// "NoSuchKey": if_match, and no object. InvalidArgument "InvalidPart NUMBER", "InvalidPartOrder",
// "EntityTooSmall NUMBER SIZE", "BadDigest…", "InvalidRequest…". `part_bytes_min`: of each part but
// the last.
awaitable<StatusOr<Completed>> complete_upload(Store& store, Namespace& bucket,
                                               std::string_view key, std::string_view id,
                                               std::vector<CompletePart> parts,
                                               Conditions conditions, Expected expected,
                                               uint64_t part_bytes_min = kPartBytesMin);

// In ObjectMeta::extra of an upload: in how many seconds the object expires, once it is complete.
inline constexpr const char* kUploadTtl = "ttl";
// Likewise, how its version is locked: as encode_lock() has it.
inline constexpr const char* kUploadLock = "lock";
std::string encode_lock(const VersionLock& lock);
// In ObjectMeta::extra of an object that was uploaded in parts, if its upload declared a checksum:
// those of the parts, one behind another, by the algorithm of the object's own.
inline constexpr const char* kPartChecksums = "part-checksums";
// That of the part at this place, the first at 0, in base64; empty: there is none.
std::string part_checksum(const ObjectMeta& meta, size_t index);

// Drops an empty bucket with the uploads that are open in it, as S3 does. Errors: NotFound,
// FailedPrecondition (not empty), and those of writing.
StatusOr<Lsn> drop_bucket(Store& store, std::string_view name);
// Once the store is open, while requests come already: removes uploads of buckets that are gone,
// and parts of no upload, which a crash between a bucket's end and theirs left.
Status sweep_uploads(Store& store);

}  // namespace cairn::objects
