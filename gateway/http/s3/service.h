// The S3 API: a table of operations, and one way in: who it is, what is wanted, whether the caller
// may, whether all that the request carries is honoured; only then is anything looked at.
//
// Threads: handle() on any I/O loop, any number at once.
#pragma once

#include <array>
#include <span>

#include "core/store/store.h"
#include "gateway/http/s3/errors.h"
#include "gateway/http/s3/payload.h"
#include "gateway/http/s3/sigv4.h"
#include "gateway/http/s3/xml.h"
#include "objects/multipart.h"
#include "objects/object.h"

namespace cairn::kv {
class Engine;
}

namespace cairn::events {
class Notifier;
}

namespace cairn::s3 {

class LoggedRequest;
class AccessLog;
struct Row;
// What runs commands, one for each loop of the store.
using Engines = std::vector<std::unique_ptr<kv::Engine>>;

// One request on its way through an operation.
struct Call {
  Store& store;
  http::Request& request;
  http::Response& response;
  Authenticated auth;
  std::string bucket_name, key;
  NamespacePtr bucket;  // there for every operation on a bucket but its creation
  PayloadBody* body = nullptr;
  std::string_view owner;   // of all buckets
  std::string_view region;  // of all buckets
  const Row* row = nullptr;
  const Engines* engines = nullptr;      // null: collections are not shown
  uint64_t put_bytes_max = 0;            // of one body; 0: any
  objects::Hashers* hashers = nullptr;   // of what is uploaded; null: whoever receives it
  events::Notifier* notifier = nullptr;  // null: nobody is told of events
  Users* users = nullptr;                // whom ACLs and policies may name

