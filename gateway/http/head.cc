#include "gateway/http/head.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/url/src.hpp>  // the library has headers alone in Debian's libboost-dev
#include <cstring>

#include "core/base/text.h"

namespace cairn::http {

namespace bhttp = boost::beast::http;
namespace urls = boost::urls;

namespace {

Status bad(std::string_view why) { return absl::InvalidArgumentError(cat("bad request: ", why)); }

// Letters, digits and some marks, as a table.
class CharSet {
 public:
  constexpr explicit CharSet(std::string_view marks) {
    for (char c = 'a'; c <= 'z'; c++) has_[static_cast<unsigned char>(c)] = true;
    for (char c = 'A'; c <= 'Z'; c++) has_[static_cast<unsigned char>(c)] = true;
    for (char c = '0'; c <= '9'; c++) has_[static_cast<unsigned char>(c)] = true;
    for (char c : marks) has_[static_cast<unsigned char>(c)] = true;
  }
  constexpr bool holds(std::string_view text) const {
    return std::all_of(text.begin(), text.end(),
                       [this](char c) { return has_[static_cast<unsigned char>(c)]; });
  }

 private:
  std::array<bool, 256> has_{};
};
constexpr CharSet kToken("!#$%&'*+-.^_`|~");
constexpr CharSet kHost("-._~!$&'()*+,;=%:[]");

// Fields that have one value: a second one would be a second opinion.
bool comes_once(std::string_view name) {
  constexpr std::string_view kOnce[] = {"host",
                                        "content-length",
                                        "transfer-encoding",
                                        "content-type",
                                        "content-md5",
                                        "content-range",
                                        "content-disposition",
                                        "authorization",
                                        "date",
                                        "expires",
                                        "expect",
                                        "range",
                                        "if-range",
                                        "if-modified-since",
                                        "if-unmodified-since"};
  if (name.starts_with("x-amz-meta-") || name == "x-amz-object-attributes") return false;
  return name.starts_with("x-amz-") || name.starts_with("x-cairn-") ||
         std::find(std::begin(kOnce), std::end(kOnce), name) != std::end(kOnce);
}

// The lines as bytes, before a parser that forgives some of them.
Status check_lines(std::string_view head) {
  bool first = true;
  while (!head.empty()) {
    const size_t end = head.find("\r\n");
    if (end == head.npos) return bad("a line does not end in CRLF");
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(end + 2);
    if (line.empty()) continue;  // before the request line, or at the end
    if (!is_field_value(line)) return bad("a control character in the head");
    if (std::exchange(first, false)) {
      const size_t a = line.find(' '), b = line.rfind(' ');
      if (a == line.npos || a == b || line.substr(a + 1, b - a - 1).find(' ') != line.npos ||
          line.find('\t') != line.npos || !is_field_name(line.substr(0, a))) {
        return bad("the request line is METHOD TARGET VERSION");
      }
      continue;
    }
    if (!is_field_name(line.substr(0, line.find(':'))) || line.find(':') == line.npos) {
      return bad("a header without a name");  // or one that continues the line before
    }
  }
  return absl::OkStatus();
}

Status read_framing(const Request& r, bool http10, Framing& f) {
  f.http10 = http10;
  if (!r.has_header("host") && !http10) return bad("HTTP/1.1 needs a Host");
  if (!kHost.holds(r.header("host"))) return bad("the Host is none");
  if (r.has_header("transfer-encoding")) {
    if (http10 || !equals_ignoring_case(r.header("transfer-encoding"), "chunked")) {
      return bad("the only transfer coding here is chunked");
    }
    // Somebody in between may have seen another request.
    if (r.has_header("content-length")) return bad("both a length and chunks");
    f.chunked = true;
  }
  if (r.has_header("content-length")) {
    const std::string_view text = r.header("content-length");
    auto length = parse_int<uint64_t>(text);
    if (!length || *length > INT64_MAX) return bad("Content-Length is no number");
    f.length = *length;
  }
  // Of RFC 9110, 10.1.1: to HTTP/1.0 100 is no answer, and what else is expected may be passed
  // over, as S3 does.
  f.expects_continue = !http10 && equals_ignoring_case(r.header("expect"), "100-continue");
  return absl::OkStatus();
}

}  // namespace

bool is_field_name(std::string_view text) { return !text.empty() && kToken.holds(text); }

bool is_field_value(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    auto u = static_cast<unsigned char>(c);
    return u == '\t' || (u >= 0x20 && u != 0x7f);
  });
}

