#include "kv/commands/acl_rules.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "core/base/text.h"
#include "kv/commands/command_flags.h"

namespace cairn::kv {
namespace {

constexpr std::string_view kCategories[] = {
    "keyspace", "read",   "write",       "set",       "sortedset",  "list",        "hash",
    "string",   "bitmap", "hyperloglog", "geo",       "stream",     "pubsub",      "admin",
    "fast",     "slow",   "blocking",    "dangerous", "connection", "transaction", "scripting"};

constexpr std::string_view kUnknown = "Unknown command or category name in ACL",
                           kSyntax = "Syntax error";
constexpr std::string_view kAllKeysThere =
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have "
    "any effect. Try 'resetkeys' to start with an empty list of patterns";
constexpr std::string_view kAllChannelsThere =
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not "
    "have any effect. Try 'resetchannels' to start with an empty list of channels";
constexpr std::string_view kBadHash =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal "
    "characters";
constexpr std::string_view kNoSuchPassword =
    "The password you are trying to remove from the user does not exist";
constexpr std::string_view kFirstWordOfSub = "Allowing first-arg of a subcommand is not supported";

bool has_blanks(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r'); });
}

bool is_hash(std::string_view text) {
  constexpr size_t kDigits = 64;
  return text.size() == kDigits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

bool is_word(std::string_view rule, std::string_view word) {
  return equals_ignoring_case(rule, word);
}

}  // namespace

std::span<const std::string_view> acl_categories() { return kCategories; }

std::string acl_hash(std::string_view password) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int n = 0;
  EVP_Digest(password.data(), password.size(), digest.data(), &n, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned int i = 0; i < n; i++) {
    out.push_back("0123456789abcdef"[digest[i] >> 4]);
    out.push_back("0123456789abcdef"[digest[i] & 15]);
  }
  return out;
}

// ---- a user ----

void AclDraft::reset() {
  user_ = {};
  acl_ = {};
  acl_.selectors[0].all_channels = open_;
}

bool AclDraft::take(const AclRecord& record) {
  user_ = record;
  acl_ = {};
  std::string_view open;
  const auto rules = join_selectors(words_of(record.rules), open);
  if (!rules) return false;
  for (const std::string& rule : *rules) {
    const std::string_view refused =
        rule[0] == '(' ? add_selector(rule) : set_selector(acl_.selectors[0], rule);
    if (!refused.empty()) return false;
  }
  return true;
}

AclRecord AclDraft::untouched_default() {
  AclRecord r;
  r.on = r.as_started = true;
  r.rules = "~* &* +@all";
  return r;
}

bool AclDraft::is_about_passwords(std::string_view rule) {
  return (!rule.empty() && std::string_view("><#!").find(rule[0]) != rule.npos) ||
         is_word(rule, "nopass") || is_word(rule, "resetpass") || is_word(rule, "reset");
}

AclRecord AclDraft::record() const {
  AclRecord r = user_;
  r.rules = rules_text(acl_);
  return r;
}

// The password that the start gave is one of the list now, as any other.
void AclDraft::forget_started() {
  if (!std::exchange(user_.as_started, false) || !started_) return;
  if (started_->empty()) {
    user_.nopass = true;
  } else {
    add_hash(acl_hash(*started_));
  }
}

void AclDraft::add_hash(std::string hash) {
  if (std::find(user_.hashes.begin(), user_.hashes.end(), hash) == user_.hashes.end()) {
    user_.hashes.push_back(std::move(hash));
  }
}

bool AclDraft::remove_hash(std::string_view hash) {
  return std::erase_if(user_.hashes, [&](const auto& one) { return one == hash; }) > 0;
}

std::string_view AclDraft::set(std::string_view rule) {
  if (rule.empty()) return {};
  const std::string_view rest = rule.substr(1);
  if (is_word(rule, "on")) {
    user_.on = true;
  } else if (is_word(rule, "off")) {
    user_.on = false;
  } else if (is_word(rule, "nopass") || is_word(rule, "resetpass")) {
    user_.as_started = false;
    user_.hashes.clear();
    user_.nopass = is_word(rule, "nopass");
  } else if (is_word(rule, "skip-sanitize-payload")) {
    user_.skips_sanitizing = true;
    user_.sanitizes = false;
  } else if (is_word(rule, "sanitize-payload")) {
    user_.skips_sanitizing = false;
    user_.sanitizes = true;
  } else if (rule[0] == '>' || rule[0] == '#') {
    if (rule[0] == '#' && !is_hash(rest)) return kBadHash;
    // A password that the start made up is not one to be kept and shown: it goes on to be asked
    // for.
    if (started_) forget_started();
    add_hash(rule[0] == '>' ? acl_hash(rest) : std::string(rest));
    user_.nopass = false;
  } else if (rule[0] == '<' || rule[0] == '!') {
    if (rule[0] == '!' && !is_hash(rest)) return kBadHash;
    if (started_) forget_started();
    if (!remove_hash(rule[0] == '<' ? acl_hash(rest) : std::string(rest))) return kNoSuchPassword;
  } else if (rule[0] == '(' && rule.back() == ')') {
    return add_selector(rule);
  } else if (is_word(rule, "clearselectors")) {
    acl_.selectors.resize(1);
  } else if (is_word(rule, "reset")) {
    reset();
    user_.sanitizes = true;
  } else {
    return set_selector(acl_.selectors[0], rule);
  }
  return {};
}

std::string_view AclDraft::add_selector(std::string_view words) {
  constexpr size_t kSelectorsMax = 1024;
  if (acl_.selectors.size() >= kSelectorsMax) return "too many selectors";
  AclSelector s;
  s.all_channels = open_;
  for (const std::string_view rule : words_of(words.substr(1, words.size() - 2))) {
    if (const std::string_view refused = set_selector(s, rule); !refused.empty()) return refused;
  }
  acl_.selectors.push_back(std::move(s));
  return {};
}

// ---- what a selector allows ----

std::string_view AclDraft::set_selector(AclSelector& s, std::string_view rule) {
  if (is_word(rule, "allkeys") || rule == "~*") {
    s.all_keys = true;
    s.keys.clear();
  } else if (is_word(rule, "resetkeys")) {
    s.all_keys = false;
    s.keys.clear();
  } else if (is_word(rule, "allchannels") || rule == "&*") {
    s.all_channels = true;
    s.channels.clear();
  } else if (is_word(rule, "resetchannels")) {
    s.all_channels = false;
    s.channels.clear();
  } else if (is_word(rule, "allcommands") || is_word(rule, "+@all") ||
             is_word(rule, "nocommands") || is_word(rule, "-@all")) {
    const bool all = is_word(rule, "allcommands") || rule[0] == '+';
    s.first_words.clear();
    s.commands.clear();
    for (size_t i = 0; all && i < table_.rows().size(); i++) s.set(i, true);
    s.rules = all ? "+@all" : "-@all";
  } else if (rule[0] == '~' || rule[0] == '%') {
    return add_key_pattern(s, rule);
  } else if (rule[0] == '&') {
    if (s.all_channels) return kAllChannelsThere;
    if (has_blanks(rule)) return kSyntax;
    std::string pattern(rule.substr(1));
    if (std::find(s.channels.begin(), s.channels.end(), pattern) == s.channels.end()) {
      s.channels.push_back(std::move(pattern));
    }
  } else if (rule[0] == '+' || rule[0] == '-') {
    return set_command(s, rule);
  } else {
    return kSyntax;
  }
  return {};
}

std::string_view AclDraft::add_key_pattern(AclSelector& s, std::string_view rule) {
  if (s.all_keys) return kAllKeysThere;
  uint8_t access = 0;
  size_t at = 1;
  if (rule[0] == '~') {
    access = AclSelector::kAny;
  } else {
    for (; at < rule.size() && rule[at] != '~'; at++) {
      const char c = rule[at] >= 'a' ? static_cast<char>(rule[at] - 32) : rule[at];
      const uint8_t one = c == 'R' ? AclSelector::kRead : c == 'W' ? AclSelector::kWrite : 0;
      if (one == 0 || (access & one) != 0) return kSyntax;
      access |= one;
    }
    if (at == rule.size() || access == 0) return kSyntax;
    at++;
  }
  if (has_blanks(rule)) return kSyntax;
  const std::string_view pattern = rule.substr(at);
  for (auto& known : s.keys) {
    if (known.pattern != pattern) continue;
    known.access |= access;
    return {};
  }
  s.keys.push_back({access, std::string(pattern)});
  return {};
}

void AclDraft::set_row(AclSelector& s, const Row& row, bool on) const {
  const size_t index = table_.index_of(row);
  for (size_t i = index; i <= index + row.subcommands; i++) s.set(i, on);
  s.first_words.erase(index);
}

bool AclDraft::set_category(AclSelector& s, std::string_view category, bool on) const {
  if (std::find(std::begin(kCategories), std::end(kCategories), category) ==
      std::end(kCategories)) {
    return false;
  }
  for (const Row& row : table_.rows()) {
    const auto of = categories(row);
    if (std::find(of.begin(), of.end(), category) != of.end()) set_row(s, row, on);
  }
  return true;
}

// A rule takes the place of an earlier one about the same, or about subcommands of it.
void AclDraft::note_rule(AclSelector& s, char sign, const std::string& name) const {
  std::string rules;
  for (const std::string_view rule : words_of(s.rules)) {
    const std::string_view about = rule.substr(1);
    const bool same = about == name || (about.size() > name.size() && about.starts_with(name) &&
                                        about[name.size()] == '|');
    if (!same) append(rules, rules.empty() ? "" : " ", rule);
  }
  append(rules, rules.empty() ? "" : " ", std::string_view(&sign, 1), name);
  s.rules = std::move(rules);
}

std::string_view AclDraft::set_command(AclSelector& s, std::string_view rule) {
  const bool on = rule[0] == '+';
  const std::string name = lower(rule.substr(1));
  if (name.starts_with("@")) {
    if (!set_category(s, name.substr(1), on)) return kUnknown;
    note_rule(s, rule[0], name);
    return {};
  }
  const size_t bar = name.find('|');
  const Row* row = table_.find(std::string_view(name).substr(0, bar));
  if (row == nullptr) return kUnknown;
  if (bar == name.npos) {
    set_row(s, *row, on);
    note_rule(s, rule[0], name);
    return {};
  }
  const std::string_view sub = std::string_view(name).substr(bar + 1);
  if (const Row* of = table_.find_subcommand(*row, sub); row->subcommands > 0) {
    const size_t more = sub.find('|');
    const Row* before =
        more == sub.npos ? nullptr : table_.find_subcommand(*row, sub.substr(0, more));
    if (on && before != nullptr) return kFirstWordOfSub;
    if (of == nullptr) return kUnknown;
    set_row(s, *of, on);
    note_rule(s, rule[0], name);
    return {};
  }
  // Words behind the name of a command without subcommands can be allowed, one by one.
  if (!on || sub.find('|') != sub.npos) return kUnknown;
  if (sub.empty()) return kSyntax;
  const size_t index = table_.index_of(*row);
  if (s.has(index)) return {};
  auto& words = s.first_words[index];
  if (std::find(words.begin(), words.end(), sub) == words.end()) words.emplace_back(sub);
  note_rule(s, '+', name);
  return {};
}

std::optional<std::vector<std::string>> join_selectors(const std::vector<std::string_view>& words,
                                                       std::string_view& open) {
  std::vector<std::string> joined;
  std::string selector;
  for (const std::string_view word : words) {
    if (!word.empty() && word[0] == '(' && word.back() != ')') {  // begins anew, as in Redis
      selector = word;
      open = word;
    } else if (!selector.empty()) {
      append(selector, " ", word);
    } else {
      joined.emplace_back(word);
    }
    if (selector.empty() || selector.back() != ')') continue;
    joined.push_back(std::exchange(selector, {}));
  }
  if (!selector.empty()) return std::nullopt;
  return joined;
}

// ---- as text ----

namespace {
// `told`: as Redis prints it, which reads another pattern behind "~*" no more.
std::string text_of_keys(const AclSelector& s, bool told) {
  if (s.all_keys) return "~*";
  std::string text;
  for (const auto& k : s.keys) {
    const bool any = !told && k.pattern == "*";
    const std::string_view begin = k.access == AclSelector::kAny    ? (any ? "%RW~" : "~")
                                   : k.access == AclSelector::kRead ? "%R~"
                                                                    : "%W~";
    append(text, text.empty() ? "" : " ", begin, k.pattern);
  }
  return text;
}

}  // namespace

std::string keys_text(const AclSelector& s) { return text_of_keys(s, true); }

std::string channels_text(const AclSelector& s) {
  if (s.all_channels) return "&*";
  std::string text;
  for (const auto& pattern : s.channels) append(text, text.empty() ? "" : " ", "&", pattern);
  return text;
}

namespace {
std::string text_of(const AclSelector& s) {
  std::string text = text_of_keys(s, false);
  if (!s.all_channels) append(text, text.empty() ? "" : " ", "resetchannels");
  const std::string channels = channels_text(s);
  if (!channels.empty()) append(text, text.empty() ? "" : " ", channels);
  append(text, " ", s.rules);
  return text;
}
}  // namespace

std::string rules_text(const Acl& acl) {
  std::string text = text_of(acl.selectors[0]);
  for (size_t i = 1; i < acl.selectors.size(); i++) {
    append(text, " (", text_of(acl.selectors[i]), ")");
  }
  return text;
}

std::string line_of(std::string_view user, const AclRecord& record) {
  std::string line = cat("user ", user, record.on ? " on" : " off");
  if (record.nopass) line += " nopass";
  if (record.skips_sanitizing) line += " skip-sanitize-payload";
  if (record.sanitizes) line += " sanitize-payload";
  for (const std::string& hash : record.hashes) append(line, " #", hash);
  append(line, " ", record.rules);
  return line;
}

std::shared_ptr<const CommandRights> compile_acl(const Table& table, std::string_view rules) {
  AclDraft draft(table, false);
  AclRecord record;
  record.rules = rules;
  if (!draft.take(record)) return nullptr;
  return std::make_shared<const Acl>(draft.acl());
}

}  // namespace cairn::kv
