// FUNCTION and FCALL.
#include "kv/script/functions.h"

#include "core/base/text.h"
#include "kv/script/flags.h"
#include "kv/script/function_dump.h"
#include "kv/script/state.h"
#include "kv/types/glob.h"

namespace cairn::kv {

Functions& Functions::of(Server& server) {
  MutexLock lock(server.functions_mutex);
  if (server.functions == nullptr) server.functions = std::make_shared<Functions>();
  return static_cast<Functions&>(*server.functions);
}

namespace {

using Libraries = std::map<std::string, LibraryPtr, std::less<>>;

// ---- what a library says of itself ----

// "#!lua name=mylib" in its first line. An error text, or none.
std::string read_head(std::string_view source, std::string& name) {
  if (!source.starts_with("#!")) return "Missing library metadata";
  const std::string_view line = source.substr(0, source.find('\n'));
  std::vector<std::string> words;
  if (line.size() == source.size() || line.find('\0') != line.npos || !split_line(line, words)) {
    return "Invalid library metadata";
  }
  const std::string_view engine = std::string_view(words[0]).substr(2);
  constexpr std::string_view kName = "name=";
  bool named = false;
  for (size_t i = 1; i < words.size(); i++) {
    const std::string_view value = words[i];
    if (!equals_ignoring_case(value.substr(0, kName.size()), kName)) {
      return cat("Invalid metadata value given: ", shown(value));
    }
    if (named) return "Invalid metadata value, name argument was given multiple times";
    named = true;
    name = value.substr(kName.size());
  }
  if (!named) return "Library name was not given";
  if (!is_library_name(name)) return std::string(kBadLibraryName);
  if (!equals_ignoring_case(engine, "lua")) return cat("Engine '", shown(engine), "' not found");
  return {};
}

// Whom a library comes from.
enum class From : uint8_t {
  kClient,
  kDump,
  kStore,  // it was accepted once
};

// Adds it to `to`, in place of the one of its name if that may be. An error text, or none.
std::string add_library(Context& c, std::string_view source, From from, bool replace, Libraries& to,
                        std::string* name = nullptr) {
  auto library = std::make_shared<Library>();
  library->source = source;
  library->accepted = from == From::kStore;
  if (std::string why = read_head(source, library->name); !why.empty()) return why;
  const bool refused = !replace && to.contains(library->name);
  if (refused && from == From::kClient) {
    return cat("Library '", library->name, "' already exists");
  }
  if (std::string why = LuaState::of(c.engine).load_library(*library); !why.empty()) return why;
  if (refused) return cat("Library ", library->name, " already exists");
  ByText<std::string_view> mine;  // their names, by those in lower case
  for (const LibraryFunction& f : library->functions) mine.emplace(lower(f.name), f.name);
  for (auto& [other_name, other] : to) {
    if (other_name == library->name) continue;
    for (const LibraryFunction& f : other->functions) {
      auto it = mine.find(lower(f.name));
      if (it != mine.end()) return cat("Function ", it->second, " already exists");
    }
  }
  if (name != nullptr) *name = library->name;
  std::string key = library->name;
  to[std::move(key)] = std::move(library);
  return {};
}

bool take_too_long(const Libraries& libraries) {
  int64_t sum = 0;
  for (auto& [name, library] : libraries) sum += library->took_ns;
  return sum > Functions::kLoadNsMax;
}
constexpr std::string_view kTooLong =
    "ERR the libraries of functions take too long to load together";

// Every thread has them all in memory, beside what scripts take.
bool keep_too_much(Context& c, const Libraries& libraries) {
  uint64_t sum = 0;
  for (auto& [name, library] : libraries) sum += library->kept_bytes;
  return sum > script_memory(c.store.memory_bytes()) / Functions::kKeptPart;
}
constexpr std::string_view kKeepTooMuch =
    "ERR the libraries of functions keep too much in memory together";

uint64_t bytes_of(const Libraries& libraries) {
  uint64_t sum = 0;
  for (auto& [name, library] : libraries) sum += library->source.size();
  return sum;
}

// ---- records of the store ----

// All stripes, so that all its records can be looked for; false: it begins again with them.
bool has_all_stripes(Context& c) {
  if (c.locks->all()) return true;
  c.session.lacks().all_stripes = c.again = true;
  return false;
}

// The same for the one of a library's record.
bool has_stripe(Context& c, KeyHash hash) { return c.locks->covers(hash) || has_all_stripes(c); }

// Reads the libraries that the store has, once after its start. False: it begins again.
bool load(Context& c, Functions& functions) {
  if (functions.loaded()) return true;
  if (!has_all_stripes(c)) return false;
  Namespace& system = c.store.system();
  Libraries found;
  for (size_t stripe = 0; stripe < kStripes; stripe++) {
    system.index->for_each(stripe, [&](Entry* e) {
      if (!e->key().starts_with(Functions::kPrefix)) return;
      if (e->is_cold()) {
        c.session.lacking->keys.emplace_back(system.shared_from_this(), std::string(e->key()));
        c.again = true;
        return;
      }
      const std::string why = add_library(c, e->value(), From::kStore, true, found);
      if (why.empty()) return;
      auto broken = std::make_shared<Library>();
      broken->name = e->key().substr(Functions::kPrefix.size());
      broken->source = e->value();
      broken->broken = why;
      std::string name = broken->name;
      found[std::move(name)] = std::move(broken);
    });
  }
  if (!c.again) functions.set_loaded(std::move(found));
  return !c.again;
}

// Makes the libraries of the store these. False after it answered, or has to begin again.
bool store(Context& c, Functions& functions, Libraries libraries) {
  if (c.in_exec) {
    c.reply.error("ERR functions cannot be changed inside MULTI");
    return false;
  }
  if (bytes_of(libraries) > Functions::kBytesMax) {
    c.reply.error("ERR the libraries of functions are too large together");
    return false;
  }
  if (take_too_long(libraries)) {
    c.reply.error(kTooLong);
    return false;
  }
  if (keep_too_much(c, libraries)) {
    c.reply.error(kKeepTooMuch);
    return false;
  }
  Namespace& system = c.store.system();
  const auto before = functions.set();
  Transaction txn(c.store, c.locks, Shape::kSeveral, c.wish());
  const auto key_of = [](std::string_view name) { return cat(Functions::kPrefix, name); };
  for (auto& [name, library] : before->libraries) {
    if (libraries.contains(name)) continue;
    const std::string key = key_of(name);
    const KeyHash hash = system.hash(key);
    if (!has_stripe(c, hash)) return false;
    Entry* e = txn.find(system, key, hash);
    if (e != nullptr && !txn.remove(system, hash, e).ok()) break;
  }
  for (auto& [name, library] : libraries) {
    auto it = before->libraries.find(name);
    if (it != before->libraries.end() && it->second == library) continue;
    const std::string key = key_of(name);
    const KeyHash hash = system.hash(key);
    if (!has_stripe(c, hash)) return false;
    RecordView r;
    r.ns = system.id;
    r.key = key;
    r.value = library->source;
    if (!txn.put(system, hash, r).ok()) break;
  }
  auto lsn = txn.commit();
  c.saw(txn.seen());
  if (!lsn.ok()) {
    c.status_error(lsn.status());
    return false;
  }
  c.session.wrote = true;
  functions.replace(std::move(libraries));
  return true;
}

// Under the lock that lets one at a time change them.
template <class Fn>
void change(Context& c, Fn fn) {
  Functions& functions = Functions::of(c.engine.server());
  MutexLock lock(functions.changing);
  if (load(c, functions)) fn(functions);
}
}  // namespace

std::shared_ptr<const Functions::Set> known_libraries(Context& c) {
  Functions& functions = Functions::of(c.engine.server());
  if (!functions.loaded()) {
    MutexLock lock(functions.changing);
    if (!load(c, functions)) return nullptr;
  }
  return functions.set();
}

namespace {

// ---- FUNCTION ----

void function_load(Context& c) {
  const size_t last = c.args.size() - 1;
  bool replace = false;
  for (size_t i = 2; i < last; i++) {
    if (!equals_ignoring_case(c.args[i], "replace")) {
      return c.reply.error(cat("ERR Unknown option given: ", shown(c.args[i])));
    }
    replace = true;
  }
  change(c, [&](Functions& functions) {
    Libraries libraries = functions.set()->libraries;
    std::string name;
    const std::string why = add_library(c, c.args[last], From::kClient, replace, libraries, &name);
    if (!why.empty()) return c.reply.error(cat("ERR ", why));
    if (store(c, functions, std::move(libraries)) && !c.again) c.reply.bulk(name);
  });
}

void function_delete(Context& c) {
  change(c, [&](Functions& functions) {
    Libraries libraries = functions.set()->libraries;
    auto it = libraries.find(c.args[2]);
    if (it == libraries.end()) return c.reply.error("ERR Library not found");
    libraries.erase(it);
    if (store(c, functions, std::move(libraries)) && !c.again) c.reply.ok();
  });
}

void refuse_count(Context& c) {
  c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '", shown(c.args[1]),
                    "'. Try FUNCTION HELP."));
}

