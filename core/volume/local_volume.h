// A volume in a directory of the local file system: through io_uring where the kernel allows it,
// else through pread and pwrite on a pool of threads. All data goes past the page cache
// (O_DIRECT), so that a read costs what the device costs and memory stays the index's.
#pragma once

#include <memory>
#include <string>

#include "core/volume/volume.h"

namespace cairn {

struct LocalVolumeOptions {
  std::string directory;       // made if missing, mode 0700
  bool allow_io_uring = true;  // false: always the pool of threads
};

// Takes the directory's lock: a second store on the same directory is refused with
// FailedPrecondition. Memory in `registered` (may be empty) is written without a page walk.
class LocalVolume : public Volume {
 public:
  static StatusOr<std::unique_ptr<LocalVolume>> open(const LocalVolumeOptions& options,
                                                     MutableBytes registered = {});
  virtual std::string_view engine() const = 0;  // "io_uring" or "threads"
  virtual const std::string& fallback_reason() const = 0;
};

// What the volume makes of an errno. Several mean a device that failed: past the page cache the
// kernel says of a sector that cannot be read ENODATA, and not EIO.
absl::StatusCode volume_error_code(int error);

}  // namespace cairn
