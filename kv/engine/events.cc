#include "kv/engine/events.h"

#include <utility>

#include "core/base/text.h"

namespace cairn::kv {

namespace {

constexpr std::pair<char, Events::Class> kLetters[] = {
    {'A', Events::kAll},       {'g', Events::kGeneric},  {'$', Events::kString},
    {'l', Events::kList},      {'s', Events::kSet},      {'h', Events::kHash},
    {'z', Events::kSortedSet}, {'x', Events::kExpired},  {'e', Events::kEvicted},
    {'t', Events::kStream},    {'d', Events::kModule},   {'n', Events::kNew},
    {'K', Events::kKeyspace},  {'E', Events::kKeyevent}, {'m', Events::kKeyMiss},
};

// The number of a database, or the name of a bucket.
std::string_view shown_name(const Namespace& ns) {
  std::string_view name = ns.name;
  if (!ns.is_bucket()) name.remove_prefix(2);  // "db3"
  return name;
}

}  // namespace

bool Events::set(std::string_view letters) {
  uint32_t told = 0;
  for (const char letter : letters) {
    uint32_t classes = 0;
    for (const auto& [known, of] : kLetters) {
      if (known == letter) classes |= of;
    }
    if (classes == 0) return false;
    told |= classes;
  }
  MutexLock lock(mutex_);
  const bool before = told_.exchange(told, std::memory_order_relaxed) != 0;
  listeners_.interest(int{told != 0} - int{before});
  return true;
}

std::string Events::text() const {
  const uint32_t told = told_.load(std::memory_order_relaxed);
  std::string text;
  const bool all = (told & kAll) == kAll;
  for (const auto& [letter, of] : kLetters) {
    if (letter == 'A' ? all : (told & of) != 0 && !(all && (of & kAll) != 0)) text += letter;
  }
  return text;
}

void Events::tell(const Namespace& ns, Class of, std::string_view event, std::string_view key) {
  if (!tells(of)) return;
  const std::string_view name = shown_name(ns);
  if (tells(Events::kKeyspace)) {
    channels_.publish(Channels::Kind::kChannel, cat("__keyspace@", name, "__:", key), event);
  }
  if (tells(Events::kKeyevent)) {
    channels_.publish(Channels::Kind::kChannel, cat("__keyevent@", name, "__:", event), key);
  }
}

void Events::changed(std::span<const Change> changes, Committer* /*by*/) {
  if (!tells()) return;
  for (const Change& c : changes) {
    // What the system keeps for itself is nobody's key.
    if (c.named || c.cause == Cause::kCopy || c.ns->id == kSystemNamespace) continue;
    if (c.last_part) {
      // No other type than hashes has parts with a time of their own.
      tell(*c.ns, Events::kHash, "hexpired", c.key);
      tell(*c.ns, Events::kGeneric, "del", c.key);
    } else if (c.what == What::kRemove && c.cause == Cause::kExpiry) {
      tell(*c.ns, Events::kExpired, "expired", c.key);
    } else if (c.what == What::kRemove && c.cause == Cause::kEviction) {
      tell(*c.ns, Events::kEvicted, "evicted", c.key);
    } else if (c.what == What::kRemove) {
      tell(*c.ns, Events::kGeneric, "del", c.key);
    } else if (c.what == What::kOperate && c.cause == Cause::kExpiry) {
      tell(*c.ns, Events::kHash, "hexpired", c.key);
    } else if (c.what == What::kExpiry) {
      tell(*c.ns, Events::kGeneric, "expire", c.key);
    } else if (c.what == What::kPut) {
      tell(*c.ns, Events::kString, "set", c.key);
    }
  }
}

namespace {

struct Exception {
  std::string_view row, event;
};
// Commands whose events have other names than they. A name that ends with a star stands for all
// that begin so.
constexpr Exception kExceptions[] = {
    {"bitfield", "setbit"},
    {"bitop", "set"},
    {"copy", "copy_to"},
    {"decr*", "incrby"},
    {"expire*", "expire"},
    {"geoadd", "zadd"},
    {"georadius*", "georadiusstore"},
    {"getset", "set"},
    {"hexpire*", "hexpire"},
    {"hgetdel", "hdel"},
    {"hmset", "hset"},
    {"hpexpire*", "hexpire"},
    {"hsetex", "hset"},
    {"hsetnx", "hset"},
    {"incr", "incrby"},
    {"lpushx", "lpush"},
    {"migrate", "del"},
    {"mset*", "set"},
    {"pexpire*", "expire"},
    {"pfcount", ""},
    {"pfdebug", ""},
    {"pfmerge", "pfadd"},
    {"restore-asking", "restore"},
    {"psetex", "set"},
    {"rpushx", "rpush"},
    {"setex", "set"},
    {"setnx", "set"},
    {"sort", "sortstore"},
    {"unlink", "del"},
    {"xack", ""},
    {"xautoclaim", ""},
    {"xclaim", ""},
    {"xgroup|create", "xgroup-create"},
    {"xgroup|createconsumer", "xgroup-createconsumer"},
    {"xgroup|delconsumer", "xgroup-delconsumer"},
    {"xgroup|destroy", "xgroup-destroy"},
    {"xgroup|setid", "xgroup-setid"},
    {"xreadgroup", ""},
    {"zincrby", "zincr"},
};

Events::Class class_of(std::string_view group) {
  constexpr std::pair<std::string_view, Events::Class> kClasses[] = {
      {"string", Events::kString}, {"bitmap", Events::kString}, {"hyperloglog", Events::kString},
      {"list", Events::kList},     {"set", Events::kSet},       {"sorted-set", Events::kSortedSet},
      {"geo", Events::kSortedSet}, {"hash", Events::kHash},     {"stream", Events::kStream},
  };
  for (const auto& [name, of] : kClasses) {
    if (name == group) return of;
  }
  return Events::kGeneric;
}

}  // namespace

EventName event_of(std::string_view row, std::string_view group) {
  EventName event{row, class_of(group), false};
  for (const auto& [name, other] : kExceptions) {
    const bool many = name.ends_with('*');
    if (many ? row.starts_with(name.substr(0, name.size() - 1)) : row == name) event.name = other;
  }
  if (row == "sort") event.of = Events::kList;
  event.before_del =
      (event.of & (Events::kList | Events::kSet | Events::kHash | Events::kSortedSet)) != 0 &&
      !event.name.ends_with("store");
  return event;
}

}  // namespace cairn::kv
