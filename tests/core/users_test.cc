#include "core/store/users.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <ctime>
#include <future>

#include "core/store/known_users.h"
#include "core/store/transaction.h"
#include "tests/allocations.h"
#include "tests/core/fault_fixture.h"
#include "tests/core/principals.h"

namespace cairn {
namespace {

TEST(Users, OnlyTheRightPasswordNamesAPrincipal) {
  const Users users("root", "secret", true);
  ASSERT_NE(users.authenticate("root", "secret"), nullptr);
  EXPECT_EQ(users.authenticate("root", "secret")->name(), "root");
  EXPECT_EQ(users.authenticate("default", "secret")->name(), "default");
  EXPECT_EQ(users.owner("root")->name(), "root");
  EXPECT_EQ(users.authenticate("root", "secre"), nullptr);
  EXPECT_EQ(users.authenticate("roo", "secret"), nullptr);
  EXPECT_EQ(users.authenticate("", ""), nullptr);
  EXPECT_EQ(users.authenticate("wrong"), nullptr);
  EXPECT_EQ(users.owner("other"), nullptr);
}

TEST(Authorize, RootMayDoAll) {
  const Users users("root", "secret", true);
  const auto root = users.authenticate("root", "secret");
  EXPECT_TRUE(authorize(*root, {"resp", "flushall", Access::kWrite | Access::kDelete}));
  EXPECT_TRUE(authorize(*root, {"s3", "GetObject", Access::kRead}, "photos", "a"));
}

TEST(Authorize, WhatNobodyAllowedIsDenied) {
  const Action get{"resp", "get", Access::kRead}, set{"resp", "set", Access::kWrite},
      getset{"resp", "getset", Access::kRead | Access::kWrite}, keys{"resp", "keys", Access::kList},
      flush{"resp", "flushdb", Access::kWrite | Access::kDelete}, ping{"resp", "ping"},
      publish{"resp", "publish", Access::kByName}, object{"s3", "GetObject", Access::kRead};
  const auto may = [](const PrincipalPtr& who, const Action& action, std::string_view space = {},
                      std::string_view key = {}) { return authorize(*who, action, space, key); };
  const PrincipalPtr nobody = principal_with("");
  EXPECT_TRUE(may(nobody, ping));
  for (const Action& a : {get, set, keys, flush, object}) EXPECT_FALSE(may(nobody, a, "db0"));
  EXPECT_FALSE(may(nobody, publish));

  const PrincipalPtr reader = principal_with(allow("s3:GetObject", "db0/a:*"));
  EXPECT_TRUE(may(reader, get, "db0", "a:1"));
  EXPECT_TRUE(may(reader, object, "db0", "a:1"));
  EXPECT_FALSE(may(reader, get, "db0", "b"));
  EXPECT_FALSE(may(reader, get, "db1", "a:1"));
  EXPECT_FALSE(may(reader, get, "db0"));
  EXPECT_FALSE(may(reader, set, "db0", "a:1"));
  EXPECT_FALSE(may(reader, getset, "db0", "a:1"));
  EXPECT_FALSE(may(reader, keys, "db0"));  // would name the others' keys

  const PrincipalPtr lists = principal_with(allow("s3:ListBucket", "db0"));
  EXPECT_TRUE(may(lists, keys, "db0"));
  EXPECT_FALSE(may(lists, get, "db0"));

  const PrincipalPtr owner = principal_with(cat(allow("s3:*", "db0"), ",", allow("s3:*", "db0/*")));
  EXPECT_TRUE(may(owner, keys, "db0"));
  EXPECT_TRUE(may(owner, flush, "db0"));
  EXPECT_FALSE(may(owner, flush, "db1"));
  const PrincipalPtr nearly =
      principal_with(cat(allow("s3:*", "*"), ",", deny("s3:DeleteObject", "db0/kept/*")));
  EXPECT_TRUE(may(nearly, flush, "db1"));
  EXPECT_FALSE(may(nearly, flush, "db0"));

  const Action config{"resp", "config|set", Access::kAdmin};
  EXPECT_FALSE(may(owner, config));
  EXPECT_FALSE(may(nearly, config));
  EXPECT_TRUE(may(principal_with(allow("resp:config*")), config));

  const PrincipalPtr getter = principal_with(allow("resp:get"));
  EXPECT_TRUE(may(getter, get, "db7", "x"));
  EXPECT_FALSE(may(getter, set, "db7", "x"));
  EXPECT_FALSE(may(getter, object, "db7", "x"));
  EXPECT_FALSE(may(principal_with(cat(allow("*"), ",", deny("resp:ping"))), ping));

  // What S3 does to a bucket, at another door.
  const Action create{"grpc", "cairn.v1.Objects/CreateBucket", Access::kInsert, "CreateBucket"};
  EXPECT_TRUE(may(principal_with(allow("s3:CreateBucket", "photos")), create, "photos"));
  EXPECT_FALSE(may(principal_with(allow("s3:PutObject", "photos/*")), create, "photos"));
}

TEST(Authorize, WhoIsAllowedAllIsAskedNothing) {
  EXPECT_TRUE(principal_with(allow("*"))->may_all());
  EXPECT_FALSE(principal_with(allow("s3:*"))->may_all());
  EXPECT_FALSE(principal_with(allow("*", "*"))->may_all());
  EXPECT_FALSE(principal_with(cat(allow("*"), ",", deny("resp:flushall")))->may_all());
  EXPECT_FALSE(principal_with("{'Effect':'Allow','Action':'*','Resource':'*','Condition':"
                              "{'Bool':{'aws:SecureTransport':'true'}}}")
                   ->may_all());
}

TEST(Authorize, ConditionsAreOfTheConnection) {
  const Action get{"resp", "get", Access::kRead};
  const auto ask = [&](const char* condition, const Circumstances& from) {
    return authorize(*principal_with(cat("{'Effect':'Allow','Action':'s3:*','Resource':'*',"
                                         "'Condition':",
                                         condition, "}")),
                     get, "db0", "a", from);
  };
  const char* const near = "{'IpAddress':{'aws:SourceIp':['10.0.0.0/8','2001:db8::/32']}}";
  EXPECT_TRUE(ask(near, {"10.1.2.3:4567"}));
  EXPECT_TRUE(ask(near, {"10.1.2.3"}));
  EXPECT_TRUE(ask(near, {"[2001:db8::1]:80"}));
  EXPECT_FALSE(ask(near, {"11.1.2.3:4567"}));
  EXPECT_FALSE(ask(near, {}));
  const char* const secure = "{'Bool':{'aws:SecureTransport':'true'}}";
  EXPECT_TRUE(ask(secure, {"10.1.2.3:4567", true}));
  EXPECT_FALSE(ask(secure, {"10.1.2.3:4567", false}));
  EXPECT_TRUE(ask("{'StringEquals':{'aws:username':'other'}}", {}));
  EXPECT_TRUE(ask("{'DateGreaterThan':{'aws:CurrentTime':'2020-01-01T00:00:00Z'}}", {}));
  EXPECT_FALSE(ask("{'DateLessThan':{'aws:CurrentTime':'2020-01-01T00:00:00Z'}}", {}));
  // What a door cannot tell denies and does not allow.
  const std::string tag =
      "'Resource':'*','Condition':{'StringEquals':{'s3:ExistingObjectTag/a':'b'}}}";
  EXPECT_FALSE(
      authorize(*principal_with(cat(allow("*"), ",{'Effect':'Deny','Action':'s3:GetObject',", tag)),
                get, "db0", "a"));
  EXPECT_FALSE(
      authorize(*principal_with(cat("{'Effect':'Allow','Action':'*',", tag)), get, "db0", "a"));
  EXPECT_TRUE(ask("{'NumericGreaterThan':{'aws:EpochTime':'1577836800'}}", {}));
}

TEST(Authorize, IsWithinTheBoundaryOfTheKey) {
  const auto policy = [](const std::string& statements) {
    return principal_with(statements)->rights()->kept.at(0);
  };
  Rights rights;
  static const SystemClock clock;
  rights.clock = &clock;
  rights.add(policy(allow("*")));
  rights.boundary = policy(allow("s3:GetObject", "photos/thumbs/*"));
  const auto may = [](const Rights& r, const Action& action, std::string_view key) {
    return authorize(Principal("ann", std::make_shared<const Rights>(r)), action, "photos", key);
  };
  const Action get{"s3", "GetObject", Access::kRead}, put{"s3", "PutObject", Access::kWrite};
  EXPECT_TRUE(may(rights, get, "thumbs/1"));
  EXPECT_FALSE(may(rights, get, "1"));
  EXPECT_FALSE(may(rights, put, "thumbs/1"));
  rights.expires_ms = clock.now_ms() - 1;
  EXPECT_FALSE(may(rights, get, "thumbs/1"));
  rights.expires_ms = clock.now_ms() + 1'000'000;
  EXPECT_TRUE(may(rights, get, "thumbs/1"));
  rights.add(nullptr);  // one that cannot be read
  EXPECT_FALSE(may(rights, get, "thumbs/1"));
}

// ---- the table ----

struct UsersTest : FaultTest {
  const MasterKey master = MasterKey::random();
  std::vector<std::string> reports;
  std::unique_ptr<Users> load(Store& store, const MasterKey& key) {
    auto users = std::make_unique<Users>("root", "password", true);
    users->load(store, key, [this](Severity, std::string_view, std::string_view text) {
      reports.emplace_back(text);
    });
    return users;
  }
  std::unique_ptr<Users> load(Store& store) { return load(store, master); }
  std::unique_ptr<Store> opened() {
    auto store = make();
    auto status = run(store->open());
    EXPECT_TRUE(status && status->ok()) << *status;
    return store;
  }
  void close(std::unique_ptr<Store> store) {
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
  // Of the first change that is refused.
  Status change(Users& users, std::initializer_list<std::function<Status(Draft&)>> edits) {
    for (auto& edit : edits) {
      auto lsn = users.change(edit);
      if (!lsn.ok()) return lsn.status();
    }
    return absl::OkStatus();
  }
  static std::string text_of(const std::string& statement) {
    std::string text = cat(R"({"Version":"2012-10-17","Statement":[)", statement, "]}");
    std::replace(text.begin(), text.end(), '\'', '"');
    return text;
  }
  static bool may_get(const PrincipalPtr& who, std::string_view key) {
    return who != nullptr && authorize(*who, {"s3", "GetObject", Access::kRead}, "photos", key);
  }
};

TEST_F(UsersTest, AreKeptAndKnownAgainAfterAStart) {
  auto store = opened();
  auto users = load(*store);
  Users::MadeKey key = users->make_key();
  const std::string secret = key.secret;
  const std::string read_thumbs = text_of(allow("s3:GetObject", "photos/thumbs/*"));
  ASSERT_TRUE(
      change(*users,
             {[&](Draft& d) { return d.create_user("Ann", "/staff/"); },
              [&](Draft& d) { return d.create_group("readers", "/"); },
              [&](Draft& d) { return d.add_to_group("readers", "ann"); },
              [&](Draft& d) { return d.create_policy("thumbs", "/", "of photos", read_thumbs); },
              [&](Draft& d) { return d.attach(Draft::Whose::kGroup, "readers", "thumbs"); },
              [&](Draft& d) {
                return d.put_inlined(Draft::Whose::kUser, "Ann", "own",
                                     text_of(allow("s3:GetObject", "photos/ann")));
              },
              [&](Draft& d) { return d.create_key("Ann", key.id, key.sealed, 0, ""); },
              [&](Draft& d) { return d.set_password("Ann", hash_password("abc")); }})
          .ok());
  const auto check = [&](const Users& u) {
    for (const PrincipalPtr& who :
         {u.owner(key.id), u.authenticate(key.id, secret),
          *u.authenticate_at_once("Ann", "abc", "10.0.0.1:5"), u.authenticate("Ann", "abc")}) {
      ASSERT_NE(who, nullptr);
      EXPECT_EQ(who->name(), "Ann");
      EXPECT_TRUE(may_get(who, "thumbs/1"));
      EXPECT_TRUE(may_get(who, "ann"));
      EXPECT_FALSE(may_get(who, "other"));
    }
    EXPECT_EQ(u.signer(key.id)->secret, secret);
    EXPECT_EQ(u.authenticate("Ann", "abd"), nullptr);
    EXPECT_EQ(*u.authenticate_at_once("Ann", "abd", "10.0.0.1:5"), nullptr);
    EXPECT_EQ(*u.authenticate_at_once("ann", "abc", "10.0.0.1:5"), nullptr);
    EXPECT_EQ(u.authenticate(key.id, "abc"), nullptr);
    EXPECT_TRUE(u.knows("Ann"));
    EXPECT_FALSE(u.knows("Bob"));
  };
  check(*users);
  close(std::move(store));
  store = opened();
  users = load(*store);
  check(*users);
  EXPECT_TRUE(reports.empty());
  EXPECT_EQ(users->known()->table.user("ANN")->path, "/staff/");
  close(std::move(store));
}

TEST_F(UsersTest, AChangeHoldsAtOnceForWhoIsThereAlready) {
  auto store = opened();
  auto users = load(*store);
  Users::MadeKey key = users->make_key();
  using Whose = Draft::Whose;
  ASSERT_TRUE(
      change(*users,
             {[&](Draft& d) { return d.create_user("ann", "/"); },
              [&](Draft& d) { return d.create_key("ann", key.id, key.sealed, 0, ""); },
              [&](Draft& d) { return d.create_group("g", "/"); },
              [&](Draft& d) { return d.create_policy("p", "/", "", text_of(allow("s3:*"))); }})
          .ok());
  const PrincipalPtr who = users->owner(key.id);
  EXPECT_FALSE(may_get(who, "a"));
  const auto now = [&](std::function<Status(Draft&)> edit) {
    EXPECT_TRUE(change(*users, {std::move(edit)}).ok());
    return may_get(who, "a");
  };
  EXPECT_TRUE(now([](Draft& d) { return d.attach(Whose::kUser, "ann", "p"); }));
  EXPECT_FALSE(now([](Draft& d) { return d.detach(Whose::kUser, "ann", "p"); }));
  EXPECT_FALSE(now([](Draft& d) { return d.attach(Whose::kGroup, "g", "p"); }));
  EXPECT_TRUE(now([](Draft& d) { return d.add_to_group("g", "ann"); }));
  EXPECT_FALSE(now([](Draft& d) { return d.replace_policy("p", text_of(allow("s3:PutObject"))); }));
  EXPECT_TRUE(now([](Draft& d) { return d.replace_policy("p", text_of(allow("s3:GetObject"))); }));
  EXPECT_FALSE(now([](Draft& d) {
    return d.put_inlined(Whose::kUser, "ann", "no", text_of(deny("s3:GetObject", "photos/a")));
  }));
  EXPECT_TRUE(now([](Draft& d) { return d.delete_inlined(Whose::kUser, "ann", "no"); }));
  EXPECT_FALSE(now([&](Draft& d) {
    return d.update_key(key.id, {.boundary = text_of(allow("s3:GetObject", "other/*"))});
  }));
  EXPECT_TRUE(now([&](Draft& d) { return d.update_key(key.id, {.boundary = ""}); }));
  EXPECT_FALSE(now([&](Draft& d) { return d.update_key(key.id, {.enabled = false}); }));
  EXPECT_EQ(users->owner(key.id), nullptr);
  EXPECT_FALSE(users->signer(key.id));
  EXPECT_TRUE(now([&](Draft& d) { return d.update_key(key.id, {.enabled = true}); }));
  const int64_t soon = store->now_ms() + 1000;
  EXPECT_TRUE(now([&](Draft& d) { return d.update_key(key.id, {.expires_ms = soon}); }));
  store_clock.offset_ms += 2000;
  EXPECT_FALSE(may_get(who, "a"));
  EXPECT_EQ(users->owner(key.id), nullptr);
  EXPECT_TRUE(now([&](Draft& d) { return d.update_key(key.id, {.expires_ms = 0}); }));
  EXPECT_FALSE(now([&](Draft& d) { return d.delete_key(key.id); }));
  EXPECT_EQ(users->owner(key.id), nullptr);
  close(std::move(store));
}

// Whoever holds a session's credentials, at a door that signs or one that asks for a password, has
// what its role may within its policy; each thing that it rests on ends it, and its time does.
TEST_F(UsersTest, ASessionEndsWithItsTimeAndWithAllThatItRestsOn) {
  const std::string trust = text_of("{'Effect':'Allow','Principal':'*','Action':'sts:AssumeRole'}");
  using Whose = Draft::Whose;
  using End = std::function<Status(Draft&)>;
  Users::MadeKey key;
  const std::pair<const char*, End> kEnds[] = {
      {"time", nullptr},
      {"key disabled", [&](Draft& d) { return d.update_key(key.id, {.enabled = false}); }},
      {"key deleted", [&](Draft& d) { return d.delete_key(key.id); }},
      {"user off", [](Draft& d) { return d.set_acl("ann", AclRecord()); }},
      {"role deleted",
       [](Draft& d) {
         Status s = d.delete_inlined(Whose::kRole, "r", "own");
         return s.ok() ? d.delete_role("r") : s;
       }},
      {"session's policy deleted", [](Draft& d) { return d.delete_policy("p"); }},
      {"role made again",
       [&](Draft& d) {
         Status s = d.delete_inlined(Whose::kRole, "r", "own");
         if (s.ok()) s = d.delete_role("r");
         if (s.ok()) s = d.create_role("r", "/", {.trust = trust});
         return s.ok() ? d.put_inlined(Whose::kRole, "r", "own", text_of(allow("s3:*"))) : s;
       }},
  };
  for (const auto& [name, end] : kEnds) {
    auto store = opened();
    auto users = load(*store);
    key = users->make_key();
    ASSERT_TRUE(
        change(*users, {[&](Draft& d) { return d.create_user("ann", "/"); },
                        [&](Draft& d) { return d.create_key("ann", key.id, key.sealed, 0, ""); },
                        [&](Draft& d) { return d.create_role("r", "/", {.trust = trust}); },
                        [&](Draft& d) {
                          return d.put_inlined(Whose::kRole, "r", "own", text_of(allow("s3:*")));
                        },
                        [&](Draft& d) {
                          return d.create_policy("p", "/", "", text_of(allow("s3:*", "photos/a*")));
                        }})
            .ok());
    const auto all = users->known();
    const UserTable& table = all->table;
    SessionClaims claims;
    claims.user = table.user("ann")->id;
    claims.key = key.id;
    claims.role = table.role("r")->id;
    claims.name = "s1";
    claims.policies = {table.policy("p")->id};
    claims.issued_ms = store->now_ms();
    claims.expires_ms = claims.issued_ms + 900'000;
    const auto made = users->make_session(claims);
    const auto known = users->signer(made.id, made.token);
    ASSERT_TRUE(known) << name;
    EXPECT_EQ(known->secret, made.secret);
    const PrincipalPtr who = known->owner;
    EXPECT_EQ(users->authenticate(made.id, cat(made.secret, ":", made.token)), who);
    EXPECT_EQ(users->authenticate(made.id, made.secret), nullptr);
    EXPECT_EQ(users->authenticate(made.id, cat("wrong:", made.token)), nullptr);
    EXPECT_FALSE(users->signer(made.id));
    EXPECT_FALSE(users->signer(key.id, made.token));
    EXPECT_TRUE(may_get(who, "a1"));
    EXPECT_FALSE(may_get(who, "b"));
    // Its role's rights are its own, at once.
    const auto set = [&](const std::string& statement) {
      return change(*users, {[&](Draft& d) {
        return d.put_inlined(Whose::kRole, "r", "own", text_of(statement));
      }});
    };
    ASSERT_TRUE(set(allow("s3:PutObject")).ok());
    EXPECT_FALSE(may_get(who, "a1")) << name;
    ASSERT_TRUE(set(allow("s3:*")).ok());
    EXPECT_TRUE(may_get(who, "a1")) << name;
    auto why = Users::NoSigner::kInvalidToken;
    if (end == nullptr) {
      store_clock.offset_ms += 899'000;
      EXPECT_TRUE(may_get(who, "a1"));
      store_clock.offset_ms += 2000;
    } else {
      ASSERT_TRUE(change(*users, {end}).ok()) << name;
    }
    EXPECT_FALSE(may_get(who, "a1")) << name;
    EXPECT_FALSE(users->signer(made.id, made.token, &why)) << name;
    EXPECT_EQ(why, end == nullptr ? Users::NoSigner::kExpiredToken : Users::NoSigner::kUnknown)
        << name;
    EXPECT_EQ(users->authenticate(made.id, cat(made.secret, ":", made.token)), nullptr) << name;
    // And a server that is started anew knows as much.
    EXPECT_FALSE(load(*store)->signer(made.id, made.token)) << name;
    ASSERT_TRUE(change(*users, {[&](Draft& d) {
                                  const auto keys = d.table().keys;
                                  for (const auto& one : keys) {
                                    if (Status s = d.delete_key(one.first); !s.ok()) return s;
                                  }
                                  return absl::OkStatus();
                                },
                                [](Draft& d) { return d.delete_user("ann"); },
                                [](Draft& d) {
                                  if (d.table().policy("p") == nullptr) return absl::OkStatus();
                                  return d.delete_policy("p");
                                },
                                [](Draft& d) {
                                  if (d.table().role("r") == nullptr) return absl::OkStatus();
                                  Status s = d.delete_inlined(Whose::kRole, "r", "own");
                                  return s.ok() ? d.delete_role("r") : s;
                                }})
                    .ok());
    close(std::move(store));
  }
}

TEST_F(UsersTest, WhatAclSaysIsKeptAndOffEndsPasswordsAndKeys) {
  struct Compiled final : CommandRights {};
  const auto compile = [](std::string_view rules) -> std::shared_ptr<const CommandRights> {
    if (rules == "unreadable") return nullptr;
    return std::make_shared<const Compiled>();
  };
  auto store = opened();
  const auto known = [&] {
    auto users = std::make_unique<Users>("root", "password", true);
    users->compile_acl_by(compile);
    users->load(*store, master, {});
    return users;
  };
  auto users = known();
  const Users::MadeKey key = users->make_key();
  AclRecord acl;
  acl.on = true;
  acl.hashes = {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"};  // "abc"
  acl.rules = "~a* resetchannels -@all +get";
  ASSERT_TRUE(
      change(*users, {[&](Draft& d) { return d.set_acl("Ann", acl); },
                      [&](Draft& d) { return d.set_acl("default", acl); },
                      [&](Draft& d) { return d.create_key("Ann", key.id, key.sealed, 0, ""); }})
          .ok());
  using enum absl::StatusCode;
  const auto code = [&](std::function<Status(Draft&)> edit) {
    return change(*users, {std::move(edit)}).code();
  };
  EXPECT_EQ(code([&](Draft& d) { return d.set_acl("ANN", acl); }), kAlreadyExists);
  EXPECT_EQ(code([&](Draft& d) { return d.set_acl("root", acl); }), kAlreadyExists);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("default"); }), kFailedPrecondition);
  EXPECT_EQ(code([](Draft& d) { return d.update_user("default", "x", {}); }), kFailedPrecondition);
  // Nor has he credentials that somebody could make who may make them for users.
  EXPECT_EQ(code([&](Draft& d) { return d.create_key("default", "AKIA2", key.sealed, 0, ""); }),
            kFailedPrecondition);
  EXPECT_EQ(code([](Draft& d) { return d.set_password("default", "hash"); }), kFailedPrecondition);
  const auto check = [&](const Users& u) {
    const PrincipalPtr ann = u.authenticate("Ann", "abc");
    ASSERT_NE(ann, nullptr);
    EXPECT_NE(ann->rights()->acl, nullptr);
    EXPECT_EQ(u.authenticate("Ann", "abd"), nullptr);
    EXPECT_EQ(u.authenticate("ann", "abc"), nullptr);
    EXPECT_EQ(u.authenticate(key.id, key.secret)->rights()->acl == nullptr, false);
    // Other doors take no ACL.
    EXPECT_FALSE(authorize(*ann, {"s3", "GetObject", Access::kRead}, "db0", "a"));
    EXPECT_EQ(u.default_acl()->rules, acl.rules);
    EXPECT_FALSE(u.default_user()->may_all());
    EXPECT_TRUE(u.authenticate("default", "password")->may_all());  // a bearer's is root's
  };
  check(*users);
  users = known();
  check(*users);
  const PrincipalPtr ann = users->authenticate("Ann", "abc");
  acl.on = false;
  EXPECT_EQ(code([&](Draft& d) { return d.set_acl("Ann", acl); }), kOk);
  EXPECT_EQ(users->authenticate("Ann", "abc"), nullptr);
  EXPECT_EQ(users->authenticate(key.id, key.secret), nullptr);
  EXPECT_EQ(users->owner(key.id), nullptr);
  EXPECT_FALSE(ann->rights()->nothing);  // who is connected stays
  acl.rules = "unreadable";
  EXPECT_EQ(code([&](Draft& d) { return d.set_acl("Ann", acl); }), kOk);
  EXPECT_TRUE(ann->rights()->nothing);
  EXPECT_EQ(code([&](Draft& d) { return d.delete_key(key.id); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("Ann"); }), kOk);
  EXPECT_TRUE(ann->rights()->gone);
  close(std::move(store));
}

TEST_F(UsersTest, AStoreIsNotServedWhoseKeysAreSealedUnderAnotherMasterKey) {
  auto store = opened();
  auto users = load(*store);
  const Users::MadeKey key = users->make_key();
  ASSERT_TRUE(
      change(*users, {[](Draft& d) { return d.create_user("ann", "/"); },
                      [&](Draft& d) { return d.create_key("ann", key.id, key.sealed, 0, ""); }})
          .ok());
  EXPECT_TRUE(users->check_sealed(false, {}).ok());
  users = load(*store, MasterKey::random());
  EXPECT_EQ(users->check_sealed(false, {}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(load(*store)->signer(key.id)->secret, key.secret);  // nothing was changed by it
  std::string told;
  EXPECT_TRUE(users
                  ->check_sealed(
                      true, [&](Severity, std::string_view, std::string_view text) { told = text; })
                  .ok());
  EXPECT_NE(told.find(key.id), told.npos);
  EXPECT_TRUE(load(*store, MasterKey::random())->check_sealed(false, {}).ok());
  close(std::move(store));
}

TEST_F(UsersTest, APolicyNamesActionsThatThereAre) {
  auto store = opened();
  auto users = load(*store);
  users->know_actions({"resp:get", "resp:config|get", "grpc:cairn.v1.KeyValue/Get"});
  ASSERT_TRUE(change(*users, {[](Draft& d) { return d.create_user("ann", "/"); }}).ok());
  const auto code = [&](std::string_view action) {
    const std::string text = text_of(deny(action));
    return change(*users,
                  {[&](Draft& d) { return d.put_inlined(Draft::Whose::kUser, "ann", "p", text); }})
        .code();
  };
  for (auto good : {"resp:get", "RESP:Get", "resp:config*", "resp:*", "*", "grpc:*/Get",
                    "iam:CreateRole", "s3:GetObject", "admin:anything"}) {
    EXPECT_EQ(code(good), absl::StatusCode::kOk) << good;
  }
  for (auto bad : {"resp:gett", "grpc:Foo", "resp:config|gett", "resp:x*"}) {
    EXPECT_EQ(code(bad), absl::StatusCode::kInvalidArgument) << bad;
  }
  close(std::move(store));
}

// First come, first served, 64 strangers with wrong passwords kept everybody else out.
TEST_F(UsersTest, WrongPasswordsOfOneNameKeepNoOtherWaiting) {
  auto store = opened();
  auto users = load(*store);
  const std::string hash = hash_password("right");
  ASSERT_TRUE(change(*users, {[](Draft& d) { return d.create_user("ann", "/"); },
                              [](Draft& d) { return d.create_user("bob", "/"); },
                              [&](Draft& d) { return d.set_password("ann", hash); },
                              [&](Draft& d) { return d.set_password("bob", hash); }})
                  .ok());
  asio::io_context loop(1);
  size_t answered = 0, refused = 0, before_bob = 0;
  bool bob = false;
  const auto login = [&](std::string name, std::string password) -> awaitable<void> {
    const auto who = co_await users->authenticate_patiently(name, password, "10.0.0.1:5");
    answered++;
    if (!who.ok()) refused++;
    if (name != "bob") co_return;
    bob = who.ok() && *who != nullptr;
    before_bob = answered;
  };
  for (int i = 0; i < 80; i++) asio::co_spawn(loop, login("ann", "wrong"), asio::detached);
  asio::co_spawn(loop, login("bob", "right"), asio::detached);
  while (answered < 81) loop.run_one();
  EXPECT_TRUE(bob);
  EXPECT_LE(before_bob - 16, 8u);  // those that found no room were answered before
  EXPECT_GE(refused, 16u);
  close(std::move(store));
}

TEST_F(UsersTest, WhatIsInUseIsNotDeletedAndNamesAreTakenOnce) {
  auto store = opened();
  auto users = load(*store);
  using Whose = Draft::Whose;
  const std::string text = text_of(allow("s3:*"));
  const auto code = [&](std::function<Status(Draft&)> edit) {
    return change(*users, {std::move(edit)}).code();
  };
  constexpr auto kOk = absl::StatusCode::kOk, kInUse = absl::StatusCode::kFailedPrecondition,
                 kThere = absl::StatusCode::kAlreadyExists, kNone = absl::StatusCode::kNotFound;
  EXPECT_EQ(code([](Draft& d) { return d.create_user("ann", "/"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.create_user("ANN", "/"); }), kThere);
  EXPECT_EQ(code([](Draft& d) { return d.create_user("Root", "/"); }), kThere);
  EXPECT_EQ(code([](Draft& d) { return d.create_user("default", "/"); }), kThere);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("bob"); }), kNone);
  EXPECT_EQ(code([&](Draft& d) { return d.create_policy("p", "/", "", text); }), kOk);
  EXPECT_EQ(code([&](Draft& d) { return d.create_policy("q", "/", "", "{}"); }),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code([](Draft& d) { return d.attach(Whose::kUser, "ann", "p"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.delete_policy("p"); }), kInUse);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("ann"); }), kInUse);
  EXPECT_EQ(code([](Draft& d) { return d.update_user("ann", "Bob", std::nullopt); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.create_user("ann", "/"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.update_user("ann", "bob", std::nullopt); }), kThere);
  EXPECT_EQ(code([](Draft& d) { return d.detach(Whose::kUser, "bob", "p"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("bob"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.delete_policy("p"); }), kOk);
  EXPECT_EQ(code([](Draft& d) { return d.delete_user("ann"); }), kOk);
  EXPECT_EQ(store->system().size(), 0u);
  close(std::move(store));
}

TEST_F(UsersTest, ARecordThatCannotBeReadIsKeptAndDenies) {
  auto store = opened();
  auto users = load(*store);
  Users::MadeKey key = users->make_key();
  ASSERT_TRUE(
      change(*users, {[&](Draft& d) { return d.create_user("ann", "/"); },
                      [&](Draft& d) { return d.create_group("g", "/"); },
                      [&](Draft& d) { return d.add_to_group("g", "ann"); },
                      [&](Draft& d) {
                        return d.put_inlined(Draft::Whose::kUser, "ann", "p",
                                             text_of(allow("s3:*")));
                      },
                      [&](Draft& d) { return d.create_key("ann", key.id, key.sealed, 0, ""); }})
          .ok());
  EXPECT_TRUE(may_get(users->owner(key.id), "a"));
  const auto overwrite = [&](std::string_view name, std::string meta) {
    Namespace& system = store->system();
    RecordView r;
    r.ns = system.id;
    r.key = name;
    r.meta = meta;
    const StripeLocks lock(*store, system.hash(name));
    Transaction t(*store, &lock, Shape::kOne);
    EXPECT_TRUE(t.put(system, system.hash(name), r).ok());
  };
  // Of another version, cut, with a field that is not known.
  for (const std::string& meta : {std::string("\2"), std::string("\1\1\5\0\0\0ab", 8),
                                  std::string("\1\x7f\1\0\0\0a", 7), std::string()}) {
    overwrite("a/g/g", meta);
    reports.clear();
    users = load(*store);
    EXPECT_EQ(reports.size(), 1u);
    EXPECT_FALSE(may_get(users->owner(key.id), "a"));
    EXPECT_EQ(change(*users, {[](Draft& d) { return d.create_group("G", "/"); }}).code(),
              absl::StatusCode::kDataLoss);
    EXPECT_EQ(change(*users, {[](Draft& d) { return d.delete_group("g"); }}).code(),
              absl::StatusCode::kNotFound);
    EXPECT_EQ(store->system().size(), 3u);
  }
  overwrite("a/u/ann", "\2");
  users = load(*store);
  EXPECT_FALSE(may_get(users->owner(key.id), "a"));
  // Another master key opens nothing and destroys nothing.
  reports.clear();
  users = load(*store, MasterKey::random());
  EXPECT_FALSE(users->signer(key.id));
  EXPECT_EQ(users->owner(key.id), nullptr);
  EXPECT_EQ(reports.size(), 2u);  // of the records that cannot be read
  EXPECT_EQ(users->check_sealed(false, {}).code(), absl::StatusCode::kFailedPrecondition);
  users = load(*store);
  EXPECT_EQ(users->signer(key.id)->secret, key.secret);
  close(std::move(store));
}

// Any cut or change of a record's bytes is refused or read as something else, and never crashes.
TEST(UserRecords, AreReadOnlyWhole) {
  UserRecord user;
  user.id = "AIDA1";
  user.name = "ann";
  user.created_ms = 5;
  user.groups = {"g1", "g2"};
  user.attached = {"p1"};
  user.password = "hash";
  user.password_ms = 7;
  user.inlined["p"] = PolicyText::of("{}");
  const std::string bytes = encode(user);
  UserRecord again;
  ASSERT_TRUE(decode(bytes, again));
  EXPECT_EQ(encode(again), bytes);
  EXPECT_EQ(again.groups, user.groups);
  EXPECT_EQ(again.inlined.at("p").compiled, nullptr);
  for (size_t n = 0; n < bytes.size(); n++) {
    for (int flip = 0; flip < 256; flip++) {
      std::string other = bytes;
      other[n] = static_cast<char>(other[n] ^ flip);
      UserRecord to;
      (void)decode(other, to);
    }
    KeyRecord key;
    (void)decode(std::string_view(bytes).substr(0, n), key);
  }
  KeyRecord key;
  EXPECT_FALSE(decode(bytes, key));
}

TEST(MasterKey, OpensWhatItSealedAndNothingElse) {
  const MasterKey key = MasterKey::random();
  const std::string sealed = key.seal("secret", "key:A");
  EXPECT_EQ(key.open(sealed, "key:A"), "secret");
  EXPECT_EQ(key.open(sealed, "key:B"), std::nullopt);
  EXPECT_EQ(MasterKey::random().open(sealed, "key:A"), std::nullopt);
  EXPECT_EQ(MasterKey::parse(key.hex())->open(sealed, "key:A"), "secret");
  for (size_t n = 0; n < sealed.size(); n++) {
    std::string other = sealed;
    other[n] ^= 1;
    EXPECT_EQ(key.open(other, "key:A"), std::nullopt) << n;
    EXPECT_EQ(key.open(sealed.substr(0, n), "key:A"), std::nullopt) << n;
  }
  EXPECT_NE(key.seal("secret", "key:A"), sealed);
  EXPECT_EQ(MasterKey::parse("00"), std::nullopt);
  EXPECT_EQ(MasterKey::parse(std::string(64, 'g')), std::nullopt);
}

// Of this thread, whoever else has the machine.
int64_t cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

// The aim is 2 us with 1,000 users and 100 statements. The time is printed, not asserted.
TEST_F(UsersTest, CostOfAQuestionAmongAThousandUsers) {
  auto store = opened();
  auto users = load(*store);
  Users::MadeKey key;
  ASSERT_TRUE(users
                  ->change([&](Draft& d) {
                    for (int i = 0; i < 1000; i++) {
                      key = users->make_key();
                      const std::string name = cat("user", i);
                      (void)d.create_user(name, "/");
                      (void)d.create_key(name, key.id, key.sealed, 0, "");
                    }
                    for (int p = 0; p < 4; p++) {
                      std::string statements;
                      for (int i = 0; i < 25; i++) {
                        append(statements, i > 0 ? "," : "",
                               allow("s3:GetObject s3:PutObject",
                                     cat("bucket", p, "/", i == 24 && p == 3 ? "" : "x", i, "*")));
                      }
                      Status s = d.put_inlined(Draft::Whose::kUser, "user999", cat("p", p),
                                               text_of(statements));
                      if (!s.ok()) return s;
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  const PrincipalPtr who = users->owner(key.id);
  std::atomic<uint64_t> allocations{0};
  for (const Action& action : {Action{"s3", "GetObject", Access::kRead},
                               Action{"resp", "getset", Access::kRead | Access::kWrite},
                               Action{"grpc", "cairn.v1.KeyValue/Get", Access::kRead}}) {
    constexpr int kRounds = 2000;
    int allowed = 0;
    count_allocations(&allocations);
    const int64_t start = cpu_ns();
    for (int i = 0; i < kRounds; i++) {
      allowed += authorize(*who, action, "bucket3", "24/photos/1.jpg", {"127.0.0.1:5"});
    }
    const int64_t took = cpu_ns() - start;
    count_allocations(nullptr);
    EXPECT_EQ(allowed, kRounds);
    std::printf("%6d ns, %s\n", static_cast<int>(took / kRounds), std::string(action.name).c_str());
  }
  const int64_t start = cpu_ns();
  for (int i = 0; i < 2000; i++) (void)users->signer(key.id);
  std::printf("%6d ns, to find a key\n", static_cast<int>((cpu_ns() - start) / 2000));
  if (kCountsAllocations) {
    EXPECT_EQ(allocations, 0u);
  }
  close(std::move(store));
}

}  // namespace
}  // namespace cairn
