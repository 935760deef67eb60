// The head of an HTTP/1.1 request, and what frames its body. Whatever two readers of the same
// bytes could take differently is refused here, so that no request hides in the body of another:
//
//   head      = method SP target SP "HTTP/1." ("1" / "0") CRLF (name ":" value CRLF)* CRLF
//   body      = none / exactly Content-Length bytes / the one transfer coding "chunked"
//   target    = origin-form, or absolute-form with the authority that Host names
//
// Lines end in CRLF alone and never continue on the next one; a field that can have one value comes
// once; HTTP/1.1 names exactly one Host. All else is InvalidArgument, and the connection ends.
//
// Threads: a request belongs to one connection.
#pragma once

#include "gateway/http/message.h"

namespace cairn::http {

inline constexpr size_t kHeadBytesMax = 16 << 10;
// Of fields of a head, and of parameters of a query: each takes more room than its bytes.
inline constexpr size_t kHeadFieldsMax = 512;

struct Framing {
  bool chunked = false;
  uint64_t length = 0;  // of a body that is not chunked
  bool keep_alive = false;
  bool expects_continue = false;
  bool http10 = false;  // knows no chunks
};

// Where the head at the front of `bytes` ends, its empty line included; 0: not yet there. Empty
// lines before it belong to it.
size_t head_size(std::string_view bytes);

// `head` is what head_size() named.
Status read_head(std::string_view head, Request& request, Framing& framing);

// The path and the query of a target, decoded. InvalidArgument: not by RFC 3986.
Status read_target(std::string_view target, Request& request);

// Takes the chunks off a body. Beast's parser does that too, but ends the process by an assertion
// if the end of a body comes byte by byte.
//
//   body  = (size ext CRLF byte{size} CRLF)* "0"+ ext CRLF (field CRLF)* CRLF
//   size  = 1 to 16 hex digits          ext = (";" …)?, without control characters
//
// Trailing fields are checked and dropped. InvalidArgument: none of that.
class ChunkDecoder {
 public:
  struct Step {
    size_t used = 0;  // bytes of `in` that are done with
    size_t made = 0;  // bytes of the body, in `out`
  };
  // Goes on until `in` is used up, `out` is full, or the body ends.
  StatusOr<Step> put(Bytes in, MutableBytes out);
  bool done() const { return state_ == State::kDone; }

 private:
  enum class State : uint8_t { kSize, kExt, kSizeLf, kData, kDataCr, kDataLf, kTrailer, kDone };
  bool take(char c);  // one byte that is not of the body; false: it does not belong here
  bool end_of_line();

  State state_ = State::kSize;
  uint64_t left_ = 0;      // the size that is read, or what is left of the chunk
  size_t line_bytes_ = 0;  // of the size and its extension
  int digits_ = 0;
  size_t trailer_bytes_ = 0;
  std::string line_;  // of a trailer
};

// Whether a text can be the name of a field, and whether one can be its value: RFC 9110, 5.1 and
// 5.5. A value holds no CR, LF, NUL nor any other control character but the tab.
bool is_field_name(std::string_view text);
bool is_field_value(std::string_view text);

}  // namespace cairn::http
