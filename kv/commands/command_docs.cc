// COMMAND: what the table says of itself.
#include <algorithm>

#include "core/base/text.h"
#include "kv/commands/command_flags.h"
#include "kv/commands/sort.h"
#include "kv/commands/syntax.h"
#include "kv/engine/engine.h"
#include "kv/types/glob.h"

namespace cairn::kv {
namespace {

std::vector<std::string_view> key_flag_names(uint16_t flags) {
  std::vector<std::string_view> names;
  for (auto [flag, name] :
       {std::pair(kKeyReadOnly, "RO"), std::pair(kKeyReadWrite, "RW"),
        std::pair(kKeyOverwrite, "OW"), std::pair(kKeyRemove, "RM"),
        std::pair(kKeyAccess, "access"), std::pair(kKeyUpdate, "update"),
        std::pair(kKeyInsert, "insert"), std::pair(kKeyDelete, "delete"),
        std::pair(kKeyVariable, "variable_flags"), std::pair(kKeyNotKey, "not_key")}) {
    if (flags & flag) names.emplace_back(name);
  }
  return names;
}

// First word, last word and step, as before there were specifications: of those that follow on each
// other.
struct LegacyRange {
  int first = 0, last = 0, step = 0;
};
LegacyRange legacy_range(const Row& row) {
  LegacyRange r;
  for (const KeySpec& s : row.keys) {
    if (!s.keyword.empty() || s.count_at >= 0) continue;
    if ((s.flags & (kKeyAgain | kKeyUnknown)) != 0) continue;
    if (r.first != 0 && s.first != r.last + r.step) break;
    if (r.first == 0) r.first = s.first;
    r.last = s.last < 0 ? s.last : s.first + s.last;
    r.step = s.step;
  }
  return r;
}

void reply_unknown(Reply& reply, std::string_view what) {
  reply.bulk(what);
  reply.map(2);
  reply.bulk("type");
  reply.bulk("unknown");
  reply.bulk("spec");
  reply.map(0);
}

void reply_begin_search(Reply& reply, const KeySpec& s) {
  if (s.flags & kKeyUnknown) return reply_unknown(reply, "begin_search");
  reply.bulk("begin_search");
  reply.map(2);
  reply.bulk("type");
  if (s.keyword.empty()) {
    reply.bulk("index");
    reply.bulk("spec");
    reply.map(1);
    reply.bulk("index");
    return reply.integer(s.first);
  }
  reply.bulk("keyword");
  reply.bulk("spec");
  reply.map(2);
  reply.bulk("keyword");
  reply.bulk(s.keyword);
  reply.bulk("startfrom");
  reply.integer(s.first);
}

void reply_find_keys(Reply& reply, const KeySpec& s) {
  if (s.flags & kKeyUnknown) return reply_unknown(reply, "find_keys");
  const bool counted = s.count_at >= 0;
  reply.bulk("find_keys");
  reply.map(2);
  reply.bulk("type");
  reply.bulk(counted ? "keynum" : "range");
  reply.bulk("spec");
  reply.map(3);
  reply.bulk(counted ? "keynumidx" : "lastkey");
  reply.integer(counted ? s.count_at : s.last);
  reply.bulk(counted ? "firstkey" : "keystep");
  reply.integer(counted ? s.count_at + s.after_count : s.step);
  reply.bulk(counted ? "keystep" : "limit");
  reply.integer(counted ? s.step : s.limit);
}

void reply_key_specs(Reply& reply, const Row& row) {
  size_t shown = 0;
  for (const KeySpec& s : row.keys) shown += (s.flags & kKeyAgain) == 0;
  reply.set(shown);
  for (const KeySpec& s : row.keys) {
    if (s.flags & kKeyAgain) continue;
    reply.map(3);
    reply.bulk("flags");
    const auto names = key_flag_names(s.flags);
    reply.set(names.size());
    for (auto n : names) reply.simple(n);
    reply_begin_search(reply, s);
    reply_find_keys(reply, s);
  }
}

void reply_tips(Reply& reply, const Row& row) {
  const Syntax* syntax = syntax_of(row.name);
  std::vector<std::string_view> tips;
  std::string_view left = syntax == nullptr ? std::string_view() : syntax->tips;
  while (!left.empty()) {
    const size_t end = std::min(left.find(' '), left.size());
    tips.push_back(left.substr(0, end));
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  reply.set(tips.size());
  for (auto tip : tips) reply.bulk(tip);
}

void reply_command(Context& c, const Row& row) {
  Reply& reply = c.reply;
  reply.array(10);
  reply.bulk(row.name);
  reply.integer(row.arity);
  const auto flags = flag_names(row);
  reply.set(flags.size());
  for (auto n : flags) reply.simple(n);
  const LegacyRange range = legacy_range(row);
  reply.integer(range.first);
  reply.integer(range.last);
  reply.integer(range.step);
  const auto in = categories(row);
  reply.set(in.size());
  for (auto n : in) reply.simple(cat("@", n));
  reply_tips(reply, row);
  reply_key_specs(reply, row);
  row.subcommands == 0 ? reply.set(0) : reply.array(row.subcommands);  // as Redis has it
  for (const Row& sub : c.engine.table().subcommands(row)) reply_command(c, sub);
}

// ---- arguments, from the notation of syntax.cc ----

struct Argument {
  std::string_view name, token;
  std::string_view type = "string";
  std::string_view key_spec;  // the index of its key specification; empty: none
  std::vector<std::string_view> flags;
  std::vector<Argument> parts;  // of a choice or a block
};

class SyntaxParser {
 public:
  explicit SyntaxParser(std::string_view text) : left_(text) {}
  std::vector<Argument> all() { return list(' ', '\0'); }

 private:
  static constexpr std::string_view kEnds = " *+?(){}|";

  bool take(char c) {
    if (left_.empty() || left_.front() != c) return false;
    left_.remove_prefix(1);
    return true;
  }
  std::string_view until(size_t end) {
    end = std::min(end, left_.size());
    const std::string_view part = left_.substr(0, end);
    left_.remove_prefix(end);
    return part;
  }
  void blanks() { until(left_.find_first_not_of(' ')); }

  std::vector<Argument> list(char between, char close) {
    std::vector<Argument> out;
    for (blanks(); !left_.empty(); blanks()) {
      if (close != '\0' && take(close)) break;
      if (between != ' ' && take(between)) continue;
      const size_t before = left_.size();
      out.push_back(argument());
      if (left_.size() == before) break;  // no argument: the notation is broken
    }
    return out;
  }

  Argument argument() {
    Argument a;
    if (take('\'')) {
      a.token = until(left_.find('\''));
      take('\'');
      if (take('=')) {
        thing(a);
      } else {
        a.type = "pure-token";
        a.name = until(left_.find_first_of(kEnds));
      }
    } else {
      thing(a);
    }
    const bool each = take('+'), many = !each && take('*');
    if (take('?')) a.flags.emplace_back("optional");
    if (many || each) a.flags.emplace_back("multiple");
    if (each) a.flags.emplace_back("multiple_token");
    return a;
  }

  void thing(Argument& a) {
    a.name = until(left_.find_first_of(kEnds));
    if (take('(')) {
      a.type = "oneof";
      a.parts = list('|', ')');
    } else if (take('{')) {
      a.type = "block";
      a.parts = list(' ', '}');
    } else {
      take_type(a);
    }
  }

  static void take_type(Argument& a) {
    const size_t colon = a.name.rfind(':');
    if (colon == a.name.npos) return;
    const std::string_view type = a.name.substr(colon + 1);
    if (type.empty() || (type.size() > 1 && !parse_int<int>(type.substr(1)))) return;
    for (auto [letter, name] :
         {std::pair('k', "key"), std::pair('i', "integer"), std::pair('d', "double"),
          std::pair('p', "pattern"), std::pair('u', "unix-time")}) {
      if (type[0] != letter) continue;
      a.type = name;
      a.key_spec = type.substr(1);
      a.name = a.name.substr(0, colon);
    }
  }

  std::string_view left_;
};

void reply_argument(Reply& reply, const Argument& a) {
  const bool token = !a.token.empty() || a.type == "pure-token";
  reply.map(2 + static_cast<size_t>(!a.key_spec.empty()) + static_cast<size_t>(token) +
            static_cast<size_t>(!a.flags.empty()) + static_cast<size_t>(!a.parts.empty()));
  reply.bulk("name");
  reply.bulk(a.name.empty() ? lower(a.token) : std::string(a.name));
  reply.bulk("type");
  reply.bulk(a.type);
  if (!a.key_spec.empty()) {
    reply.bulk("key_spec_index");
    reply.integer(*parse_int<int64_t>(a.key_spec));
  }
  if (token) {
    reply.bulk("token");
    reply.bulk(a.token);
  }
  if (!a.flags.empty()) {
    reply.bulk("flags");
    reply.set(a.flags.size());
    for (auto flag : a.flags) reply.simple(flag);
  }
  if (!a.parts.empty()) {
    reply.bulk("arguments");
    reply.array(a.parts.size());
    for (const Argument& part : a.parts) reply_argument(reply, part);
  }
}

// As the lines of HELP have them: <name>, [optional], (ONE|OTHER).
std::string text_of(const Argument& a, bool of_choice = false);

std::string text_of(const std::vector<Argument>& all, bool choice) {
  std::string text;
  for (const Argument& a : all) {
    append(text, text.empty() ? "" : choice ? "|" : " ", text_of(a, choice));
  }
  return text;
}

// What may come again and is long is not repeated.
std::string repeated(const std::string& text) {
  constexpr size_t kLong = 40;
  return cat(text, " [", text.size() > kLong ? "" : cat(text, " "), "...]");
}

std::string text_of(const Argument& a, bool of_choice) {
  const auto has = [&a](std::string_view flag) {
    return std::find(a.flags.begin(), a.flags.end(), flag) != a.flags.end();
  };
  const bool optional = has("optional") && !of_choice;
  std::string text;
  if (a.type == "oneof") {
    text = text_of(a.parts, true);
    if (!optional || has("multiple") || !a.token.empty()) text = cat("(", text, ")");
  } else if (a.type == "block") {
    text = text_of(a.parts, false);
  } else if (a.type != "pure-token") {
    text = cat("<", a.name, ">");
  }
  const bool each = has("multiple_token");
  if (has("multiple") && !each) text = repeated(text);
  if (!a.token.empty()) text = cat(a.token, text.empty() ? "" : " ", text);
  if (each) text = repeated(text);
  return optional ? cat("[", text, "]") : text;
}

std::vector<Argument> arguments_of(const Row& row) {
  const Syntax* syntax = syntax_of(row.name);
  return SyntaxParser(syntax == nullptr ? std::string_view() : syntax->arguments).all();
}

void reply_docs(Context& c, const Row& row) {
  Reply& reply = c.reply;
  const Syntax* syntax = syntax_of(row.name);
  const std::string_view complexity = syntax == nullptr ? "" : syntax->complexity;
  const auto arguments = arguments_of(row);
  reply.bulk(row.name);
  const Deprecated* old = deprecated(row);
  const bool flagged = old != nullptr || is_of_system(row);
  reply.map(3 + static_cast<size_t>(row.subcommands > 0) +
            static_cast<size_t>(!complexity.empty()) + static_cast<size_t>(!arguments.empty()) +
            static_cast<size_t>(flagged) + (old == nullptr ? 0 : 2));
  reply.bulk("summary");
  reply.bulk(row.summary);
  reply.bulk("since");
  reply.bulk(row.since);
  reply.bulk("group");
  reply.bulk(row.group);
  if (!complexity.empty()) {
    reply.bulk("complexity");
    reply.bulk(complexity);
  }
  if (flagged) {
    reply.bulk("doc_flags");
    reply.set(1);
    reply.simple(old != nullptr ? "deprecated" : "syscmd");
  }
  if (old != nullptr) {
    reply.bulk("deprecated_since");
    reply.bulk(old->since);
    reply.bulk("replaced_by");
    reply.bulk(old->instead);
  }
  if (!arguments.empty()) {
    reply.bulk("arguments");
    reply.array(arguments.size());
    for (const Argument& a : arguments) reply_argument(reply, a);
  }
  if (row.subcommands == 0) return;
  reply.bulk("subcommands");
  reply.map(row.subcommands);
  for (const Row& sub : c.engine.table().subcommands(row)) reply_docs(c, sub);
}

std::vector<const Row*> top_rows(Context& c) {
  std::vector<const Row*> rows;
  for (const Row& row : c.engine.table().rows()) {
    if (!row.is_subcommand()) rows.push_back(&row);
  }
  return rows;
}

// "get", or "client|kill"; null: there is none.
const Row* named_row(Context& c, std::string_view name) {
  const Table& table = c.engine.table();
  const size_t bar = name.find('|');
  const Row* row = table.find(name.substr(0, bar));
  if (row == nullptr || bar == name.npos) return row;
  return table.find_subcommand(*row, name.substr(bar + 1));
}

void command(Context& c) {
  const auto rows = top_rows(c);
  c.reply.array(rows.size());
  for (auto* row : rows) reply_command(c, *row);
}

void command_count(Context& c) { c.reply.integer(static_cast<int64_t>(top_rows(c).size())); }

void command_info(Context& c) {
  if (c.args.size() == 2) return command(c);
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) {
    const Row* row = named_row(c, c.args[i]);
    row == nullptr ? c.reply.null() : reply_command(c, *row);
  }
}

void command_docs(Context& c) {
  std::vector<const Row*> found;
  if (c.args.size() == 2) found = top_rows(c);
  for (size_t i = 2; i < c.args.size(); i++) {
    if (const Row* row = named_row(c, c.args[i])) found.push_back(row);
  }
  c.reply.map(found.size());
  for (auto* row : found) reply_docs(c, *row);
}

using KeyWords = std::vector<std::pair<std::string_view, uint16_t>>;

// Of MIGRATE, as Redis finds them: one word, or those after KEYS, which takes an empty word in
// place of the one.
KeyWords keys_of_migrate(const Row& row, std::span<const std::string_view> words) {
  constexpr size_t kOne = 3, kOptions = 6;
  const uint16_t flags = row.keys[0].flags;
  for (size_t i = kOptions; i + 1 < words.size(); i++) {  // one that is the last word is no KEYS
    if (equals_ignoring_case(words[i], "keys")) {
      KeyWords keys;
      if (!words[kOne].empty()) return keys;
      for (i++; i < words.size(); i++) keys.emplace_back(words[i], flags);
      return keys;
    }
    i += equals_ignoring_case(words[i], "auth") ? 1 : 0;
    i += equals_ignoring_case(words[i], "auth2") ? 2 : 0;
  }
  return {{words[kOne], flags}};
}

// None if a count is not that of the keys that follow on it.
KeyWords keys_of(const Row& row, std::span<const std::string_view> words) {
  if (row.name == "migrate") return keys_of_migrate(row, words);
  KeyWords keys;
  for (const KeySpec& spec : row.keys) {
    const size_t before = keys.size();
    for_each_key(std::span(&spec, 1), words, [&](size_t word, const KeySpec&, uint16_t flags) {
      keys.emplace_back(words[word], flags);
    });
    if (spec.count_at >= 0 && keys.size() == before) return {};
    if (spec.flags & kKeyAgain) keys.resize(before);
  }
  return keys;
}

void reply_keys(Context& c, bool with_flags) {
  const auto words = c.args.words().subspan(2);
  const Row* row = c.engine.table().find(words);
  if (row == nullptr || (row->subcommands > 0 && words.size() > 1)) {
    return c.reply.error("ERR Invalid command specified");
  }
  const auto n = static_cast<int>(words.size());
  if (!row->has_keys()) return c.reply.error("ERR The command has no key arguments");
  if (row->arity > 0 ? n != row->arity : n < -row->arity) {
    return c.reply.error("ERR Invalid number of arguments specified for command");
  }
  const KeyWords keys = keys_of(*row, words);
  const bool may_have_none = row->group == "scripting";  // no-mandatory-keys
  if (keys.empty() && !may_have_none)
    return c.reply.error("ERR Invalid arguments specified for command");
  c.reply.array(keys.size());
  for (auto& [key, flags] : keys) {
    if (with_flags) c.reply.array(2);
    c.reply.bulk(key);
    if (!with_flags) continue;
    const auto names = key_flag_names(flags & ~kKeyVariable);
    c.reply.set(names.size());
    for (auto name : names) c.reply.simple(name);
  }
}
void command_getkeys(Context& c) { reply_keys(c, false); }
void command_getkeysandflags(Context& c) { reply_keys(c, true); }

void command_list(Context& c) {
  std::optional<Glob> pattern;
  std::optional<std::string_view> category;
  if (c.args.size() == 5 && equals_ignoring_case(c.args[2], "filterby")) {
    if (equals_ignoring_case(c.args[3], "pattern")) {
      pattern.emplace(c.args[4], true);
    } else if (equals_ignoring_case(c.args[3], "aclcat")) {
      category = c.args[4];
    } else if (equals_ignoring_case(c.args[3], "module")) {
      return c.reply.array(0);
    } else {
      return c.syntax_error();
    }
  } else if (c.args.size() != 2) {
    return c.syntax_error();
  }
  std::vector<std::string_view> names;
  for (const Row& row : c.engine.table().rows()) {
    if (pattern && !pattern->matches(row.name)) continue;
    const auto in = categories(row);
    const auto is_it = [&](auto n) { return equals_ignoring_case(n, *category); };
    if (category && std::none_of(in.begin(), in.end(), is_it)) continue;
    names.push_back(row.name);
  }
  c.reply.array(names.size());
  for (auto n : names) c.reply.bulk(n);
}

constexpr std::string_view kGroup = "server";
constexpr Row kRows[] = {
    {"command",
     -1,
     kLoading,
     {},
     command,
     nullptr,
     kGroup,
     "Returns detailed information about all commands.",
     "2.8.13"},
    {"command|count",
     2,
     kLoading,
     {},
     command_count,
     nullptr,
     kGroup,
     "Returns a count of commands.",
     "2.8.13"},
    {"command|docs",
     -2,
     kLoading,
     {},
     command_docs,
     nullptr,
     kGroup,
     "Returns documentary information about one, multiple or all commands.",
     "7.0.0"},
    {"command|getkeys",
     -4,
     kLoading | kLongArgs,
     {},
     command_getkeys,
     nullptr,
     kGroup,
     "Extracts the key names from an arbitrary command.",
     "2.8.13"},
    {"command|getkeysandflags",
     -4,
     kLoading | kLongArgs,
     {},
     command_getkeysandflags,
     nullptr,
     kGroup,
     "Extracts the key names and access flags for an arbitrary command.",
     "7.0.0"},
    {"command|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"command|info",
     -2,
     kLoading,
     {},
     command_info,
     nullptr,
     kGroup,
     "Returns information about one, multiple or all commands.",
     "2.8.13"},
    {"command|list",
     -2,
     kLoading | kLongArgs,
     {},
     command_list,
     nullptr,
     kGroup,
     "Returns a list of command names.",
     "7.0.0"},
};

}  // namespace

void help(Context& c) {
  const Table& table = c.engine.table();
  const std::string_view name = c.row.name.substr(0, c.row.name.find('|'));
  const Row& container = *table.find(name);
  c.reply.array(1 + 2 * container.subcommands);
  c.reply.simple(cat(upper(name), " <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
  for (const Row& sub : table.subcommands(container)) {
    const std::string arguments = text_of(arguments_of(sub), false);
    c.reply.simple(
        cat(upper(sub.name.substr(name.size() + 1)), arguments.empty() ? "" : " ", arguments));
    c.reply.simple(cat("    ", sub.summary));
  }
}

std::span<const Row> command_rows() { return kRows; }

}  // namespace cairn::kv