size_t head_size(std::string_view bytes) {
  size_t at = 0;
  while (bytes.substr(at, 2) == "\r\n") at += 2;
  const size_t end = bytes.find("\r\n\r\n", at);
  return end == bytes.npos ? 0 : end + 4;
}

Status read_target(std::string_view target, Request& r) {
  if (target.empty()) return bad("the target is empty");
  urls::url_view url;
  if (target[0] == '/') {
    auto parsed = urls::parse_origin_form({target.data(), target.size()});
    if (!parsed) return bad("the target is no path with a query");
    url = *parsed;
  } else {
    // Asked before it is parsed: Boost.URL ends the process at a scheme without an authority and a
    // byte behind it that no path has.
    const bool http = equals_ignoring_case(target.substr(0, 7), "http://") ||
                      equals_ignoring_case(target.substr(0, 8), "https://");
    auto parsed = urls::parse_absolute_uri({target.data(), http ? target.size() : 0});
    if (!parsed) return bad("the target is neither a path nor an http URL");
    url = *parsed;
    const std::string_view authority(url.encoded_authority().data(),
                                     url.encoded_authority().size());
    if (!equals_ignoring_case(authority, r.header("host"))) return bad("two hosts are named");
  }
  const auto encoded = url.encoded_path();
  r.raw_path = encoded.empty() ? "/" : std::string_view(encoded.data(), encoded.size());
  r.path.clear();
  if (encoded.empty()) {
    r.path = "/";
  } else {
    encoded.decode({}, urls::string_token::append_to(r.path));
  }
  urls::encoding_opts form;
  form.space_as_plus = true;
  for (auto param : url.encoded_params()) {
    if (r.query.size() >= kHeadFieldsMax) return bad("the query has too many parameters");
    if (param.key.empty() && !param.has_value) continue;  // "?", "&&"
    r.query.emplace_back(param.key.decode(form), param.value.decode(form));
  }
  return absl::OkStatus();
}

namespace {
// Beast's parser, which tells of a head what the request keeps.
class HeadParser final : public bhttp::basic_parser<true> {
 public:
  explicit HeadParser(Request& request) : r_(request) {}
  const std::string& twice() const { return twice_; }  // what comes once and did not; or nothing
  bool http10() const { return http10_; }

 private:
  using Text = boost::beast::string_view;
  using Ec = boost::beast::error_code;
  void on_request_impl(bhttp::verb, Text method, Text target, int version, Ec&) override {
    r_.method.assign(method.data(), method.size());
    r_.target.assign(target.data(), target.size());
    http10_ = version == 10;
  }
  void on_field_impl(bhttp::field, Text name, Text value, Ec& ec) override {
    if (r_.headers.size() >= kHeadFieldsMax) {
      ec = bhttp::error::header_limit;
      return;
    }
    auto& field = r_.headers.add({name.data(), name.size()}, {value.data(), value.size()});
    for (char& c : field.first) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    const auto first = r_.headers.find(field.first);
    if (&*first == &field) return;
    if (comes_once(field.first)) twice_ = field.first;
    append(r_.headers[field.first], ",", field.second);
    r_.headers.drop_last();
  }
  void on_response_impl(int, Text, int, Ec&) override {}
  void on_header_impl(Ec&) override {}
  void on_body_init_impl(const boost::optional<uint64_t>&, Ec&) override {}
  size_t on_body_impl(Text, Ec&) override { return 0; }
  void on_chunk_header_impl(uint64_t, Text, Ec&) override {}
  size_t on_chunk_body_impl(uint64_t, Text, Ec&) override { return 0; }
  void on_finish_impl(Ec&) override {}

