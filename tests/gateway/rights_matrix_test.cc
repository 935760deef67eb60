// Every row of every door, asked by every kind of caller: what each may is derived here from what
// the row says that it does, and from one table of callers.
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <functional>
#include <set>

#include "core/store/managing.h"
#include "core/store/policy_json.h"
#include "gateway/grpc/admin_service.h"
#include "gateway/grpc/collections_service.h"
#include "gateway/grpc/connections.h"
#include "gateway/grpc/events_service.h"
#include "gateway/grpc/kv_service.h"
#include "gateway/grpc/objects_service.h"
#include "gateway/http/iam/iam.h"
#include "gateway/http/kms/kms.h"
#include "gateway/http/s3/service.h"
#include "tests/core/principals.h"
#include "tests/kv/engine_fixture.h"

namespace cairn {
namespace {

using Matrix = kv::EngineTest;

// One kind of caller. `own` is the row's own name in policies, "resp:get".
struct Kind {
  const char* name;
  std::function<std::string(const std::string& own)> statements;
  enum Rule : uint8_t {
    kEverything,  // but what is denied
    kByLetters,   // what has these letters alone
    kNamed,
  } rule;
  // Of keys in db0: R for reading, W writing, D deleting; of db0, L for listing.
  const char* letters = "";
  const char* denied = "";  // likewise; "!" for the own name
};

std::string on_keys(std::string_view actions) { return allow(actions, "db0/*"); }

const Kind kKinds[] = {
    {"nobody", [](auto&) { return std::string(); }, Kind::kByLetters},
    {"reader", [](auto&) { return on_keys("s3:GetObject"); }, Kind::kByLetters, "R"},
    {"writer", [](auto&) { return on_keys("s3:PutObject"); }, Kind::kByLetters, "W"},
    {"deleter", [](auto&) { return on_keys("s3:DeleteObject"); }, Kind::kByLetters, "D"},
    {"lister", [](auto&) { return allow("s3:ListBucket", "db0"); }, Kind::kByLetters, "L"},
    {"editor", [](auto&) { return on_keys("s3:GetObject s3:PutObject"); }, Kind::kByLetters, "RW"},
    {"owner",
     [](auto&) {
       return cat(on_keys("s3:GetObject s3:PutObject s3:DeleteObject"), ",",
                  allow("s3:ListBucket", "db0"));
     },
     Kind::kByLetters, "RWDL"},
    // The same in two policies' worth of statements, and with what does not concern it denied.
    {"patched",
     [](auto&) {
       return cat(on_keys("s3:GetObject"), ",", on_keys("s3:PutObject"), ",", deny("s3:*", "db1/*"),
                  ",", deny("s3:ListBucket", "db0"));
     },
     Kind::kByLetters, "RW"},
    {"elsewhere", [](auto&) { return cat(allow("s3:*", "db1"), ",", allow("s3:*", "db1/*")); },
     Kind::kByLetters},
    {"administrator", [](auto&) { return allow("*"); }, Kind::kEverything},
    {"named", [](auto& own) { return allow(own); }, Kind::kNamed},
    {"denied by name", [](auto& own) { return cat(allow("*"), ",", deny(own)); }, Kind::kEverything,
     "", "!"},
    {"not a reader", [](auto&) { return cat(allow("*"), ",", deny("s3:GetObject", "db0/*")); },
     Kind::kEverything, "", "R"},
    {"not a deleter", [](auto&) { return cat(allow("*"), ",", deny("s3:DeleteObject", "*")); },
     Kind::kEverything, "", "D"},
    {"not a lister", [](auto&) { return cat(allow("*"), ",", deny("s3:ListBucket", "db0")); },
     Kind::kEverything, "", "L"},
};

constexpr bool has(Access access, Access part) { return (access & part) != Access::kNone; }

// What a row does to one key, or to all: nothing if only its name can allow it.
std::optional<std::string> letters_of(Access access) {
  if (has(access, Access::kAdmin | Access::kByName)) return std::nullopt;
  std::string letters;
  if (has(access, Access::kRead)) letters += 'R';
  if (has(access, Access::kWrite | Access::kInsert)) letters += 'W';
  if (has(access, Access::kDelete)) letters += 'D';
  if (has(access, Access::kList)) letters += 'L';
  return letters;
}

bool contains(std::string_view letters, char letter) {
  return letters.find(letter) != letters.npos;
}

// `touched`: what it does, place by place. `beyond`: also outside of db0.
bool expected(const Kind& kind, const std::vector<Access>& touched, bool beyond) {
  if (kind.rule == Kind::kNamed) return true;
  if (kind.rule == Kind::kEverything && contains(kind.denied, '!')) return false;
  for (const Access access : touched) {
    const auto letters = letters_of(access);
    if (kind.rule == Kind::kEverything) {
      for (char c : letters.value_or("")) {
        if (contains(kind.denied, c)) return false;
      }
      continue;
    }
    if (!letters) return false;
    if (beyond && !letters->empty()) return false;
    for (char c : *letters) {
      if (!contains(kind.letters, c)) return false;
    }
  }
  return true;
}

TEST_F(Matrix, OfCommands) {
  kv::Engine& engine = *engines.front();
  size_t asked = 0, refused = 0;
  std::set<std::string_view> elsewhere;
  for (const kv::Row& row : table.rows()) {
    if (row.run == nullptr) continue;
    const std::string own = cat("resp:", row.name);
    // As many words as it takes at least: each a key, or a count of one.
    std::vector<std::string> words;
    for (size_t at = 0; at != std::string::npos;) {
      const size_t end = row.name.find('|', at);
      words.emplace_back(row.name.substr(at, end == row.name.npos ? end : end - at));
      at = end == row.name.npos ? end : end + 1;
    }
    if (row.name == "move") words = {"move", "1", "0"};  // within db0
    while (words.size() < static_cast<size_t>(std::abs(row.arity))) words.emplace_back("1");
    for (const Kind& kind : kKinds) {
      auto s = new_session();
      s->principal = principal_with(kind.statements(own));
      kv::Request request(*store);
      for (auto& w : words) request.args.add_copy(w);
      engine.prepare(*s, request);
      ASSERT_EQ(request.row, &row) << row.name;
      engine.resolve(s->ns, request);
      std::vector<Access> touched;
      for (const kv::Key& key : request.keys) touched.push_back(kv::access_of(key.flags));
      if (request.keys.empty() || !letters_of(row.action.access)) {
        touched.push_back(row.action.access);
      }
      const auto is_there = [&](const kv::Key& key) { return key.ns == s->ns.get(); };
      if (!std::all_of(request.keys.begin(), request.keys.end(), is_there)) {
        elsewhere.insert(row.name);
        continue;
      }
      const bool all = request.keys.empty() && (row.flags & kv::kAllDatabases) != 0;
      // Whom nothing is allowed runs no scripts.
      const bool scripts =
          row.group == "scripting" && (row.has_keys() || row.name == "script|load");
      const bool may =
          expected(kind, touched, all) && !(scripts && kind.name == std::string("nobody"));
      const bool did = engine.ask(*s, request, *s->ns).denied == kv::AclDenied::kNo;
      EXPECT_EQ(did, may) << kind.name << " runs " << row.name;
      asked++;
      if (may) continue;
      refused++;
      EXPECT_EQ(answer(*s, words).text().substr(0, 29), "-NOPERM this user has no perm")
          << kind.name << " runs " << row.name;
    }
  }
  EXPECT_GT(asked, 3000u);
  EXPECT_GT(refused, 1000u);
  EXPECT_TRUE(elsewhere.empty());
  EXPECT_EQ(run({"DBSIZE"}), ":0");
}

TEST_F(Matrix, OfGrpcMethods) {
  const auto connections =
      std::make_shared<rpc::Connections>(store->any_executor(), store->clock(), INT_MAX);
  const rpc::Shared shared{*store, users, *connections};
  const rpc::KeyValueService key_value(shared);
  const rpc::ObjectsService objects(shared);
  const rpc::CollectionsService collections(shared);
  const rpc::EventsService events(shared);
  const rpc::AdminService admin(shared, *server, *engines.front());
  const auto ann = policy::Resource::arn("arn:aws:iam::000000000000:user/ann");
  constexpr Access kParts[] = {Access::kRead, Access::kWrite, Access::kInsert, Access::kDelete,
                               Access::kList};
  for (const rpc::Service* service : std::initializer_list<const rpc::Service*>{
           &key_value, &objects, &collections, &events, &admin}) {
    for (const auto& row : service->rows()) {
      const std::string own = cat("grpc:", row.action.name);
      for (const Kind& kind : kKinds) {
        const rpc::Caller by{principal_with(kind.statements(own)), row.action};
        if (has(row.action.access, Access::kAdmin)) {
          EXPECT_EQ(authorize(*by.who, row.action), expected(kind, {row.action.access}, false))
              << kind.name << " calls " << row.path;
          continue;
        }
        if (has(row.action.access, Access::kByName)) {  // about users, whom IAM's ARNs name
          EXPECT_EQ(authorize(*by.who, row.action, ann, {}),
                    expected(kind, {row.action.access}, false))
              << kind.name << " calls " << row.path;
          continue;
        }
        if (!row.action.s3.empty()) {  // an operation of S3's on a bucket, which has its own name
          const bool may = kind.rule == Kind::kNamed ||
                           (kind.rule == Kind::kEverything && !contains(kind.denied, '!'));
          EXPECT_EQ(by.may(row.action.access, "db0"), may) << kind.name << " calls " << row.path;
          continue;
        }
        // Each thing that it may do to a key, and to all of them.
        for (const Access part : kParts) {
          if (!has(row.action.access, part)) continue;
          const bool may = expected(kind, {part}, false);
          EXPECT_EQ(by.may(part, "db0"), may) << kind.name << " calls " << row.path;
          if (part == Access::kList) continue;
          EXPECT_EQ(by.may(part, "db0", "1"), may) << kind.name << " calls " << row.path;
        }
      }
    }
  }
}

TEST_F(Matrix, OfS3Operations) {
  http::Request request;
  http::Response response;
  s3::Call call{*store, request, response, {}, {}, {}, {}, nullptr, "root", "us-east-1"};
  for (auto rows : s3::all_rows()) {
    for (const s3::Row& row : rows) {
      const std::string own = cat("s3:", row.action.name);
      const std::string_view key = row.scope == s3::Scope::kObject ? "1" : "";
      const std::string_view space = row.scope == s3::Scope::kService ? "" : "db0";
      for (const Kind& kind : kKinds) {
        call.auth.principal = principal_with(kind.statements(own));
        // By its own name and by no other.
        char letter = 0;
        if (own == "s3:GetObject") letter = 'R';
        if (own == "s3:PutObject") letter = 'W';
        if (own == "s3:DeleteObject") letter = 'D';
        if (own == "s3:ListBucket") letter = 'L';
        bool may = kind.rule == Kind::kNamed;
        if (kind.rule == Kind::kByLetters) may = letter != 0 && contains(kind.letters, letter);
        if (kind.rule == Kind::kEverything) {
          may = !contains(kind.denied, '!') && (letter == 0 || !contains(kind.denied, letter));
        }
        const auto error = call.may(row.action, space, key);
        EXPECT_EQ(error.code, may ? "" : "AccessDenied") << kind.name << " does " << row.name;
      }
    }
  }
}

// What a bucket says of who may use it, and whom it lets do an operation on itself or its key: the
// action alone ("N"), or none of it ("").
struct BucketSays {
  const char* name;
  // A statement of its policy, of this action on this resource; empty: it has no policy.
  std::function<std::string(const std::string& action, const std::string& resource)> policy;
  Ownership ownership = Ownership::kBucketOwnerEnforced;
  std::optional<Acl> acl = {};
  PublicAccessBlock block = {};
  bool requester_pays = false;
  // Whether it allows, and whether it denies, the action to these callers.
  bool allows_strangers = false, allows_users = false, denies = false;
};

std::string says(std::string_view effect, std::string_view principal, const std::string& action,
                 const std::string& resource) {
  return cat(R"({"Version":"2012-10-17","Statement":[{"Effect":")", effect, R"(","Principal":)",
             principal, R"(,"Action":")", action, R"(","Resource":"arn:aws:s3:::)", resource,
             R"("}]})");
}

