// The part of AWS KMS that a key ring of one store has (core/store/key_ring.h), on the HTTP port:
// keys are made, listed, described, rotated, disabled and enabled, as awscli's `aws kms` and
// Terraform call it. A call is a POST of JSON to "/", with its name in X-Amz-Target, signed for the
// service kms. A field that is not honoured is refused. Keys encrypt nothing but objects, and are
// never deleted.
//
// Source: AWS Key Management Service API Reference, version 2014-11-01.
//
// Threads: handle() on any I/O loop, any number at once.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/store/store.h"
#include "core/store/users.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/sigv4.h"

namespace cairn::kms {

struct Call;
struct Error {
  std::string_view code;  // empty: no error
  std::string message;
  explicit operator bool() const { return !code.empty(); }
};
struct Row {
  std::string_view name;  // "CreateKey"
  awaitable<Error> (*run)(Call&);
  std::string_view fields;  // what it honours, separated by blanks
  bool of_key = true;       // KeyId says of which, and it takes the right to that one
  Action action() const { return {"kms", name, Access::kAdmin}; }
};
std::span<const Row> rows();

class Service {
 public:
  Service(Store& store, Users& users, std::string region)
      : store_(store), users_(users), region_(region), authenticator_(users, std::move(region)) {}
  // Whether a request without a bucket is such a call.
  static bool is_call(const http::Request& request);
  awaitable<void> handle(http::Request& request, http::Response& response);

 private:
  awaitable<Error> run(http::Request& request, std::string& answer);
  Store& store_;
  Users& users_;
  const std::string region_;
  s3::Authenticator authenticator_;
};

}  // namespace cairn::kms
