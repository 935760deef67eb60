// RESP's ACL, compiled: what a user may at the Redis door, as
// https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/ means it.
//
// There are selectors; the first is of the user himself. A command may run if one of them allows
// it, all of its keys and all of its channels. That is looked at beside policies: what an ACL
// allows needs no Allow of a policy, but no policy may deny it, and the boundary of an access key
// must contain it (core/store/users.h, Circumstances::granted). Other doors do not look at it.
// kv/commands/acl_rules.h makes one from its text.
//
// Threads: an Acl is constant; AclLog is for any.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mutex.h"
#include "core/store/users.h"
#include "kv/engine/command.h"

namespace cairn::kv {

class Session;

// In the order in which a refusal tells more.
enum class AclDenied : uint8_t { kNo, kCommand, kKey, kAuth, kChannel };

struct AclSelector {
  enum Access : uint8_t { kRead = 1, kWrite = 2, kAny = 3 };
  struct KeyPattern {
    uint8_t access;
    std::string pattern;
  };
  bool all_keys = false, all_channels = false;
  std::vector<KeyPattern> keys;
  std::vector<std::string> channels;
  std::string rules = "-@all";     // of commands, in the order in which they were given
  std::vector<uint64_t> commands;  // a bit for each row of the table
  // Of rows whose bit is not set: what may stand behind the name.
  std::map<size_t, std::vector<std::string>> first_words;

  bool has(size_t row) const {
    return row / 64 < commands.size() && (commands[row / 64] >> row % 64 & 1) != 0;
  }
  void set(size_t row, bool on) {
    if (row / 64 >= commands.size()) commands.resize(row / 64 + 1);
    const uint64_t bit = uint64_t{1} << row % 64;
    commands[row / 64] = on ? commands[row / 64] | bit : commands[row / 64] & ~bit;
  }
  bool allows_command(size_t row, const Row& of, const Args& args) const;
  bool allows_key(std::string_view key, uint16_t flags) const;  // KeyFlags
  bool allows_channel(std::string_view channel, bool is_pattern) const;
  // Whether it reads every key.
  bool reads_all() const;
};

struct AclAnswer {
  AclDenied denied = AclDenied::kNo;
  size_t word = 0;  // of the key or the channel
};

struct Acl final : CommandRights {
  std::vector<AclSelector> selectors{1};
  AclAnswer check(size_t row, const Request& request) const;
  // Whether the command may run, and look at keys that its words do not name.
  bool reads_all(size_t row, const Request& request) const;
  bool allows_channel(std::string_view channel, bool is_pattern) const;
};

// Redis's glob, compared without memory of its own, whichever threads do so.
bool acl_matches(std::string_view pattern, std::string_view text);

// The ACL of whose rights these are; null: it has none.
inline const Acl* acl_of(const Rights& rights) { return static_cast<const Acl*>(rights.acl.get()); }

// Who was refused what: ACL LOG.
class AclLog {
 public:
  struct Entry {
    uint64_t count = 1;
    std::string_view reason;   // "command", "key", "channel", "auth"
    std::string_view context;  // "toplevel", "multi", "lua"
    std::string object, user, client;
    int64_t at_ms = 0;
  };
  // One that is as another, of the same minute, is counted with that.
  void add(Entry entry);
  std::vector<Entry> newest(size_t count) const;
  void clear();
  size_t length_max() const;
  void set_length_max(size_t n);

 private:
  mutable Mutex mutex_;
  size_t length_max_ ABSL_GUARDED_BY(mutex_) = 128;
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // the newest first
};

}  // namespace cairn::kv
