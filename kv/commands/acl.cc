// ACL: users and what they may, in Redis's notation. They are the records of the one table of users
// (core/store/users.h); what else that knows of a user, his policies, groups and access keys, stays
// as it is, and GETUSER shows it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/base/text.h"
#include "core/store/known_users.h"
#include "kv/commands/acl_rules.h"
#include "kv/commands/command_flags.h"
#include "kv/commands/secrets.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

constexpr size_t kNameBytesMax = 64;  // as IAM's

std::string_view quoted(std::string_view word) { return word.substr(0, 128); }

bool has_blanks(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r'); });
}

// IAM and its ARNs know the name, too: "/" parts it from a path there.
bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return c > ' ' && c < 127 && c != '/'; });
}

// What the ACL of a user says; of one that IAM made, and ACL said nothing of, that he is on and may
// nothing by it. Nothing: there is no such user.
std::optional<AclRecord> acl_record(const Server& server, std::string_view name) {
  const auto known = server.users.known();
  const UserRecord* user = known == nullptr ? nullptr : known->table.user(name);
  if (user != nullptr && user->name == name) {
    if (user->acl) return user->acl;
    AclRecord r;
    r.on = true;
    r.rules = "resetchannels -@all";
    return r;
  }
  if (name == kDefaultUser) return AclDraft::untouched_default();
  if (name != server.users.root_user()) return std::nullopt;
  AclRecord root;
  root.on = true;
  root.rules = "~* &* +@all";
  return root;
}

// As it is shown: the password that the start gave the user "default" is one of his.
AclRecord shown(const Server& server, AclRecord r) {
  if (!r.as_started) return r;
  const std::optional<std::string> password = server.started_password();
  if (password && password->empty()) r.nopass = true;
  if (password && !password->empty()) r.hashes.insert(r.hashes.begin(), acl_hash(*password));
  return r;
}

