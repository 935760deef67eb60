// A change of a collection that is longer than a record may be: one element of 512 MB, in segments
// of 64 MiB. It lies in the log as several records of one transaction, which replays whole or not
// at all:
//   a put        an empty put, then the parts of the operation that makes all of it
//   an operation its parts
// Each part (RecordType::kOperationPart) says where its stretch lies, since the log may begin in
// the middle of them: the segments before it were cleaned away, and what the parts changed was
// written again since.
//
// Threads: one.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/log/log_format.h"

namespace cairn {

// The meta of a part.
struct PartPlace {
  uint64_t offset, total;  // of the stretch in the operation, and how long that is
  static std::optional<PartPlace> decode(std::string_view meta);
};

class RecordParts {
 public:
  RecordParts() = default;
  // How many bytes the records of a change take; nothing if it does not go into the log at all.
  // `most`: Log::record_bytes_max().
  static std::optional<uint64_t> bytes(const RecordView& record, uint64_t most);

  // Adds the record, or what stands for it, and returns how many those are. Its value stays where
  // it is.
  size_t add(const RecordView& record, uint64_t most);
  std::span<const RecordView> records();
  // For the next; their room stays.
  void clear() {
    records_.clear();
    places_.clear();
  }

 private:
  static bool divides(const RecordView& record);
  std::vector<RecordView> records_;
  std::vector<PartPlace> places_;  // of those with one, in order
};

// The other way round, for who reads the parts of one collection in the order of the log.
class PartJoiner {
 public:
  // True if the operation is whole with this part; then take() it. What does not go on with what
  // came before is left out.
  bool add(const PartPlace& place, std::string_view stretch);
  std::string take() { return std::exchange(whole_, {}); }

 private:
  std::string whole_;
};

}  // namespace cairn
