#include "kv/engine/acl.h"

#include <algorithm>

#include "core/base/text.h"
#include "kv/engine/session.h"

namespace cairn::kv {
namespace {

// One element of a pattern against one byte; `at` is then behind it.
bool element_fits(std::string_view pattern, size_t& at, char c) {
  const auto byte = [](char x) { return static_cast<unsigned char>(x); };
  if (pattern[at] == '?') {
    at++;
    return true;
  }
  if (pattern[at] != '[') {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) at++;
    return pattern[at++] == c;
  }
  at++;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) at++;
  bool in = false;
  for (;; at++) {
    if (at >= pattern.size()) break;  // it is not closed: all that is left is in it
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      at++;
      in |= pattern[at] == c;
    } else if (pattern[at] == ']') {
      at++;
      break;
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      const auto a = byte(pattern[at]), b = byte(pattern[at + 2]), x = byte(c);
      in |= std::min(a, b) <= x && x <= std::max(a, b);
      at += 2;
    } else {
      in |= pattern[at] == c;
    }
  }
  return in != negated;
}

}  // namespace

bool acl_matches(std::string_view pattern, std::string_view text) {
  // What stands between two stars is looked for at the first place where it fits: behind a star
  // that came later nothing is tried again before it.
  size_t p = 0, t = 0, star = pattern.npos, behind_star = 0;
  for (;;) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      behind_star = t;
      if (p == pattern.size()) return true;
      continue;
    }
    if (t == text.size()) return p == pattern.size();
    size_t next = p;
    if (p < pattern.size() && element_fits(pattern, next, text[t])) {
      p = next;
      t++;
      continue;
    }
    if (star == pattern.npos) return false;
    p = star + 1;
    t = ++behind_star;
  }
}

bool AclSelector::allows_command(size_t row, const Row& of, const Args& args) const {
  if ((of.flags & kNoAuth) != 0 || has(row)) return true;
  const auto it = first_words.find(row);
  if (it == first_words.end() || args.size() < 2) return false;
  return std::any_of(it->second.begin(), it->second.end(),
                     [&](const auto& word) { return equals_ignoring_case(word, args[1]); });
}

bool AclSelector::allows_key(std::string_view key, uint16_t flags) const {
  if (all_keys) return true;
  const uint8_t wanted =
      static_cast<uint8_t>(((flags & kKeyAccess) != 0 ? kRead : 0) |
                           ((flags & (kKeyInsert | kKeyDelete | kKeyUpdate)) != 0 ? kWrite : 0));
  return std::any_of(keys.begin(), keys.end(), [&](const KeyPattern& k) {
    return (k.access & wanted) == wanted && acl_matches(k.pattern, key);
  });
}

bool AclSelector::allows_channel(std::string_view channel, bool is_pattern) const {
  return all_channels || std::any_of(channels.begin(), channels.end(), [&](const auto& pattern) {
           return is_pattern ? pattern == channel : acl_matches(pattern, channel);
         });
}

bool AclSelector::reads_all() const {
  return all_keys || std::any_of(keys.begin(), keys.end(), [](const KeyPattern& k) {
           return (k.access & kRead) != 0 && k.pattern == "*";
         });
}

namespace {

AclAnswer check_selector(const AclSelector& s, size_t row, const Request& request) {
  const Row& of = *request.row;
  const Args& args = request.args;
  if (!s.allows_command(row, of, args)) return {AclDenied::kCommand, 0};
  for (const Key& key : request.keys) {
    if (!s.allows_key(key.name, key.flags)) return {AclDenied::kKey, key.word};
  }
  if (of.channels == ChannelWords::kNone || s.all_channels) return {};
  const size_t end = of.channels == ChannelWords::kFirst ? 2 : args.size();
  for (size_t i = 1; i < end && i < args.size(); i++) {
    if (!s.allows_channel(args[i], of.channels == ChannelWords::kPatterns)) {
      return {AclDenied::kChannel, i};
    }
  }
  return {};
}

}  // namespace

AclAnswer Acl::check(size_t row, const Request& request) const {
  AclAnswer said{AclDenied::kCommand, 0};
  for (const AclSelector& s : selectors) {
    const AclAnswer answer = check_selector(s, row, request);
    if (answer.denied == AclDenied::kNo) return answer;
    const bool further = answer.denied == said.denied && answer.word > said.word;
    if (answer.denied > said.denied || further) said = answer;
  }
  return said;
}

bool Acl::reads_all(size_t row, const Request& request) const {
  return std::any_of(selectors.begin(), selectors.end(), [&](const AclSelector& s) {
    return check_selector(s, row, request).denied == AclDenied::kNo && s.reads_all();
  });
}

bool Acl::allows_channel(std::string_view channel, bool is_pattern) const {
  return std::any_of(selectors.begin(), selectors.end(),
                     [&](const AclSelector& s) { return s.allows_channel(channel, is_pattern); });
}

// ---- the log ----

void AclLog::add(Entry entry) {
  constexpr int64_t kTogetherMs = 60'000;
  constexpr size_t kLookedAt = 10;
  MutexLock lock(mutex_);
  size_t looked = 0;
  for (auto it = entries_.begin(); it != entries_.end() && looked < kLookedAt; ++it, looked++) {
    const bool same = it->reason == entry.reason && it->context == entry.context &&
                      it->object == entry.object && it->user == entry.user &&
                      entry.at_ms - it->at_ms <= kTogetherMs;
    if (!same) continue;
    it->count++;
    it->at_ms = entry.at_ms;
    it->client = std::move(entry.client);
    entries_.splice(entries_.begin(), entries_, it);
    return;
  }
  entries_.push_front(std::move(entry));
  while (entries_.size() > length_max_) entries_.pop_back();
}

std::vector<AclLog::Entry> AclLog::newest(size_t count) const {
  MutexLock lock(mutex_);
  std::vector<Entry> found;
  for (const Entry& e : entries_) {
    if (found.size() == count) break;
    found.push_back(e);
  }
  return found;
}

void AclLog::clear() {
  MutexLock lock(mutex_);
  entries_.clear();
}

size_t AclLog::length_max() const {
  MutexLock lock(mutex_);
  return length_max_;
}

void AclLog::set_length_max(size_t n) {
  MutexLock lock(mutex_);
  length_max_ = n;
  while (entries_.size() > length_max_) entries_.pop_back();
}

}  // namespace cairn::kv