std::vector<std::string> all_names(const Server& server) {
  std::vector<std::string> names{std::string(kDefaultUser)};
  if (server.users.root_user() != kDefaultUser) names.push_back(server.users.root_user());
  if (const auto known = server.users.known()) {
    for (auto& [key, user] : known->table.users) {
      if (user->name != kDefaultUser) names.push_back(user->name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// ---- telling ----

void acl_whoami(Context& c) {
  c.session.principal == nullptr ? c.reply.null() : c.reply.bulk(c.session.principal->name());
}

void acl_users(Context& c) {
  if (!lists_users(c)) return refuse_to_manage(c);
  const auto names = all_names(c.engine.server());
  c.reply.array(names.size());
  for (const auto& name : names) c.reply.bulk(name);
}

void acl_list(Context& c) {
  if (!lists_users(c)) return refuse_to_manage(c);
  const Server& server = c.engine.server();
  std::vector<std::string> lines;
  for (const auto& name : all_names(server)) {
    if (auto record = acl_record(server, name)) {
      lines.push_back(line_of(name, shown(server, *std::move(record))));
    }
  }
  c.reply.array(lines.size());
  for (const auto& line : lines) c.reply.bulk(line);
}

// What ACL has no words for.
std::vector<std::string> beyond_acl(const Server& server, std::string_view name) {
  std::vector<std::string> lines;
  const auto known = server.users.known();
  const UserRecord* user = known == nullptr ? nullptr : known->table.user(name);
  if (user == nullptr || user->name != name) return lines;
  const auto add = [&](const Subject& subject, std::string_view of) {
    for (auto& [policy, text] : subject.inlined) lines.push_back(cat("policy ", policy, of));
    for (const auto& id : subject.attached) {
      const PolicyRecord* policy = known->table.policy_by_id(id);
      lines.push_back(cat("policy ", policy == nullptr ? id : arn_of(*policy), of));
    }
  };
  add(*user, "");
  for (const auto& id : user->groups) {
    const GroupRecord* group = known->table.group_by_id(id);
    lines.push_back(cat("group ", group == nullptr ? id : group->name));
    if (group != nullptr) add(*group, cat(" of group ", group->name));
  }
  if (!user->password.empty()) lines.emplace_back("login profile");
  for (auto& [id, key] : known->table.keys) {
    if (key->user != user->id) continue;
    lines.push_back(cat("access key ", id, key->enabled ? "" : " disabled",
                        key->boundary ? " within a boundary" : ""));
  }
  return lines;
}

void reply_selector(Context& c, const AclSelector& s) {
  c.reply.bulk("commands");
  c.reply.bulk(s.rules);
  c.reply.bulk("keys");
  c.reply.bulk(keys_text(s));
  c.reply.bulk("channels");
  c.reply.bulk(channels_text(s));
}

void acl_getuser(Context& c) {
  if (!manages(c, "GetUser", c.args[2])) return refuse_to_manage(c);
  const Server& server = c.engine.server();
  auto record = acl_record(server, c.args[2]);
  if (!record) return c.reply.null();
  const AclRecord user = shown(server, *std::move(record));
  AclDraft draft(c.engine.table(), false);
  if (!draft.take(user)) return c.reply.error("ERR the rules of this user cannot be read");
  const auto beyond = beyond_acl(server, c.args[2]);
  c.reply.map(beyond.empty() ? 6 : 7);
  c.reply.bulk("flags");
  std::vector<std::string_view> flags{user.on ? "on" : "off"};
  if (user.nopass) flags.emplace_back("nopass");
  if (user.skips_sanitizing) flags.emplace_back("skip-sanitize-payload");
  if (user.sanitizes) flags.emplace_back("sanitize-payload");
  c.reply.set(flags.size());
  for (const auto flag : flags) c.reply.bulk(flag);
  c.reply.bulk("passwords");
  c.reply.array(user.hashes.size());
  for (const auto& hash : user.hashes) c.reply.bulk(hash);
  const auto& selectors = draft.acl().selectors;
  reply_selector(c, selectors[0]);
  c.reply.bulk("selectors");
  c.reply.array(selectors.size() - 1);
  for (size_t i = 1; i < selectors.size(); i++) {
    c.reply.map(3);
    reply_selector(c, selectors[i]);
  }
  if (beyond.empty()) return;
  c.reply.bulk("iam");
  c.reply.array(beyond.size());
  for (const auto& line : beyond) c.reply.bulk(line);
}

void acl_cat(Context& c) {
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             quoted(c.args[1]), "'. Try ACL HELP."));
  }
  const auto all = acl_categories();
  if (c.args.size() == 2) {
    c.reply.array(all.size());
    for (const auto name : all) c.reply.bulk(name);
    return;
  }
  const std::string category = lower(c.args[2]);
  if (std::find(all.begin(), all.end(), category) == all.end()) {
    return c.reply.error(cat("ERR Unknown category '", quoted(c.args[2]), "'"));
  }
  std::vector<std::string_view> names;
  for (const Row& row : c.engine.table().rows()) {
    const auto of = categories(row);
    if (std::find(of.begin(), of.end(), category) != of.end()) names.push_back(row.name);
  }
  c.reply.array(names.size());
  for (const auto name : names) c.reply.bulk(name);
}

void acl_genpass(Context& c) {
  constexpr int64_t kUsualBits = 256, kBitsMax = 4096;
  int64_t bits = kUsualBits;
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             quoted(c.args[1]), "'. Try ACL HELP."));
  }
  if (c.args.size() == 3 && !c.integer(2, bits)) return;
  if (bits <= 0 || bits > kBitsMax) {
    return c.reply.error(
        "ERR ACL GENPASS argument must be the number of bits for the output password, a positive "
        "number up to 4096");
  }
  c.reply.bulk(random_text("0123456789abcdef", static_cast<size_t>((bits + 3) / 4)));
}

