#include "gateway/http/s3/form.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"

namespace cairn::s3 {

namespace {

constexpr size_t kBufferBytes = 16 << 10;
constexpr std::string_view kHeadEnd = "\r\n\r\n";

Error malformed() { return {"MalformedPOSTRequest", ""}; }

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

// A quoted text at the front of `text`, or one up to the next ';', and takes it.
std::string take_value(std::string_view& text) {
  std::string out;
  if (!text.starts_with('"')) {
    const size_t end = std::min(text.find(';'), text.size());
    out = trim(text.substr(0, end));
    text.remove_prefix(end);
    return out;
  }
  size_t at = 1;
  for (; at < text.size() && text[at] != '"'; at++) {
    // A browser's path has backslashes that stand for themselves.
    if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '"') at++;
    out.push_back(text[at]);
  }
  text.remove_prefix(std::min(at + 1, text.size()));
  return out;
}

// "C:\photos\a.jpg" is a.jpg.
std::string without_path(std::string_view name) {
  const size_t slash = name.find_last_of("/\\");
  return std::string(slash == name.npos ? name : name.substr(slash + 1));
}

}  // namespace

std::optional<std::string> parameter_of(std::string_view value, std::string_view name) {
  size_t next = value.find(';');
  while (next != value.npos) {
    value.remove_prefix(next + 1);
    const size_t equals = value.find('=');
    if (equals == value.npos) return std::nullopt;
    const std::string_view own = trim(value.substr(0, equals));
    value.remove_prefix(equals + 1);
    value = trim(value);
    std::string text = take_value(value);
    if (equals_ignoring_case(own, name)) return text;
    next = value.find(';');
  }
  return std::nullopt;
}

std::optional<std::string> boundary_of(std::string_view content_type) {
  constexpr size_t kBoundaryMax = 70;  // RFC 2046, 5.1.1
  const std::string_view type = trim(content_type.substr(0, content_type.find(';')));
  if (!equals_ignoring_case(type, "multipart/form-data")) return std::nullopt;
  auto boundary = parameter_of(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryMax ||
      boundary->find_first_of("\r\n") != boundary->npos) {
    return std::nullopt;
  }
  return boundary;
}

Form::Form(http::Body& raw, std::string_view boundary)
    : raw_(raw), delimiter_(cat("\r\n--", boundary)) {}

awaitable<Status> Form::fill() {
  buffer_.erase(0, at_);
  at_ = 0;
  const size_t old = buffer_.size();
  buffer_.resize(old + kBufferBytes);
  if (!hold(held_by_reader_))
    co_return absl::UnavailableError("clients hold too much memory; try again");
  auto n = co_await raw_.read({reinterpret_cast<std::byte*>(buffer_.data()) + old, kBufferBytes});
  buffer_.resize(old + (n.ok() ? *n : 0));
  if (!n.ok()) co_return n.status();
  if (*n == 0) co_return absl::CancelledError("the form ends early");
  co_return absl::OkStatus();
}

bool Form::hold(size_t bytes) {
  held_by_reader_ = bytes;
  return raw_.hold(buffer_.capacity() + taken_ + bytes);
}

awaitable<Status> Form::fill_to(size_t bytes) {
  while (buffer_.size() - at_ < bytes) {
    Status more = co_await fill();
    if (!more.ok()) co_return more;
  }
  co_return absl::OkStatus();
}

Error Form::take(size_t bytes) {
  at_ += bytes;
  taken_ += bytes;
  if (taken_ <= kFormFieldsMax) return {};
  return {"MaxPostPreDataLengthExceededError", ""};
}

