#include "kv/engine/slowlog.h"

#include <algorithm>
#include <utility>

#include "core/base/text.h"
#include "kv/engine/command.h"

namespace cairn::kv {

namespace {

// Whether the word is one of the `count` words behind this option.
bool follows_option(const Args& args, size_t word, std::string_view option, size_t count) {
  for (size_t back = 1; back <= count && back < word; back++) {
    if (equals_ignoring_case(args[word - back], option)) return true;
  }
  return false;
}

bool is_secret_parameter(std::string_view name) {
  constexpr std::string_view kSecrets[] = {"requirepass", "masterauth", "masteruser",
                                           "tls-key-file-pass", "tls-client-key-file-pass"};
  return std::any_of(std::begin(kSecrets), std::end(kSecrets),
                     [&](auto secret) { return equals_ignoring_case(secret, name); });
}

}  // namespace

bool is_secret(const Row& row, const Args& args, size_t word) {
  if (row.name == "auth") return word >= 1;
  if (row.name == "hello") return follows_option(args, word, "auth", 2);
  if (row.name == "config|set") {
    return word >= 3 && word % 2 == 1 && is_secret_parameter(args[word - 1]);
  }
  if (row.name.substr(0, 4) == "acl|") return word >= 2 && row.name != "acl|cat";
  if (row.name == "migrate") {
    return follows_option(args, word, "auth", 1) || follows_option(args, word, "auth2", 2);
  }
  return false;
}

std::vector<std::string> Slowlog::shown(const Row& row, const Args& args) {
  constexpr size_t kWordsMax = 32, kBytesMax = 128;
  const size_t shown = args.size() > kWordsMax ? kWordsMax - 1 : args.size();
  std::vector<std::string> words;
  words.reserve(std::min(args.size(), kWordsMax));
  for (size_t i = 0; i < shown; i++) {
    if (is_secret(row, args, i)) {
      words.emplace_back(kRedacted);
      continue;
    }
    std::string& word = words.emplace_back(args[i].substr(0, kBytesMax));
    const uint64_t length = args.length(i);
    if (length > word.size()) append(word, "... (", length - word.size(), " more bytes)");
  }
  if (shown < args.size()) {
    words.push_back(cat("... (", args.size() - shown, " more arguments)"));
  }
  return words;
}

void Slowlog::add(Entry entry) {
  MutexLock lock(mutex_);
  entry.id = next_id_++;
  entries_.push_front(std::move(entry));
  cut();
}

void Slowlog::cut() {
  while (entries_.size() > length_max()) entries_.pop_back();
}

std::vector<Slowlog::Entry> Slowlog::newest(size_t most) const {
  MutexLock lock(mutex_);
  const auto n = static_cast<ptrdiff_t>(std::min(most, entries_.size()));
  return {entries_.begin(), entries_.begin() + n};
}

size_t Slowlog::size() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

void Slowlog::clear() {
  MutexLock lock(mutex_);
  entries_.clear();
}

void Slowlog::set_length_max(uint64_t most) {
  MutexLock lock(mutex_);
  length_max_ = most;
  cut();
}

}  // namespace cairn::kv
