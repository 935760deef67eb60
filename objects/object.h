// Objects: what a value looks like to those who upload and download, whatever the door.
//
// Threads: coroutines on any I/O executor; functions that are not coroutines from any thread.
// Errors: NotFound (no such key or bucket), FailedPrecondition (a condition did not hold, or the
// key holds a collection: is_wrong_type()); both say what they rest on (rests_on()). OutOfRange (a
// range past the end), InvalidArgument (bytes that are not what was declared), ResourceExhausted
// (memory, disk), Unavailable (read-only), DataLoss (damage on disk).
#pragma once

#include <absl/functional/function_ref.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/extents/blob_writer.h"
#include "core/store/store.h"
#include "core/store/transaction.h"
#include "core/store/value.h"
#include "objects/digest.h"
#include "objects/encryption.h"
#include "objects/tags.h"

namespace cairn::objects {

class Hashers;  // hashers.h
class HashStream;

inline constexpr size_t kObjectKeyMax = 1024;

// In ObjectMeta::extra: who may do what with it (core/store/acl.h), where that was ever set.
inline constexpr const char* kAcl = "acl";
// Likewise: where a website sends who asks for it.
inline constexpr const char* kRedirect = "redirect";

// S3's rules for general purpose buckets, and none of the names of the numbered databases.
bool valid_bucket_name(std::string_view name);

struct Info {
  uint64_t size = 0;
  Lsn version;
  Lsn seen;  // what an answer about it has to wait for (Transaction::seen)
  int64_t modified_ms = 0;
  int64_t expire_ms = 0;
  ObjectMeta meta;
  std::string etag;        // without quotes
  std::string version_id;  // as clients call it (objects/versions.h); empty: none are kept
  VersionLock lock = {};
};

// Beside a NotFound: the newest version is a delete marker, this one; or there is no such version.
// Beside a FailedPrecondition: the version that was asked for is a delete marker.
struct MarkerFound {
  std::string version_id;
  int64_t modified_ms = 0;
};
std::optional<MarkerFound> marker_found(const Status& status);
bool is_no_such_version(const Status& status);

// The ETag of a value that was not written as an object comes from its version, in the form that
// clients do not take for an MD5.
std::string etag_of(const ObjectMeta& meta, Lsn version);
Info info_of(Store& store, const Entry* entry);

// The conditions of RFC 9110 section 13 and of S3's conditional writes. Empty fields do not count.
struct Conditions {
  std::string if_match;  // ETags in quotes, separated by commas, or *
  std::string if_none_match;
  std::optional<int64_t> if_modified_since_s, if_unmodified_since_s;
  std::optional<Lsn> if_version;  // the version, invalid for "must not exist"
  // Of a deletion: of what is there, if anything is.
  std::optional<int64_t> if_modified_at_s;
  std::optional<uint64_t> if_size;
  // A range counts only of this very value; else the whole is meant. Decides about nothing else.
  std::string if_range;  // one strong ETag in quotes; nothing else ever matches
  std::optional<bool> if_exists;
  // Of a read and a removal: of which version the rest speaks, and what is read or removed; without
  // it, of the current one. It is no condition itself.
  std::optional<Version> version;
  bool bypass_governance = false;  // of a removal of that version: governance does not keep it
  // Of a read, and no conditions either: what opens a value that is encrypted with its customer's
  // key, and is refused for any other; and whether the ciphertext is wanted, for who passes it on.
  std::string customer_key = {};
  bool as_stored = false;
  bool empty() const {
    return if_match.empty() && if_none_match.empty() && !if_modified_since_s &&
           !if_unmodified_since_s && !if_version && !if_modified_at_s && !if_size && !if_exists;
  }
};
enum class Verdict { kGo, kNotModified, kFailed };
Verdict judge(const Conditions& conditions, const Info* current);
// The header of the first one that does not hold, as "If-Match"; empty: all hold, or it has none.
std::string_view unmet(const Conditions& conditions, const Info* current);
// Of a write, in the transaction that found `entry` (null: nothing is there). NotFound: if_match,
// and nothing is there, as S3 has it; FailedPrecondition: another one does not hold, and the
// message ends with its header, behind ": ".
Status check_conditions(Store& store, const Conditions& conditions, const Entry* entry, Lsn seen);
Status check_conditions(const Conditions& conditions, const Info* current, Lsn seen);

// A value being read: what it was at one moment, however it changes meanwhile.
struct Opened {
  Info info;
  bool cold = false;     // the bytes are not at hand: open() waits for them,
  NamespacePtr cold_in;  // where they are found under this name
  std::string cold_key;
  std::string inline_bytes;            // the wanted range, iff there is no reader
  std::unique_ptr<ByteSource> reader;  // the wanted range
  std::optional<Encryption> stored;    // these bytes are ciphertext (Conditions::as_stored)
  uint64_t offset = 0, length = 0;     // the wanted range
  bool partial = false;                // a range was wanted and counts
};
// A range as a client may ask for it, before the size is known.
struct Range {
  std::optional<uint64_t> first,
      last;  // last inclusive; first alone missing: the last `last` bytes
};
StatusOr<Info> stat(Store& store, Namespace& ns, std::string_view key,
                    const std::optional<Version>& version = std::nullopt);
StatusOr<Opened> try_open(Store& store, Namespace& ns, std::string_view key,
                          const std::optional<Range>& range, const Conditions& conditions = {},
                          Verdict* verdict = nullptr);
// No default arguments, and callers name the conditions: GCC 12 moves a temporary that lives across
// a co_await without its move constructor, and then frees what it never owned.
awaitable<StatusOr<Opened>> open(Store& store, Namespace& ns, std::string_view key,
                                 const std::optional<Range>& range, const Conditions& conditions,
                                 Verdict* verdict);
awaitable<StatusOr<Opened>> open(Store& store, Namespace& ns, std::string_view key,
                                 const std::optional<Range>& range);

// The bytes of a string that is in memory and no blob, as those see them who read it. Errors: as of
// open_data_key(), and DataLoss.
StatusOr<std::string> value_of(Store& store, const Entry* entry);

// A value being written: small ones stay in memory, larger ones go to extents as they come.
class Upload {
 public:
  // `size_hint`: what the client says will come; 0 if it says nothing. Over kBlobBytesMax nothing
  // is taken: is_value_too_long(). `hashers`: whose threads hash what goes to extents, while more
  // of it comes in; null: nobody's.
  Upload(Store& store, uint64_t size_hint, Hashers* hashers = nullptr);

