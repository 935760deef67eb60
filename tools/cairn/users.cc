// cairn user|group|policy|key: who may use the store, and what for.
//
// A secret is printed once, when it is made. A password is asked for at the terminal, or is the
// first line of standard input: it is no argument, which others on the machine see.
#include <google/protobuf/util/time_util.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <vector>

#include "tools/cairn/command.h"

namespace cairn::cli {
namespace {

int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// "2026-12-31T00:00:00Z", "30d", "12h", "never": Unix milliseconds, 0 for never. Nothing: it is no
// time.
std::optional<int64_t> parse_time(const std::string& text) {
  if (text == "never") return 0;
  size_t digits = 0;
  while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') digits++;
  if (digits > 0 && digits <= 6 && digits + 1 == text.size()) {
    const int64_t count = std::stoll(text.substr(0, digits));
    for (auto [unit, ms] : {std::pair('d', int64_t{86'400'000}), std::pair('h', int64_t{3'600'000}),
                            std::pair('m', int64_t{60'000}), std::pair('s', int64_t{1000})}) {
      if (text.back() == unit) return now_ms() + count * ms;
    }
  }
  google::protobuf::Timestamp stamp;
  if (!google::protobuf::util::TimeUtil::FromString(text, &stamp)) return std::nullopt;
  return google::protobuf::util::TimeUtil::TimestampToMilliseconds(stamp);
}

const CLI::Validator kIsTime(
    [](std::string& text) {
      return parse_time(text) ? std::string()
                              : "'" + text +
                                    "' is no time: say 2026-12-31T00:00:00Z, 30d, 12h or "
                                    "never";
    },
    "TIME");

// A whole file, or standard input for "-".
std::string read_file(const std::string& name) {
  std::ostringstream text;
  if (name == "-") {
    text << std::cin.rdbuf();
  } else {
    std::ifstream in(name, std::ios::binary);
    text << in.rdbuf();
    if (!in) {
      std::fprintf(stderr, "cairn: cannot read %s\n", name.c_str());
      std::exit(kUsage);
    }
  }
  return text.str();
}

std::string read_line(const char* prompt) {
  termios shown{};
  const bool terminal = ::isatty(STDIN_FILENO) && ::tcgetattr(STDIN_FILENO, &shown) == 0;
  if (terminal) {
    std::fputs(prompt, stderr);
    termios hidden = shown;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
  }
  std::string line;
  std::getline(std::cin, line);
  if (terminal) {
    (void)::tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
    std::fputc('\n', stderr);
  }
  return line;
}

// Twice, of who types it.
std::string read_password() {
  std::string password = read_line("new password: ");
  const bool typed = ::isatty(STDIN_FILENO);
  if (password.empty() || (typed && read_line("once more: ") != password)) {
    std::fprintf(stderr, "cairn: %s\n",
                 password.empty() ? "no password was given" : "the two are not the same");
    std::exit(kUsage);
  }
  return password;
}

void print_names(const char* what, const google::protobuf::RepeatedPtrField<std::string>& names) {
  if (names.empty()) return;
  std::printf("%-16s", what);
  for (const std::string& name : names) std::printf(" %s", name.c_str());
  std::printf("\n");
}

void print(const v1::AccessKey& key) {
  std::printf("%-22s %-8s %-12s", key.id().c_str(), key.enabled() ? "active" : "disabled",
              key.user().c_str());
  if (key.expires_ms() != 0) std::printf("  until %s", iso_time(key.expires_ms()).c_str());
  if (!key.boundary().empty()) std::printf("  bounded");
  std::printf("\n");
}

void print(const v1::User& user) {
  std::printf("%-16s %s\n%-16s %s\n%-16s %s\n", "user", user.name().c_str(), "arn",
              user.arn().c_str(), "id", user.id().c_str());
  std::printf("%-16s %s\n%-16s %s\n", "created", iso_time(user.created_ms()).c_str(), "password",
              user.has_password() ? "yes" : "no");
  print_names("groups", user.groups());
  print_names("policies", user.policies());
  print_names("inline policies", user.inline_policies());
  for (const v1::AccessKey& key : user.access_keys()) {
    std::printf("%-16s ", "access key");
    print(key);
  }
}

void print(const v1::Group& group) {
  std::printf("%-16s %s\n%-16s %s\n%-16s %s\n", "group", group.name().c_str(), "arn",
              group.arn().c_str(), "id", group.id().c_str());
  print_names("users", group.users());
  print_names("policies", group.policies());
  print_names("inline policies", group.inline_policies());
}

// One that was made: its secret is not told again.
void print_made(const v1::AccessKey& key, const std::string& secret) {
  std::printf("access key  %s\nsecret key  %s\n", key.id().c_str(), secret.c_str());
  if (key.expires_ms() != 0) std::printf("until       %s\n", iso_time(key.expires_ms()).c_str());
}

// The words of a command line, which its callbacks share.
struct Words {
  Running running;
  std::string name, other, path, policy, file, time, grace;
  bool remove = false;

  // Calls a method of the Admin service; `show` prints its answer unless that is wanted as JSON.
  template <class Request, class Answer, class Show>
  void call(grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*, const Request&, Answer*),
            const Request& request, const std::string& what, Show show) {
    running.ready();
    const Common& o = running.common;
    Client client(o.target);
    Answer answer;
    auto context = client.context();
    const grpc::Status status = (client.admin.get()->*method)(context.get(), request, &answer);
    running.rc = status.ok() ? kOk : fail(o, status, what);
    if (!status.ok()) return;
    if (o.json) {
      print_json(answer);
    } else {
      show(answer);
    }
  }
  // All pages.
  template <class Request, class Answer, class Show>
  void list(grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*, const Request&, Answer*),
            Show show) {
    running.ready();
    const Common& o = running.common;
    Client client(o.target);
    Request request;
    request.set_path_prefix(path);
    for (running.rc = kOk; running.rc == kOk;) {
      Answer answer;
      auto context = client.context();
      const grpc::Status status = (client.admin.get()->*method)(context.get(), request, &answer);
      if (!status.ok()) {
        running.rc = fail(o, status, "list");
        return;
      }
      if (o.json) {
        print_json(answer);
      } else {
        show(answer);
      }
      if (answer.next_page_token().empty()) return;
      request.set_page_token(answer.next_page_token());
    }
  }
};
using WordsPtr = std::shared_ptr<Words>;

constexpr auto kNothing = [](const auto&) {};

CLI::App* add_name(CLI::App* c, const WordsPtr& w, const char* what) {
  c->add_option("name", w->name, what)->required();
  return c;
}

CLI::App* family(CLI::App& app, const char* name, const char* about) {
  CLI::App* c = app.add_subcommand(name, about);
  c->require_subcommand(1);
  return c;
}

// "attach" and "detach" of a user's or a group's policies.
void add_attaching(CLI::App* to, const WordsPtr& w,
                   void (*name)(v1::PolicyHolder*, const std::string&)) {
  CLI::App* c = add_name(to->add_subcommand("attach", "give it a policy"), w, "NAME");
  c->add_option("policy", w->policy, "the policy's name")->required();
  c->callback([w, name] {
    v1::AttachPolicyRequest q;
    name(q.mutable_to(), w->name);
    q.set_policy(w->policy);
    w->call(&v1::Admin::Stub::AttachPolicy, q, w->name, kNothing);
  });
  c = add_name(to->add_subcommand("detach", "take a policy away"), w, "NAME");
  c->add_option("policy", w->policy, "the policy's name")->required();
  c->callback([w, name] {
    v1::DetachPolicyRequest q;
    name(q.mutable_from(), w->name);
    q.set_policy(w->policy);
    w->call(&v1::Admin::Stub::DetachPolicy, q, w->name, kNothing);
  });
}

void add_users(CLI::App& app, const WordsPtr& w) {
  CLI::App* users = family(app, "user", "users: who may use the store");
  CLI::App* c = add_name(users->add_subcommand("create", "make a user"), w, "NAME");
  c->add_option("--path", w->path, "as /staff/, in its ARN");
  c->callback([w] {
    v1::CreateUserRequest q;
    q.set_name(w->name);
    q.set_path(w->path);
    w->call(&v1::Admin::Stub::CreateUser, q, w->name, kNothing);
  });
  c = users->add_subcommand("list", "name all users");
  c->add_option("--path-prefix", w->path, "those whose path begins so");
  c->callback([w] {
    w->list(&v1::Admin::Stub::ListUsers, [](const v1::ListUsersResponse& a) {
      for (const v1::User& user : a.users()) {
        std::printf("%-24s %s\n", user.name().c_str(), user.arn().c_str());
      }
    });
  });
  c = add_name(users->add_subcommand("show", "describe a user"), w, "NAME");
  c->callback([w] {
    v1::GetUserRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::GetUser, q, w->name,
            [](const v1::GetUserResponse& a) { print(a.user()); });
  });
  c = add_name(users->add_subcommand("delete", "remove one without keys, groups and policies"), w,
               "NAME");
  c->callback([w] {
    v1::DeleteUserRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::DeleteUser, q, w->name, kNothing);
  });
  c = add_name(
      users->add_subcommand("password", "set the password, from the terminal or standard input"), w,
      "NAME");
  c->add_flag("--remove", w->remove, "he has none any more");
  c->callback([w] {
    v1::SetUserPasswordRequest q;
    q.set_name(w->name);
    if (!w->remove) q.set_password(read_password());
    w->call(&v1::Admin::Stub::SetUserPassword, q, w->name, kNothing);
  });
  add_attaching(users, w,
                [](v1::PolicyHolder* to, const std::string& name) { to->set_user(name); });
}

void add_groups(CLI::App& app, const WordsPtr& w) {
  CLI::App* groups = family(app, "group", "groups: what several users may");
  CLI::App* c = add_name(groups->add_subcommand("create", "make a group"), w, "NAME");
  c->add_option("--path", w->path, "as /staff/, in its ARN");
  c->callback([w] {
    v1::CreateGroupRequest q;
    q.set_name(w->name);
    q.set_path(w->path);
    w->call(&v1::Admin::Stub::CreateGroup, q, w->name, kNothing);
  });
  c = groups->add_subcommand("list", "name all groups");
  c->add_option("--path-prefix", w->path, "those whose path begins so");
  c->callback([w] {
    w->list(&v1::Admin::Stub::ListGroups, [](const v1::ListGroupsResponse& a) {
      for (const v1::Group& group : a.groups()) {
        std::printf("%-24s %s\n", group.name().c_str(), group.arn().c_str());
      }
    });
  });
  c = add_name(groups->add_subcommand("show", "describe a group"), w, "NAME");
  c->callback([w] {
    v1::GetGroupRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::GetGroup, q, w->name,
            [](const v1::GetGroupResponse& a) { print(a.group()); });
  });
  c = add_name(groups->add_subcommand("delete", "remove one without users and policies"), w,
               "NAME");
  c->callback([w] {
    v1::DeleteGroupRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::DeleteGroup, q, w->name, kNothing);
  });
  c = add_name(groups->add_subcommand("add", "put a user into a group"), w, "GROUP");
  c->add_option("user", w->other, "USER")->required();
  c->callback([w] {
    v1::AddUserToGroupRequest q;
    q.set_group(w->name);
    q.set_user(w->other);
    w->call(&v1::Admin::Stub::AddUserToGroup, q, w->name, kNothing);
  });
  c = add_name(groups->add_subcommand("remove", "take a user out of a group"), w, "GROUP");
  c->add_option("user", w->other, "USER")->required();
  c->callback([w] {
    v1::RemoveUserFromGroupRequest q;
    q.set_group(w->name);
    q.set_user(w->other);
    w->call(&v1::Admin::Stub::RemoveUserFromGroup, q, w->name, kNothing);
  });
  add_attaching(groups, w,
                [](v1::PolicyHolder* to, const std::string& name) { to->set_group(name); });
}

