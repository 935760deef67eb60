#include "kv/types/geo.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "core/base/text.h"

namespace cairn::kv::geo {

namespace {

constexpr double kEarthRadius = 6372797.560856;  // meters; the quadratic mean of WGS-84
constexpr double kRadian = M_PI / 180;

double radians(double degrees) { return degrees * kRadian; }
double degrees(double radians) { return radians / kRadian; }

// The bits of `v` at the even places of the result.
uint64_t spread(uint32_t v) {
  uint64_t bits = v;
  for (auto [by, mask] : {std::pair(16, 0x0000ffff0000ffffULL), std::pair(8, 0x00ff00ff00ff00ffULL),
                          std::pair(4, 0x0f0f0f0f0f0f0f0fULL), std::pair(2, 0x3333333333333333ULL),
                          std::pair(1, 0x5555555555555555ULL)}) {
    bits = (bits | bits << by) & mask;
  }
  return bits;
}

uint32_t gather(uint64_t bits) {
  bits &= 0x5555555555555555ULL;
  for (auto [by, mask] : {std::pair(1, 0x3333333333333333ULL), std::pair(2, 0x0f0f0f0f0f0f0f0fULL),
                          std::pair(4, 0x00ff00ff00ff00ffULL), std::pair(8, 0x0000ffff0000ffffULL),
                          std::pair(16, 0x00000000ffffffffULL)}) {
    bits = (bits | bits >> by) & mask;
  }
  return static_cast<uint32_t>(bits);
}

uint64_t interleave(uint32_t column, uint32_t row) { return spread(row) | spread(column) << 1; }

// How often a coordinate from -max to max has gone through the cells of a step.
uint32_t cell_of(double coordinate, double max, int step) {
  const double part = (coordinate + max) / (max + max);
  return static_cast<uint32_t>(part * static_cast<double>(uint64_t{1} << step));
}

// Where a cell begins.
double edge_of(uint32_t cell, double max, int step) {
  return -max + cell / static_cast<double>(uint64_t{1} << step) * (max + max);
}

double middle_of(uint32_t cell, double max) {
  const double middle = (edge_of(cell, max, kSteps) + edge_of(cell + 1, max, kSteps)) / 2;
  return std::clamp(middle, -max, max);
}

// A score as the integer that Redis takes it for; of those that are none, what the conversion of
// x86-64 makes.
uint64_t bits_of(double score) {
  constexpr double k63 = 9223372036854775808.0;
  constexpr uint64_t kTop = uint64_t{1} << 63;
  if (score >= -k63 && score < k63) return static_cast<uint64_t>(static_cast<int64_t>(score));
  if (score < -k63) return kTop;
  return score < 2 * k63 ? static_cast<uint64_t>(static_cast<int64_t>(score - k63)) ^ kTop : 0;
}

double along_meridian(double a, double b) {
  return kEarthRadius * std::fabs(radians(b) - radians(a));
}

}  // namespace

double score_of(const Place& p) {
  return static_cast<double>(interleave(cell_of(p.longitude, kLongitudeMax, kSteps),
                                        cell_of(p.latitude, kLatitudeMax, kSteps)));
}

Place place_of(double score) {
  const uint64_t bits = bits_of(score);
  return {middle_of(gather(bits >> 1), kLongitudeMax), middle_of(gather(bits), kLatitudeMax)};
}

std::string text_of(const Place& p) {
  constexpr std::string_view kLetters = "0123456789bcdefghjkmnpqrstuvwxyz";
  constexpr int kLength = 11, kBits = 5;
  const uint64_t bits =
      interleave(cell_of(p.longitude, 180, kSteps), cell_of(p.latitude, 90, kSteps));
  std::string text;
  for (int shift = 2 * kSteps - kBits; shift >= 0; shift -= kBits) {
    text.push_back(kLetters[bits >> shift & 31]);
  }
  text.resize(kLength, kLetters[0]);  // two bits are left, which Redis leaves out
  return text;
}

double distance(const Place& a, const Place& b) {
  const double v = std::sin((radians(b.longitude) - radians(a.longitude)) / 2);
  if (v == 0) return along_meridian(a.latitude, b.latitude);
  const double from = radians(a.latitude), to = radians(b.latitude);
  const double u = std::sin((to - from) / 2);
  const double sine = std::sqrt(u * u + std::cos(from) * std::cos(to) * v * v);
  return 2 * kEarthRadius * std::asin(std::min(sine, 1.0));  // of opposite places a bit too large
}

std::string format_distance(double value) {
  const auto parts = static_cast<uint64_t>(std::llrint(value * 10000));
  char text[40];
  const int n = std::snprintf(text, sizeof(text), "%llu.%04llu",
                              static_cast<unsigned long long>(parts / 10000),
                              static_cast<unsigned long long>(parts % 10000));
  return {text, static_cast<size_t>(n)};
}

bool Area::contains(const Place& place, double& meters) const {
  if (!is_box) {
    meters = distance(center, place);
    return meters <= radius * unit;
  }
  if (along_meridian(place.latitude, center.latitude) > height * unit / 2) return false;
  const double across = distance(place, {center.longitude, place.latitude});
  if (across > width * unit / 2) return false;
  meters = distance(center, place);
  return true;
}

// ---- where to look ----

namespace {

// What Redis takes an area's bounds for. Near a pole its longitudes are not to be trusted.
struct Bounds {
  double west, south, east, north;
};

Bounds bounds_of(const Area& a) {
  const double height = a.unit * (a.is_box ? a.height / 2 : a.radius);
  const double width = a.unit * (a.is_box ? a.width / 2 : a.radius);
  const double up = degrees(height / kEarthRadius);
  const double lat = a.center.latitude, lon = a.center.longitude;
  const double widest = lat < 0 ? lat - up : lat + up;
  const double across = degrees(width / kEarthRadius / std::cos(radians(widest)));
  return {lon - across, lat - up, lon + across, lat + up};
}

int step_for(double meters, double latitude) {
  constexpr double kMercatorMax = 20037726.37;
  if (meters == 0) return kSteps;
  int step = -1;
  for (; meters < kMercatorMax; meters *= 2) step++;
  if (std::fabs(latitude) > 66) step--;
  if (std::fabs(latitude) > 80) step--;
  return std::clamp(step, 1, kSteps);
}

struct Cell {
  uint32_t column, row;
  bool operator==(const Cell&) const = default;
};

// Cells of one step, each once, in the order in which they were added.
class Cells {
 public:
  explicit Cells(int step) : step_(step) {}
  int step() const { return step_; }
  uint32_t count() const { return uint32_t{1} << step_; }  // of columns, or of rows
  uint32_t moved(uint32_t cell, int by) const {
    return by == 0 ? cell : (cell + static_cast<uint32_t>(by)) & (count() - 1);
  }
  void add(Cell cell) {
    if (std::find(cells_.begin(), cells_.end(), cell) == cells_.end()) cells_.push_back(cell);
  }
  std::vector<Scores> scores() const {
    const int shift = 2 * (kSteps - step_);
    std::vector<Scores> all;
    for (const Cell& c : cells_) {
      const uint64_t bits = interleave(c.column, c.row);
      all.push_back({static_cast<double>(bits << shift), static_cast<double>((bits + 1) << shift)});
    }
    return all;
  }

