// The limits of the process, with the sum.
//
// What a server may hold beside its data, where --memory is N (or that of the machine):
//
//   buffers of large values   read_chunks() + write_chunks(), 1 MiB each      N / 4, but no more
//                                                            than 512 MiB and no less than 32
//   Redis clients             kClientsPercent of N (maxmemory-clients)         N / 4
//   collections being read    kKeptBytesMax                                   128 MiB
//   commands' own work        workspace()                                     N / 8, 32 to 512 MiB
//   the log's tail            Log::kPendingMax, and frames kept for reuse       5 MiB
//   while it starts           kept_operations(), and 8 MiB for each thread     N / 16
//   values on their way back  Faults: kBuffersMax of kBufferBytes               8 MiB
//   changes that many follow  ChangeFeed::kKeptBytes                          8 MiB
//   answers of gRPC           answers(), those that clients have not taken    N / 8, 32 to 512 MiB
//
// The HTTP door adds a buffer for each connection, of which it has a limit of its own, and the gRPC
// door its quota (gateway/http/door.h, gateway/grpc/door.h). None of this is allocated before it is
// needed: an idle server holds the chunks that the rings know, 32 MiB of it or a 64th of N.
//
// Descriptors: all that the system allows, of which a quarter (kStorageDescriptorsMin to -Max) is
// kept from clients: segments, extent files and rings need them.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace cairn::limits {

// N: what --memory says, or what the machine has.
inline uint64_t memory_of(uint64_t memory_bytes) {
  static const auto machine = static_cast<uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES))) *
                              static_cast<uint64_t>(std::max(0L, ::sysconf(_SC_PAGESIZE)));
  return memory_bytes != 0 ? memory_bytes : machine;
}

// ---- large values (core/extents/chunk_pool.h) ----
// They are lent, so that fewer of them make no stream wait for one that stands still.
inline constexpr size_t kReadChunksMax = 320, kWriteChunksMax = 192, kChunksMin = 16;
inline constexpr uint64_t kChunksPart = 8;  // of the memory, for reading and for writing each
inline size_t read_chunks(uint64_t memory_bytes) {
  return std::clamp<uint64_t>(memory_of(memory_bytes) / kChunksPart >> 20, kChunksMin,
                              kReadChunksMax);
}
inline size_t write_chunks(uint64_t memory_bytes) {
  return std::min(read_chunks(memory_bytes), kWriteChunksMax);
}
inline constexpr uint64_t kKeptChunksPart = 64;  // of the memory, of the chunks that rings know
inline constexpr size_t kKeptChunksMin = 4, kKeptChunksMax = 32;
inline size_t kept_chunks(uint64_t memory_bytes) {
  return std::clamp<uint64_t>(memory_of(memory_bytes) / kKeptChunksPart >> 20, kKeptChunksMin,
                              kKeptChunksMax);
}

// ---- a start (core/store/replay.h) ----
// Of operations and tombstones that wait for the records before them; half as much again where they
// cannot be folded.
inline constexpr uint64_t kKeptOperationsPart = 24;
inline constexpr uint64_t kKeptOperationsMin = 4 << 10, kKeptOperationsMax = 128 << 20;
inline uint64_t kept_operations(uint64_t memory_bytes) {
  return std::clamp(memory_of(memory_bytes) / kKeptOperationsPart, kKeptOperationsMin,
                    kKeptOperationsMax);
}

// ---- descriptors (gateway/net/net.h) ----
inline constexpr uint64_t kDescriptorsMax = 1 << 20;
inline constexpr uint64_t kStorageDescriptorsMin = 64;
inline constexpr uint64_t kStorageDescriptorsMax = 4096;

// ---- clients of the Redis door (kv/engine/client_limits.h, gateway/resp/) ----
inline constexpr uint64_t kClientsMax = 10'000;
inline constexpr int64_t kClientsPercent = 25;                // of memory, for all their buffers
inline constexpr uint64_t kClientsOfAtLeast = 128 << 20;      // where memory counts the index alone
inline constexpr uint64_t kClientsBytesMin = 128 << 10;       // whatever is said: as Redis
inline constexpr uint64_t kAnswerBytesMin = 16 << 10;         // likewise, of one client's answers
inline constexpr uint64_t kQueryBytesMax = 1ull << 30;        // one command, without large words
inline constexpr uint64_t kStrangerQueryBytesMax = 32 << 10;  // the same before AUTH
inline constexpr uint64_t kStrangerWordBytesMax = 16 << 10;
inline constexpr uint64_t kStrangerWordsMax = 10;
inline constexpr size_t kAnswerBytes = 256 << 10;     // gathered before they are sent
inline constexpr uint64_t kKeptBytesMax = 128 << 20;  // of large collections that change while read
// Of all commands together, for what they make across turns (kv/engine/workspace.h).
inline constexpr uint64_t kWorkspacePart = 8;
// An element of a collection. While it is written it is in memory several times: as it came, in the
// operation, in its place, and in frames of the log.
inline constexpr uint64_t kElementBytesMin = 64 << 20, kElementBytesMax = 512 << 20;
inline uint64_t element_bytes_max(uint64_t memory_bytes) {
  return std::clamp(memory_of(memory_bytes) / 8, kElementBytesMin, kElementBytesMax);
}

inline constexpr uint64_t kWorkspaceMin = 32 << 20, kWorkspaceMax = 512 << 20;
inline uint64_t workspace(uint64_t memory_bytes) {
  return std::clamp(memory_of(memory_bytes) / kWorkspacePart, kWorkspaceMin, kWorkspaceMax);
}
inline constexpr int64_t kStallS = 300;  // without a byte in the middle of a large value

// ---- the gRPC door (gateway/grpc/connections.h) ----
inline uint64_t answers(uint64_t memory_bytes) { return workspace(memory_bytes); }

// ---- a clean stop ----
inline constexpr int64_t kPartingMs = 2000;  // for what was begun to be answered

}  // namespace cairn::limits