  Request& r_;
  std::string twice_;
  bool http10_ = false;
};
}  // namespace

Status read_head(std::string_view head, Request& r, Framing& framing) {
  if (Status s = check_lines(head); !s.ok()) return s;
  HeadParser parser(r);
  boost::system::error_code ec;
  parser.header_limit(kHeadBytesMax);
  parser.body_limit(boost::none);
  parser.eager(false);
  while (head.starts_with("\r\n")) head.remove_prefix(2);
  size_t used = parser.put(boost::asio::buffer(head.data(), head.size()), ec);
  if (ec == bhttp::error::need_more) ec = {};
  if (ec) return bad(ec.message());
  if (used != head.size() || !parser.is_header_done()) return bad("the head ends in the middle");
  if (!parser.twice().empty()) return bad(cat(parser.twice(), " came twice"));
  if (Status s = read_framing(r, parser.http10(), framing); !s.ok()) return s;
  framing.keep_alive = parser.keep_alive();
  if (r.has_header("content-length")) r.content_length = framing.length;
  r.has_body = framing.chunked || framing.length > 0;
  return read_target(r.target, r);
}

// ---- chunks ----

namespace {
constexpr size_t kChunkLineMax = 4096;
constexpr int kSizeDigitsMax = 16;

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
}  // namespace

bool ChunkDecoder::end_of_line() {
  if (!line_.ends_with('\r')) return false;
  line_.pop_back();
  if (line_.empty()) {
    state_ = State::kDone;
    return true;
  }
  const size_t colon = line_.find(':');
  const bool good = colon != line_.npos &&
                    is_field_name(std::string_view(line_).substr(0, colon)) &&
                    is_field_value(line_);
  line_.clear();
  return good;
}

bool ChunkDecoder::take(char c) {
  switch (state_) {
    case State::kSize:
      if (const int digit = hex_digit(c); digit >= 0) {
        if (++digits_ > kSizeDigitsMax) return false;
        left_ = left_ << 4 | static_cast<uint64_t>(digit);
        return true;
      }
      if (digits_ == 0 || left_ > INT64_MAX) return false;
      state_ = c == '\r' ? State::kSizeLf : State::kExt;
      line_bytes_ = 0;
      return c == '\r' || c == ';';
    case State::kExt:
      if (c == '\r') {
        state_ = State::kSizeLf;
        return true;
      }
      return ++line_bytes_ <= kChunkLineMax && is_field_value({&c, 1});
    case State::kSizeLf:
      state_ = left_ > 0 ? State::kData : State::kTrailer;
      return c == '\n';
    case State::kDataCr:
      state_ = State::kDataLf;
      return c == '\r';
    case State::kDataLf:
      state_ = State::kSize;
      digits_ = 0;
      return c == '\n';
    case State::kTrailer:
      if (++trailer_bytes_ > kHeadBytesMax) return false;
      if (c == '\n') return end_of_line();
      line_.push_back(c);
      return true;
    default:
      return false;
  }
}

StatusOr<ChunkDecoder::Step> ChunkDecoder::put(Bytes in, MutableBytes out) {
  Step step;
  while (step.used < in.size() && !done()) {
    if (state_ == State::kData) {
      const size_t n = std::min<uint64_t>({left_, in.size() - step.used, out.size() - step.made});
      if (n == 0) break;
      std::memcpy(out.data() + step.made, in.data() + step.used, n);
      step.used += n;
      step.made += n;
      left_ -= n;
      if (left_ == 0) state_ = State::kDataCr;
    } else if (!take(static_cast<char>(in[step.used++]))) {
      return absl::InvalidArgumentError("InvalidRequest the chunked body is malformed");
    }
  }
  return step;
}

}  // namespace cairn::http