  // What comes from here on is encrypted, as one more segment. Before the first byte, or behind
  // ciphertext of the same encryption that was appended.
  void encrypt(NewEncryption with);
  // All that is appended is ciphertext of this encryption, which has no segments yet.
  void continues(Encryption encryption) { encryption_ = std::move(encryption); }
  // As ObjectMeta::encryption has it; empty: it is not encrypted. After finish().
  const std::optional<Encryption>& encrypted() const { return encryption_; }
  std::string encryption() const { return encryption_ ? encryption_->encode() : std::string(); }
  awaitable<StatusOr<MutableBytes>> prepare();  // room to fill
  void commit(size_t bytes);
  awaitable<Status> append(Bytes data);
  // Bytes of a value that is there already; shared where they lie in extents. Ciphertext stays what
  // it is: this value gets its encryption, or one more segment of it.
  awaitable<Status> append_object(Opened& source);
  void add_digest(Algorithm algorithm);  // before the first byte
  bool has_digests() const;
  uint64_t size() const;                               // without what encryption adds
  size_t held_bytes() const { return small_.size(); }  // in memory of its own

  // Until all bytes are in the digests; finish() does it too.
  awaitable<void> hashed();
  std::string digest(Algorithm algorithm);  // raw, after the last byte and hashed()

  // All bytes durable in extents, or in memory. Call before the commit of the record.
  awaitable<Status> finish();
  // The record of this value; after finish(). The blob's reference goes to whoever puts it.
  RecordView record(Namespace& ns, std::string_view key, std::string_view meta, int64_t expire_ms);
  void gave_away() { given_ = true; }
  ~Upload();
  Upload(const Upload&) = delete;

