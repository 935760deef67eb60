#include "core/log/record_parts.h"

#include <algorithm>
#include <cstring>

namespace cairn {

namespace {

// An eighth of a segment: what no part of that size fits into any more stays empty.
uint64_t stretch_bytes(uint64_t most) { return most / 8; }

RecordView part_of(const RecordView& r) {
  RecordView part = r;
  part.type = RecordType::kOperationPart;
  part.meta = {};
  part.value = {};
  return part;
}

}  // namespace

std::optional<PartPlace> PartPlace::decode(std::string_view meta) {
  PartPlace place;
  if (meta.size() != sizeof(place)) return std::nullopt;
  std::memcpy(&place, meta.data(), sizeof(place));
  return place;
}

bool RecordParts::divides(const RecordView& r) {
  return r.type == RecordType::kOperation ||
         (r.type == RecordType::kPut && r.flags >> 4 != 0 && !r.is_blob());
}

std::optional<uint64_t> RecordParts::bytes(const RecordView& r, uint64_t most) {
  if (r.size() <= most) return r.size();
  const uint64_t head = part_of(r).size() + sizeof(PartPlace), stretch = stretch_bytes(most);
  if (!divides(r) || head + stretch + 8 > most) return std::nullopt;  // padded
  return r.value.size() + (r.value.size() / stretch + 2) * (head + 8);
}

size_t RecordParts::add(const RecordView& r, uint64_t most) {
  const size_t before = records_.size();
  if (r.size() <= most) {
    records_.push_back(r);
    return 1;
  }
  if (r.type == RecordType::kPut) {
    records_.push_back(r);
    records_.back().value = {};
  }
  const uint64_t stretch = stretch_bytes(most);
  for (uint64_t at = 0; at < r.value.size(); at += stretch) {
    records_.push_back(part_of(r));
    records_.back().value = r.value.substr(at, stretch);
    places_.push_back({at, r.value.size()});
  }
  return records_.size() - before;
}

std::span<const RecordView> RecordParts::records() {
  auto place = places_.begin();
  for (RecordView& r : records_) {
    if (r.type != RecordType::kOperationPart) continue;
    r.meta = {reinterpret_cast<const char*>(&*place++), sizeof(PartPlace)};
  }
  return records_;
}

bool PartJoiner::add(const PartPlace& place, std::string_view stretch) {
  if (place.offset == 0) whole_.clear();
  if (!whole_.empty() && place.offset + stretch.size() == whole_.size()) return false;  // again
  if (place.offset != whole_.size() || stretch.empty()) {
    whole_.clear();
    return false;
  }
  if (place.offset == 0) whole_.reserve(std::min<uint64_t>(place.total, uint64_t{1} << 30));
  whole_.append(stretch);
  return whole_.size() == place.total;
}

}  // namespace cairn
