#include "core/store/sealing.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "core/base/text.h"

namespace cairn {
namespace {

constexpr size_t kNonce = 12, kTag = 16, kSalt = 16, kHash = 32;
constexpr char kSealedAs = 1, kHashedAs = 1;
constexpr int kLogN = 14, kR = 8, kP = 5;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* c) const { EVP_CIPHER_CTX_free(c); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

std::string scrypt(std::string_view password, std::string_view salt, int log_n, int r, int p) {
  std::string out(kHash, '\0');
  constexpr uint64_t kMemoryMax = uint64_t{256} << 20;
  const bool done =
      EVP_PBE_scrypt(password.data(), password.size(), bytes_of(salt), salt.size(),
                     uint64_t{1} << log_n, static_cast<uint64_t>(r), static_cast<uint64_t>(p),
                     kMemoryMax, bytes_of(out), out.size()) == 1;
  return done ? out : std::string();
}

// Reads a short file that nobody but its owner may read. NotFound: there is none.
StatusOr<std::string> read_private(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    const int error = errno;
    const std::string text = cat("cannot read ", path, ": ", std::strerror(error));
    return error == ENOENT ? absl::NotFoundError(text) : absl::InternalError(text);
  }
  struct stat st {};
  char text[256];
  const ssize_t n = ::read(fd, text, sizeof(text));
  const bool open_to_others = ::fstat(fd, &st) != 0 || (st.st_mode & 077) != 0;
  ::close(fd);
  if (open_to_others) {
    return absl::FailedPreconditionError(cat(path, " is readable by others; chmod it to 0600"));
  }
  std::string_view line(text, n > 0 ? static_cast<size_t>(n) : 0);
  return std::string(line.substr(0, line.find('\n')));
}

Status write_private(const std::string& directory, const std::string& path,
                     const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const int dir = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool written = fd >= 0 && dir >= 0 &&
                       ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0 && ::fsync(dir) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (dir >= 0) ::close(dir);
  if (written) return absl::OkStatus();
  return absl::InternalError(cat("cannot write ", path, ": ", std::strerror(error)));
}

}  // namespace

void fill_random(void* to, size_t bytes) {
  if (RAND_bytes(static_cast<unsigned char*>(to), static_cast<int>(bytes)) != 1) {
    throw std::runtime_error("no random bytes to be had");
  }
}

std::string random_text(std::string_view letters, size_t count) {
  std::string out;
  const size_t fair = 256 - 256 % letters.size();
  while (out.size() < count) {
    unsigned char byte = 0;
    fill_random(&byte, 1);
    if (byte < fair) out.push_back(letters[byte % letters.size()]);
  }
  return out;
}

MasterKey MasterKey::random() {
  MasterKey key;
  fill_random(key.bytes_.data(), kBytes);
  return key;
}

std::optional<MasterKey> MasterKey::of(std::string_view bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  MasterKey key;
  std::memcpy(key.bytes_.data(), bytes.data(), kBytes);
  return key;
}

std::optional<MasterKey> MasterKey::parse(std::string_view hex) {
  if (hex.size() != 2 * kBytes) return std::nullopt;
  MasterKey key;
  for (size_t i = 0; i < kBytes; i++) {
    const auto byte = parse_int<uint8_t>(hex.substr(2 * i, 2), 16);
    if (!byte) return std::nullopt;
    key.bytes_[i] = *byte;
  }
  return key;
}

std::string MasterKey::hex() const {
  std::string out;
  for (unsigned char c : bytes_) {
    out.push_back("0123456789abcdef"[c >> 4]);
    out.push_back("0123456789abcdef"[c & 15]);
  }
  return out;
}

