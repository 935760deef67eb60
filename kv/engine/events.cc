#include "kv/engine/events.h"

#include <optional>
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

std::optional<uint32_t> classes_of(std::string_view letters) {
  uint32_t all = 0;
  for (const char letter : letters) {
    uint32_t classes = 0;
    for (const auto& [known, of] : kLetters) {
      if (known == letter) classes |= of;
    }
    if (classes == 0) return std::nullopt;
    all |= classes;
  }
  return all;
}

}  // namespace

void Events::ask(std::atomic<uint32_t>& classes, uint32_t now) {
  MutexLock lock(mutex_);
  classes.store(now, std::memory_order_relaxed);
  const uint32_t asked = told_.load() | kept_.load();
  const bool before = asked_.exchange(asked, std::memory_order_relaxed) != 0;
  listeners_.interest(int{asked != 0} - int{before});
}

bool Events::set(std::string_view letters) {
  const auto classes = classes_of(letters);
  if (classes) ask(told_, *classes);
  return classes.has_value();
}

bool Events::keep(std::string_view letters) {
  const auto classes = classes_of(letters);
  if (!classes || (*classes & (kKeyspace | kKeyevent)) != 0) return false;
  ask(kept_, *classes);
  return true;
}

std::string Events::letters_of(uint32_t classes) {
  std::string text;
  const bool all = (classes & kAll) == kAll;
  for (const auto& [letter, of] : kLetters) {
    if (letter == 'A' ? all : (classes & of) != 0 && !(all && (of & kAll) != 0)) text += letter;
  }
  return text;
}

void Events::publish(const Namespace& ns, Class of, std::string_view event, std::string_view key) {
  const uint32_t told = told_.load(std::memory_order_relaxed);
  if ((told & of) == 0) return;
  const std::string_view name = shown_name(ns);
  if (told & kKeyspace) {
    channels_.publish(Channels::Kind::kChannel, cat("__keyspace@", name, "__:", key), event);
  }
  if (told & kKeyevent) {
    channels_.publish(Channels::Kind::kChannel, cat("__keyevent@", name, "__:", event), key);
  }
}

bool Events::tell(const Namespace& ns, Class of, std::string_view event, std::string_view key) {
  if (!tells(of)) return false;
  publish(ns, of, event, key);
  if ((kept_.load(std::memory_order_relaxed) & of) == 0) return false;
  if (key == EventStreams::kKey && of != kExpired && of != kEvicted) return false;
  streams.note(ns, event, key);
  return true;
}

bool Events::tell(const Change& c) {
  if (c.last_part) {
    // No other type than hashes has parts with a time of their own.
    const bool of_field = tell(*c.ns, kHash, "hexpired", c.key);
    return tell(*c.ns, kGeneric, "del", c.key) || of_field;
  }
  if (c.what == What::kRemove) {
    switch (c.cause) {
      case Cause::kExpiry:
        return tell(*c.ns, kExpired, "expired", c.key);
      case Cause::kEviction:
        return tell(*c.ns, kEvicted, "evicted", c.key);
      default:
        return tell(*c.ns, kGeneric, "del", c.key);
    }
  }
  if (c.what == What::kOperate && c.cause == Cause::kExpiry) {
    return tell(*c.ns, kHash, "hexpired", c.key);
  }
  if (c.what == What::kExpiry) return tell(*c.ns, kGeneric, "expire", c.key);
  return c.what == What::kPut && tell(*c.ns, kString, "set", c.key);
}

void Events::changed(std::span<const Change> changes, Committer* /*by*/) {
  if (!tells()) return;
  bool kept = false;
  for (const Change& c : changes) {
    // What the system keeps for itself is nobody's key.
    if (c.named || c.cause == Cause::kCopy || c.ns->id == kSystemNamespace) continue;
    kept |= tell(c);
  }
  if (kept) streams.write_soon();  // who changed it does not know of it
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
