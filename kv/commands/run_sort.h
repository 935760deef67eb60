// Sorting in steps, each short, so that others have their turns: runs of some thousand items first,
// which are merged as the items are taken. Who does all of it at once calls it in a loop. Items
// that are equal stay in the order in which they were added.
//
// Threads: as its command.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace cairn::kv {

template <class Item, class Less>
class RunSort {
 public:
  explicit RunSort(Less less = Less()) : less_(std::move(less)) {}
  // So many bytes for each item, at most.
  static constexpr uint64_t kBytesEach = sizeof(Item) * 2;

  void reserve(size_t n) { items_.reserve(n); }
  void add(Item item) { items_.push_back(std::move(item)); }
  std::vector<Item>& items() { return items_; }
  size_t size() const { return items_.size(); }

  // Once all are added; false when it is done.
  bool sort_some() {
    constexpr size_t kRun = 4096;
    const size_t begin = sorted_, end = std::min(items_.size(), begin + kRun);
    std::stable_sort(at(begin), at(end), less_);
    if (end > begin) runs_.push_back({begin, end});
    sorted_ = end;
    if (sorted_ < items_.size()) return true;
    std::make_heap(runs_.begin(), runs_.end(), later());
    return false;
  }
  // The next in order; there must be one. It stays where it is.
  const Item& take() {
    std::pop_heap(runs_.begin(), runs_.end(), later());
    Run& run = runs_.back();
    const Item& item = items_[run.begin++];
    if (run.begin == run.end) {
      runs_.pop_back();
    } else {
      std::push_heap(runs_.begin(), runs_.end(), later());
    }
    return item;
  }

 private:
  struct Run {
    size_t begin, end;
  };
  auto at(size_t i) { return items_.begin() + static_cast<ptrdiff_t>(i); }
  auto later() const {
    return [this](const Run& a, const Run& b) {
      const Item &x = items_[a.begin], &y = items_[b.begin];
      if (less_(y, x)) return true;
      return !less_(x, y) && a.begin > b.begin;
    };
  }

  Less less_;
  std::vector<Item> items_;
  std::vector<Run> runs_;
  size_t sorted_ = 0;
};

}  // namespace cairn::kv