Acl public_acl() { return {{{Whom::kEverybody, Permission::kFullControl}}}; }
Acl known_acl() { return {{{Whom::kAuthenticated, Permission::kFullControl}}}; }

std::vector<BucketSays> all_that_a_bucket_says() {
  const auto nothing = [](auto&, auto&) { return std::string(); };
  const auto everybody = [](auto& action, auto& r) { return says("Allow", "\"*\"", action, r); };
  const auto other = [](auto& action, auto& r) {
    return says("Allow", R"({"AWS":"arn:aws:iam::000000000000:user/other"})", action, r);
  };
  const auto another = [](auto& action, auto& r) {
    return says("Allow", R"({"AWS":"arn:aws:iam::000000000000:user/ann"})", action, r);
  };
  const auto nobody = [](auto& action, auto& r) { return says("Deny", "\"*\"", action, r); };
  constexpr PublicAccessBlock kRestricts{false, false, false, true};
  constexpr PublicAccessBlock kIgnores{false, true, false, false};
  std::vector<BucketSays> all;
  all.push_back({"nothing", nothing});
  all.push_back({"allow everybody", everybody});
  all.back().allows_strangers = all.back().allows_users = true;
  all.push_back({"allow everybody, restricted", everybody});
  all.back().block = kRestricts;
  all.back().allows_users = true;
  all.push_back({"allow everybody who pays", everybody});
  all.back().requester_pays = all.back().allows_users = true;
  all.push_back({"allow him", other});
  all.back().allows_users = true;
  all.push_back({"allow another", another});
  all.push_back({"deny", nobody});
  all.back().denies = true;
  // Lists, which are looked at below for what they can grant.
  all.push_back({"a public list that does not count", nothing, Ownership::kBucketOwnerEnforced,
                 public_acl()});
  all.push_back({"a public list", nothing, Ownership::kObjectWriter, public_acl()});
  all.push_back(
      {"a public list, ignored", nothing, Ownership::kObjectWriter, public_acl(), kIgnores});
  all.push_back({"a list for users", nothing, Ownership::kBucketOwnerPreferred, known_acl()});
  all.push_back({"a public list, and deny", nobody, Ownership::kNone, public_acl()});
  all.back().denies = true;
  return all;
}

