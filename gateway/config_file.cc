#include "gateway/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/base/text.h"

namespace cairn {

namespace {

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// The name that a line gives a value to; empty if it gives none.
std::string_view name_of(std::string_view line) {
  line = trimmed(line);
  const size_t equals = line.find('=');
  if (line.empty() || line[0] == '#' || equals == line.npos) return {};
  std::string_view name = trimmed(line.substr(0, equals));
  if (name.size() >= 2 && name.front() == '"' && name.back() == '"') {
    name = name.substr(1, name.size() - 2);
  }
  return name;
}

}  // namespace

std::string with_settings(std::string_view file, const std::vector<Setting>& settings) {
  std::string top, rest;  // flags are named before the first table
  std::vector<bool> found(settings.size());
  while (!file.empty()) {
    const size_t end = file.find('\n');
    const std::string_view line = file.substr(0, end);
    if (trimmed(line).substr(0, 1) == "[") {
      rest = file;
      break;
    }
    file = end == file.npos ? "" : file.substr(end + 1);
    const std::string_view name = name_of(line);
    bool replaced = false;
    for (size_t i = 0; i < settings.size() && !name.empty(); i++) {
      if (name != settings[i].flag) continue;
      if (!found[i]) append(top, settings[i].flag, " = ", settings[i].value, "\n");
      found[i] = replaced = true;
    }
    if (!replaced) append(top, line, "\n");
  }
  for (size_t i = 0; i < settings.size(); i++) {
    if (found[i] || settings[i].is_default) continue;
    append(top, settings[i].flag, " = ", settings[i].value, "\n");
  }
  return top + rest;
}

Status rewrite_config_file(const std::string& path, const std::vector<Setting>& settings) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream old;
  old << in.rdbuf();
  if (!in) return absl::NotFoundError(cat("cannot read ", path));
  const std::string text = with_settings(old.str(), settings);
  const std::string fresh = path + ".new";
  struct stat st {};
  const mode_t mode = ::stat(path.c_str(), &st) == 0 ? st.st_mode & 0777 : 0600;
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  bool good = fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  good = good && ::fsync(fd) == 0 && ::rename(fresh.c_str(), path.c_str()) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!good) {
    ::unlink(fresh.c_str());
    return absl::InternalError(cat("cannot write ", path, ": ", std::strerror(error)));
  }
  std::string directory = std::filesystem::path(path).parent_path().string();
  if (directory.empty()) directory = ".";
  const int dir = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir >= 0) {
    (void)::fsync(dir);
    ::close(dir);
  }
  return absl::OkStatus();
}

}  // namespace cairn