void acl_log(Context& c) {
  constexpr int64_t kUsual = 10;
  AclLog& log = c.engine.server().acl_log;
  if (c.args.size() > 3) {
    return c.reply.error(cat("ERR unknown subcommand or wrong number of arguments for '",
                             quoted(c.args[1]), "'. Try ACL HELP."));
  }
  int64_t count = kUsual;
  if (c.args.size() == 3 && equals_ignoring_case(c.args[2], "reset")) {
    log.clear();
    return c.reply.ok();
  }
  if (c.args.size() == 3 && !c.integer(2, count)) return;
  const auto entries = log.newest(static_cast<size_t>(std::max<int64_t>(count, 0)));
  c.reply.array(entries.size());
  for (const AclLog::Entry& e : entries) {
    c.reply.map(7);
    c.reply.bulk("count");
    c.reply.integer(static_cast<int64_t>(e.count));
    for (auto [name, value] : {std::pair("reason", e.reason), std::pair("context", e.context),
                               std::pair("object", std::string_view(e.object)),
                               std::pair("username", std::string_view(e.user))}) {
      c.reply.bulk(name);
      c.reply.bulk(value);
    }
    c.reply.bulk("age-seconds");
    c.reply.real(static_cast<double>(c.store.now_ms() - e.at_ms) / 1000);
    c.reply.bulk("client-info");
    c.reply.bulk(e.client);
  }
}

// By the caller's database and address; of what policies say, too.
void acl_dryrun(Context& c) {
  Server& server = c.engine.server();
  const std::string_view name = c.args[2];
  const auto known = server.users.known();
  const UserRecord* user = known == nullptr ? nullptr : known->table.user(name);
  PrincipalPtr who;
  if (user != nullptr && user->name == name) {
    const auto it = known->principals.find(user->id);
    if (it != known->principals.end()) who = it->second;
  } else if (name == kDefaultUser || name == server.users.root_user()) {
    who = server.users.default_user();
  }
  if (who == nullptr) return c.reply.error(cat("ERR User '", quoted(name), "' not found"));
  Request asked(c.store);
  for (size_t i = 3; i < c.args.size(); i++) asked.args.add(c.args[i]);
  asked.row = c.engine.table().find(asked.args.words());
  const Row* row = asked.row;
  if (row == nullptr || (row->subcommands > 0 && asked.args.size() > 1)) {
    return c.reply.error(cat("ERR Command '", quoted(c.args[3]), "' not found"));
  }
  if (c.engine.check_form(asked) == Engine::Refused::kArity) {
    return c.reply.error(cat("ERR wrong number of arguments for '", row->name, "' command"));
  }
  c.engine.resolve(c.session.ns, asked);
  const AclAnswer answer = c.engine.ask(*who, c.session, asked, *c.session.ns);
  const std::string_view word = quoted(asked.args[answer.word]);
  switch (answer.denied) {
    case AclDenied::kNo:
      return c.reply.ok();
    case AclDenied::kKey:
      return c.reply.bulk(cat("This user has no permissions to access the '", word, "' key"));
    case AclDenied::kChannel:
      return c.reply.bulk(cat("This user has no permissions to access the '", word, "' channel"));
    default:
      return c.reply.bulk(cat("This user has no permissions to run the '", row->name, "' command"));
  }
}

// ---- changing ----

constexpr char kNotKept[] = "these rules would mean another thing when they are read again";

// Changes of users take stripes of their own: not within locks of others'.
bool stands_alone(Context& c) {
  if (!c.in_exec) return true;
  c.reply.error("ERR users are not changed inside a transaction");
  return false;
}

bool done(Context& c, const StatusOr<Lsn>& lsn) {
  if (!lsn.ok()) {
    c.reply.error(cat("ERR ", lsn.status().message()));
    return false;
  }
  c.saw(*lsn);
  return true;
}