// What the list of a bucket grants to whom it grants all, by S3's table of lists and actions.
bool list_grants(std::string_view action) {
  constexpr std::string_view kGranted[] = {
      "ListBucket",  "ListBucketVersions", "ListBucketMultipartUploads",
      "PutObject",   "DeleteObject",       "GetBucketAcl",
      "PutBucketAcl"};
  return std::find(std::begin(kGranted), std::end(kGranted), action) != std::end(kGranted);
}

TEST_F(Matrix, OfBucketsThatSayWhoMay) {
  ASSERT_TRUE(store->create_bucket("photos").ok());
  const NamespacePtr bucket = store->find_namespace("photos");
  const BucketAccessTable& buckets = store->bucket_access();
  const auto with = [&](const std::string& statements) {
    return std::make_shared<const Principal>("other", principal_with(statements)->rights(),
                                             &buckets);
  };
  auto of_anybody = std::make_shared<Rights>();
  of_anybody->is_anybody = true;
  const PrincipalPtr stranger =
      std::make_shared<const Principal>("anonymous", of_anybody, &buckets);
  auto root = std::make_shared<Principal>("root");
  root->consult(buckets);

  http::Request request;
  http::Response response;
  s3::Call call{*store, request, response, {}, {}, {}, {}, nullptr, "root", "us-east-1"};
  size_t asked = 0;
  for (const BucketSays& says : all_that_a_bucket_says()) {
    for (auto rows : s3::all_rows()) {
      for (const s3::Row& row : rows) {
        const int number = policy::s3_number(row.action.name);
        ASSERT_GE(number, 0) << row.name;
        const policy::Level level = policy::level_of(static_cast<size_t>(number));
        if (level == policy::Level::kOther) continue;  // of no bucket
        const bool of_key = level == policy::Level::kObject;
        const std::string own = cat("s3:", row.action.name);
        const std::string text = says.policy(own, of_key ? "photos/*" : "photos");
        ASSERT_TRUE(store
                        ->change_properties(*bucket,
                                            [&](Properties& p) {
                                              p.policy = text;
                                              p.ownership = says.ownership;
                                              p.acl = says.acl;
                                              p.public_access_block = says.block;
                                              p.requester_pays = says.requester_pays;
                                            })
                        .ok());
        const bool counts = says.acl && says.ownership != Ownership::kBucketOwnerEnforced &&
                            !says.block.ignore_acls && list_grants(row.action.name);
        const bool to_all = counts && says.acl->grants[0].whom == Whom::kEverybody;
        const bool of_policy = own.ends_with("BucketPolicy");
        const struct {
          const char* name;
          PrincipalPtr who;
          bool may;
        } callers[] = {
            {"a stranger", stranger, !says.denies && (says.allows_strangers || to_all)},
            {"a user without rights", with(""), !says.denies && (says.allows_users || counts)},
            {"a user with the right", with(allow(own)), !says.denies},
            {"a user who may all", with(allow("*")), !says.denies},
            {"a user who is denied it", with(cat(allow("*"), ",", deny(own))), false},
            {"root", root, !says.denies || of_policy},
        };
        for (const auto& caller : callers) {
          call.auth.principal = caller.who;
          const auto error = call.may(row.action, "photos", of_key ? "1" : "");
          EXPECT_EQ(error.code, caller.may ? "" : "AccessDenied")
              << caller.name << " does " << row.name << " where the bucket says: " << says.name;
          // Of another bucket it says nothing.
          EXPECT_EQ(call.may(row.action, "db0", of_key ? "1" : "").code.empty(),
                    caller.who != stranger && caller.name != callers[1].name &&
                        caller.name != callers[4].name);
          asked++;
        }
      }
    }
  }
  EXPECT_GT(asked, 2500u);
}

