// What the log holds of one collection: from which record on it matters, how many bytes count as
// live in each segment, whether its newest record makes all of it, and what a large one is called.
//
// Of millions of small ones nearly all lie in one segment, the one of their oldest record, and have
// no identity: that is 16 bytes. What others need is apart, as long as they need it.
//
// Threads: one at a time.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cassert>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/base/types.h"
#include "core/index/identities.h"

namespace cairn {

class LogShare {
 public:
  // The first LSN in a segment that holds records of it, and the bytes counted as live there.
  using Charge = std::pair<Lsn, uint64_t>;

  LogShare() = default;
  ~LogShare() { delete apart(); }
  LogShare(const LogShare&) = delete;

  Lsn oldest() const { return oldest_; }  // records before this one no longer matter
  // Of the value of its newest record, iff that is a put; else 0.
  uint32_t image_size() const {
    return apart() ? apart()->image_size : static_cast<uint32_t>(bits_ >> 2 & kImageMax);
  }
  bool expires() const {  // as its newest record says; its entry knows what holds now
    return apart() ? apart()->expires : (bits_ & kExpires) != 0;
  }
  Identity* identity() const { return apart() ? apart()->identity.get() : nullptr; }
  // Charges are in the order of their LSNs.
  size_t charge_count() const { return apart() ? apart()->charges.size() : here() > 0; }
  Charge charge(size_t i) const { return apart() ? apart()->charges[i] : Charge{oldest_, here()}; }
  uint64_t charged() const { return apart() ? apart()->charged : here(); }  // the sum

  // Its newest record.
  void set_record(uint32_t image_size, bool expires) {
    assert(image_size <= kImageMax);
    if (Apart* a = apart()) {
      a->image_size = image_size;
      a->expires = expires;
    } else {
      bits_ = bits_of(image_size, expires, here());
    }
  }
  void set_identity(std::unique_ptr<Identity> identity) {
    if (identity == nullptr && !apart()) return;
    change([&](Apart& a) { a.identity = std::move(identity); });
  }

  // Nothing is charged, and nothing before this record matters.
  void begin(Lsn oldest) {
    if (apart()) change([](Apart& a) { a.charges.clear(), a.charged = 0; });
    if (!apart()) bits_ = bits_of(image_size(), expires(), 0);
    oldest_ = oldest;
  }
  // As a checkpoint says.
  template <class Charges>
  void restore(Lsn oldest, const Charges& charges) {
    begin(oldest);
    for (const auto& [lsn, bytes] : charges) insert_charge(charge_count(), lsn, bytes);
  }
  void set_oldest(Lsn oldest) {
    if (oldest != oldest_) change([&](Apart&) { oldest_ = oldest; });
  }
  void insert_charge(size_t i, Lsn lsn, uint64_t bytes) {
    if (!apart() && here() == 0 && lsn == oldest_ && fits(bytes)) {
      bits_ = bits_of(image_size(), expires(), bytes);
      return;
    }
    change([&](Apart& a) {
      a.charges.insert(a.charges.begin() + static_cast<ptrdiff_t>(i), {lsn, bytes});
      a.charged += bytes;
    });
  }
  void set_charge(size_t i, uint64_t bytes) {
    if (!apart() && fits(bytes)) {
      bits_ = bits_of(image_size(), expires(), bytes);
      return;
    }
    change([&](Apart& a) {
      a.charged += bytes - a.charges[i].second;
      a.charges[i].second = bytes;
    });
  }
  void erase_first_charge() {
    change([](Apart& a) {
      a.charged -= a.charges.front().second;
      a.charges.erase(a.charges.begin());
    });
  }
  void move_first_charge(Lsn lsn) {
    change([&](Apart& a) { a.charges.front().first = lsn; });
  }

 private:
  struct Apart {
    std::unique_ptr<Identity> identity;  // of a large one
    absl::InlinedVector<Charge, 2> charges;
    uint64_t charged = 0;
    uint32_t image_size = 0;
    bool expires = false;
  };
  static constexpr uint64_t kHere = 1, kExpires = 2, kImageMax = (uint64_t{1} << 24) - 1;

  Apart* apart() const { return bits_ & kHere ? nullptr : reinterpret_cast<Apart*>(bits_); }
  uint64_t here() const { return bits_ >> 32; }  // charged, all in the segment of oldest_
  static bool fits(uint64_t bytes) { return bytes > 0 && bytes <= UINT32_MAX; }
  static uint64_t bits_of(uint32_t image_size, bool expires, uint64_t charged) {
    return charged << 32 | uint64_t{image_size} << 2 | (expires ? kExpires : 0) | kHere;
  }
  Apart& make_apart() {
    if (Apart* a = apart()) return *a;
    auto made = std::make_unique<Apart>();
    if (here() > 0) made->charges.push_back(charge(0));
    made->charged = here();
    made->image_size = image_size();
    made->expires = expires();
    bits_ = reinterpret_cast<uintptr_t>(made.release());
    return *apart();
  }
  template <class Fn>
  void change(Fn fn) {
    Apart& a = make_apart();
    fn(a);
    fold(a);
  }
  // Into the 16 bytes, if they can say it.
  void fold(Apart& a) {
    if (a.identity != nullptr || a.charges.size() > 1) return;
    if (!a.charges.empty() && (a.charges[0].first != oldest_ || !fits(a.charged))) return;
    bits_ = bits_of(a.image_size, a.expires, a.charged);
    delete &a;
  }

  Lsn oldest_;
  // An Apart; or, marked by kHere, from the lowest on: kHere, kExpires, 24 bits of image size, 6
  // that are free, 32 of bytes charged.
  uint64_t bits_ = kHere;
};
static_assert(sizeof(LogShare) == 16);

}  // namespace cairn
