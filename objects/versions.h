// Versions of objects: what clients call them, how they are listed, and who waits for them.
//
// Threads: coroutines on any I/O executor; the rest from any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/store.h"
#include "core/store/versions.h"
#include "objects/object.h"

namespace cairn::objects {

inline constexpr std::string_view kNullVersion = "null";

// "null", or 32 letters and digits: the number of the version, mixed so that nobody sorts by it.
std::string version_id(const Version& version);
// Nothing: no version is called so.
std::optional<Version> parse_version_id(std::string_view id);

// A change that failed since a value which it keeps, or makes current again, is on disk alone:
//
//   Refetch refetch(store);
//   do status = change(); while (co_await refetch.again(status));
class Refetch {
 public:
  explicit Refetch(Store& store) : store_(store) {}
  // Whether it is in memory now, and the change is to begin anew; else `status` says what is wrong.
  awaitable<bool> again(Status& status);

 private:
  Store& store_;
  int tries_ = 0;
  std::optional<MemoryKeeper::Hold> hold_;
};

struct VersionQuery {
  std::string prefix, delimiter;
  std::string after;     // a key or a common prefix; exclusive, unless there is an id
  std::string after_id;  // goes on behind this version of the key `after`
  size_t limit = 1000;
};
struct VersionItem {
  std::string key;
  bool is_prefix = false;
  Version version;
  bool latest = false;
  uint64_t size = 0;
  std::string etag;  // empty: a delete marker
  int64_t modified_ms = 0;
  std::string checksum_algorithm, checksum_type;
};
struct VersionPage {
  std::vector<VersionItem> items;  // by key, and of each the newest first
  bool truncated = false;          // then the next page is after the last of them
  size_t key_bytes = 0;
  Lsn newest;  // of what the answer rests on and has to wait for
};
// Of any bucket; where none were ever kept each object is its null version. InvalidArgument: no
// version is called `after_id`.
awaitable<StatusOr<VersionPage>> list_versions(Store& store, NamespacePtr ns,
                                               const VersionQuery& query);

}  // namespace cairn::objects
