// What a value that lies as ciphertext reads as, for who knows nothing of objects. The functions
// are in objects/encryption.cc, and found when the program is linked.
//
// `meta` is that of its entry (value.h: encrypted_size()). Errors: FailedPrecondition (no key of
// the ring opens it: it is its customer's, disabled, or sealed under another master key), DataLoss
// (it is not what was written).
//
// Threads: any.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/extents/byte_source.h"
#include "core/store/key_ring.h"

namespace cairn {

StatusOr<std::string> plaintext_of(const KeyRing& keys, std::string_view meta,
                                   std::string_view stored);
StatusOr<std::unique_ptr<ByteSource>> plaintext_of(const KeyRing& keys, std::string_view meta,
                                                   std::unique_ptr<ByteSource> stored);

}  // namespace cairn
