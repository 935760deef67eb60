// AWS Signature Version 4, by header and by presigned URL, and the payload forms that go with it.
// Source: "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API reference.
//
// Threads: any.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/store/users.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/errors.h"

namespace cairn::s3 {

enum class Payload : uint8_t {
  kUnsigned,
  kSigned,                   // x-amz-content-sha256 is the SHA-256 of the body
  kStreaming,                // aws-chunked, each chunk signed
  kStreamingTrailer,         // … and the trailer too
  kStreamingUnsignedTrailer  // aws-chunked, nothing signed, with a trailer
};

struct Authenticated {
  PrincipalPtr principal;
  bool anonymous = false;  // nobody signed it
  bool presigned = false;
  bool version2 = false;  // sigv2.h
  bool form = false;      // it is a form, whose policy was signed
  Payload payload = Payload::kUnsigned;
  std::string payload_sha256;                                 // hex, if kSigned
  std::optional<int64_t> signed_ms;                           // when; not of version 2
  std::string signing_key, scope, timestamp, seed_signature;  // if chunks are signed
};

std::string hmac_sha256(std::string_view key, std::string_view data);
std::string hmac_sha1(std::string_view key, std::string_view data);
// What x-amz-content-sha256 says of the body; empty: nothing. InvalidArgument: no such value.
Error payload_of(std::string_view content, Authenticated& out);
// 20130524T000000Z, to Unix milliseconds; nothing if it is no such time.
std::optional<int64_t> parse_timestamp(std::string_view text);

// The token of a session, in a header or in the URL; empty: there is none.
std::string_view token_of(const http::Request& request);
// The access key that a request names, for one that was not believed.
std::string_view claimed_key(const http::Request& request);

class Authenticator {
 public:
  struct Parts;  // what a signature says of itself: sigv4.cc

  // `region` is the one that signatures must be for.
  Authenticator(const Users& users, std::string region)
      : users_(users), region_(std::move(region)) {}
  // Who sent the request, by either version; if nobody signed it, Users::anybody(). `host_bucket`:
  // the one that its host names.
  Error authenticate(const http::Request& request, int64_t now_ms, Authenticated& out,
                     std::string_view host_bucket = {});
  // Who signed the policy of a form (post.h), by the form's fields, whose names are in lower case.
  // Without a policy nobody did, which is as above.
  Error authenticate_form(const std::map<std::string, std::string>& fields, int64_t now_ms,
                          Authenticated& out);

  // Of a call of another service, signed in its header for one of these (separated by blanks), with
  // a body of this SHA-256 in hexadecimal.
  Error authenticate_call(const http::Request& request, int64_t now_ms, std::string_view services,
                          std::string_view body_sha256, Authenticated& out);

 private:
  // Whether the signature is that of who it says; sets out.principal. `key` is the signing key, for
  // as long as the thread makes no other.
  Error verify(const http::Request& request, const Parts& parts, std::string_view content,
               std::string_view& key, Authenticated& out);
  // Of a request without a signature. InvalidRequest: its body claims to have one.
  Error take_anybody(std::string_view content, Authenticated& out) const;
  const Users& users_;
  const std::string region_;
};

}  // namespace cairn::s3