void acl_setuser(Context& c) {
  if (!stands_alone(c) || !may_make_secrets(c)) return;
  Server& server = c.engine.server();
  const std::string name(c.args[2]);
  const bool makes = name != kDefaultUser && !acl_record(server, name);
  if (!manages(c, "PutUserPolicy", name) || (makes && !manages(c, "CreateUser", name))) {
    return refuse_to_manage(c);
  }
  if (has_blanks(name)) {
    return c.reply.error("ERR Usernames can't contain spaces or null characters");
  }
  if (name == server.users.root_user()) {
    return c.reply.error(cat("ERR The user '", name, "' may do all, as the start says"));
  }
  std::string_view open;
  const auto words = c.args.words();
  const auto rules = join_selectors({words.begin() + 3, words.end()}, open);
  if (!rules) {
    return c.reply.error(
        cat("ERR Unmatched parenthesis in acl selector starting at '", quoted(open), "'."));
  }
  std::string refused;
  const auto changed = server.users.change([&](Draft& draft) -> Status {
    AclDraft user(c.engine.table(), server.acl_channels_open);
    const UserRecord* found = draft.table().user(name);
    if (found == nullptr && name != kDefaultUser && !is_name(name)) {
      return absl::InvalidArgumentError(
          "a user's name has at most 64 characters, of ASCII, and no '/'");
    }
    const bool known = name == kDefaultUser || (found != nullptr && found->name == name);
    const bool anew = !rules->empty() && equals_ignoring_case(rules->front(), "reset");
    if (known && !user.take(*acl_record(server, name)) && !anew) {
      return absl::DataLossError(
          "the rules of this user cannot be read; ACL SETUSER with reset begins them anew");
    }
    if (user.user().as_started) {
      if (auto password = server.started_password()) user.set_started_password(*password);
    }
    for (const std::string& rule : *rules) {
      const std::string_view why = user.set(rule);
      if (why.empty()) continue;
      refused = cat("ERR Error in ACL SETUSER modifier '", rule, "': ", why);
      return absl::InvalidArgumentError(std::string(why));
    }
    if (!user.reads_back()) return absl::InvalidArgumentError(kNotKept);
    return draft.set_acl(name, user.record());
  });
  if (!refused.empty()) return c.reply.error(refused);
  if (done(c, changed)) c.reply.ok();
}

void acl_deluser(Context& c) {
  if (!stands_alone(c) || !may_make_secrets(c)) return;
  Server& server = c.engine.server();
  int64_t deleted = 0;
  for (size_t i = 2; i < c.args.size(); i++) {
    if (c.args[i] == kDefaultUser || c.args[i] == server.users.root_user()) {
      return c.reply.error(cat("ERR The '", c.args[i], "' user cannot be removed"));
    }
  }
  for (size_t i = 2; i < c.args.size(); i++) {
    if (!manages(c, "DeleteUser", c.args[i])) return refuse_to_manage(c);
  }
  const auto changed = server.users.change([&](Draft& draft) -> Status {
    for (size_t i = 2; i < c.args.size(); i++) {
      const UserRecord* user = draft.table().user(c.args[i]);
      if (user == nullptr || user->name != c.args[i]) continue;
      if (Status s = draft.delete_user(c.args[i]); !s.ok()) {
        return absl::FailedPreconditionError(
            cat("User '", quoted(c.args[i]), "' has more than an ACL: ", s.message()));
      }
      deleted++;
    }
    return absl::OkStatus();
  });
  if (done(c, changed)) c.reply.integer(deleted);
}

// ---- the file ----

constexpr std::string_view kNoFile =
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    "via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    "configuration file set) in order to store users in the Redis configuration.";

// Whether ACL has said nothing of the user "default", or took it back.
bool is_untouched(const AclRecord& r) {
  const AclRecord fresh = AclDraft::untouched_default();
  return r.as_started && r.on && r.hashes.empty() && r.rules == fresh.rules &&
         !r.skips_sanitizing && !r.sanitizes;
}

std::string users_as_lines(const Server& server) {
  std::string text;
  for (const auto& name : all_names(server)) {
    if (name == server.users.root_user()) continue;
    const auto known = server.users.known();
    const UserRecord* user = known == nullptr ? nullptr : known->table.user(name);
    if (name != kDefaultUser && (user == nullptr || !user->acl)) continue;  // IAM's alone
    // The start's own password, or that it gave none, is for the start to say each time.
    if (name == kDefaultUser && (user == nullptr || !user->acl || is_untouched(*user->acl))) {
      continue;
    }
    auto record = acl_record(server, name);
    if (!record) continue;
    std::string line = line_of(name, *record);
    if (name == kDefaultUser && !record->as_started && !record->nopass) {
      constexpr size_t kBegin = std::string_view("user default").size();
      line.insert(kBegin, " resetpass");
    }
    append(text, line, "\n");
  }
  return text;
}

