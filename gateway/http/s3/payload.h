// A request body as S3 means it: verified against the hash or the chunk signatures of the request,
// with aws-chunked framing taken off and trailers read.
//
//   aws-chunked = chunk* last trailer* CRLF
//   chunk       = size-hex [";chunk-signature=" 64hex] CRLF bytes CRLF
//   last        = "0" [";chunk-signature=" 64hex] CRLF
//   trailer     = name ":" value CRLF
//
// Threads: one connection's. The end of the body is an error unless all of it held: a caller that
// commits only after read() gave 0 commits only what was verified.
#pragma once

#include <map>

#include "gateway/http/message.h"
#include "gateway/http/s3/sigv4.h"
#include "objects/object.h"

namespace cairn::s3 {

class PayloadBody final : public http::Body {
 public:
  PayloadBody(http::Body& raw, const Authenticated& auth);
  // Before the first byte: all that is read() goes into `upload`, which makes the SHA-256 of the
  // whole body too, if there is to be one. `upload` lives until the end was read.
  void hash_in(objects::Upload& upload);
  awaitable<StatusOr<size_t>> read(MutableBytes into) override;
  awaitable<Status> ready() override;
  bool is_ready() const override { return !framed_ && raw_.is_ready(); }
  bool hold(size_t bytes) override { return raw_.hold(bytes); }
  bool framed() const { return framed_; }
  // Whether anything is left to check: bytes, or the hash of none that does not say so.
  bool may_have_any(const http::Request& request) const;
  // Lower-case name -> value; complete once read() gave 0.
  const std::map<std::string, std::string>& trailers() const { return trailers_; }

 private:
  awaitable<StatusOr<size_t>> read_whole(MutableBytes into);
  awaitable<Status> fill();  // more raw bytes into the buffer
  awaitable<StatusOr<std::string>> read_line();
  awaitable<Status> to_chunk();
  awaitable<Status> begin_chunk();
  awaitable<Status> end_chunk();
  awaitable<Status> read_trailers();
  Status check_chunk_signature();

  http::Body& raw_;
  const Authenticated& auth_;
  const bool framed_, signed_chunks_;
  objects::Upload* upload_ = nullptr;
  std::unique_ptr<objects::Digest> sha256_;  // of the body, or of the chunk
  std::string buffer_;
  size_t at_ = 0;
  uint64_t chunk_left_ = 0;
  bool in_chunk_ = false, done_ = false;
  std::string chunk_signature_, previous_signature_;
  std::map<std::string, std::string> trailers_;
};

}  // namespace cairn::s3
