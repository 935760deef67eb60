#include "gateway/auth/credentials.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/base/text.h"
#include "objects/digest.h"

namespace cairn {

std::string random_hex(size_t bytes) {
  std::string raw(bytes, '\0'), out;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(raw.data()), static_cast<int>(bytes)) != 1) {
    throw std::runtime_error("no random bytes to be had");
  }
  for (unsigned char c : raw) {
    out.push_back("0123456789abcdef"[c >> 4]);
    out.push_back("0123456789abcdef"[c & 15]);
  }
  return out;
}

namespace {

// Makes an empty file that outlives a crash.
Status make_marker(const std::string& directory, const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const int dir = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool made = fd >= 0 && dir >= 0 && ::fsync(fd) == 0 && ::fsync(dir) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (dir >= 0) ::close(dir);
  if (made) return absl::OkStatus();
  return absl::InternalError(cat("cannot write ", path, ": ", std::strerror(error)));
}

// User and password; none if the header is not made as it should be.
std::optional<std::pair<std::string, std::string>> claim_in(std::string_view authorization) {
  const size_t blank = authorization.find(' ');
  if (blank == authorization.npos) return std::nullopt;
  const std::string_view scheme = authorization.substr(0, blank);
  const std::string_view token = authorization.substr(blank + 1);
  if (equals_ignoring_case(scheme, "bearer")) return std::pair("default", std::string(token));
  if (!equals_ignoring_case(scheme, "basic")) return std::nullopt;
  constexpr size_t kTextMax = 16 << 10;  // with the token of a session
  const auto pair = objects::base64_decode(token, kTextMax);
  const size_t colon = pair ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos) return std::nullopt;
  return std::pair(pair->substr(0, colon), pair->substr(colon + 1));
}

}  // namespace

PrincipalPtr authenticate(const Users& users, std::string_view authorization) {
  const auto claim = claim_in(authorization);
  return claim ? users.authenticate(claim->first, claim->second) : nullptr;
}

StatusOr<PrincipalPtr> authenticate_at_once(const Users& users, std::string_view authorization,
                                            std::string_view peer) {
  const auto claim = claim_in(authorization);
  if (!claim) return PrincipalPtr();
  return users.authenticate_at_once(claim->first, claim->second, peer);
}

awaitable<StatusOr<PrincipalPtr>> authenticate_patiently(const Users& users,
                                                         std::string authorization,
                                                         std::string_view peer) {
  auto claim = claim_in(authorization);
  if (!claim) co_return PrincipalPtr();
  co_return co_await users.authenticate_patiently(std::move(claim->first), std::move(claim->second),
                                                  peer);
}

std::string claimed_user(std::string_view authorization) {
  const auto claim = claim_in(authorization);
  return claim ? claim->first : "";
}

StatusOr<RootCredentials> load_root_credentials(const std::string& data_directory) {
  RootCredentials c;
  const std::string marker = data_directory + "/root-configured";
  const char* user = std::getenv("CAIRN_ROOT_USER");
  const char* password = std::getenv("CAIRN_ROOT_PASSWORD");
  if ((user == nullptr) != (password == nullptr)) {
    return absl::InvalidArgumentError(
        "set both CAIRN_ROOT_USER and CAIRN_ROOT_PASSWORD, or neither");
  }
  if (user != nullptr) {
    c.user = user;
    c.password = password;
    c.configured = true;
    if (c.user.empty() || c.password.size() < 8) {
      return absl::InvalidArgumentError(
          "CAIRN_ROOT_USER must not be empty and CAIRN_ROOT_PASSWORD needs at least 8 "
          "characters");
    }
    Status marked = make_marker(data_directory, marker);
    if (!marked.ok()) return marked;
    return c;
  }
  // Whoever locked the store once wants it locked: no other password is invented for it, and the
  // Redis door does not open without one.
  if (::access(marker.c_str(), F_OK) == 0 || errno != ENOENT) {
    return absl::FailedPreconditionError(cat(
        "this store was served with a password of yours, and none is given now: set both "
        "CAIRN_ROOT_USER and CAIRN_ROOT_PASSWORD (new ones take effect at once), or remove ",
        marker, " to have a random password and, on loopback, a Redis door that asks for none"));
  }
  const std::string path = data_directory + "/root-credentials";
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    struct stat st;
    char text[512];
    ssize_t n = ::read(fd, text, sizeof(text));
    bool open_to_others = ::fstat(fd, &st) != 0 || (st.st_mode & 077) != 0;
    ::close(fd);
    if (open_to_others) {
      return absl::FailedPreconditionError(cat(path, " is readable by others; chmod it to 0600"));
    }
    std::string_view line(text, n > 0 ? static_cast<size_t>(n) : 0);
    line = line.substr(0, line.find('\n'));
    size_t colon = line.find(':');
    if (colon == line.npos || colon == 0 || colon + 1 == line.size()) {
      return absl::FailedPreconditionError(cat(path, " does not hold USER:PASSWORD"));
    }
    c.user = line.substr(0, colon);
    c.password = line.substr(colon + 1);
    return c;
  }
  c.user = "root";
  c.password = random_hex(16);
  c.fresh = true;
  fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  std::string line = cat(c.user, ":", c.password, "\n");
  bool written = fd >= 0 &&
                 ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size()) &&
                 ::fsync(fd) == 0;
  int error = errno;
  if (fd >= 0) ::close(fd);
  if (!written) return absl::InternalError(cat("cannot write ", path, ": ", std::strerror(error)));
  return c;
}

}  // namespace cairn