TEST_F(Matrix, OfIamsOperations) {
  const auto user = policy::Resource::arn("arn:aws:iam::000000000000:user/ann");
  size_t rows_seen = 0;
  for (auto rows : iam::all_rows()) {
    for (const iam::Row& row : rows) {
      const std::string own = cat(row.service, ":", row.name);
      if (row.asks == iam::Row::Asks::kDenials) {  // whoever is not denied it
        for (const Kind& kind : kKinds) {
          const PrincipalPtr who = principal_with(kind.statements(own));
          EXPECT_EQ(authorize(*who, row.action(), user, {}), !contains(kind.denied, '!'))
              << kind.name << " calls " << row.name;
        }
        continue;
      }
      for (const Kind& kind : kKinds) {
        const PrincipalPtr who = principal_with(kind.statements(own));
        EXPECT_EQ(authorize(*who, row.action(), user, {}),
                  expected(kind, {row.action().access}, false))
            << kind.name << " calls " << row.name;
      }
      const PrincipalPtr of_ann =
          principal_with(cat("{'Effect':'Allow','Action':'", own,
                             "','Resource':'arn:aws:iam::000000000000:user/${aws:username}'}"),
                         "ann");
      EXPECT_TRUE(authorize(*of_ann, row.action(), user, {}));
      const auto bob = policy::Resource::arn("arn:aws:iam::000000000000:user/bob");
      EXPECT_FALSE(authorize(*of_ann, row.action(), bob, {}));
      rows_seen++;
    }
  }
  EXPECT_GT(rows_seen, 65u);
}