void function_flush(Context& c) {
  if (c.args.size() > 3) return refuse_count(c);
  const bool said =
      c.args.size() == 2 || (c.args.size() == 3 && (equals_ignoring_case(c.args[2], "sync") ||
                                                    equals_ignoring_case(c.args[2], "async")));
  if (!said) return c.reply.error("ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
  change(c, [&](Functions& functions) {
    if (store(c, functions, {}) && !c.again) c.reply.ok();
  });
}

void reply_flags(Reply& reply, uint32_t flags) {
  size_t n = 0;
  for (auto& [name, flag] : kScriptFlagNames) n += (flags & flag) != 0;
  reply.set(n);
  for (auto& [name, flag] : kScriptFlagNames) {
    if (flags & flag) reply.simple(name);
  }
}

void reply_library(Reply& reply, const Library& library, bool with_code) {
  reply.map(with_code ? 4 : 3);
  reply.bulk("library_name");
  reply.bulk(library.name);
  reply.bulk("engine");
  reply.bulk("LUA");
  reply.bulk("functions");
  reply.array(library.functions.size());
  for (const LibraryFunction& f : library.functions) {
    reply.map(3);
    reply.bulk("name");
    reply.bulk(f.name);
    reply.bulk("description");
    f.description ? reply.bulk(*f.description) : reply.null();
    reply.bulk("flags");
    reply_flags(reply, f.flags);
  }
  if (!with_code) return;
  reply.bulk("library_code");
  reply.bulk(library.source);
}

void function_list(Context& c) {
  std::optional<Glob> pattern;
  bool with_code = false;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (!with_code && equals_ignoring_case(c.args[i], "withcode")) {
      with_code = true;
    } else if (!pattern && equals_ignoring_case(c.args[i], "libraryname")) {
      if (++i >= c.args.size()) return c.reply.error("ERR library name argument was not given");
      pattern.emplace(c.args[i], true);
    } else {
      return c.reply.error(cat("ERR Unknown argument ", shown(c.args[i])));
    }
  }
  const auto set = known_libraries(c);
  if (set == nullptr) return;
  std::vector<const Library*> shown;
  for (auto& [name, library] : set->libraries) {
    if (!pattern || pattern->matches(name)) shown.push_back(library.get());
  }
  c.reply.array(shown.size());
  for (const Library* library : shown) reply_library(c.reply, *library, with_code);
}

