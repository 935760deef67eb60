// Places on the earth as scores of sorted sets: a geohash of 52 bits, 26 of the longitude and 26 of
// the latitude, interleaved, so that members that are near each other mostly have scores that are.
// Scores and distances are Redis's, bit by bit, since clients store and compare them.
//
// The grid: at a step of n the longitudes from -180 to 180 and the latitudes from -85.05112878 to
// 85.05112878 are divided into 2^n columns and rows. A cell is a range of scores. What lies exactly
// on the eastern or northern edge has a column or row of its own, the 2^n-th.
//
// Threads: any; nothing has state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::kv::geo {

inline constexpr double kLongitudeMax = 180, kLatitudeMax = 85.05112878;
inline constexpr int kSteps = 26;

struct Place {
  double longitude = 0, latitude = 0;  // degrees
  bool on_grid() const {
    return longitude >= -kLongitudeMax && longitude <= kLongitudeMax && latitude >= -kLatitudeMax &&
           latitude <= kLatitudeMax;
  }
};

double score_of(const Place& place);  // on the grid
Place place_of(double score);         // of any score: the middle of its smallest cell
// The usual geohash of 11 letters, whose grid goes from pole to pole.
std::string text_of(const Place& place);

double distance(const Place& a, const Place& b);  // in meters, along the surface
// As Redis writes it: four digits after the point.
std::string format_distance(double value);

// A circle or a box around a place.
struct Area {
  Place center;
  bool is_box = false;
  double radius = 0, width = 0, height = 0;  // in units
  double unit = 1;                           // in meters
  // Whether it holds a place, and how far that is from the center, in meters.
  bool contains(const Place& place, double& distance) const;
};

// Scores from `first` on, below `end`.
struct Scores {
  double first = 0, end = 0;
};
// Where to look for all places of an area: the cell of its center and those around it, in the order
// in which Redis looks, which the order of an unsorted answer follows; then what those leave out
// beyond the poles, the edges of the grid and for very large areas. No score is in two of them.
std::vector<Scores> cells_of(const Area& area);

}  // namespace cairn::kv::geo