void add_policies(CLI::App& app, const WordsPtr& w) {
  CLI::App* policies = family(app, "policy", "policies: IAM's JSON, with a name");
  CLI::App* c =
      add_name(policies->add_subcommand("put", "make a policy, or replace it"), w, "NAME");
  c->add_option("file", w->file, "FILE with its JSON, or - for standard input")->required();
  c->add_option("--path", w->path, "of a new one, as /staff/");
  c->callback([w] {
    v1::PutPolicyRequest q;
    q.set_name(w->name);
    q.set_path(w->path);
    q.set_document(read_file(w->file));
    w->call(&v1::Admin::Stub::PutPolicy, q, w->name, kNothing);
  });
  c = add_name(policies->add_subcommand("get", "print a policy's JSON"), w, "NAME");
  c->callback([w] {
    v1::GetPolicyRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::GetPolicy, q, w->name, [](const v1::GetPolicyResponse& a) {
      std::printf("%s\n", a.policy().document().c_str());
    });
  });
  c = policies->add_subcommand("list", "name all policies");
  c->add_option("--path-prefix", w->path, "those whose path begins so");
  c->callback([w] {
    w->list(&v1::Admin::Stub::ListPolicies, [](const v1::ListPoliciesResponse& a) {
      for (const v1::Policy& policy : a.policies()) {
        std::printf("%-24s attached %lu times  %s\n", policy.name().c_str(),
                    static_cast<unsigned long>(policy.attachments()), policy.arn().c_str());
      }
    });
  });
  c = add_name(policies->add_subcommand("delete", "remove one that nobody has"), w, "NAME");
  c->callback([w] {
    v1::DeletePolicyRequest q;
    q.set_name(w->name);
    w->call(&v1::Admin::Stub::DeletePolicy, q, w->name, kNothing);
  });
}

