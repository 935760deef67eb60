// EVAL, EVALSHA and SCRIPT.
#include <cctype>
#include <utility>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "kv/engine/replicable.h"
#include "kv/script/flags.h"
#include "kv/script/functions.h"
#include "kv/script/sha1.h"
#include "kv/script/state.h"

namespace cairn::kv {

bool parse_shebang(std::string_view source, uint32_t& flags, std::string& why) {
  flags = kScriptPlain;
  if (!source.starts_with("#!")) return true;
  const std::string_view line = source.substr(0, source.find('\n'));
  std::vector<std::string> words;
  if (line.size() == source.size() || line.find('\0') != line.npos) {
    return why = "Invalid script shebang", false;
  }
  if (!split_line(line, words)) return why = "Invalid engine in script shebang", false;
  flags = 0;
  bool first = true;
  for (std::string_view word : words) {
    constexpr std::string_view kFlags = "flags=";
    if (first) {
      first = false;
      if (word == "#!lua") continue;
      return why = cat("Unexpected engine in script shebang: ", shown(word)), false;
    }
    if (!word.starts_with(kFlags))
      return why = cat("Unknown lua shebang option: ", shown(word)), false;
    word.remove_prefix(kFlags.size());
    for (bool more = !word.empty(); more;) {
      const size_t comma = word.find(',');
      const std::string_view flag = word.substr(0, comma);
      more = comma != word.npos;
      word.remove_prefix(more ? comma + 1 : word.size());
      if (!add_script_flag(flag, flags)) {
        return why = cat("Unexpected flag in script shebang: ", shown(flag)), false;
      }
    }
  }
  return true;
}

std::vector<std::string_view> split_words(std::string_view line) {
  constexpr std::string_view kSpaces = " \t\r\v\f";
  std::vector<std::string_view> words;
  for (size_t at = line.find_first_not_of(kSpaces); at != line.npos;) {
    const size_t end = std::min(line.find_first_of(kSpaces, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = line.find_first_not_of(kSpaces, end);
  }
  return words;
}

namespace {
// What a backslash and this mean between double quotes.
char escaped(char c) {
  constexpr std::pair<char, char> kEscapes[] = {
      {'n', '\n'}, {'r', '\r'}, {'t', '\t'}, {'b', '\b'}, {'a', '\a'}};
  for (auto [name, meant] : kEscapes) {
    if (c == name) return meant;
  }
  return c;
}
int hex_digit(char c) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const size_t at = kDigits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  return at == kDigits.npos ? -1 : static_cast<int>(at);
}
bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// From behind its quote to behind the other one. npos: there is none.
size_t read_quoted(std::string_view line, size_t at, char quote, std::string& word) {
  for (; at < line.size() && line[at] != quote; at++) {
    const char next = at + 1 < line.size() ? line[at + 1] : '\0';
    if (line[at] != '\\' || next == '\0' || (quote == '\'' && next != quote)) {
      word += line[at];
      continue;
    }
    at++;
    const int high = next == 'x' && at + 2 < line.size() ? hex_digit(line[at + 1]) : -1;
    const int low = high >= 0 ? hex_digit(line[at + 2]) : -1;
    if (quote == '"' && low >= 0) {
      word += static_cast<char>(high * 16 + low);
      at += 2;
    } else {
      word += quote == '"' ? escaped(next) : next;
    }
  }
  return at < line.size() ? at + 1 : line.npos;
}
}  // namespace

bool split_line(std::string_view line, std::vector<std::string>& words) {
  size_t at = 0;
  for (;;) {
    while (at < line.size() && is_space(line[at])) at++;
    if (at >= line.size()) return true;
    std::string word;
    while (at < line.size() && !is_space(line[at])) {
      const char c = line[at++];
      if (c != '"' && c != '\'') {
        word += c;
        continue;
      }
      at = read_quoted(line, at, c, word);
      if (at == line.npos || (at < line.size() && !is_space(line[at]))) return false;
    }
    words.push_back(std::move(word));
  }
}

bool read_key_count(Context& c, std::string_view not_a_number, int64_t& keys) {
  if (!c.integer(2, keys, not_a_number)) return false;
  if (keys > static_cast<int64_t>(c.args.size()) - 3) {
    c.reply.error("ERR Number of keys can't be greater than number of args");
    return false;
  }
  if (keys < 0) {
    c.reply.error("ERR Number of keys can't be negative");
    return false;
  }
  return true;
}

bool may_begin(Context& c, uint32_t flags) {
  if (flags & kScriptPlain) return true;
  if ((flags & kScriptNoCluster) != 0 && c.engine.server().cluster.enabled) {
    c.reply.error("ERR Can not run script on cluster, 'no-cluster' flag is set.");
    return false;
  }
  if ((c.row.flags & kReadOnly) && !(flags & kScriptNoWrites)) {
    c.reply.error("ERR Can not execute a script with write flag using *_ro command.");
    return false;
  }
  if (flags & (kScriptNoWrites | kScriptAllowOom)) return true;
  const Status room = c.store.check_write(true);
  if (!is_out_of_memory(room)) return true;
  c.reply.error(
      "OOM allow-oom flag is not set on the script, can not run it when used memory > "
      "'maxmemory'");
  return false;
}

namespace {

constexpr size_t kShaSize = 40;

bool fits(Context& c, std::string_view source) {
  if (source.size() <= kSourceBytesMax) return true;
  c.reply.error(cat("ERR a script has at most ", kSourceBytesMax, " bytes"));
  return false;
}

// Compiles it, and remembers it if that goes well; the function is on the state's stack then. False
// after it answered why not.
bool learn(Context& c, std::string_view sha, bool stays) {
  auto script = std::make_shared<Script>();
  script->sha = sha;
  script->source = c.args[c.row.is_subcommand() ? 2 : 1];
  std::string why;
  if (!parse_shebang(script->source, script->flags, why)) {
    c.reply.error(cat("ERR ", why));
    return false;
  }
  LuaState& state = LuaState::of(c.engine);
  if (!state.push_script(*script)) {
    c.reply.error(cat("ERR ", state.take_error()));
    return false;
  }
  if (!c.engine.server().scripts.add(std::move(script), stays)) {
    state.drop();
    c.reply.error("ERR there are too many scripts: SCRIPT FLUSH makes room");
    return false;
  }
  return true;
}

constexpr std::string_view kNoDebugger =
    "ERR there is no debugger of scripts here; redis.log writes to the log";

// redis-cli --ldb hears not that SCRIPT DEBUG was refused, and its user expects that nothing which
// the script writes stays.
bool lacks_debugger(Context& c) {
  if (!std::exchange(c.session.wants_debugger, false)) return false;
  c.reply.error(kNoDebugger);
  return true;
}

void eval(Context& c) {
  if (lacks_debugger(c)) return;
  int64_t keys;
  if (!read_key_count(c, "ERR value is not an integer or out of range", keys)) return;
  if (!fits(c, c.args[1])) return;
  const std::string sha = sha1_hex(c.args[1]);
  LuaState& state = LuaState::of(c.engine);
  uint32_t flags = 0;
  if (!state.push_known(sha, flags)) {
    if (!learn(c, sha, false)) return;
    std::string ignored;
    (void)parse_shebang(c.args[1], flags, ignored);
  }
  if (!may_begin(c, flags)) return state.drop();
  state.run(c, sha, flags, false, keys);
}

void evalsha(Context& c) {
  constexpr std::string_view kNoScript = "NOSCRIPT No matching script. Please use EVAL.";
  if (lacks_debugger(c)) return;
  if (c.args[1].size() != kShaSize) return c.reply.error(kNoScript);
  int64_t keys;
  if (!read_key_count(c, "ERR value is not an integer or out of range", keys)) return;
  LuaState& state = LuaState::of(c.engine);
  std::string_view name = c.args[1];  // in lower case, mostly
  std::string lowered;
  uint32_t flags = 0;
  if (!state.push_known(name, flags)) {
    name = lowered = lower(name);
    const ScriptPtr script = c.engine.server().scripts.find(name);
    if (script == nullptr) return c.reply.error(kNoScript);
    flags = script->flags;
    if (!state.push_known(name, flags) && !state.push_script(*script)) {
      return c.reply.error(cat("ERR ", state.take_error()));
    }
  }
  if (!may_begin(c, flags)) return state.drop();
  state.run(c, name, flags, false, keys);
}

// ---- SCRIPT ----

void script_load(Context& c) {
  if (!fits(c, c.args[2])) return;
  const std::string sha = sha1_hex(c.args[2]);
  if (!learn(c, sha, true)) return;
  LuaState::of(c.engine).drop();
  c.reply.bulk(sha);
}

void script_exists(Context& c) {
  c.reply.array(c.args.size() - 2);
  for (size_t i = 2; i < c.args.size(); i++) {
    c.reply.integer(c.engine.server().scripts.find(lower(c.args[i])) != nullptr);
  }
}

void script_flush(Context& c) {
  const bool known =
      c.args.size() == 2 || (c.args.size() == 3 && (equals_ignoring_case(c.args[2], "sync") ||
                                                    equals_ignoring_case(c.args[2], "async")));
  if (!known) return c.reply.error("ERR SCRIPT FLUSH only support SYNC|ASYNC option");
  c.engine.server().scripts.flush();
  c.reply.ok();
}

void script_kill(Context& c) { kill_scripts(c, false); }

void script_debug(Context& c) {
  const bool wants =
      equals_ignoring_case(c.args[2], "yes") || equals_ignoring_case(c.args[2], "sync");
  if (wants || equals_ignoring_case(c.args[2], "no")) {
    c.session.wants_debugger = wants;
    return wants ? c.reply.error(kNoDebugger) : c.reply.ok();
  }
  c.reply.error("ERR Use SCRIPT DEBUG YES/SYNC/NO");
}

constexpr std::string_view kGroup = "scripting";
constexpr uint32_t kEval = kNoScript | kLongArgs | kMessage;
constexpr Row kRows[] = {
    {"eval", -3, kEval, kKeysOfScript, eval, nullptr, kGroup, "Executes a server-side Lua script.",
     "2.6.0"},
    {"evalsha", -3, kEval, kKeysOfScript, evalsha, nullptr, kGroup,
     "Executes a server-side Lua script by SHA1 digest.", "2.6.0"},
    {"eval_ro", -3, kEval | kReadOnly, kKeysReadByScript, eval, nullptr, kGroup,
     "Executes a read-only server-side Lua script.", "7.0.0"},
    {"evalsha_ro", -3, kEval | kReadOnly, kKeysReadByScript, evalsha, nullptr, kGroup,
     "Executes a read-only server-side Lua script by SHA1 digest.", "7.0.0"},
    {"script",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for Lua scripts management commands.",
     "2.6.0"},
    {"script|debug",
     3,
     kNoScript,
     {},
     script_debug,
     nullptr,
     kGroup,
     "Sets the debug mode of server-side Lua scripts.",
     "3.2.0"},
    {"script|exists",
     -3,
     kNoScript,
     {},
     script_exists,
     nullptr,
     kGroup,
     "Determines whether server-side Lua scripts exist in the script cache.",
     "2.6.0"},
    {"script|flush",
     -2,
     kNoScript,
     {},
     script_flush,
     nullptr,
     kGroup,
     "Removes all server-side Lua scripts from the script cache.",
     "2.6.0"},
    {"script|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "5.0.0"},
    {"script|kill",
     2,
     kNoScript,
     {},
     script_kill,
     nullptr,
     kGroup,
     "Terminates a server-side Lua script during execution.",
     "2.6.0"},
    {"script|load",
     3,
     kNoScript | kLongArgs | kMessage,
     {},
     script_load,
     nullptr,
     kGroup,
     "Loads a server-side Lua script to the script cache.",
     "2.6.0"},
};

}  // namespace

bool says_it_writes_nothing(Server& server, const Request& request) {
  if (request.args.size() < 2) return false;
  const std::string_view name = request.row->name, said = request.args[1];
  uint32_t flags = kScriptPlain;
  std::string why;
  if (name == "eval") {
    if (!parse_shebang(said, flags, why)) return false;
  } else if (name == "evalsha") {
    const ScriptPtr script = server.scripts.find(lower(said));
    if (script != nullptr) flags = script->flags;
  } else if (name == "fcall") {
    for (auto& [_, library] : Functions::of(server).set()->libraries) {
      for (const LibraryFunction& f : library->functions) {
        if (f.name == said) flags = f.flags;
      }
    }
  }
  return (flags & kScriptPlain) == 0 && (flags & kScriptNoWrites) != 0;
}

void kill_scripts(Context& c, bool functions) {
  switch (c.engine.server().running_scripts.kill(functions)) {
    case RunningScripts::Killed::kSome:
      return c.reply.ok();
    case RunningScripts::Killed::kNone:
      return c.reply.error("NOTBUSY No scripts in execution right now.");
    case RunningScripts::Killed::kOfOtherKind:
      return c.reply.error(busy_text(functions ? kBusyScript : kBusyFunction));
    case RunningScripts::Killed::kTooLate:
      return c.reply.error(
          "UNKILLABLE Sorry the script already executed write commands against the dataset. You "
          "can either wait the script termination or kill the server in a hard way using the "
          "SHUTDOWN NOSAVE command.");
  }
}

std::span<const Row> script_rows() { return kRows; }

}  // namespace cairn::kv
