#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/base/text.h"
#include "kv/commands/alone.h"
#include "kv/commands/cluster.h"
#include "kv/commands/dump.h"
#include "kv/commands/geo.h"
#include "kv/commands/set_view.h"
#include "kv/commands/sort.h"
#include "kv/commands/sorted_set_view.h"
#include "kv/commands/stream_references.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

namespace {

// The word that is the row's one key, of the session's namespace; 0 if its keys need a search.
uint16_t one_key_of(const Row& row) {
  if (row.keys.size() != 1) return 0;
  const KeySpec& s = row.keys[0];
  const bool simple = s.keyword.empty() && s.last == 0 && s.count_at < 0 && s.space_word == 0 &&
                      (s.flags & kKeyNotKey) == 0;
  return simple ? static_cast<uint16_t>(s.first) : 0;
}

// Redis's fast commands on one key, which take the time of an element, with the least words that
// they take: more of them, or a count, and they take longer. SET is one but for its name.
uint16_t brief_of(const Row& row) {
  const bool brief = row.one_key != 0 && ((row.flags & kFast) != 0 || row.name == "set");
  return brief ? static_cast<uint16_t>(std::abs(row.arity)) : uint16_t{0};
}

bool is_one_of(std::string_view name, std::string_view words) {
  const auto all = words_of(words);
  return std::find(all.begin(), all.end(), name) != all.end();
}

// What tells of its caller and of commands alone, or does nothing by itself: a script is asked for
// each command that it calls.
bool is_everybodys(const Row& row) {
  return row.run == nullptr || row.group == "connection" || row.group == "transactions" ||
         row.group == "cluster" || row.name.ends_with("|help") ||
         row.name.substr(0, row.name.find('|')) == "command" ||
         is_one_of(row.name,
                   "eval eval_ro evalsha evalsha_ro fcall fcall_ro script|exists script|load time "
                   "wait waitaof lolwut");
}

// Of a row by itself: what it does to its keys each of them says.
Access access_of(const Row& row) {
  if (row.flags & kAdmin) return Access::kAdmin;
  if (row.name == "migrate") return Access::kByName;  // it connects to wherever it is told
  if (is_one_of(row.name, "cluster|countkeysinslot cluster|getkeysinslot")) return Access::kByName;
  if (is_everybodys(row)) return Access::kNone;
  if (row.group == "scripting") return Access::kByName;  // functions are of all databases
  if (row.name == "swapdb") {  // what one may not read must not come to where he may
    return Access::kRead | Access::kWrite | Access::kDelete | Access::kList;
  }
  if (row.flags & kWrite) return Access::kWrite | Access::kDelete;
  if (row.flags & kReadOnly) return row.has_keys() ? Access::kRead : Access::kList;
  return row.has_keys() ? Access::kNone : Access::kByName;
}

ChannelWords channels_of(const Row& row) {
  if (row.name == "publish" || row.name == "spublish") return ChannelWords::kFirst;
  if (row.name == "subscribe" || row.name == "ssubscribe") return ChannelWords::kAll;
  return row.name == "psubscribe" ? ChannelWords::kPatterns : ChannelWords::kNone;
}

}  // namespace

size_t Table::slot_of(std::string_view name) {
  const size_t n = name.size();
  uint64_t head = 0;
  if (n >= sizeof(head)) {
    std::memcpy(&head, name.data(), sizeof(head));
  } else {
    for (size_t i = 0; i < n; i++) head = head << 8 | static_cast<uint8_t>(name[i]);
  }
  head |= 0x2020202020202020ULL;  // whatever the case of its letters
  head ^= n * 0x9e3779b97f4a7c15ULL;
  return (head * 0xbf58476d1ce4e5b9ULL) >> 54;
}

Table::Table() : slots_(kSlots) {
  for (auto family : {string_rows(),
                      conditional_rows(),
                      lcs_rows(),
                      bit_rows(),
                      bitfield_rows(),
                      hyperloglog_rows(),
                      hash_rows(),
                      hash_expiry_rows(),
                      list_rows(),
                      list_search_rows(),
                      list_blocking_rows(),
                      set_rows(),
                      set_algebra_rows(),
                      sorted_set_rows(),
                      sorted_set_pop_rows(),
                      sorted_set_range_rows(),
                      sorted_set_algebra_rows(),
                      geo_rows(),
                      geo_search_rows(),
                      sort_rows(),
                      sorted_set_blocking_rows(),
                      stream_rows(),
                      stream_add_rows(),
                      stream_reference_rows(),
                      stream_group_rows(),
                      key_rows(),
                      connection_rows(),
                      client_rows(),
                      tracking_rows(),  // of `client`, too
                      monitor_rows(),
                      info_rows(),
                      config_rows(),
                      server_rows(),
                      slowlog_rows(),
                      latency_rows(),
                      memory_rows(),
                      debug_rows(),
                      alone_rows(),
                      acl_rows(),
                      cluster_rows(),
                      command_rows(),
                      transaction_rows(),
                      pubsub_rows(),
                      stream_read_rows(),
                      stream_claim_rows(),
                      stream_info_rows(),
                      dump_rows(),
                      restore_rows(),
                      migrate_rows(),
                      script_rows(),
                      function_rows(),
                      sync_rows()}) {
    rows_.insert(rows_.end(), family.begin(), family.end());
  }
  Row* container = nullptr;
  for (Row& row : rows_) {
    row.one_key = one_key_of(row);
    row.brief = brief_of(row);
    row.event = event_of(row.name, row.group);
    row.channels = channels_of(row);
    row.action = {"resp", row.name, access_of(row)};
    if (row.is_subcommand()) {
      container->subcommands++;
      continue;
    }
    container = &row;
    size_t i = slot_of(row.name);
    while (slots_[i] != nullptr) i = (i + 1) % kSlots;
    slots_[i] = &row;
  }
}

const Row* Table::find(std::string_view name) const {
  for (size_t i = slot_of(name); slots_[i] != nullptr; i = (i + 1) % kSlots) {
    if (equals_ignoring_case(slots_[i]->name, name)) return slots_[i];
  }
  return nullptr;
}

const Row* Table::find_subcommand(const Row& container, std::string_view name) const {
  for (const Row& sub : subcommands(container)) {
    if (equals_ignoring_case(sub.name.substr(container.name.size() + 1), name)) return &sub;
  }
  return nullptr;
}

const Row* Table::find(std::span<const std::string_view> words) const {
  const Row* row = find(words[0]);
  if (row == nullptr || row->subcommands == 0 || words.size() == 1) return row;
  const Row* sub = find_subcommand(*row, words[1]);
  return sub != nullptr ? sub : row;
}

}  // namespace cairn::kv