// Who manages users, at whichever door: it takes what IAM calls the act, on whom it is about.
TEST_F(Matrix, OfWhoManagesUsers) {
  constexpr std::string_view kAnn = "arn:aws:iam::000000000000:user/ann";
  for (auto rows : iam::all_rows()) {
    for (const iam::Row& row : rows) {
      if (row.service != "iam") continue;
      const std::string own = cat("iam:", row.name);
      for (const Kind& kind : kKinds) {
        const PrincipalPtr who = principal_with(kind.statements(own));
        EXPECT_EQ(may_manage(*who, row.name, kAnn, {}), expected(kind, {Access::kAdmin}, false))
            << kind.name << " does " << row.name;
      }
      const auto deny_on = [](std::string_view where, std::string_view what) {
        return cat("{'Effect':'Deny','Action':'", what, "','Resource':'", where, "'}");
      };
      const std::string everything = "{'Effect':'Allow','Action':'*','Resource':'*'}";
      const PrincipalPtr all = principal_with(everything);
      const struct {
        const char* what;
        std::string statements;
        bool of_ann, of_all;
      } cases[] = {
          {"all", everything, true, true},
          {"but iam", cat(everything, ",", deny("iam:*")), false, false},
          {"not iam", "{'Effect':'Allow','NotAction':'iam:*','Resource':'*'}", false, false},
          {"of S3", "{'Effect':'Allow','Action':'*','Resource':'arn:aws:s3:::*'}", false, false},
          {"of no user", cat(everything, ",", deny_on("arn:aws:iam::000000000000:user/*", "*")),
           false, true},
          {"of ann", "{'Effect':'Allow','Action':'iam:*','Resource':'arn:aws:iam::*:user/ann'}",
           true, false},
      };
      for (const auto& c : cases) {
        const PrincipalPtr who = principal_with(c.statements);
        EXPECT_EQ(may_manage(*who, row.name, kAnn, {}), c.of_ann) << c.what << row.name;
        EXPECT_EQ(may_manage(*who, row.name, "*", {}), c.of_all) << c.what << row.name;
      }
      // Bounded, or of a session of a user, whatever it allows.
      Rights rights = *all->rights();
      rights.boundary = rights.kept.front();
      EXPECT_EQ(may_manage(Principal("b", std::make_shared<Rights>(rights)), row.name, kAnn, {}),
                is_reading_of_users(row.name))
          << row.name;
      rights.session = {std::exchange(rights.boundary, nullptr)};
      rights.session_arn = "arn:aws:sts::000000000000:assumed-role/r/s";
      rights.issued_ms = 1;
      EXPECT_EQ(may_manage(Principal("b", std::make_shared<Rights>(rights)), row.name, kAnn, {}),
                is_reading_of_users(row.name))
          << row.name;
      rights.session.clear();
      EXPECT_TRUE(may_manage(Principal("b", std::make_shared<Rights>(rights)), row.name, kAnn, {}));
      rights.session_arn.clear();
      EXPECT_FALSE(
          may_manage(Principal("b", std::make_shared<Rights>(rights)), row.name, kAnn, {}));
    }
  }
}

