// The commands on single places.
#include "kv/commands/geo.h"

#include <cstdio>
#include <vector>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

bool parse_place(Context& c, size_t i, geo::Place& place) {
  for (double* value : {&place.longitude, &place.latitude}) {
    const auto parsed = parse_score(c.args[i++]);
    if (!parsed) return c.reply.error("ERR value is not a valid float"), false;
    *value = *parsed;
  }
  if (place.on_grid()) return true;
  char text[720];  // of the largest numbers
  const int n = std::snprintf(text, sizeof(text), "ERR invalid longitude,latitude pair %f,%f",
                              place.longitude, place.latitude);
  c.reply.error({text, static_cast<size_t>(n)});
  return false;
}

bool parse_unit(Context& c, std::string_view word, double& meters) {
  for (auto [name, value] : {std::pair("m", 1.0), std::pair("km", 1000.0), std::pair("ft", 0.3048),
                             std::pair("mi", 1609.34)}) {
    if (!equals_ignoring_case(word, name)) continue;
    meters = value;
    return true;
  }
  c.reply.error("ERR unsupported unit provided. please use M, KM, FT, MI");
  return false;
}

void reply_place(Reply& reply, const geo::Place& place) {
  reply.array(2);
  for (double value : {place.longitude, place.latitude}) reply.decimal(format_float(value));
}

namespace {

void geoadd(Context& c) {
  AddOptions o;
  for (; o.first < c.args.size(); o.first++) {
    const std::string_view word = c.args[o.first];
    if (equals_ignoring_case(word, "nx")) {
      o.nx = true;
    } else if (equals_ignoring_case(word, "xx")) {
      o.xx = true;
    } else if (equals_ignoring_case(word, "ch")) {
      o.changed = true;
    } else {
      break;
    }
  }
  const size_t words = c.args.size() - o.first;
  if (words == 0 || words % 3 != 0 || (o.nx && o.xx)) return c.syntax_error();
  std::vector<SortedSet::Item> items;
  items.reserve(words / 3);
  for (size_t i = o.first; i < c.args.size(); i += 3) {
    geo::Place place;
    if (!parse_place(c, i, place)) return;
    items.push_back({geo::score_of(place), c.args[i + 2]});
  }
  add_items(c, o, items);
}

void geodist(Context& c) {
  double unit = 1;
  if (c.args.size() > 5) return c.syntax_error();
  if (c.args.size() == 5 && !parse_unit(c, c.args[4], unit)) return;
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  const auto a = place_in(sorted_set_of(entry), c.args[2]);
  const auto b = place_in(sorted_set_of(entry), c.args[3]);
  if (!a || !b) return c.reply.null();
  c.reply.bulk(geo::format_distance(geo::distance(*a, *b) / unit));
}

// Calls fn with the place of each member that is named, or with nothing.
template <class Fn>
void for_each_named(Context& c, Fn fn) {
  Entry* entry;
  if (!find_sorted_set(c, c.args[1], entry)) return;
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) fn(place_in(sorted_set_of(entry), c.args[i]));
}

void geohash(Context& c) {
  for_each_named(
      c, [&](const auto& place) { place ? c.reply.bulk(geo::text_of(*place)) : c.reply.null(); });
}

void geopos(Context& c) {
  for_each_named(
      c, [&](const auto& place) { place ? reply_place(c.reply, *place) : c.reply.null_array(); });
}

constexpr Row kRows[] = {
    {"geoadd", -5, kWrite | kDenyOom | kLongArgs, kUpdatesKey, geoadd, nullptr, kGeoGroup,
     "Adds one or more members to a geospatial index. The key is created if it doesn't exist.",
     "3.2.0"},
    {"geodist", -4, kReadOnly | kLongArgs, kReadsKey, geodist, nullptr, kGeoGroup,
     "Returns the distance between two members of a geospatial index.", "3.2.0"},
    {"geohash", -2, kReadOnly | kLongArgs, kReadsKey, geohash, nullptr, kGeoGroup,
     "Returns members from a geospatial index as geohash strings.", "3.2.0"},
    {"geopos", -2, kReadOnly | kLongArgs, kReadsKey, geopos, nullptr, kGeoGroup,
     "Returns the longitude and latitude of members from a geospatial index.", "3.2.0"},
};

}  // namespace
std::span<const Row> geo_rows() { return kRows; }

}  // namespace cairn::kv
