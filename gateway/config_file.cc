#include "gateway/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "core/base/text.h"
#include "core/base/utf8.h"

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

constexpr std::pair<char, char> kEscapes[] = {{'b', '\b'}, {'t', '\t'}, {'n', '\n'}, {'f', '\f'},
                                              {'r', '\r'}, {'"', '"'},  {'\\', '\\'}};

void append_utf8(std::string& to, uint32_t c) {
  const auto tail = [&](int shift) {
    to.push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3f)));
  };
  if (c < 0x80) {
    to.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    to.push_back(static_cast<char>(0xc0 | c >> 6));
  } else if (c < 0x10000) {
    to.push_back(static_cast<char>(0xe0 | c >> 12));
    tail(6);
  } else {
    to.push_back(static_cast<char>(0xf0 | c >> 18));
    tail(12);
    tail(6);
  }
  if (c >= 0x80) tail(0);
}

// What stands behind a backslash at the front of `in`, which it is taken from; false: no escape.
bool take_escape(std::string_view& in, std::string& to) {
  if (in.empty()) return false;
  const char letter = in.front();
  in.remove_prefix(1);
  for (const auto& [written, meant] : kEscapes) {
    if (letter == written) return to.push_back(meant), true;
  }
  const size_t digits = letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
  if (digits == 0 || in.size() < digits) return false;
  const auto code = parse_int<uint32_t>(in.substr(0, digits), 16);
  if (!code || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000)) return false;
  in.remove_prefix(digits);
  return append_utf8(to, *code), true;
}

bool is_comment(std::string_view rest) {
  rest = trimmed(rest);
  return rest.empty() || rest.front() == '#';
}

}  // namespace

std::optional<std::string> toml_string(std::string_view text) {
  if (!is_utf8(text)) return std::nullopt;
  std::string out = "\"";
  for (const char c : text) {
    const auto* escape = std::find_if(std::begin(kEscapes), std::end(kEscapes),
                                      [c](const auto& e) { return e.second == c; });
    if (escape != std::end(kEscapes)) {
      append(out, "\\", escape->first);
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      constexpr std::string_view kHex = "0123456789abcdef";
      append(out, "\\u00", kHex[static_cast<unsigned char>(c) >> 4], kHex[c & 15]);
    } else {
      out.push_back(c);
    }
  }
  return out + "\"";
}

std::optional<std::string> string_of_toml(std::string_view value) {
  value = trimmed(value);
  const char quote = value.empty() ? 0 : value.front();
  if (quote != '"' && quote != '\'') return std::nullopt;
  value.remove_prefix(1);
  std::string text;
  while (!value.empty() && value.front() != quote) {
    const char c = value.front();
    value.remove_prefix(1);
    if (c != '\\' || quote == '\'') {
      text.push_back(c);
    } else if (!take_escape(value, text)) {
      return std::nullopt;
    }
  }
  if (value.empty() || !is_comment(value.substr(1))) return std::nullopt;
  return text;
}

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
  mode_t mode = ::stat(path.c_str(), &st) == 0 ? st.st_mode & 0777 : 0600;
  for (const Setting& s : settings) {
    if (s.is_secret && !s.is_default) mode &= 0600;
  }
  ::unlink(fresh.c_str());  // what was left there may be open to others
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  bool good = fd >= 0 && ::fchmod(fd, mode) == 0 &&
              ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
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