void update_key(const WordsPtr& w, const v1::UpdateAccessKeyRequest& q) {
  w->call(&v1::Admin::Stub::UpdateAccessKey, q, w->name,
          [](const v1::UpdateAccessKeyResponse& a) { print(a.access_key()); });
}

void add_keys(CLI::App& app, const WordsPtr& w) {
  CLI::App* keys = family(app, "key", "access keys, of which a user may have several");
  CLI::App* c = keys->add_subcommand("create", "make a key; its secret is printed once");
  c->add_option("user", w->name, "USER")->required();
  c->add_option("--expires", w->time, "2026-12-31T00:00:00Z, 30d, 12h or never")->check(kIsTime);
  c->add_option("--boundary", w->file, "FILE with a policy within which all is");
  c->callback([w] {
    v1::CreateAccessKeyRequest q;
    q.set_user(w->name);
    if (!w->time.empty()) q.set_expires_ms(*parse_time(w->time));
    if (!w->file.empty()) q.set_boundary(read_file(w->file));
    w->call(&v1::Admin::Stub::CreateAccessKey, q, w->name,
            [](const v1::CreateAccessKeyResponse& a) { print_made(a.access_key(), a.secret()); });
  });
  c = keys->add_subcommand("list", "name a user's keys");
  c->add_option("user", w->name, "USER")->required();
  c->callback([w] {
    v1::ListAccessKeysRequest q;
    q.set_user(w->name);
    w->call(&v1::Admin::Stub::ListAccessKeys, q, w->name, [](const v1::ListAccessKeysResponse& a) {
      for (const v1::AccessKey& key : a.access_keys()) print(key);
    });
  });
  for (const bool enabled : {true, false}) {
    c = keys->add_subcommand(enabled ? "enable" : "disable",
                             enabled ? "let a key do again" : "let a key do nothing");
    add_name(c, w, "KEY")->callback([w, enabled] {
      v1::UpdateAccessKeyRequest q;
      q.set_id(w->name);
      q.set_enabled(enabled);
      update_key(w, q);
    });
  }
  c = add_name(keys->add_subcommand("expire", "say when a key ends"), w, "KEY");
  c->add_option("time", w->time, "2026-12-31T00:00:00Z, 30d, 12h or never")
      ->required()
      ->check(kIsTime);
  c->callback([w] {
    v1::UpdateAccessKeyRequest q;
    q.set_id(w->name);
    q.set_expires_ms(*parse_time(w->time));
    update_key(w, q);
  });
  c = add_name(keys->add_subcommand("boundary", "say within what a key is"), w, "KEY");
  auto* file = c->add_option("file", w->file, "FILE with a policy, or - for standard input");
  c->add_flag("--remove", w->remove, "it is within none any more")->excludes(file);
  c->callback([w] {
    if (w->remove == !w->file.empty()) {
      throw CLI::RequiredError("either FILE or --remove");
    }
    v1::UpdateAccessKeyRequest q;
    q.set_id(w->name);
    q.set_boundary(w->remove ? "" : read_file(w->file));
    update_key(w, q);
  });
  c = add_name(keys->add_subcommand("rotate",
                                    "make a key in the place of this; its secret is "
                                    "printed once"),
               w, "KEY");
  c->add_option("--grace", w->grace, "so long the old one still does, as 1h; without: not at all")
      ->check(kIsTime);
  c->callback([w] {
    v1::RotateAccessKeyRequest q;
    q.set_id(w->name);
    if (!w->grace.empty()) q.set_grace_ms(std::max<int64_t>(*parse_time(w->grace) - now_ms(), 0));
    w->call(&v1::Admin::Stub::RotateAccessKey, q, w->name,
            [](const v1::RotateAccessKeyResponse& a) { print_made(a.access_key(), a.secret()); });
  });
  c = add_name(keys->add_subcommand("delete", "remove a key"), w, "KEY");
  c->callback([w] {
    v1::DeleteAccessKeyRequest q;
    q.set_id(w->name);
    w->call(&v1::Admin::Stub::DeleteAccessKey, q, w->name, kNothing);
  });
}

}  // namespace

void add_user_commands(CLI::App& app, const Running& running) {
  const auto words = std::make_shared<Words>(Words{running});
  add_users(app, words);
  add_groups(app, words);
  add_policies(app, words);
  add_keys(app, words);
}

}  // namespace cairn::cli
