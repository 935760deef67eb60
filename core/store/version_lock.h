// What keeps a version of a key from being taken for good: S3's object lock.
//
// A bucket may have object lock switched on (properties.h), which keeps its versioning on for ever.
// Each of its versions may then be retained until a time, or held until somebody lets go of it, or
// both. It stands in the metadata of the version (value.h), so it goes wherever the version goes,
// through log, cleaner and checkpoint, and changes without a new version. Deletions, expiry and
// renaming make markers and move versions, and are not concerned. A version goes for good in one
// place alone (Transaction::take_for_good), and a bucket as a whole only when it has none.
//
// Whether a time has come is judged by a clock of its own (lock_clock.h).
//
// Threads: any.
#pragma once

#include <cstdint>

namespace cairn {

// On disk: never renumber. Governance is given up by who has the right to bypass it, compliance by
// nobody, and is only ever extended.
enum class Retention : uint8_t { kNone = 0, kGovernance = 1, kCompliance = 2 };
// On disk: never renumber. That there never was one is told apart from one that was let go.
enum class LegalHold : uint8_t { kNone = 0, kOn = 1, kOff = 2 };

struct VersionLock {
  Retention retention = Retention::kNone;
  LegalHold hold = LegalHold::kNone;
  int64_t until_ms = 0;  // Unix time; 0 without retention
  bool operator==(const VersionLock&) const = default;

  bool empty() const { return *this == VersionLock{}; }
  bool retains(int64_t now_ms) const { return retention != Retention::kNone && now_ms < until_ms; }
  // Whether the version stays, whoever would take it.
  bool forbids_removal(int64_t now_ms, bool bypass_governance) const {
    if (hold == LegalHold::kOn) return true;
    return retains(now_ms) && !(bypass_governance && retention == Retention::kGovernance);
  }
  // Whether the retention may become that of `next`. A hold comes and goes as one likes.
  bool allows(const VersionLock& next, int64_t now_ms, bool bypass_governance) const {
    if (!retains(now_ms)) return true;
    if (next.retention == retention && next.until_ms >= until_ms) return true;
    return retention == Retention::kGovernance && bypass_governance;
  }
};

// How the versions of a bucket are retained that come without a word about it.
struct DefaultRetention {
  Retention retention = Retention::kNone;
  bool in_years = false;
  uint32_t count = 0;  // of days, or of years of 365 days
  bool operator==(const DefaultRetention&) const = default;

  int64_t until_ms(int64_t now_ms) const {
    constexpr int64_t kDayMs = int64_t{24} * 3600 * 1000;
    return now_ms + kDayMs * count * (in_years ? 365 : 1);
  }
};
inline constexpr uint32_t kRetentionDaysMax = 36500, kRetentionYearsMax = 100;

}  // namespace cairn