// Who may assume a role: by what it trusts, and by what he may himself.
TEST_F(Matrix, OfRoles) {
  constexpr std::string_view kRole = "arn:aws:iam::000000000000:role/r";
  const Action assume{"sts", "AssumeRole", Access::kAdmin};
  const auto trust = [](std::string effect, std::string_view principal) {
    std::string text = cat("{'Version':'2012-10-17','Statement':[{'Effect':'", effect,
                           "','Principal':", principal, ",'Action':'sts:AssumeRole'}]}");
    std::replace(text.begin(), text.end(), '\'', '"');
    auto policy = policy::parse_trust_policy(text);
    EXPECT_TRUE(policy.ok()) << policy.status() << text;
    return *std::move(policy);
  };
  enum Trusted : uint8_t { kNot, kByName, kOfAccount, kDenied };
  const std::pair<policy::Policy, Trusted> kTrusts[] = {
      {trust("Allow", "{'AWS':'arn:aws:iam::000000000000:user/other'}"), kByName},
      {trust("Allow", "{'AWS':'arn:aws:iam::000000000000:user/ann'}"), kNot},
      {trust("Allow", "{'AWS':'000000000000'}"), kOfAccount},
      {trust("Allow", "{'AWS':'111111111111'}"), kNot},
      {trust("Allow", "'*'"), kByName},
      {trust("Allow", "{'Federated':'arn:aws:iam::000000000000:oidc-provider/a.b'}"), kNot},
      {trust("Deny", "{'AWS':'000000000000'}"), kDenied},
  };
  for (const auto& [policy, trusted] : kTrusts) {
    for (const Kind& kind : kKinds) {
      const PrincipalPtr who = principal_with(kind.statements("sts:AssumeRole"));
      const bool denied = contains(kind.denied, '!');
      const bool allowed = kind.rule != Kind::kByLetters && !denied;
      const bool may = !denied && (trusted == kByName || (trusted == kOfAccount && allowed));
      EXPECT_EQ(may_assume(*who, assume, policy, kRole, {}), may) << kind.name << trusted;
    }
    const bool web =
        may_assume("arn:aws:iam::000000000000:oidc-provider/a.b", assume, policy, kRole, {});
    EXPECT_EQ(web, &policy == &kTrusts[5].first);
  }
}

TEST_F(Matrix, OfCallsToTheKeyRing) {
  const std::string arn = "arn:aws:kms:us-east-1:000000000000:key/";
  const std::string a = cat(arn, "a"), b = cat(arn, "b");
  const auto key = policy::Resource::arn(a), other = policy::Resource::arn(b);
  for (const kms::Row& row : kms::rows()) {
    const std::string own = cat("kms:", row.name);
    for (const Kind& kind : kKinds) {
      const PrincipalPtr who = principal_with(kind.statements(own));
      EXPECT_EQ(authorize(*who, row.action(), key, {}),
                expected(kind, {row.action().access}, false))
          << kind.name << " calls " << row.name;
    }
    const PrincipalPtr of_one = principal_with(
        cat("{'Effect':'Allow','Action':'", own, "','Resource':'", arn, "a'}"), "ann");
    EXPECT_TRUE(authorize(*of_one, row.action(), key, {}));
    EXPECT_FALSE(authorize(*of_one, row.action(), other, {}));
  }
}

}  // namespace
}  // namespace cairn
