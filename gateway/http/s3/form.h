// multipart/form-data (RFC 7578) as a browser sends it with an upload, read while it comes: fields,
// then the file, whose bytes are a body. What follows the file is not looked at, as in S3.
//
//   form = ["\r\n"] "--" boundary (part "\r\n--" boundary)* "--"
//   part = "\r\n" (name ":" value "\r\n")* "\r\n" bytes
//
// Threads: one connection's.
#pragma once

#include <map>

#include "gateway/http/message.h"
#include "gateway/http/s3/errors.h"

namespace cairn::s3 {

// Before the file, as in S3.
inline constexpr size_t kFormFieldsMax = 20 << 10;

// The boundary that a Content-Type names; nothing: it is no form's, or names none that could be.
std::optional<std::string> boundary_of(std::string_view content_type);
// Of `name` in a header's value, as in: form-data; name="key"; filename="a \"b\".txt".
std::optional<std::string> parameter_of(std::string_view value, std::string_view name);

class Form final : public http::Body {
 public:
  Form(http::Body& raw, std::string_view boundary);

  // Up to the file. MalformedPOSTRequest, MaxPostPreDataLengthExceededError, IncompleteBody;
  // InvalidArgument: a field twice.
  awaitable<Error> read_fields();
  bool has_file() const { return has_file_; }
  const std::string& file_name() const { return file_name_; }       // without a path
  std::map<std::string, std::string>& fields() { return fields_; }  // by name in lower case

  // The file is to have so many bytes, or its end is an error, EntityTooSmall or EntityTooLarge.
  void set_range(uint64_t least, uint64_t most) {
    least_ = least;
    most_ = most;
  }
  uint64_t least() const { return least_; }
  uint64_t most() const { return most_; }
  uint64_t file_bytes() const { return file_bytes_; }  // so far

  // The file, after read_fields().
  awaitable<StatusOr<size_t>> read(MutableBytes into) override;
  awaitable<Status> ready() override;
  bool hold(size_t bytes) override;  // its reader's, beside its own

 private:
  awaitable<Status> fill();  // more raw bytes behind those that are left
  awaitable<Status> fill_to(size_t bytes);
  awaitable<Error> read_head(std::string& name);
  awaitable<Error> read_value(std::string& value);
  // Takes what was read so far of the part before the file; an error once that is too much.
  Error take(size_t bytes);

  http::Body& raw_;
  const std::string delimiter_;  // "\r\n--" boundary
  std::string buffer_;
  size_t at_ = 0, taken_ = 0;  // of the buffer; of fields and heads so far
  size_t held_by_reader_ = 0;
  bool has_file_ = false, done_ = false;
  std::string file_name_;
  std::map<std::string, std::string> fields_;
  uint64_t least_ = 0, most_ = UINT64_MAX, file_bytes_ = 0;
};

}  // namespace cairn::s3