 private:
  const int step_;
  std::vector<Cell> cells_;
};

Cell center_at(const Area& a, int step) {
  return {cell_of(a.center.longitude, kLongitudeMax, step),
          cell_of(a.center.latitude, kLatitudeMax, step)};
}

// Whether the cells next to the one in the middle end before the bounds do.
bool too_small(const Cells& cells, const Cell& middle, const Bounds& b) {
  const int step = cells.step();
  const auto end = [&](uint32_t cell, double max) { return edge_of(cell + 1, max, step); };
  const auto begin = [&](uint32_t cell, double max) { return edge_of(cell, max, step); };
  return end(cells.moved(middle.row, 1), kLatitudeMax) < b.north ||
         begin(cells.moved(middle.row, -1), kLatitudeMax) > b.south ||
         end(cells.moved(middle.column, 1), kLongitudeMax) < b.east ||
         begin(cells.moved(middle.column, -1), kLongitudeMax) > b.west;
}

void add_neighbours(Cells& cells, const Cell& middle, const Bounds& b) {
  const int step = cells.step();
  const bool some = step >= 2;  // else they are all needed
  const bool no_west = some && edge_of(middle.column, kLongitudeMax, step) < b.west;
  const bool no_east = some && edge_of(middle.column + 1, kLongitudeMax, step) > b.east;
  const bool no_south = some && edge_of(middle.row, kLatitudeMax, step) < b.south;
  const bool no_north = some && edge_of(middle.row + 1, kLatitudeMax, step) > b.north;
  for (auto [x, y] :
       {std::pair(0, 0), std::pair(0, 1), std::pair(0, -1), std::pair(1, 0), std::pair(-1, 0),
        std::pair(1, 1), std::pair(-1, 1), std::pair(1, -1), std::pair(-1, -1)}) {
    if ((x < 0 && no_west) || (x > 0 && no_east)) continue;
    if ((y < 0 && no_south) || (y > 0 && no_north)) continue;
    cells.add({cells.moved(middle.column, x), cells.moved(middle.row, y)});
  }
}

// Half of the longitudes that an area takes, in degrees; 180: all of them.
double half_width(const Area& a, double up) {
  const double farthest = std::fabs(a.center.latitude) + up;
  if (farthest >= 90) return 180;
  double sine;
  if (a.is_box) {  // at its latitude that is nearest to a pole
    const double angle = a.unit * a.width / kEarthRadius / 4;
    if (angle >= M_PI / 2) return 180;
    sine = std::sin(angle) / std::cos(radians(farthest));
    return sine >= 1 ? 180 : degrees(2 * std::asin(sine));
  }
  sine = std::sin(radians(up)) / std::cos(radians(a.center.latitude));
  return sine >= 1 ? 180 : degrees(std::asin(sine));
}

// All cells that an area touches, as geometry says.
void add_touched(Cells& cells, const Area& a) {
  constexpr double kSlack = 1 + 1e-9, kSlackDegrees = 1e-7;  // for rounding
  const double height = a.unit * (a.is_box ? a.height / 2 : a.radius);
  const double up = std::min(degrees(height / kEarthRadius) * kSlack + kSlackDegrees, 360.0);
  const double across = half_width(a, up) * kSlack + kSlackDegrees;
  const auto clamped = [&](double latitude) {
    return cell_of(std::clamp(latitude, -kLatitudeMax, kLatitudeMax), kLatitudeMax, cells.step());
  };
  const uint32_t south = clamped(a.center.latitude - up), north = clamped(a.center.latitude + up);
  const double west = a.center.longitude - across, east = a.center.longitude + across;
  const double width = 2 * kLongitudeMax / cells.count();
  const auto from = static_cast<int64_t>(std::floor((west + kLongitudeMax) / width));
  auto to = static_cast<int64_t>(std::floor((east + kLongitudeMax) / width));
  to = std::min(to, from + cells.count() - 1);
  const bool edge = east >= kLongitudeMax || west <= -kLongitudeMax;
  for (uint32_t row = south; row <= north; row++) {
    for (int64_t column = from; column <= to; column++) {
      cells.add({static_cast<uint32_t>(column) & (cells.count() - 1), row});
    }
    if (edge) cells.add({cells.count(), row});
  }
}

}  // namespace

std::vector<Scores> cells_of(const Area& a) {
  const double corner =
      a.is_box ? std::sqrt((a.width / 2) * (a.width / 2) + (a.height / 2) * (a.height / 2))
               : a.radius;
  int step = step_for(corner * a.unit, a.center.latitude);
  const Bounds b = bounds_of(a);
  if (step > 1 && too_small(Cells(step), center_at(a, step), b)) step--;
  Cells cells(step);
  add_neighbours(cells, center_at(a, step), b);
  add_touched(cells, a);
  return cells.scores();
}

}  // namespace cairn::kv::geo
