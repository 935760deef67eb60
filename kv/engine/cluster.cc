#include "kv/engine/cluster.h"

#include <array>

#include "kv/engine/command.h"

namespace cairn::kv {
namespace {

// CRC16 as XMODEM has it: polynomial 0x1021, begun at 0, nothing reversed.
constexpr std::array<uint16_t, 256> make_crc_table() {
  std::array<uint16_t, 256> table{};
  for (unsigned byte = 0; byte < table.size(); byte++) {
    unsigned crc = byte << 8;
    for (int bit = 0; bit < 8; bit++) crc = crc << 1 ^ ((crc & 0x8000) != 0 ? 0x1021 : 0);
    table[byte] = static_cast<uint16_t>(crc);
  }
  return table;
}
constexpr std::array<uint16_t, 256> kCrcTable = make_crc_table();

unsigned crc16(std::string_view text) {
  uint16_t crc = 0;
  for (const char c : text) {
    crc = static_cast<uint16_t>(crc << 8 ^ kCrcTable[crc >> 8 ^ static_cast<uint8_t>(c)]);
  }
  return crc;
}

// The tag of a key; all of it, if it has none.
std::string_view tag_of(std::string_view key) {
  const size_t open = key.find('{');
  if (open == key.npos) return key;
  const size_t close = key.find('}', open + 1);
  return close == key.npos || close == open + 1 ? key : key.substr(open + 1, close - open - 1);
}

}  // namespace

int cluster_slot(std::string_view key) {
  return static_cast<int>(crc16(tag_of(key)) % kClusterSlots);
}

int cluster_slot_of_pattern(std::string_view pattern) {
  // What takes the place of the star may have braces too: a tag counts that ends before it.
  const std::string_view fixed = pattern.substr(0, pattern.find('*'));
  const bool decided = fixed.size() == pattern.size() || tag_of(fixed).size() != fixed.size();
  return decided ? cluster_slot(fixed) : kNoSlot;
}

bool OneSlot::add(const Row& row, const Args& args) {
  // As in Redis: where the count of keys is none, no word is a key, not even the destination.
  for (const KeySpec& spec : row.keys) {
    bool any = spec.count_at < 0;
    for_each_key({&spec, 1}, args.words(), [&](size_t, const KeySpec&, uint16_t) { any = true; });
    if (!any) return true;
  }
  bool one = true;
  for (KeySpec spec : row.keys) {
    spec.flags &= static_cast<uint16_t>(~kKeyNotKey);
    for_each_key({&spec, 1}, args.words(), [&](size_t word, const KeySpec&, uint16_t) {
      if (args.has_blobs() && args.blob(word) != nullptr) return;
      const int slot = cluster_slot(args[word]);
      if (slot_ == kNoSlot) slot_ = slot;
      one &= slot == slot_;
    });
  }
  return one;
}

}  // namespace cairn::kv