  std::string param(std::string_view name) const {
    const std::string* v = request.param(name);
    return v == nullptr ? "" : *v;
  }
  bool has_param(std::string_view name) const { return request.param(name) != nullptr; }
  // AccessDenied unless the caller may do it. The dispatcher asks for the row's action on the
  // bucket and key of the request; for every other key an operation asks before it looks at it.
  // `version`: the one of the key that it is about, as it was named; null: the current one.
  Error may(const Action& action, std::string_view space, std::string_view of_key,
            const std::string* version) const;
  // The same of the version that the request names.
  Error may(const Action& action, std::string_view space = {}, std::string_view of_key = {}) const {
    return may(action, space, of_key, request.param("versionId"));
  }
  // For the audit log, of a key beside the request's own.
  void note(const Action& action, std::string_view space, std::string_view of_key,
            bool allowed) const;
  bool is_anonymous() const { return auth.anonymous; }
};

// The actions, by the names that policies have for them after "s3:".
namespace action {
inline constexpr std::string_view kDoor = "s3";
inline constexpr Action kListAllMyBuckets{kDoor, "ListAllMyBuckets", Access::kRead};
inline constexpr Action kCreateBucket{kDoor, "CreateBucket", Access::kInsert};
inline constexpr Action kDeleteBucket{kDoor, "DeleteBucket", Access::kDelete};
inline constexpr Action kListBucket{kDoor, "ListBucket", Access::kRead};
inline constexpr Action kListBucketVersions{kDoor, "ListBucketVersions", Access::kRead};
inline constexpr Action kGetBucketLocation{kDoor, "GetBucketLocation", Access::kRead};
inline constexpr Action kGetBucketTagging{kDoor, "GetBucketTagging", Access::kRead};
inline constexpr Action kPutBucketTagging{kDoor, "PutBucketTagging", Access::kWrite};
inline constexpr Action kPutBucketVersioning{kDoor, "PutBucketVersioning", Access::kWrite};
inline constexpr Action kGetBucketVersioning{kDoor, "GetBucketVersioning", Access::kRead};
inline constexpr Action kGetBucketCors{kDoor, "GetBucketCORS", Access::kRead};
inline constexpr Action kPutBucketCors{kDoor, "PutBucketCORS", Access::kWrite};
inline constexpr Action kListUploads{kDoor, "ListBucketMultipartUploads", Access::kRead};
inline constexpr Action kGetObject{kDoor, "GetObject", Access::kRead};
inline constexpr Action kGetObjectAttributes{kDoor, "GetObjectAttributes", Access::kRead};
inline constexpr Action kGetObjectVersion{kDoor, "GetObjectVersion", Access::kRead};
inline constexpr Action kGetObjectVersionAttributes{kDoor, "GetObjectVersionAttributes",
                                                    Access::kRead};
inline constexpr Action kPutObject{kDoor, "PutObject", Access::kWrite};
inline constexpr Action kDeleteObject{kDoor, "DeleteObject", Access::kDelete};
inline constexpr Action kDeleteObjectVersion{kDoor, "DeleteObjectVersion", Access::kDelete};
inline constexpr Action kGetObjectTagging{kDoor, "GetObjectTagging", Access::kRead};
inline constexpr Action kGetObjectVersionTagging{kDoor, "GetObjectVersionTagging", Access::kRead};
inline constexpr Action kPutObjectTagging{kDoor, "PutObjectTagging", Access::kWrite};
inline constexpr Action kPutObjectVersionTagging{kDoor, "PutObjectVersionTagging", Access::kWrite};
inline constexpr Action kDeleteObjectTagging{kDoor, "DeleteObjectTagging", Access::kWrite};
inline constexpr Action kDeleteObjectVersionTagging{kDoor, "DeleteObjectVersionTagging",
                                                    Access::kWrite};
inline constexpr Action kRestoreObject{kDoor, "RestoreObject", Access::kWrite};
inline constexpr Action kAbortUpload{kDoor, "AbortMultipartUpload", Access::kWrite};
inline constexpr Action kListParts{kDoor, "ListMultipartUploadParts", Access::kRead};
}  // namespace action

using Operation = awaitable<Error> (*)(Call&);
enum class Scope : uint8_t { kService, kBucket, kObject };
struct Row {
  std::string_view name;  // of the operation, as S3 has it
  Action action;          // what it takes the right to
  std::string_view method;
  Scope scope;
  std::string_view subresource;  // query parameter that selects it, or empty
  std::string_view header;       // header that selects it, or empty
  Operation run;
  // What it honours in a request beside what all do (carried.h): names, separated by blanks.
  std::string_view headers, params;
  bool needs_bucket = true;
  bool reads_body = false;  // else it gets none, and one that comes is checked and thrown away
  // What it is about comes to light later, as keys or a retention in its body: it asks for each.
  bool many = false;
  Action of_version = {};  // instead, where the request names a version
};

// Of each family, in a file of its own.
std::span<const Row> acl_rows();
std::span<const Row> batch_rows();
std::span<const Row> bucket_policy_rows();
std::span<const Row> bucket_rows();
std::span<const Row> cors_rows();
std::span<const Row> default_ttl_rows();
std::span<const Row> encryption_rows();
std::span<const Row> etag_rows();
std::span<const Row> find_rows();
std::span<const Row> lifecycle_rows();
std::span<const Row> lock_rows();
std::span<const Row> logging_rows();
std::span<const Row> multipart_rows();
std::span<const Row> notification_rows();
std::span<const Row> object_rows();
std::span<const Row> post_rows();
std::span<const Row> public_access_rows();
std::span<const Row> rename_rows();
std::span<const Row> settings_rows();
std::span<const Row> tagging_rows();
std::span<const Row> version_rows();
std::span<const Row> website_rows();
std::array<std::span<const Row>, 22> all_rows();

class Service {
 public:
  Service(Store& store, Users& users, std::string domain, std::string region,
          const Engines* engines = nullptr, uint64_t put_bytes_max = 0,
          events::Notifier* notifier = nullptr, objects::Hashers* hashers = nullptr,
          AccessLog* access_log = nullptr)
      : store_(store),
        users_(users),
        authenticator_(users, region),
        domain_(std::move(domain)),
        region_(std::move(region)),
        engines_(engines),
        put_bytes_max_(put_bytes_max),
        notifier_(notifier),
        hashers_(hashers),
        access_log_(access_log) {}
  awaitable<void> handle(http::Request& request, http::Response& response);
  // The bucket that the request's host names; empty: the path names it.
  std::string_view bucket_of_host(const http::Request& request) const;