Status sync_directory_of(const std::string& path) {
  const std::string directory = path.find('/') == path.npos ? "." : path.substr(0, path.rfind('/'));
  const int dir =
      ::open(directory.empty() ? "/" : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = dir >= 0 && ::fsync(dir) == 0;
  const int error = errno;
  if (dir >= 0) ::close(dir);
  return synced ? absl::OkStatus() : absl::InternalError(std::strerror(error));
}

// Whole or as it was, whoever writes it at the same time, of this process or another.
Status write_file(const std::string& path, std::string_view text) {
  std::string beside = cat(path, ".tmp-XXXXXX");
  const int fd = ::mkostemp(beside.data(), O_CLOEXEC);  // mode 0600
  bool written = fd >= 0;
  for (size_t at = 0; written && at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    written = n > 0;
    at += static_cast<size_t>(std::max<ssize_t>(n, 0));
  }
  written = written && ::fsync(fd) == 0 && ::rename(beside.c_str(), path.c_str()) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (written) return sync_directory_of(path);
  if (fd >= 0) ::unlink(beside.c_str());
  return absl::InternalError(std::strerror(error));
}

void acl_save(Context& c) {
  Server& server = c.engine.server();
  if (server.acl_file.empty()) return c.reply.error(kNoFile);
  // One after the other: what is written last is what was so last.
  static Mutex saving;
  MutexLock one_at_a_time(saving);
  if (const Status s = write_file(server.acl_file, users_as_lines(server)); !s.ok()) {
    server.report(cat("cannot write ", server.acl_file, ": ", s.message()));
    return c.reply.error(
        "ERR There was an error trying to save the ACLs. Please check the server logs for more "
        "information");
  }
  c.reply.ok();
}

void acl_load(Context& c) {
  if (!stands_alone(c) || !may_make_secrets(c)) return;
  if (!manages_all(c, "PutUserPolicy")) return refuse_to_manage(c);
  Server& server = c.engine.server();
  if (server.acl_file.empty()) return c.reply.error(kNoFile);
  auto loaded = load_acl_file(server, c.engine.table());
  if (loaded.ok()) {
    c.saw(*loaded);
    return c.reply.ok();
  }
  c.reply.error(cat("ERR ", loaded.status().message()));
}

constexpr std::string_view kGroup = "server";
constexpr uint32_t kManages = kAdmin | kNoScript | kLoading | kDangerous;
constexpr uint32_t kTells = kNoScript | kLoading;
constexpr Row kRows[] = {
    {"acl",
     -2,
     0,
     {},
     nullptr,
     nullptr,
     kGroup,
     "A container for Access List Control commands.",
     "6.0.0"},
    {"acl|cat",
     -2,
     kTells,
     {},
     acl_cat,
     nullptr,
     kGroup,
     "Lists the ACL categories, or the commands inside a category.",
     "6.0.0"},
    {"acl|deluser",
     -3,
     kManages,
     {},
     acl_deluser,
     nullptr,
     kGroup,
     "Deletes ACL users, and terminates their connections.",
     "6.0.0"},
    {"acl|dryrun",
     -4,
     kManages,
     {},
     acl_dryrun,
     nullptr,
     kGroup,
     "Simulates the execution of a command by a user, without executing the command.",
     "7.0.0"},
    {"acl|genpass",
     -2,
     kTells,
     {},
     acl_genpass,
     nullptr,
     kGroup,
     "Generates a pseudorandom, secure password that can be used to identify ACL users.",
     "6.0.0"},
    {"acl|getuser",
     3,
     kManages,
     {},
     acl_getuser,
     nullptr,
     kGroup,
     "Lists the ACL rules of a user.",
     "6.0.0"},
    {"acl|help", 2, kLoading, {}, help, nullptr, kGroup, "Prints this help.", "6.0.0"},
    {"acl|list",
     2,
     kManages,
     {},
     acl_list,
     nullptr,
     kGroup,
     "Dumps the effective rules in ACL file format.",
     "6.0.0"},
    {"acl|load",
     2,
     kManages,
     {},
     acl_load,
     nullptr,
     kGroup,
     "Reloads the rules from the configured ACL file.",
     "6.0.0"},
    {"acl|log",
     -2,
     kManages,
     {},
     acl_log,
     nullptr,
     kGroup,
     "Lists recent security events generated due to ACL rules.",
     "6.0.0"},
    {"acl|save",
     2,
     kManages,
     {},
     acl_save,
     nullptr,
     kGroup,
     "Saves the effective ACL rules in the configured ACL file.",
     "6.0.0"},
    {"acl|setuser",
     -3,
     kManages,
     {},
     acl_setuser,
     nullptr,
     kGroup,
     "Creates and modifies an ACL user and its rules.",
     "6.0.0"},
    {"acl|users", 2, kManages, {}, acl_users, nullptr, kGroup, "Lists all ACL users.", "6.0.0"},
    {"acl|whoami",
     2,
     kTells,
     {},
     acl_whoami,
     nullptr,
     kGroup,
     "Returns the authenticated username of the current connection.",
     "6.0.0"},
};

// A file's lines, before any of it counts.
struct Line {
  std::string user;
  AclRecord record;
};

// What a file is read with.
struct Reading {
  const Table& table;
  bool open;    // acl-pubsub-default
  bool hidden;  // the user "default" has root's password from the start
};

// Empty, or why it is refused.
std::string read_line(std::string_view line, const Reading& reading, std::vector<Line>& to) {
  const auto words = words_of(line);
  if (words.size() < 2 || words[0] != "user") {
    return "should start with user keyword followed by the username";
  }
  const std::string name(words[1]);
  const auto is_it = [&](const Line& l) { return l.user == name; };
  if (std::any_of(to.begin(), to.end(), is_it)) {
    return cat("WARNING: Duplicate user '", name, "' found");
  }
  if (name != kDefaultUser && !is_name(name)) {
    return "a user's name has at most 64 characters, of ASCII, and no '/'";
  }
  std::string_view begins;
  const auto rules = join_selectors({words.begin() + 2, words.end()}, begins);
  if (!rules) return "Unmatched parenthesis in selector definition.";
  AclDraft user(reading.table, reading.open);
  if (name == kDefaultUser) user.begin_as_started(reading.hidden);
  for (const std::string& rule : *rules) {
    const std::string_view why = user.set(rule);
    if (!why.empty()) return std::string(why);
  }
  if (!user.reads_back()) return kNotKept;
  to.push_back({name, user.record()});
  return {};
}

}  // namespace

