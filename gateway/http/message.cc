#include "gateway/http/message.h"

#include <absl/time/civil_time.h>
#include <absl/time/time.h>

#include <algorithm>
#include <boost/url/encode.hpp>
#include <boost/url/pct_string_view.hpp>
#include <boost/url/rfc/unreserved_chars.hpp>
#include <cstring>

namespace cairn::http {

namespace urls = boost::urls;

void Request::clear() {
  for (std::string* text : {&method, &target, &raw_path, &path, &peer}) text->clear();
  query.clear();
  headers.clear();
  content_length.reset();
  has_body = from_loopback = secure = false;
  body = nullptr;
}

void Response::clear() {
  status = 200;
  headers.clear();
  body.clear();
  stream.reset();
  pieces.reset();
  content_length.reset();
  close = false;
  takes_long = nullptr;
  left = nullptr;
  xml_head = {};
}

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  auto encoded = urls::make_pct_string_view({text.data(), text.size()});
  if (!encoded) return std::nullopt;
  urls::encoding_opts options;
  options.space_as_plus = plus_is_space;
  return encoded->decode(options);
}

void append_percent_encoded(std::string& out, std::string_view text, bool keep_slash) {
  constexpr auto kWithSlash = urls::unreserved_chars + '/';
  const urls::string_view in{text.data(), text.size()};
  if (keep_slash) {
    urls::encode(in, kWithSlash, {}, urls::string_token::append_to(out));
  } else {
    urls::encode(in, urls::unreserved_chars, {}, urls::string_token::append_to(out));
  }
}
std::string percent_encode(std::string_view text, bool keep_slash) {
  std::string out;
  append_percent_encoded(out, text, keep_slash);
  return out;
}

// Digit by digit: absl::FormatTime took 2 % of a small GET.
void append_http_date(std::string& to, int64_t unix_ms) {
  constexpr std::string_view kDays = "MonTueWedThuFriSatSun";
  constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const absl::CivilSecond t =
      absl::CivilSecond() + (unix_ms - (unix_ms % 1000 + 1000) % 1000) / 1000;
  const size_t begin = to.size();
  to += "Thu, 01 Jan 1970 00:00:00 GMT";
  char* const out = to.data() + begin;
  const auto three = [&](size_t at, std::string_view text) {
    std::memcpy(out + at, text.data(), 3);
  };
  three(0, kDays.substr(static_cast<size_t>(absl::GetWeekday(t)) * 3, 3));
  auto two = [&](size_t at, int n) {
    out[at] = static_cast<char>('0' + n / 10 % 10);
    out[at + 1] = static_cast<char>('0' + n % 10);
  };
  const int year = static_cast<int>(std::clamp<int64_t>(t.year(), 0, 9999));
  two(5, t.day());
  three(8, kMonths.substr(static_cast<size_t>(t.month() - 1) * 3, 3));
  two(12, year / 100);
  two(14, year % 100);
  two(17, t.hour());
  two(20, t.minute());
  two(23, t.second());
}
std::string http_date(int64_t unix_ms) {
  std::string out;
  append_http_date(out, unix_ms);
  return out;
}
void Response::set_date(std::string_view name, int64_t unix_ms) {
  append_http_date(headers.add(name, {}).second, unix_ms);
}

std::optional<int64_t> parse_http_date(std::string_view text) {
  for (const char* format : {"%a, %d %b %E4Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                             "%a %b %e %H:%M:%S %E4Y", "%E4Y-%m-%dT%H:%M:%E*SZ"}) {
    absl::Time time;
    std::string error;
    if (absl::ParseTime(format, {text.data(), text.size()}, absl::UTCTimeZone(), &time, &error) &&
        time != absl::InfiniteFuture() && time != absl::InfinitePast()) {
      return absl::ToUnixSeconds(time);
    }
  }
  return std::nullopt;
}

// Digit by digit, as above: a page of a listing has a thousand.
void append_iso_date(std::string& to, int64_t unix_ms) {
  const int64_t ms = (unix_ms % 1000 + 1000) % 1000;
  const absl::CivilSecond t = absl::CivilSecond() + (unix_ms - ms) / 1000;
  const size_t begin = to.size();
  to += "1970-01-01T00:00:00.000Z";
  char* const out = to.data() + begin;
  const auto digits = [&](size_t at, size_t count, int64_t n) {
    for (size_t i = count; i-- > 0; n /= 10) out[at + i] = static_cast<char>('0' + n % 10);
  };
  digits(0, 4, std::clamp<int64_t>(t.year(), 0, 9999));
  digits(5, 2, t.month());
  digits(8, 2, t.day());
  digits(11, 2, t.hour());
  digits(14, 2, t.minute());
  digits(17, 2, t.second());
  digits(20, 3, ms);
}
std::string iso_date(int64_t unix_ms) {
  std::string out;
  append_iso_date(out, unix_ms);
  return out;
}

awaitable<StatusOr<std::string>> read_all(Body& body, size_t limit) {
  std::string out;
  for (;;) {
    size_t at = out.size();
    if (at > limit) co_return absl::ResourceExhaustedError("the request body is too large");
    out.resize(at + std::min<size_t>(64 << 10, limit - at + 1));
    if (!body.hold(out.capacity())) {
      co_return absl::UnavailableError("clients hold too much memory; try again");
    }
    MutableBytes into{reinterpret_cast<std::byte*>(out.data()) + at, out.size() - at};
    auto n = co_await body.read(into);
    if (!n.ok()) co_return n.status();
    out.resize(at + *n);
    if (*n == 0) co_return out;
  }
}

}  // namespace cairn::http