 private:
  // `access`: what is to be logged of it, if anything is.
  awaitable<Error> dispatch(http::Request& request, http::Response& response,
                            std::shared_ptr<LoggedRequest>& access);
  awaitable<Error> dispatch(Call& call);
  // Answers as the website of a bucket; `e` became a page.
  awaitable<Error> dispatch_site(http::Request& request, http::Response& response,
                                 std::string_view bucket, std::shared_ptr<LoggedRequest>& access);
  void address(const http::Request& request, Call& call) const;
  // If `e` says that somebody is not who he claims to be.
  void note_failure(const Error& e, std::string_view key, const http::Request& request);
  Store& store_;
  Users& users_;
  Authenticator authenticator_;
  const std::string domain_, region_;
  const Engines* const engines_;
  const uint64_t put_bytes_max_;
  events::Notifier* const notifier_;
  objects::Hashers* const hashers_;
  AccessLog* const access_log_;  // null: nothing is logged
};

// ---- shared by the operations ----

std::string upper(std::string_view text);
void reply_xml(Call& call, const XmlOut& xml);
// What an answer about a bucket says is not set; 404.
Error not_set(const Call& call, std::string_view code);
// For an operation that may take longer than a client waits: from here on its answer is XML.
void takes_long(Call& call);
void add_owner(pugi::xml_node parent, const char* name, const Call& call);
// Waits until what the answer rests on is durable; or whether nothing is to be waited for.
bool settled(const Call& call, Lsn lsn);
awaitable<Error> settle(Call& call, Lsn lsn);
// Gives the call its bucket, once its caller was asked; NoSuchBucket.
awaitable<Error> enter_bucket(Call& call);
// Waits while a script holds the key for long (core/store/busy.h); an error if that takes too long.
awaitable<Error> until_idle(Call& call, std::string_view key);
// Reads a small body whole and checks all that was declared about it; checksums in headers are the
// body's own, unless they are `of_object`.
awaitable<Error> read_small(Call& call, size_t limit, std::string& text, bool of_object = false);
// BadDigest and InvalidDigest, with what S3 says beside: `header` is what was sent, `found` the MD5
// of what came.
Error invalid_md5(std::string_view header);
Error wrong_md5(std::string_view header, std::string_view found);
Error wrong_checksum(std::string_view algorithm);
// The conditional headers, with a prefix for copies: "x-amz-copy-source-".
Error conditions_of(const http::Request& request, objects::Conditions& conditions,
                    std::string_view prefix = "");
// A write or a deletion under the condition of an ETag tells it, and takes the right to read, as S3
// has it.
Error may_compare(const Call& call, std::string_view key, const objects::Conditions& conditions);
Error part_number(const Call& call, unsigned& number);
// For how long the object that is written stays, in milliseconds, as x-cairn-ttl says; nothing: it
// does not say.
Error ttl_of(const Call& call, std::optional<int64_t>& ttl_ms);
// When what is committed now into the call's bucket expires, by what it says or the bucket's
// default; 0: it does not.
int64_t expiry_after(const Call& call, std::optional<int64_t> ttl_ms);
// The bucket and key that x-amz-copy-source names.
Error find_copy_source(Call& call, NamespacePtr& ns, std::string& key,
                       std::optional<Version>& version);
// What an error or a condition that does not hold is called where it is about the source.
Error of_source_key(Error error, std::string_view key);
Error unmet_by_source(const objects::Conditions& conditions, const objects::Info& source);

// PUT of an object, whose bytes the call's body has.
awaitable<Error> put_object(Call& call);
// The same with the bytes behind those that the object has, which are `offset` many.
awaitable<Error> append_object(Call& call, uint64_t offset);
// What a PUT says of the object that it made.
void answer_put(Call& call, const objects::PutResult& put, const ObjectMeta& meta,
                const objects::Upload& upload);
// QuotaExceeded: so many bytes more at the call's key do not fit, whatever they are.
Error may_grow(const Call& call, uint64_t bytes);
// What an upload needs to be hashed with for its ETag; then the ETag of a part, and of an object.
objects::Algorithm etag_algorithm(const Call& call);
std::string etag_digest(objects::Upload& upload);
std::string etag_of_upload(objects::Upload& upload);
// How many bytes of a body are announced; 0: it does not say.
uint64_t announced(const Call& call);
// Takes the body of a PUT into an upload and checks all that was declared about it; `checksums`
// gets what the client sent, by algorithm.
awaitable<Error> receive(Call& call, objects::Upload& upload,
                         std::map<std::string, std::string>& checksums);
// The tags that x-amz-tagging gives to an object that is written; AccessDenied: who may not tag.
Error tags_of(const Call& call, objects::Tags& tags);
// The version that a request for an object names, if it does. NoSuchVersion: no version is called
// so.
Error find_version(const Call& call, std::optional<Version>& version);
// Says which version the answer is about; of a bucket that keeps none, if the request named one.
void say_version(Call& call, const std::string& id);
// What failed of an object, and what the answer says of delete markers.
Error error_of_object(Call& call, const Status& status);
bool is_version_id(std::string_view text);  // or could be one
// GetObjectAttributes: what there is to know of an object beside its bytes.
awaitable<Error> get_attributes(Call& call);

// What a row with checked bodies honours of them.
#define CAIRN_S3_CHECKSUMS                                                                   \
  "x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme x-amz-checksum-sha1 " \
  "x-amz-checksum-sha256 x-amz-checksum-sha512 x-amz-checksum-md5 x-amz-checksum-xxhash64 "  \
  "x-amz-checksum-xxhash3 x-amz-checksum-xxhash128"
#define CAIRN_S3_SOURCE_CONDITIONS                                             \
  "x-amz-copy-source-if-match x-amz-copy-source-if-none-match "                \
  "x-amz-copy-source-if-modified-since x-amz-copy-source-if-unmodified-since " \
  "x-amz-source-expected-bucket-owner"
void set_checksum_headers(http::Response& response,
                          const std::map<std::string, std::string>& checksums);
void add_checksums(pugi::xml_node to, const std::map<std::string, std::string>& checksums);
// FULL_OBJECT or COMPOSITE, by what it says of an object.
std::string_view checksum_type(std::string_view checksum);

}  // namespace cairn::s3
