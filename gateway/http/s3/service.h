// The S3 API: a table of operations, one way in that authenticates before anything is looked at.
//
// Threads: handle() on any I/O loop, any number at once.
#pragma once

#include <span>

#include "core/store.h"
#include "gateway/http/s3/errors.h"
#include "gateway/http/s3/payload.h"
#include "gateway/http/s3/sigv4.h"
#include "objects/multipart.h"
#include "objects/object.h"

namespace cairn::s3 {

// One request on its way through an operation.
struct Call {
  Store& store;
  http::Request& request;
  http::Response& response;
  Authenticated auth;
  std::string bucket_name, key;
  NamespacePtr bucket;  // there for every operation on a bucket but its creation
  PayloadBody* body = nullptr;

  std::string param(std::string_view name) const {
    const std::string* v = request.param(name);
    return v == nullptr ? "" : *v;
  }
  bool has_param(std::string_view name) const { return request.param(name) != nullptr; }
};

using Operation = awaitable<Error> (*)(Call&);
enum class Scope : uint8_t { kService, kBucket, kObject };
struct Row {
  std::string_view method;
  Scope scope;
  std::string_view subresource;  // query parameter that selects it, or empty
  std::string_view header;       // header that selects it, or empty
  Operation run;
  bool needs_bucket = true;
};

std::span<const Row> bucket_rows();
std::span<const Row> object_rows();
std::span<const Row> multipart_rows();

class Service {
 public:
  Service(Store& store, const Users& users, std::string domain)
      : store_(store), authenticator_(users), domain_(std::move(domain)) {}
  awaitable<void> handle(http::Request& request, http::Response& response);

 private:
  awaitable<Error> dispatch(http::Request& request, http::Response& response);
  void address(const http::Request& request, Call& call) const;
  Store& store_;
  Authenticator authenticator_;
  const std::string domain_;
};

// ---- shared by the operations ----

std::string xml_escape(std::string_view text);
inline constexpr std::string_view kXmlHead = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
inline constexpr std::string_view kXmlns = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
void reply_xml(Call& call, std::string body);
// Waits until what the answer rests on is durable.
awaitable<Error> settle(Call& call, Lsn lsn);
// Reads and checks a small XML body.
awaitable<Error> read_xml(Call& call, size_t limit, std::string& text);
// The conditional headers, with a prefix for copies: "x-amz-copy-source-".
objects::Conditions conditions_of(const http::Request& request, std::string_view prefix = "");
// Metadata from the headers of a PUT, POST or copy.
Error meta_of(const Call& call, ObjectMeta& meta);
// The bucket and key that x-amz-copy-source names.
Error find_copy_source(Call& call, NamespacePtr& ns, std::string& key);

// Takes the body of a PUT into an upload and checks all that was declared about it; `checksums`
// gets what the client sent, by algorithm.
awaitable<Error> receive(Call& call, objects::Upload& upload,
                         std::map<std::string, std::string>& checksums);
void set_checksum_headers(http::Response& response,
                          const std::map<std::string, std::string>& checksums);

}  // namespace cairn::s3
