// The S3 API: a table of operations, and one way in: who it is, what is wanted, whether the caller
// may, whether all that the request carries is honoured; only then is anything looked at.
//
// Threads: handle() on any I/O loop, any number at once.
#pragma once

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

namespace cairn::s3 {

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
  const Engines* engines = nullptr;     // null: collections are not shown
  objects::Hashers* hashers = nullptr;  // of what is uploaded; null: whoever receives it

  std::string param(std::string_view name) const {
    const std::string* v = request.param(name);
    return v == nullptr ? "" : *v;
  }
  bool has_param(std::string_view name) const { return request.param(name) != nullptr; }
  // AccessDenied unless the caller may do it. The dispatcher asks for the row's action on the
  // bucket and key of the request; for every other key an operation asks before it looks at it.
  Error may(const Action& action, std::string_view space = {}, std::string_view of_key = {}) const;
};

// The actions, by the names that policies have for them after "s3:".
namespace action {
inline constexpr std::string_view kDoor = "s3";
inline constexpr Action kListAllMyBuckets{kDoor, "ListAllMyBuckets", Access::kRead};
inline constexpr Action kCreateBucket{kDoor, "CreateBucket", Access::kInsert};
inline constexpr Action kDeleteBucket{kDoor, "DeleteBucket", Access::kDelete};
inline constexpr Action kListBucket{kDoor, "ListBucket", Access::kRead};
inline constexpr Action kGetBucketLocation{kDoor, "GetBucketLocation", Access::kRead};
inline constexpr Action kGetBucketVersioning{kDoor, "GetBucketVersioning", Access::kRead};
inline constexpr Action kListUploads{kDoor, "ListBucketMultipartUploads", Access::kRead};
inline constexpr Action kGetObject{kDoor, "GetObject", Access::kRead};
inline constexpr Action kGetObjectAttributes{kDoor, "GetObjectAttributes", Access::kRead};
inline constexpr Action kPutObject{kDoor, "PutObject", Access::kWrite};
inline constexpr Action kDeleteObject{kDoor, "DeleteObject", Access::kDelete};
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
  bool many = false;  // it is about buckets or keys that come to light later, and asks for each
};

std::span<const Row> bucket_rows();
std::span<const Row> object_rows();
std::span<const Row> multipart_rows();

class Service {
 public:
  Service(Store& store, const Users& users, std::string domain, std::string region,
          const Engines* engines = nullptr, objects::Hashers* hashers = nullptr)
      : store_(store),
        users_(users),
        authenticator_(users, region),
        domain_(std::move(domain)),
        region_(std::move(region)),
        engines_(engines),
        hashers_(hashers) {}
  awaitable<void> handle(http::Request& request, http::Response& response);
  // The bucket that the request's host names; empty: the path names it.
  std::string_view bucket_of_host(const http::Request& request) const;

 private:
  awaitable<Error> dispatch(http::Request& request, http::Response& response);
  void address(const http::Request& request, Call& call) const;
  Store& store_;
  const Users& users_;
  Authenticator authenticator_;
  const std::string domain_, region_;
  const Engines* const engines_;
  objects::Hashers* const hashers_;
};

// ---- shared by the operations ----

std::string upper(std::string_view text);
void reply_xml(Call& call, const XmlOut& xml);
// For an operation that may take longer than a client waits: from here on its answer is XML.
void takes_long(Call& call);
void add_owner(pugi::xml_node parent, const char* name, const Call& call);
// Waits until what the answer rests on is durable.
awaitable<Error> settle(Call& call, Lsn lsn);
// Waits while a script holds the key for long (core/store/busy.h); an error if that takes too long.
awaitable<Error> until_idle(Call& call, std::string_view key);
// Reads a small body whole and checks all that was declared about it; checksums in headers are the
// body's own, unless they are `of_object`.
awaitable<Error> read_small(Call& call, size_t limit, std::string& text, bool of_object = false);
// The conditional headers, with a prefix for copies: "x-amz-copy-source-".
Error conditions_of(const http::Request& request, objects::Conditions& conditions,
                    std::string_view prefix = "");
Error part_number(const Call& call, unsigned& number);
// The bucket and key that x-amz-copy-source names.
Error find_copy_source(Call& call, NamespacePtr& ns, std::string& key);

// Takes the body of a PUT into an upload and checks all that was declared about it; `checksums`
// gets what the client sent, by algorithm.
awaitable<Error> receive(Call& call, objects::Upload& upload,
                         std::map<std::string, std::string>& checksums);
// GetObjectAttributes: what there is to know of an object beside its bytes.
awaitable<Error> get_attributes(Call& call);

// What a row with checked bodies honours of them.
#define CAIRN_S3_CHECKSUMS                                                                   \
  "x-amz-checksum-crc32 x-amz-checksum-crc32c x-amz-checksum-crc64nvme x-amz-checksum-sha1 " \
  "x-amz-checksum-sha256"
#define CAIRN_S3_SOURCE_CONDITIONS                                             \
  "x-amz-copy-source-if-match x-amz-copy-source-if-none-match "                \
  "x-amz-copy-source-if-modified-since x-amz-copy-source-if-unmodified-since " \
  "x-amz-source-expected-bucket-owner"
void set_checksum_headers(http::Response& response,
                          const std::map<std::string, std::string>& checksums);
// FULL_OBJECT or COMPOSITE, by what it says of an object.
std::string_view checksum_type(std::string_view checksum);

}  // namespace cairn::s3
