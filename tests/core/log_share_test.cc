#include "core/index/log_share.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace cairn {
namespace {

// What a share says is what was put in, whether it takes 16 bytes or more.
class Model {
 public:
  LogShare share;
  Lsn oldest;
  std::vector<LogShare::Charge> charges;
  uint32_t image_size = 0;
  bool expires = false, has_identity = false;

  void check() const {
    ASSERT_EQ(share.oldest(), oldest);
    ASSERT_EQ(share.image_size(), image_size);
    ASSERT_EQ(share.expires(), expires);
    ASSERT_EQ(share.identity() != nullptr, has_identity);
    ASSERT_EQ(share.charge_count(), charges.size());
    uint64_t sum = 0;
    for (size_t i = 0; i < charges.size(); i++) {
      ASSERT_EQ(share.charge(i), charges[i]);
      sum += charges[i].second;
    }
    ASSERT_EQ(share.charged(), sum);
  }
};

TEST(LogShare, SaysWhatWasPutIn) {
  std::mt19937_64 random(1);
  const auto pick = [&](uint64_t n) { return random() % n; };
  const auto all = std::make_shared<Identities>();
  constexpr uint64_t kBytes[] = {1, 8, 4000, UINT32_MAX, uint64_t{UINT32_MAX} + 1};
  for (int life = 0; life < 300; life++) {
    Model m;
    for (int step = 0; step < 60; step++) {
      const size_t n = m.charges.size();
      switch (pick(9)) {
        case 0:
          m.oldest = Lsn(8 * (1 + pick(4)));
          m.charges.clear();
          m.share.begin(m.oldest);
          break;
        case 1:
          m.image_size = static_cast<uint32_t>(pick(2) * ((1 << 24) - 2));
          m.expires = pick(2) == 0;
          m.share.set_record(m.image_size, m.expires);
          break;
        case 2:
          m.has_identity = pick(2) == 0;
          m.share.set_identity(
              m.has_identity ? std::make_unique<Identity>(all, 7, NamespaceId(0), "key") : nullptr);
          break;
        case 3:
          m.oldest = Lsn(8 * (1 + pick(4)));
          m.share.set_oldest(m.oldest);
          break;
        case 4:
        case 5: {
          const LogShare::Charge charge{n == 0 && pick(2) ? m.oldest : Lsn(8 * (1 + pick(9))),
                                        kBytes[pick(std::size(kBytes))]};
          const size_t at = pick(n + 1);
          m.charges.insert(m.charges.begin() + static_cast<ptrdiff_t>(at), charge);
          m.share.insert_charge(at, charge.first, charge.second);
          break;
        }
        case 6:
          if (n == 0) break;
          m.charges[n - 1].second = kBytes[pick(std::size(kBytes))];
          m.share.set_charge(n - 1, m.charges[n - 1].second);
          break;
        case 7:
          if (n == 0) break;
          m.charges.erase(m.charges.begin());
          m.share.erase_first_charge();
          break;
        case 8:
          if (n == 0) break;
          m.charges[0].first = pick(2) ? m.oldest : Lsn(8 * (1 + pick(9)));
          m.share.move_first_charge(m.charges[0].first);
          break;
      }
      m.check();
      if (HasFatalFailure()) FAIL() << "life " << life << ", step " << step;
    }
  }
}

}  // namespace
}  // namespace cairn