StatusOr<Lsn> load_acl_file(Server& server, const Table& table) {
  const std::string& path = server.acl_file;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        cat("Error loading ACLs, opening file '", path, "': ", std::strerror(errno)));
  }
  const Reading reading{table, server.acl_channels_open, !server.started_password()};
  std::vector<Line> lines;
  std::string errors, line;
  for (size_t n = 1; std::getline(file, line); n++) {
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
    const size_t begin = line.find_first_not_of(" \t");
    if (begin == line.npos || line[begin] == '#') continue;
    const std::string why = read_line(line, reading, lines);
    if (!why.empty()) append(errors, path, ":", n, ": ", why, ". ");
  }
  if (!errors.empty()) {
    return absl::InvalidArgumentError(cat(errors,
                                          "WARNING: ACL errors detected, no change to the "
                                          "previously active ACL rules was performed"));
  }
  return server.users.change([&](Draft& draft) -> Status {
    // Who is not in the file loses what ACL said of him; whom nothing else is known of goes.
    std::vector<std::string> gone;
    for (auto& [key, user] : draft.table().users) {
      const auto is_it = [&, name = std::string_view(user->name)](const Line& l) {
        return l.user == name;
      };
      if (user->acl && std::none_of(lines.begin(), lines.end(), is_it)) gone.push_back(user->name);
    }
    for (const std::string& name : gone) {
      if (name == kDefaultUser) {
        if (Status s = draft.set_acl(name, AclDraft::untouched_default()); !s.ok()) return s;
      } else if (!draft.delete_user(name).ok()) {
        if (Status s = draft.set_acl(name, std::nullopt); !s.ok()) return s;
      }
    }
    for (const Line& l : lines) {
      if (l.user == server.users.root_user()) {
        return absl::InvalidArgumentError(
            cat("the user ", l.user, " may do all, as the start says"));
      }
      if (Status s = draft.set_acl(l.user, l.record); !s.ok()) return s;
    }
    return absl::OkStatus();
  });
}

std::span<const Row> acl_rows() { return kRows; }

}  // namespace cairn::kv
