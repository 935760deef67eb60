// An HTTP request as handlers see it, and the answer they give. Bodies are pulled, never held
// whole: whoever reads all must name a limit.
//
// Threads: one connection's.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/text.h"
#include "core/base/types.h"
#include "core/extents/byte_source.h"

namespace cairn::http {

// Where the bytes of a request body come from.
class Body {
 public:
  virtual ~Body() = default;
  // Some bytes; 0 at the end. InvalidArgument: the bytes are not what they were declared to be.
  virtual awaitable<StatusOr<size_t>> read(MutableBytes into) = 0;
  // Until the next read() need not wait for the peer. Who reads into a buffer that others may need
  // waits here first, and takes the buffer then. An error is what read() would return.
  virtual awaitable<Status> ready() = 0;
  // Whether that is so already, as far as is known at once.
  virtual bool is_ready() const { return false; }
  // Whether its sender is waited for no longer than for a head: who has shown no right yet.
  virtual void wait_briefly(bool briefly) { (void)briefly; }
  // Its reader keeps so many bytes of it in memory, until the request was answered. False: clients
  // hold too much already.
  virtual bool hold(size_t bytes) {
    (void)bytes;
    return true;
  }
};

// The fields of a head. What was cleared leaves its room to those that come: a connection reads one
// head after the other without taking memory.
class Headers {
 public:
  struct Field {
    std::string first, second;  // name, value
  };
  using iterator = std::vector<Field>::iterator;
  using const_iterator = std::vector<Field>::const_iterator;

  iterator begin() { return fields_.begin(); }
  iterator end() { return fields_.begin() + static_cast<ptrdiff_t>(size_); }
  const_iterator begin() const { return fields_.begin(); }
  const_iterator end() const { return fields_.begin() + static_cast<ptrdiff_t>(size_); }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  size_t room() const { return fields_.capacity(); }
  void clear() { size_ = 0; }

  const_iterator find(std::string_view name) const {
    return std::find_if(begin(), end(), [name](auto& f) { return f.first == name; });
  }
  bool contains(std::string_view name) const { return find(name) != end(); }
  // Behind all others, whatever their names.
  Field& add(std::string_view name, std::string_view value) {
    if (size_ == fields_.size()) fields_.emplace_back();
    Field& field = fields_[size_++];
    field.first = name;
    field.second = value;
    return field;
  }
  std::string& operator[](std::string_view name) {
    const auto it = begin() + (find(name) - begin());
    return it == end() ? add(name, {}).second : it->second;
  }
  void drop_last() { size_--; }
  void erase(std::string_view name) {
    size_ = static_cast<size_t>(
        std::stable_partition(begin(), end(), [name](auto& f) { return f.first != name; }) -
        begin());
  }

 private:
  std::vector<Field> fields_;
  size_t size_ = 0;  // of them
};

struct Request {
  std::string method;
  std::string target;                                      // as received
  std::string raw_path;                                    // before '?', still encoded
  std::string path;                                        // decoded
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  Headers headers;  // lower-case names, each once, as they came; repeated ones joined by ","
  std::optional<uint64_t> content_length;
  bool has_body = false;
  Body* body = nullptr;  // never null while a handler runs
  std::string peer;
  bool from_loopback = false;
  bool secure = false;  // over TLS

  std::string_view header(std::string_view name) const {
    auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : std::string_view(it->second);
  }
  bool has_header(std::string_view name) const { return headers.contains(name); }
  const std::string* param(std::string_view name) const {
    for (auto& [n, v] : query) {
      if (n == name) return &v;
    }
    return nullptr;
  }
  // As a new one, with the room of this one.
  void clear();
};

// A body that is made while it is sent, without an end that is known before. It ends before the
// request that asked for it.
class Pieces {
 public:
  virtual ~Pieces() = default;
  // The next bytes; none: there are none yet, and it is asked again, unless the server ends. An
  // error ends the answer in a way that its client does not take for its end; Cancelled is its end.
  virtual awaitable<StatusOr<std::string>> next() = 0;
};

struct Response {
  int status = 200;
  Headers headers;  // in the order in which they leave
  std::string body;
  std::unique_ptr<ByteSource> stream;      // instead of body
  std::unique_ptr<Pieces> pieces;          // likewise; of a GET
  std::optional<uint64_t> content_length;  // for HEAD: what GET would have sent
  bool close = false;
  // A handler calls this before work that may take longer than a client waits for a first byte.
  // From then on the answer is XML whose status may be sent as 200, with what was set here so far
  // and white space, before the handler is done; `status` and `body` as it leaves them end it.
  std::function<void()> takes_long;
  std::string_view xml_head;  // with what such an answer begins, if `body` does
  // Called once, when the answer has left or is given up, with how many bytes of its body did; the
  // request is there still.
  std::function<void(uint64_t bytes)> left;

  template <class... Parts>
  void set(std::string_view name, const Parts&... parts) {
    append(headers.add(name, {}).second, parts...);
  }
  void set_date(std::string_view name, int64_t unix_ms);
  // As a new one, with the room of this one.
  void clear();
};

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space);
// Keeps A-Z a-z 0-9 - . _ ~ and, if asked, '/'.
std::string percent_encode(std::string_view text, bool keep_slash);
void append_percent_encoded(std::string& out, std::string_view text, bool keep_slash);
void append_http_date(std::string& out, int64_t unix_ms);  // RFC 9110 IMF-fixdate
std::string http_date(int64_t unix_ms);
std::optional<int64_t> parse_http_date(std::string_view text);  // Unix seconds
void append_iso_date(std::string& out, int64_t unix_ms);        // 2006-02-03T16:45:09.000Z
std::string iso_date(int64_t unix_ms);
// All that is left of a body. ResourceExhausted above the limit; Unavailable: clients hold too
// much.
awaitable<StatusOr<std::string>> read_all(Body& body, size_t limit);

}  // namespace cairn::http