void function_stats(Context& c) {
  const auto set = known_libraries(c);
  if (set == nullptr) return;
  c.reply.map(2);
  c.reply.bulk("running_script");
  const bool running = c.engine.server().running_scripts.oldest([&](auto& r) {
    c.reply.map(3);
    c.reply.bulk("name");
    c.reply.bulk(r.name);
    c.reply.bulk("command");
    const auto words = split_words(r.command);
    c.reply.array(words.size());
    for (auto word : words) c.reply.bulk(word);
    c.reply.bulk("duration_ms");
    c.reply.integer((steady_ns() - r.begun_ns) / 1'000'000);
  });
  if (!running) c.reply.null();
  c.reply.bulk("engines");
  c.reply.map(1);
  c.reply.bulk("LUA");
  c.reply.map(2);
  c.reply.bulk("libraries_count");
  c.reply.integer(static_cast<int64_t>(set->libraries.size()));
  c.reply.bulk("functions_count");
  c.reply.integer(static_cast<int64_t>(set->functions));
}

void function_kill(Context& c) { kill_scripts(c, true); }

void function_dump(Context& c) {
  const auto set = known_libraries(c);
  if (set == nullptr) return;
  std::vector<std::string_view> sources;
  for (auto& [name, library] : set->libraries) sources.push_back(library->source);
  c.reply.bulk(dump_libraries(sources));
}

