#include "objects/versions.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/errors.h"
#include "core/base/text.h"

namespace cairn::objects {

// ---- ids ----

namespace {
constexpr uint64_t kFactor = 0x9e3779b97f4a7c15, kCheck = 0xd6e8feb86659fd93;
constexpr uint64_t inverse_of(uint64_t odd) {
  uint64_t inverse = odd;  // right in 3 bits, and in twice as many after each step
  for (int i = 0; i < 5; i++) inverse *= 2 - odd * inverse;
  return inverse;
}
static_assert(kFactor * inverse_of(kFactor) == 1);

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= kFactor;
  return x ^ x >> 32;
}
uint64_t unmix(uint64_t x) {
  x ^= x >> 32;
  x *= inverse_of(kFactor);
  return x ^ x >> 32;
}
std::string hex_of(uint64_t x) {
  std::string digits(16, '0');
  for (size_t i = 16; i-- > 0; x >>= 4) digits[i] = "0123456789abcdef"[x & 15];
  return digits;
}
std::optional<uint64_t> parse_hex(std::string_view digits) {
  uint64_t x = 0;
  for (char c : digits) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return std::nullopt;
    x = x << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return x;
}
}  // namespace

std::string version_id(const Version& version) {
  if (version.null) return std::string(kNullVersion);
  const uint64_t mixed = mix(version.number);
  return cat(hex_of(mixed), hex_of(mix(mixed ^ kCheck)));
}

std::optional<Version> parse_version_id(std::string_view id) {
  if (id == kNullVersion) return Version{0, true, false};
  if (id.size() != 32) return std::nullopt;
  const auto mixed = parse_hex(id.substr(0, 16)), check = parse_hex(id.substr(16));
  if (!mixed || check != mix(*mixed ^ kCheck)) return std::nullopt;
  return Version{unmix(*mixed), false, false};
}

// ---- who waits ----

awaitable<bool> Refetch::again(Status& status) {
  constexpr int kTries = 3;  // then memory holds still
  if (!is_value_on_disk(status)) co_return false;
  if (tries_++ == kTries) hold_.emplace(store_.memory());
  auto [id, key] = where_on_disk(status);
  const NamespacePtr ns = store_.namespace_by_id(id);
  if (ns == nullptr) {
    status = absl::NotFoundError("no such bucket");
    co_return false;
  }
  status = co_await store_.faults().fetch(ns, std::move(key));
  co_return status.ok();
}

// ---- listings ----

namespace {
// The first of all texts that are greater than those which begin with `prefix`; empty: there is
// none.
std::string past(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back()++;
  return prefix;
}

// Where a page goes on: with what is below `below` of this key, then with the keys behind it.
struct Place {
  std::string key;
  uint64_t below = UINT64_MAX;
  bool end = false;
};

class Pages {
 public:
  Pages(Store& store, Namespace& ns, const VersionQuery& query, VersionPage& page)
      : store_(store), ns_(ns), versions_(ns.versions()), q_(query), page_(page) {}

  // The first place of the page, and whether there is such a version.
  std::optional<Place> begin() const {
    Place from{std::max(q_.prefix, q_.after)};
    if (q_.after.empty() || q_.after < q_.prefix) return from;
    if (q_.after_id.empty()) {
      const std::string_view group = group_of(q_.after);
      if (in_prefix(q_.after) && !group.empty() && group == q_.after) {
        from.key = past(q_.after);
        from.end = from.key.empty();
      } else {
        from.key.push_back('\0');
      }
      return from;
    }
    const auto after = parse_version_id(q_.after_id);
    if (!after) return std::nullopt;
    from.below = after->null ? number_of_null(q_.after) : after->number;
    return from;
  }

  // One turn, under the locks of both orders. False: there is more to do, from `place` on.
  bool go_on(Place& place) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    constexpr int kPassedMax = 4096;
    MutexLock lock(ns_.order_mutex);
    if (versions_ == nullptr) return add_keys(place, kPassedMax);
    MutexLock versions_lock(versions_->order_mutex);
    return add_keys(place, kPassedMax);
  }

