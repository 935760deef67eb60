// What the store tells its operator: recovery, cleaning, refusals, failures. One line each, as text
// or JSON, with the time in ISO 8601 and its zone.
//
//   2026-01-31T12:00:00.123+01:00 warning log: the disk is full: puts are refused until there is
//   room
//   {"time":"2026-01-31T12:00:00.123+01:00","level":"warning","part":"log","text":"the disk is …"}
//
// What goes on for a while is said when it begins and when it ends, not at each refusal.
//
// Threads: any.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace cairn {

enum class Severity : uint8_t { kDebug, kInfo, kWarning, kError };
std::string_view name_of(Severity severity);
std::optional<Severity> severity(std::string_view name);

// `part` names who speaks: "log", "extents", "cleaner"; a literal.
using Report = std::function<void(Severity, std::string_view part, std::string_view text)>;

class Reporter {
 public:
  enum class Format : uint8_t { kText, kJson };

  // `out` stays the caller's. What is less severe than `least` is left out.
  Reporter(std::FILE* out, Severity least, Format format)
      : out_(out), least_(least), format_(format) {}
  void write(Severity severity, std::string_view part, std::string_view text) const;
  Report report() const {
    return
        [this](Severity s, std::string_view part, std::string_view text) { write(s, part, text); };
  }

  // The line, without its end, for a time in milliseconds since 1970.
  static std::string line(Format format, int64_t now_ms, Severity severity, std::string_view part,
                          std::string_view text);

 private:
  std::FILE* const out_;
  const Severity least_;
  const Format format_;
};

}  // namespace cairn