void function_restore(Context& c) {
  enum class Policy : uint8_t { kAppend, kFlush, kReplace } policy = Policy::kAppend;
  if (c.args.size() > 4) return refuse_count(c);
  if (c.args.size() == 4) {
    if (equals_ignoring_case(c.args[3], "flush")) {
      policy = Policy::kFlush;
    } else if (equals_ignoring_case(c.args[3], "replace")) {
      policy = Policy::kReplace;
    } else if (!equals_ignoring_case(c.args[3], "append")) {
      return c.reply.error(
          "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.");
    }
  }
  bool bad;
  const auto sources = read_libraries(c.args[2], bad);
  if (!sources) return c.reply.error("ERR DUMP payload version or checksum are wrong");
  if (bad) return c.reply.error("ERR failed loading functions");
  change(c, [&](Functions& functions) {
    Libraries libraries;
    if (policy != Policy::kFlush) libraries = functions.set()->libraries;
    for (const std::string& source : *sources) {
      const bool replace = policy == Policy::kReplace;
      const std::string why = add_library(c, source, From::kDump, replace, libraries);
      if (!why.empty()) return c.reply.error(cat("ERR ", why));
      if (take_too_long(libraries)) return c.reply.error(kTooLong);
    }
    if (store(c, functions, std::move(libraries)) && !c.again) c.reply.ok();
  });
}

// ---- FCALL ----

void fcall(Context& c) {
  if (known_libraries(c) == nullptr) return;
  LuaState& state = LuaState::of(c.engine);
  uint32_t flags = 0;
  std::string why;
  if (!state.push_function(c.args[1], flags, why)) return c.reply.error(cat("ERR ", why));
  int64_t keys;
  if (!read_key_count(c, "ERR Bad number of keys provided", keys) || !may_begin(c, flags)) {
    return state.drop();
  }
  const std::string name(c.args[1]);
  state.run(c, name, flags, true, keys);
}

constexpr std::string_view kGroup = "scripting";
constexpr uint32_t kChange = kWrite | kNoScript;
constexpr uint32_t kLong = kLongArgs | kMessage;
constexpr Row kRows[] = {
    {"fcall", -3, kNoScript | kLong, kKeysOfScript, fcall, nullptr, kGroup, "Invokes a function.",
     "7.0.0"},
    {"fcall_ro", -3, kNoScript | kReadOnly | kLong, kKeysReadByScript, fcall, nullptr, kGroup,
     "Invokes a read-only function.", "7.0.0"},
    {"function",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for function commands.",
     "7.0.0"},
    {"function|delete",
     3,
     kChange,
     {},
     function_delete,
     nullptr,
     kGroup,
     "Deletes a library and its functions.",
     "7.0.0"},
    {"function|dump",
     2,
     kNoScript,
     {},
     function_dump,
     nullptr,
     kGroup,
     "Dumps all libraries into a serialized binary payload.",
     "7.0.0"},
    {"function|flush",
     -2,
     kChange,
     {},
     function_flush,
     nullptr,
     kGroup,
     "Deletes all libraries and functions.",
     "7.0.0"},
    {"function|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "7.0.0"},
    {"function|kill",
     2,
     kNoScript,
     {},
     function_kill,
     nullptr,
     kGroup,
     "Terminates a function during execution.",
     "7.0.0"},
    {"function|list",
     -2,
     kNoScript,
     {},
     function_list,
     nullptr,
     kGroup,
     "Returns information about all libraries.",
     "7.0.0"},
    {"function|load",
     -3,
     kChange | kDenyOom | kLong,
     {},
     function_load,
     nullptr,
     kGroup,
     "Creates a library.",
     "7.0.0"},
    {"function|restore",
     -3,
     kChange | kDenyOom | kLong,
     {},
     function_restore,
     nullptr,
     kGroup,
     "Restores all libraries from a payload.",
     "7.0.0"},
    {"function|stats",
     2,
     kNoScript,
     {},
     function_stats,
     nullptr,
     kGroup,
     "Returns information about a function during execution.",
     "7.0.0"},
};

}  // namespace

std::span<const Row> function_rows() { return kRows; }

}  // namespace cairn::kv