 private:
  bool in_prefix(std::string_view key) const {
    return key.substr(0, q_.prefix.size()) == q_.prefix;
  }
  std::string_view group_of(std::string_view key) const {
    if (q_.delimiter.empty() || key.size() < q_.prefix.size()) return {};
    const size_t at = key.find(q_.delimiter, q_.prefix.size());
    return at == key.npos ? std::string_view() : key.substr(0, at + q_.delimiter.size());
  }
  // Of one that is gone meanwhile nobody knows where it was: all of the key comes again.
  uint64_t number_of_null(std::string_view key) const {
    const KeyHash hash = ns_.hash(key);
    StripeLocks lock(store_, hash);
    Transaction t(store_, &lock, Shape::kOne);
    const auto found = t.find_version(ns_, key, hash, {0, true, false});
    return found.entry == nullptr ? UINT64_MAX : found.version.number;
  }
  // The first key from `key` on; nothing: there is none.
  std::optional<std::string> key_from(std::string_view key) const ABSL_NO_THREAD_SAFETY_ANALYSIS {
    std::optional<std::string> first;
    if (auto it = ns_.order.lower_bound(key); it != ns_.order.end()) first.emplace((*it)->key());
    if (versions_ == nullptr) return first;
    const std::string from = version_prefix(key);
    const auto it = versions_->order.lower_bound(std::string_view(from));
    if (it == versions_->order.end()) return first;
    auto other = key_of_version((*it)->key());
    return !first || (other && *other < *first) ? other : first;
  }
  bool full() const {
    return page_.items.size() >= q_.limit ||
           (page_.key_bytes > kPageKeyBytes && page_.items.back().key.size() <= kLastKeyBytes);
  }
  bool add_keys(Place& place, int left) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    page_.newest = std::max(page_.newest, Lsn(ns_.removed.load()));
    if (versions_ != nullptr) page_.newest = std::max(page_.newest, Lsn(versions_->removed.load()));
    while (!place.end) {
      if (left-- == 0) return false;
      const auto key = key_from(place.key);
      if (!key || !in_prefix(*key)) break;
      if (*key != place.key) place = {*key};
      if (const std::string_view group = group_of(*key); !group.empty()) {
        if (full()) return page_.truncated = true;
        VersionItem item;
        item.key = group;
        item.is_prefix = true;
        page_.key_bytes += item.key.size();
        place = {past(item.key)};
        place.end = place.key.empty();
        page_.items.push_back(std::move(item));
        continue;
      }
      if (!add_versions(place)) return page_.truncated = true;
      place = {place.key + '\0'};
    }
    return true;
  }
  // Those of one key. False: the page ends before the last of them.
  bool add_versions(Place& place) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const Entry* current = nullptr;
    if (auto it = ns_.order.lower_bound(std::string_view(place.key));
        it != ns_.order.end() && (*it)->key() == place.key && (*it)->is_string()) {
      current = *it;
    }
    bool first = place.below == UINT64_MAX;
    const auto add = [&](Namespace& in, const Entry* e) {
      const Version version = store_.version_of(in, e);
      if (version.number >= place.below) return true;
      if (full()) return false;
      add_item(e, version, place.key, first && !e->expired(store_.now_ms()));
      first = false;
      place.below = version.number;
      return true;
    };
    if (current != nullptr && !add(ns_, current)) return false;
    if (versions_ == nullptr) return true;
    const std::string prefix = version_prefix(place.key);
    const Entry* null = nullptr;
    auto it = versions_->order.lower_bound(std::string_view(prefix));
    if (it != versions_->order.end() && (*it)->key() == prefix) null = *it;
    const uint64_t below = place.below;
    const std::string from = version_key(place.key, {below - 1, false, false});
    const uint64_t null_number = null == nullptr ? 0 : store_.version_of(*versions_, null).number;
    for (it = versions_->order.lower_bound(std::string_view(from));
         it != versions_->order.end() && (*it)->key().starts_with(prefix); ++it) {
      if (null != nullptr && null_number > store_.version_of(*versions_, *it).number) {
        if (!add(*versions_, std::exchange(null, nullptr))) return false;
      }
      if (!add(*versions_, *it)) return false;
    }
    return null == nullptr || add(*versions_, null);
  }
  void add_item(const Entry* e, const Version& version, std::string_view key, bool latest) {
    if (e->wished()) page_.newest = std::max(page_.newest, e->lsn());
    VersionItem item;
    item.key = key;
    item.version = version;
    item.latest = latest;
    Info info = info_of(store_, e);
    item.modified_ms = info.modified_ms;
    if (!version.marker) {
      item.size = info.size;
      item.etag = std::move(info.etag);
      if (!info.meta.checksums.empty()) {
        auto& [algorithm, value] = *info.meta.checksums.begin();
        item.checksum_algorithm = algorithm;
        item.checksum_type = value.find('-') == value.npos ? "FULL_OBJECT" : "COMPOSITE";
      }
    }
    page_.key_bytes += key.size();
    page_.items.push_back(std::move(item));
  }

  Store& store_;
  Namespace& ns_;
  Namespace* const versions_;
  const VersionQuery& q_;
  VersionPage& page_;
};
}  // namespace

awaitable<StatusOr<VersionPage>> list_versions(Store& store, NamespacePtr ns,
                                               const VersionQuery& query) {
  auto executor = co_await asio::this_coro::executor;
  Status ordered = co_await store.ensure_ordered(ns);
  if (!ordered.ok()) co_return ordered;
  VersionPage page;
  Pages pages(store, *ns, query, page);
  auto place = pages.begin();
  if (!place) co_return absl::InvalidArgumentError("Invalid version id specified");
  while (!pages.go_on(*place)) co_await asio::post(executor, asio::use_awaitable);
  co_return page;
}

}  // namespace cairn::objects
