// What redis-cli says for a copy of the data set (REPLCONF, SYNC): there are no replicas, but
// whoever says that he wants nothing but a file gets one (kv/commands/rdb_export.h).
#include "core/base/text.h"
#include "kv/commands/alone.h"
#include "kv/commands/rdb_export.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/script/functions.h"

namespace cairn::kv {
namespace {

// "functions", or nothing at all. False after it answered an error.
bool parse_filter(Context& c, std::string_view words, Session::RdbWish& wish) {
  wish.keys = wish.libraries = false;
  while (!words.empty()) {
    const size_t end = std::min(words.find(' '), words.size());
    const std::string_view word = words.substr(0, end);
    words.remove_prefix(std::min(end + 1, words.size()));
    if (word.empty()) continue;
    if (!equals_ignoring_case(word, "functions")) {
      c.reply.error(cat("ERR Unsupported rdb-filter-only option: ", word));
      return false;
    }
    wish.libraries = true;
  }
  return true;
}

void replconf(Context& c) {
  if (c.args.size() % 2 == 0) return c.syntax_error();
  Session::RdbWish wish = c.session.rdb_wish;
  for (size_t i = 1; i < c.args.size(); i += 2) {
    const std::string_view option = c.args[i], value = c.args[i + 1];
    if (equals_ignoring_case(option, "capa")) {  // what is not known of these is nobody's business
      if (equals_ignoring_case(value, "eof")) wish.takes_mark = true;
    } else if (equals_ignoring_case(option, "rdb-only")) {
      int64_t only;
      if (!c.integer(i + 1, only)) return;
      if (only != 0 && only != 1) {
        return c.reply.error("ERR value is out of range, value must between 0 and 1");
      }
      wish.only = only == 1;
    } else if (equals_ignoring_case(option, "rdb-filter-only")) {
      if (!parse_filter(c, value, wish)) return;
    } else if (equals_ignoring_case(option, "listening-port") ||
               equals_ignoring_case(option, "ip-address") || equals_ignoring_case(option, "ack") ||
               equals_ignoring_case(option, "getack")) {
      return no_replication(c);
    } else {
      return c.reply.error(cat("ERR Unrecognized REPLCONF option: ", option));
    }
  }
  c.session.rdb_wish = wish;
  c.reply.ok();
}

// All that is in the file.
bool may_read_all(const Context& c) {
  if (c.session.principal == nullptr || c.session.principal->may_all()) return true;
  const Action reads{c.row.action.door, c.row.action.name, Access::kRead};
  Circumstances from = c.session.circumstances();
  from.granted = c.engine.acl_allows(c.session, c.request);
  for (uint32_t i = 0; i < c.store.databases(); i++) {
    if (!authorize(*c.session.principal, reads, c.store.database(i).name, {}, from)) return false;
  }
  return true;
}

void sync(Context& c) {
  const Session::RdbWish& wish = c.session.rdb_wish;
  if (!wish.only) return no_replication(c);
  if (!wish.takes_mark) {
    // Its length is known when it was sent.
    return c.reply.error("ERR the RDB file is sent with a mark at its end: say REPLCONF capa eof");
  }
  if (!may_read_all(c)) {
    return c.reply.error(
        "NOPERM this user has no permissions to access one of the keys used as arguments");
  }
  if (wish.libraries && known_libraries(c) == nullptr) return;
  c.defer();
}

awaitable<void> sync_deferred(Context& c) {
  const Session::RdbWish& wish = c.session.rdb_wish;
  RdbContents contents;
  contents.keys = wish.keys;
  const auto set = Functions::of(c.engine.server()).set();
  if (wish.libraries) {
    for (const auto& [name, library] : set->libraries)
      contents.libraries.push_back(library->source);
  }
  co_await export_rdb(c, contents);
}

constexpr uint32_t kReplication = kAdmin | kDangerous | kNoScript;
constexpr Row kRows[] = {
    {"replconf",
     -1,
     kReplication | kLoading,
     {},
     replconf,
     nullptr,
     "server",
     "Says what an RDB file that SYNC answers is to have in it.",
     "3.0.0"},
    {"sync",
     1,
     kReplication | kNoMulti,
     {},
     sync,
     sync_deferred,
     "server",
     "Answers all databases as an RDB file, after REPLCONF rdb-only 1.",
     "1.0.0"},
};

}  // namespace
std::span<const Row> sync_rows() { return kRows; }

}  // namespace cairn::kv