 private:
  awaitable<Status> move_to_extents();
  uint64_t stored_size() const;
  awaitable<StatusOr<MutableBytes>> prepare_stored();
  void commit_stored(size_t bytes);
  awaitable<Status> append_stored(Bytes data);
  awaitable<Status> end_frame();
  Store& store_;
  uint64_t size_hint_;
  std::string small_;
  size_t small_used_ = 0;
  std::unique_ptr<BlobWriter> writer_;
  std::optional<BlobRef> blob_;
  std::string encoded_;
  const std::shared_ptr<HashStream> digests_;
  MutableBytes room_;
  std::optional<Encryption> encryption_;
  std::optional<Cipher> cipher_;         // of the last segment, if that is being written
  uint64_t frame_ = 0, frame_used_ = 0;  // the one under way in it, and how much it has
  bool given_ = false;
};

// An upload that is encrypted as the bucket wants it, of what says nothing of it itself.
Status encrypt_by_default(Store& store, const Namespace& ns, Upload& upload);
// What was opened as it is stored, and whole, is to become another value by append_object(): its
// ciphertext is shared where it is what is wished, and no digest wants to see the bytes; else it
// is decrypted, and `to` encrypts what is wished so. Where nothing is wished, it is as wish_like()
// has it. `source_key`: its customer's, if one came.
Status begin_copy(Store& store, Opened& source, std::string_view source_key, EncryptionWish wish,
                  Upload& to);
// OK, or is_quota_exceeded(): a value of so many bytes does not fit under this key, even if it
// takes the place of what is there. For who has not begun yet to take it; put() judges it.
Status check_growth(Store& store, Namespace& ns, std::string_view key, uint64_t bytes);

struct PutResult {
  Lsn version;
  Lsn seen;  // what the answer has to wait for
  std::string etag;
  std::string version_id = {};  // as of Info
};
// Publishes a finished upload under a key, if the conditions hold at that moment. `cause`: how the
// object came to be, for who is told of it (objects/notifications.h). Where versions are kept, this
// and remove() may fail with is_value_on_disk(): objects/versions.h says what to do then.
StatusOr<PutResult> put(Store& store, Namespace& ns, std::string_view key, Upload& upload,
                        const ObjectMeta& meta, int64_t expire_ms, const Conditions& conditions,
                        Cause cause = Cause::kUser, const VersionLock& lock = {});
// Puts what `change` makes of the metadata in the place of what the object has: a record with the
// same value, which is not read where it lies in extents. ETag and time stay; what is as it was is
// not written. `change` is called once or more, under the lock of the key. In a bucket that keeps
// versions, of one of them, or of the current one; it makes none. `cause`
// says what is changed.
awaitable<StatusOr<PutResult>> change_meta(Store& store, Namespace& ns, std::string_view key,
                                           absl::FunctionRef<void(ObjectMeta&)> change, Cause cause,
                                           const std::optional<Version>& version);
// Puts these tags in the place of those that the object has: a record with the same value, which is
// not read where it lies in extents. ETag and time stay. InvalidArgument as check_tags() has it.
// In a bucket that keeps versions, of one of them, or of the current one; it makes none. `cause`:
// kTagsPut or kTagsDelete.
awaitable<StatusOr<PutResult>> set_tags(Store& store, Namespace& ns, std::string_view key,
                                        const Tags& tags, Cause cause,
                                        const std::optional<Version>& version);
awaitable<StatusOr<PutResult>> set_tags(Store& store, Namespace& ns, std::string_view key,
                                        const Tags& tags, Cause cause);
// What is changed of a lock; the rest stays.
struct LockChange {
  std::optional<LegalHold> hold;
  struct Retained {
    Retention retention;
    int64_t until_ms;
  };
  std::optional<Retained> retained;
};
// Of one version, or of the current one, of a bucket that has object lock; it stays that version.
// PermissionDenied: it is locked, and may not be released, nor its retention shortened.
awaitable<StatusOr<PutResult>> set_lock(Store& store, Namespace& ns, std::string_view key,
                                        const std::optional<Version>& version,
                                        const LockChange& change, bool bypass_governance);
struct Removed {
  Lsn version;  // of the deletion; invalid if there was nothing
  Lsn seen;     // what the answer has to wait for
  // Where versions are kept: the delete marker that was made, or the version that was removed, and
  // whether it was one.
  std::string version_id = {};
  bool marker = false;
};
// In a bucket that keeps versions, and without one in the conditions, it makes a delete marker,
// whether there is something or not.
StatusOr<Removed> remove(Store& store, Namespace& ns, std::string_view key,
                         const Conditions& conditions = {});

// ---- listing ----

struct ListQuery {
  std::string prefix, delimiter;
  std::string after;  // exclusive; a common prefix skips all below it
  size_t limit = 1000;
  bool collections = false;  // list them too
};
struct ListItem {
  std::string key;
  bool is_prefix = false;
  ValueType type = ValueType::kString;
  uint64_t size = 0;
  std::string etag;
  int64_t modified_ms = 0;
  int64_t expire_ms = 0;
  Lsn version;
  std::string checksum_algorithm;
  bool composite_checksum = false;
};
// A page ends behind so many bytes of keys, too (those of S3 have at most 1,024, others 64 KiB), at
// one that a client can send back in a head.
inline constexpr size_t kPageKeyBytes = 2 << 20, kLastKeyBytes = 4 << 10;
struct ListPage {
  std::vector<ListItem> items;  // in order of key
  bool truncated = false;
  std::string next;  // pass as `after`
  size_t key_bytes = 0;
  Lsn newest;  // of what the answer rests on and has to wait for
};
// Strings alone unless asked for more: collections have no bytes to download.
awaitable<StatusOr<ListPage>> list(Store& store, NamespacePtr ns, const ListQuery& query);

}  // namespace cairn::objects
