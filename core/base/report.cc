#include "core/base/report.h"

#include <absl/strings/escaping.h>
#include <absl/time/clock.h>
#include <absl/time/time.h>

#include <array>

#include "core/base/text.h"

namespace cairn {

namespace {
constexpr std::array<std::string_view, 4> kNames = {"debug", "info", "warning", "error"};

// The escapes of C, but for the single quote, which nothing here takes for an end.
std::string printable(std::string_view text) {
  const std::string escaped = absl::Utf8SafeCHexEscape(absl::string_view(text.data(), text.size()));
  std::string out;
  for (size_t i = 0; i < escaped.size(); i++) {
    if (escaped[i] == '\\' && escaped[++i] != '\'') out += '\\';
    out += escaped[i];
  }
  return out;
}

// A JSON string. What is not UTF-8 is shown as \xNN: a key may be any bytes.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : printable(text)) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}
}  // namespace

std::string_view name_of(Severity severity) { return kNames[static_cast<size_t>(severity)]; }

std::optional<Severity> severity(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); i++) {
    if (kNames[i] == name) return static_cast<Severity>(i);
  }
  return std::nullopt;
}

std::string Reporter::line(Format format, int64_t now_ms, Severity severity, std::string_view part,
                           std::string_view text) {
  const std::string time = absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3S%Ez",
                                            absl::FromUnixMillis(now_ms), absl::LocalTimeZone());
  if (format == Format::kText) {
    return cat(time, " ", name_of(severity), " ", part, ": ", printable(text));
  }
  return cat("{\"time\":", quoted(time), ",\"level\":", quoted(name_of(severity)),
             ",\"part\":", quoted(part), ",\"text\":", quoted(text), "}");
}

void Reporter::write(Severity severity, std::string_view part, std::string_view text) const {
  if (severity < least_) return;
  const std::string one =
      line(format_, absl::ToUnixMillis(absl::Now()), severity, part, text) + "\n";
  std::fwrite(one.data(), 1, one.size(), out_);  // one call: lines of threads do not mix
  std::fflush(out_);
}

}  // namespace cairn