StatusOr<MasterKey> MasterKey::load(const std::string& directory, bool& made) {
  made = false;
  const auto parsed = [](std::string_view text, std::string_view from) -> StatusOr<MasterKey> {
    if (auto key = parse(text)) return *key;
    return absl::InvalidArgumentError(cat(from, " does not hold 64 hexadecimal digits"));
  };
  if (const char* text = std::getenv("CAIRN_MASTER_KEY")) return parsed(text, "CAIRN_MASTER_KEY");
  if (const char* file = std::getenv("CAIRN_MASTER_KEY_FILE")) {
    auto text = read_private(file);
    return text.ok() ? parsed(*text, file) : text.status();
  }
  const std::string path = directory + "/master-key";
  auto text = read_private(path);
  if (text.ok()) return parsed(*text, path);
  if (!absl::IsNotFound(text.status())) return text.status();
  made = true;
  return random();
}

Status MasterKey::keep(const std::string& directory) const {
  return write_private(directory, directory + "/master-key", hex() + "\n");
}

std::string MasterKey::seal(std::string_view text, std::string_view of) const {
  std::string out(1 + kNonce + text.size() + kTag, '\0');
  out[0] = kSealedAs;
  unsigned char* const nonce = bytes_of(out) + 1;
  unsigned char* const body = nonce + kNonce;
  fill_random(nonce, kNonce);
  const Cipher c(EVP_CIPHER_CTX_new());
  int n = 0;
  const bool done =
      EVP_EncryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, bytes_.data(), nonce) == 1 &&
      EVP_EncryptUpdate(c.get(), nullptr, &n, bytes_of(of), static_cast<int>(of.size())) == 1 &&
      EVP_EncryptUpdate(c.get(), body, &n, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_EncryptFinal_ex(c.get(), body + text.size(), &n) == 1 &&
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_GET_TAG, kTag, body + text.size()) == 1;
  if (!done) throw std::runtime_error("AES-256-GCM does not work");
  return out;
}

std::optional<std::string> MasterKey::open(std::string_view sealed, std::string_view of) const {
  if (sealed.size() < 1 + kNonce + kTag || sealed[0] != kSealedAs) return std::nullopt;
  const std::string_view nonce = sealed.substr(1, kNonce);
  const std::string_view body = sealed.substr(1 + kNonce, sealed.size() - 1 - kNonce - kTag);
  std::string tag(sealed.substr(sealed.size() - kTag)), out(body.size(), '\0');
  const Cipher c(EVP_CIPHER_CTX_new());
  int n = 0;
  const bool done =
      EVP_DecryptInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, bytes_.data(), bytes_of(nonce)) ==
          1 &&
      EVP_DecryptUpdate(c.get(), nullptr, &n, bytes_of(of), static_cast<int>(of.size())) == 1 &&
      EVP_DecryptUpdate(c.get(), bytes_of(out), &n, bytes_of(body),
                        static_cast<int>(body.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(c.get(), bytes_of(out) + out.size(), &n) == 1;
  if (!done) return std::nullopt;
  return out;
}

std::string hash_password(std::string_view password) {
  std::string salt(kSalt, '\0');
  fill_random(salt.data(), salt.size());
  const std::string hash = scrypt(password, salt, kLogN, kR, kP);
  if (hash.empty()) throw std::runtime_error("scrypt does not work");
  return cat(kHashedAs, static_cast<char>(kLogN), static_cast<char>(kR), static_cast<char>(kP),
             salt, hash);
}

bool check_password(std::string_view hash, std::string_view password) {
  if (hash.size() != 4 + kSalt + kHash || hash[0] != kHashedAs) return false;
  // Others would take more time or memory than anybody has set aside for it.
  const auto number = [hash](size_t i) { return int{static_cast<unsigned char>(hash[i])}; };
  const int log_n = number(1), r = number(2), p = number(3);
  if (log_n < 1 || log_n > 17 || r < 1 || r > 8 || p < 1 || p > 16) return false;
  const std::string made = scrypt(password, hash.substr(4, kSalt), log_n, r, p);
  const std::string_view kept = hash.substr(4 + kSalt);
  return made.size() == kept.size() && CRYPTO_memcmp(made.data(), kept.data(), kept.size()) == 0;
}

}  // namespace cairn
