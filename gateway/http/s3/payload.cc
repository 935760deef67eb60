#include "gateway/http/s3/payload.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"

namespace cairn::s3 {

using objects::Algorithm;
using objects::Digest;

namespace {
constexpr size_t kLineMax = 4096;
constexpr size_t kTrailersMax = 16;
constexpr std::string_view kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
}  // namespace

PayloadBody::PayloadBody(http::Body& raw, const Authenticated& auth)
    : raw_(raw),
      auth_(auth),
      framed_(auth.payload >= Payload::kStreaming),
      signed_chunks_(auth.payload == Payload::kStreaming ||
                     auth.payload == Payload::kStreamingTrailer),
      previous_signature_(auth.seed_signature) {}

bool PayloadBody::may_have_any(const http::Request& request) const {
  return request.has_body || framed_ || request.has_header("content-md5") ||
         (auth_.payload == Payload::kSigned && auth_.payload_sha256 != kEmptySha256);
}

void PayloadBody::hash_in(objects::Upload& upload) {
  if (framed_ || auth_.payload != Payload::kSigned) return;
  upload.add_digest(Algorithm::kSha256);
  upload_ = &upload;
}

// A body without frames.
awaitable<StatusOr<size_t>> PayloadBody::read_whole(MutableBytes into) {
  if (auth_.payload != Payload::kSigned) co_return co_await raw_.read(into);
  if (upload_ == nullptr && sha256_ == nullptr) {
    sha256_ = std::make_unique<Digest>(Algorithm::kSha256);
  }
  auto n = co_await raw_.read(into);
  if (!n.ok()) co_return n;
  if (*n > 0) {
    if (sha256_) sha256_->update(into.first(*n));
    co_return n;
  }
  done_ = true;
  if (upload_ != nullptr) co_await upload_->hashed();
  const std::string made =
      upload_ != nullptr ? upload_->digest(Algorithm::kSha256) : sha256_->finish();
  const std::string found = objects::hex(made);
  if (found != auth_.payload_sha256) {
    co_return absl::InvalidArgumentError(
        cat("XAmzContentSHA256Mismatch ", auth_.payload_sha256, " ", found));
  }
  co_return size_t{0};
}

awaitable<StatusOr<size_t>> PayloadBody::read(MutableBytes into) {
  if (done_ || into.empty()) co_return size_t{0};
  if (!framed_) co_return co_await read_whole(into);
  Status framed = co_await to_chunk();
  if (!framed.ok()) co_return framed;
  if (done_) co_return size_t{0};
  size_t n = 0;
  size_t want = std::min<uint64_t>(into.size(), chunk_left_);
  if (at_ < buffer_.size()) {
    n = std::min(want, buffer_.size() - at_);
    std::memcpy(into.data(), buffer_.data() + at_, n);
    at_ += n;
  } else {
    auto got = co_await raw_.read(into.first(want));
    if (!got.ok()) co_return got;
    if (*got == 0) co_return absl::CancelledError("the body ends inside a chunk");
    n = *got;
  }
  if (sha256_) sha256_->update(into.first(n));
  chunk_left_ -= n;
  co_return n;
}

awaitable<Status> PayloadBody::ready() {
  if (done_) co_return absl::OkStatus();
  if (framed_) {
    Status framed = co_await to_chunk();
    if (!framed.ok() || done_ || at_ < buffer_.size()) co_return framed;
  }
  co_return co_await raw_.ready();
}

// To the next byte of a chunk, or to the end.
awaitable<Status> PayloadBody::to_chunk() {
  if (in_chunk_ && chunk_left_ == 0) {
    Status ended = co_await end_chunk();
    if (!ended.ok()) co_return ended;
  }
  if (in_chunk_) co_return absl::OkStatus();
  co_return co_await begin_chunk();
}

awaitable<Status> PayloadBody::fill() {
  buffer_.erase(0, at_);  // frames that straddle its end would have it grow with the body
  at_ = 0;
  size_t old = buffer_.size();
  buffer_.resize(old + 4096);
  auto n = co_await raw_.read({reinterpret_cast<std::byte*>(buffer_.data()) + old, 4096});
  buffer_.resize(old + (n.ok() ? *n : 0));
  if (!n.ok()) co_return n.status();
  if (*n == 0) co_return absl::CancelledError("the body ends early");
  co_return absl::OkStatus();
}

awaitable<StatusOr<std::string>> PayloadBody::read_line() {
  for (;;) {
    size_t end = buffer_.find("\r\n", at_);
    if (end != buffer_.npos) {
      std::string line = buffer_.substr(at_, end - at_);
      at_ = end + 2;
      co_return line;
    }
    if (buffer_.size() - at_ > kLineMax) {
      co_return absl::InvalidArgumentError("InvalidRequest a line of the chunked body is too long");
    }
    Status more = co_await fill();
    if (!more.ok()) co_return more;
  }
}

awaitable<Status> PayloadBody::begin_chunk() {
  auto line = co_await read_line();
  if (!line.ok()) co_return line.status();
  std::string_view text = *line;
  size_t semicolon = text.find(';');
  auto size = parse_int<uint64_t>(text.substr(0, semicolon), 16);
  if (!size || text[0] == '-') {
    co_return absl::InvalidArgumentError("InvalidRequest a chunk has no valid size");
  }
  chunk_signature_.clear();
  if (semicolon != text.npos) {
    std::string_view extension = text.substr(semicolon + 1);
    constexpr std::string_view kName = "chunk-signature=";
    if (extension.substr(0, kName.size()) == kName) {
      chunk_signature_ = extension.substr(kName.size());
    }
  }
  if (signed_chunks_) sha256_ = std::make_unique<Digest>(Algorithm::kSha256);
  chunk_left_ = *size;
  in_chunk_ = true;
  if (*size > 0) co_return absl::OkStatus();
  in_chunk_ = false;
  Status good = check_chunk_signature();
  if (good.ok()) good = co_await read_trailers();
  if (!good.ok()) co_return good;
  done_ = true;
  std::byte byte;
  StatusOr<size_t> more = size_t{1};
  if (at_ == buffer_.size()) more = co_await raw_.read({&byte, 1});
  if (!more.ok()) co_return more.status();
  if (*more > 0) co_return absl::InvalidArgumentError("MalformedTrailerError something follows it");
  co_return absl::OkStatus();
}

awaitable<Status> PayloadBody::end_chunk() {
  in_chunk_ = false;
  while (buffer_.size() - at_ < 2) {
    Status more = co_await fill();
    if (!more.ok()) co_return more;
  }
  if (buffer_.compare(at_, 2, "\r\n") != 0) {
    co_return absl::InvalidArgumentError("InvalidRequest a chunk does not end where it should");
  }
  at_ += 2;
  co_return check_chunk_signature();
}

Status PayloadBody::check_chunk_signature() {
  if (!signed_chunks_) return absl::OkStatus();
  std::string to_sign =
      cat("AWS4-HMAC-SHA256-PAYLOAD\n", auth_.timestamp, "\n", auth_.scope, "\n",
          previous_signature_, "\n", kEmptySha256, "\n", objects::hex(sha256_->finish()));
  std::string expected = objects::hex(hmac_sha256(auth_.signing_key, to_sign));
  if (!equal_in_constant_time(expected, chunk_signature_)) {
    return absl::InvalidArgumentError("SignatureDoesNotMatch");
  }
  previous_signature_ = expected;
  return absl::OkStatus();
}

awaitable<Status> PayloadBody::read_trailers() {
  std::string canonical, signature;
  for (;;) {
    // Some clients leave the last CRLF out.
    auto line = co_await read_line();
    if (!line.ok()) {
      if (absl::IsCancelled(line.status()) && at_ == buffer_.size()) break;
      co_return line.status();
    }
    if (line->empty()) break;
    size_t colon = line->find(':');
    if (colon == line->npos || trailers_.size() >= kTrailersMax) {
      co_return absl::InvalidArgumentError("InvalidRequest a trailer is malformed");
    }
    std::string name = lower(std::string_view(*line).substr(0, colon));
    std::string value = line->substr(colon + 1);
    while (!value.empty() && value.front() == ' ') value.erase(0, 1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\n')) value.pop_back();
    if (name == "x-amz-trailer-signature") {
      signature = value;
      continue;
    }
    append(canonical, name, ":", value, "\n");
    if (!trailers_.emplace(name, value).second) {
      co_return absl::InvalidArgumentError(cat("MalformedTrailerError ", name, " comes twice"));
    }
  }
  if (auth_.payload != Payload::kStreamingTrailer) co_return absl::OkStatus();
  std::string to_sign = cat("AWS4-HMAC-SHA256-TRAILER\n", auth_.timestamp, "\n", auth_.scope, "\n",
                            previous_signature_, "\n",
                            objects::hex(objects::digest_of(Algorithm::kSha256, canonical)));
  if (!equal_in_constant_time(objects::hex(hmac_sha256(auth_.signing_key, to_sign)), signature)) {
    co_return absl::InvalidArgumentError("SignatureDoesNotMatch");
  }
  co_return absl::OkStatus();
}

}  // namespace cairn::s3
