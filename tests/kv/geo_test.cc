// Laws of places as scores, against what Redis makes of known ones, and of the cells in which an
// area is looked for, against looking at every place there is.
#include "kv/types/geo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

namespace cairn::kv::geo {
namespace {

TEST(Geo, ScoresAndDistancesAreThoseOfRedis) {
  const Place palermo{13.361389, 38.115556}, catania{15.087269, 37.502669};
  EXPECT_EQ(score_of(palermo), 3479099956230698);
  EXPECT_EQ(score_of(catania), 3479447370796909);
  const Place a = place_of(score_of(palermo)), b = place_of(score_of(catania));
  EXPECT_EQ(a.longitude, 13.36138933897018433);
  EXPECT_EQ(a.latitude, 38.11555639549629859);
  EXPECT_EQ(text_of(a), "sqc8b49rny0");
  EXPECT_EQ(text_of(b), "sqdtr74hyu0");
  EXPECT_EQ(format_distance(distance(a, b)), "166274.1516");
  EXPECT_EQ(format_distance(0), "0.0000");
  EXPECT_EQ(format_distance(0.00006), "0.0001");
  EXPECT_EQ(format_distance(20015086.79596), "20015086.7960");
}

TEST(Geo, AnyScoreIsSomewhereOnTheGrid) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  std::mt19937_64 random(7);
  std::vector<double> scores{0.0,
                             -1.0,
                             -1e300,
                             1e300,
                             kInfinite,
                             -kInfinite,
                             9007199254740992.0,
                             18446744073709551615.0,
                             9223372036854775808.0};
  for (int i = 0; i < 1000; i++)
    scores.push_back(std::ldexp(double(random()), int(random() % 80) - 60));
  for (double score : scores) {
    const Place place = place_of(score);
    EXPECT_TRUE(place.on_grid()) << score;
    EXPECT_EQ(text_of(place).size(), 11U);
  }
}

// Places, many of them where the grid or the earth has an edge.
class Places {
 public:
  explicit Places(uint64_t seed) : random_(seed) {}
  double within(double from, double to) {
    return std::uniform_real_distribution<double>(from, to)(random_);
  }
  size_t chance(size_t of) { return random_() % of; }
  Place any() {
    Place p{within(-180, 180), within(-kLatitudeMax, kLatitudeMax)};
    if (chance(4) == 0)
      p.longitude = (chance(2) ? 1 : -1) * (180 - within(0, 1) * (chance(3) ? 1 : 0));
    if (chance(4) == 0) {
      p.latitude = (chance(2) ? 1 : -1) * (kLatitudeMax - within(0, 10) * (chance(3) ? 1 : 0));
    }
    if (chance(20) == 0) p.longitude = 0;
    if (chance(20) == 0) p.latitude = 0;
    return p;
  }
  // So far away at most, about.
  Place near(const Place& p, double meters) {
    const double degrees = meters / 111'000 * 1.2;
    const double wide = degrees / std::max(0.02, std::cos(p.latitude * M_PI / 180));
    Place n{p.longitude + within(-wide, wide), p.latitude + within(-degrees, degrees)};
    n.longitude = std::remainder(n.longitude, 360);
    n.latitude = std::clamp(n.latitude, -kLatitudeMax, kLatitudeMax);
    return n;
  }
  Area area() {
    Area a;
    a.center = place_of(score_of(any()));
    a.is_box = chance(2) == 0;
    a.unit = chance(2) ? 1 : 1609.34;
    const auto length = [&] { return std::exp(within(0, std::log(2.5e7))) / a.unit; };
    a.radius = chance(30) == 0 ? 0 : length();
    a.width = length();
    a.height = chance(5) ? a.width * within(0.2, 5) : length();
    return a;
  }

 private:
  std::mt19937_64 random_;
};

TEST(Geo, CellsOfAnAreaHoldAllOfItsPlacesAndNoneTwice) {
  Places places(11);
  size_t inside = 0;
  for (int round = 0; round < 4000; round++) {
    const Area area = places.area();
    const std::vector<Scores> cells = cells_of(area);
    ASSERT_LE(cells.size(), 400U);
    const double size = area.unit * (area.is_box ? std::max(area.width, area.height) : area.radius);
    for (int i = 0; i < 60; i++) {
      const Place given = i % 3 == 0 ? places.any() : places.near(area.center, size);
      const double score = score_of(given);
      double distance;
      if (!area.contains(place_of(score), distance)) continue;
      inside++;
      const auto holds = [&](const Scores& s) { return score >= s.first && score < s.end; };
      ASSERT_EQ(std::count_if(cells.begin(), cells.end(), holds), 1)
          << "around " << area.center.longitude << " " << area.center.latitude << " radius "
          << area.radius << " box " << area.is_box << " " << area.width << " " << area.height
          << " unit " << area.unit << ": " << given.longitude << " " << given.latitude;
    }
  }
  EXPECT_GT(inside, 50'000U);
}

TEST(Geo, CellsOfASmallAreaAreSmall) {
  Places places(12);
  for (int round = 0; round < 1000; round++) {
    Area area;
    area.center = {places.within(-179, 179), places.within(-60, 60)};
    area.radius = places.within(1, 1000);
    double looked_at = 0;
    for (const Scores& s : cells_of(area)) looked_at += s.end - s.first;
    EXPECT_LE(looked_at, std::ldexp(1, 52) * 1e-6) << area.radius;
  }
}

// 7.0.15 takes the bounds of such a circle for turned around, and leaves out what is west of it.
TEST(Geo, ACircleAcrossAPoleReachesAllLongitudes) {
  Area area;
  area.center = {0, 85};
  area.radius = 600'000;
  const double score = score_of({-10, 85});
  const auto cells = cells_of(area);
  EXPECT_TRUE(std::any_of(cells.begin(), cells.end(),
                          [&](const Scores& s) { return score >= s.first && score < s.end; }));
}

}  // namespace
}  // namespace cairn::kv::geo