// Behind a delimiter: the lines that a part begins with, or "--"; then `name` stays empty.
awaitable<Error> Form::read_head(std::string& name) {
  Status there = co_await fill_to(2);
  if (!there.ok()) co_return error_of(there);
  if (buffer_.compare(at_, 2, "--") == 0) co_return Error{};
  size_t end;
  while ((end = buffer_.find(kHeadEnd, at_)) == buffer_.npos) {
    if (taken_ + buffer_.size() - at_ > kFormFieldsMax) co_return take(kFormFieldsMax + 1);
    there = co_await fill();
    if (!there.ok()) co_return error_of(there);
  }
  std::string head = buffer_.substr(at_, end - at_);
  if (Error e = take(end + kHeadEnd.size() - at_)) co_return e;
  // What is behind the boundary on its line is blank.
  std::string_view rest = head;
  if (!trim(rest.substr(0, rest.find("\r\n"))).empty()) co_return malformed();
  while (rest.find("\r\n") != rest.npos) {
    rest.remove_prefix(rest.find("\r\n") + 2);
    const std::string_view line = rest.substr(0, rest.find("\r\n"));
    const size_t colon = line.find(':');
    if (colon == line.npos) co_return malformed();
    if (!equals_ignoring_case(trim(line.substr(0, colon)), "content-disposition")) continue;
    const std::string_view value = line.substr(colon + 1);
    const auto own = parameter_of(value, "name");
    if (!own || own->empty()) co_return malformed();
    name = lower(*own);
    if (auto file = parameter_of(value, "filename"); file && name == "file") {
      file_name_ = without_path(*file);
    }
  }
  co_return name.empty() ? malformed() : Error{};
}

awaitable<Error> Form::read_value(std::string& value) {
  size_t end;
  while ((end = buffer_.find(delimiter_, at_)) == buffer_.npos) {
    if (taken_ + buffer_.size() - at_ > kFormFieldsMax) co_return take(kFormFieldsMax + 1);
    Status there = co_await fill();
    if (!there.ok()) co_return error_of(there);
  }
  value = buffer_.substr(at_, end - at_);
  co_return take(end + delimiter_.size() - at_);
}

awaitable<Error> Form::read_fields() {
  const std::string_view first = std::string_view(delimiter_).substr(2);  // without CRLF
  Status there = co_await fill_to(first.size() + 2);
  if (!there.ok()) co_return absl::IsCancelled(there) ? malformed() : error_of(there);
  if (buffer_.compare(at_, 2, "\r\n") == 0) at_ += 2;
  if (buffer_.compare(at_, first.size(), first) != 0) co_return malformed();
  at_ += first.size();
  for (;;) {
    std::string name, value;
    if (Error e = co_await read_head(name)) co_return e;
    if (name.empty()) co_return Error{};
    has_file_ = name == "file";
    if (has_file_) co_return Error{};
    if (Error e = co_await read_value(value)) co_return e;
    if (!fields_.emplace(name, std::move(value)).second) {
      co_return Error{"InvalidArgument",
                      cat("The field ", name, " was given twice"),
                      {},
                      {{"ArgumentName", name}}};
    }
  }
}

awaitable<StatusOr<size_t>> Form::read(MutableBytes into) {
  if (done_ || !has_file_ || into.empty()) co_return size_t{0};
  size_t end, safe;
  for (;;) {
    end = buffer_.find(delimiter_, at_);
    // The last bytes may be the beginning of a delimiter.
    const size_t held = buffer_.size() - at_;
    safe = end != buffer_.npos ? end - at_ : held - std::min(held, delimiter_.size() - 1);
    if (safe > 0 || end != buffer_.npos) break;
    Status more = co_await fill();
    if (!more.ok()) co_return more;
  }
  if (safe == 0) {
    done_ = true;
    if (file_bytes_ < least_) co_return absl::InvalidArgumentError("EntityTooSmall");
    co_return size_t{0};
  }
  const size_t n = std::min(into.size(), safe);
  std::memcpy(into.data(), buffer_.data() + at_, n);
  at_ += n;
  file_bytes_ += n;
  if (file_bytes_ > most_) co_return absl::InvalidArgumentError("EntityTooLarge");
  co_return n;
}

awaitable<Status> Form::ready() {
  if (done_ || !has_file_) co_return absl::OkStatus();
  // Fewer may be the beginning of a delimiter, and nothing could be read yet.
  co_return co_await fill_to(delimiter_.size());
}

}  // namespace cairn::s3
