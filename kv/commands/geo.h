// What the commands on places share: the sorted set holds them as scores (kv/types/geo.h).
//
// Threads: as the command.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "kv/commands/sorted_set_view.h"
#include "kv/types/geo.h"

namespace cairn::kv {

// Where a member is; nothing: it is none, or there is no set.
inline std::optional<geo::Place> place_in(const SortedSet* set, std::string_view member) {
  const auto score = set == nullptr ? std::nullopt : set->score(member);
  return score ? std::optional(geo::place_of(*score)) : std::nullopt;
}

// These answer the error if the words say no such thing: longitude and latitude from word `i` on; a
// unit, in meters.
bool parse_place(Context& c, size_t i, geo::Place& place);
bool parse_unit(Context& c, std::string_view word, double& meters);

// In RESP2 with 17 digits behind the point, as 7.0 writes them; in RESP3 as any number, which has
// as many as it needs.
void reply_place(Reply& reply, const geo::Place& place);

inline constexpr std::string_view kGeoGroup = "geo";
std::span<const Row> geo_rows();
std::span<const Row> geo_search_rows();

}  // namespace cairn::kv
