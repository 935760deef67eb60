// Checksums: CRC32C for everything the store keeps, and the plain CRCs that S3 clients declare.
//
// All functions are pure and may be called from any thread. A running value starts at 0 and is
// passed back in to continue: crc32c(crc32c(0, a), b) == crc32c(0, a + b).
#pragma once

#include <cstdint>

#include "core/base/types.h"

namespace cairn {

uint32_t crc32c(uint32_t running, Bytes data);  // Castagnoli, RFC 3720 B.4
uint32_t crc32(uint32_t running, Bytes data);   // IEEE 802.3, as gzip
// CRC-64/NVME as S3's x-amz-checksum-crc64nvme: reflected 0xad93d23594c93659, in and out inverted.
uint64_t crc64nvme(uint64_t running, Bytes data);

// The seed that ties a checksum to where its bytes belong, so that a write that landed elsewhere,
// or an old block that stayed, is damage and not data (design.md, "Checksums know their place").
uint32_t place_seed(uint64_t store, uint64_t file, uint64_t offset);

}  // namespace cairn
