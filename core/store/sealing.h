// Secrets at rest: what must be read again is sealed under the store's master key, passwords are
// kept as hashes that are slow to compute.
//
//   sealed   = u8 1  nonce[12]  ciphertext  tag[16]                     AES-256-GCM
//   password = u8 1  u8 log2 N  u8 r  u8 p  salt[16]  hash[32]          scrypt (RFC 7914)
//
// Threads: any. hash_password() and check_password() take a tenth of a second and kPasswordBytes of
// memory: not on an I/O loop.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/types.h"

namespace cairn {

class MasterKey {
 public:
  static constexpr size_t kBytes = 32;
  // 32 bytes, as 64 hexadecimal digits. Nothing: it is not that.
  static std::optional<MasterKey> parse(std::string_view hex);
  // From the environment: CAIRN_MASTER_KEY, or the file that CAIRN_MASTER_KEY_FILE names; else from
  // DIR/master-key; where there is none a new one is made, `made` is set, and keep() is to write
  // it, once it is known that nothing is sealed under another one. Errors:
  // InvalidArgument, FailedPrecondition (a file that others can read), Internal.
  static StatusOr<MasterKey> load(const std::string& directory, bool& made);
  Status keep(const std::string& directory) const;  // as DIR/master-key, mode 0600
  static MasterKey random();
  static std::optional<MasterKey> of(std::string_view bytes);  // which are kBytes many
  std::string hex() const;
  std::string_view bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), kBytes}; }

  // `of`: what it belongs to, so that it cannot be taken for another's.
  std::string seal(std::string_view text, std::string_view of) const;
  // Nothing: it was not sealed so, or with another key.
  std::optional<std::string> open(std::string_view sealed, std::string_view of) const;

 private:
  std::array<unsigned char, kBytes> bytes_ = {};
};

// N = 2^14, r = 8, p = 5: of the parameters that OWASP holds for equal, those that take the least
// memory.
inline constexpr uint64_t kPasswordBytes = uint64_t{128} * 8 * (1 << 14);
std::string hash_password(std::string_view password);
// False also where the hash is none.
bool check_password(std::string_view hash, std::string_view password);

void fill_random(void* to, size_t bytes);
// Letters and digits of `letters`, each as likely.
std::string random_text(std::string_view letters, size_t count);

}  // namespace cairn
