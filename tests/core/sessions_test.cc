#include "core/store/sessions.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/store/policy_json.h"
#include "core/store/user_table.h"
#include "tests/core/fault_fixture.h"
#include "tests/core/principals.h"

namespace cairn {
namespace {

SessionClaims some_claims() {
  SessionClaims c;
  c.key_id = "ASIAEXAMPLE";
  c.secret = "secret";
  c.user = "AIDAEXAMPLE";
  c.key = "AKIAEXAMPLE";
  c.role = "AROAEXAMPLE";
  c.name = "s1";
  c.provider = "OIDCEXAMPLE";
  c.issued_ms = 1000;
  c.expires_ms = 2000;
  c.policy = "{}";
  c.policies = {"ANPA1", "ANPA2"};
  return c;
}

TEST(Session, ATokenSaysWhatWasSealedAndNothingElse) {
  const MasterKey master = MasterKey::random(), other = MasterKey::random();
  const SessionClaims c = some_claims();
  const std::string token = seal_session(c, master);
  const auto back = open_session(token, master);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->key_id, c.key_id);
  EXPECT_EQ(back->secret, c.secret);
  EXPECT_EQ(back->user, c.user);
  EXPECT_EQ(back->key, c.key);
  EXPECT_EQ(back->role, c.role);
  EXPECT_EQ(back->name, c.name);
  EXPECT_EQ(back->provider, c.provider);
  EXPECT_EQ(back->issued_ms, c.issued_ms);
  EXPECT_EQ(back->expires_ms, c.expires_ms);
  EXPECT_EQ(back->policy, c.policy);
  EXPECT_EQ(back->policies, c.policies);
  EXPECT_FALSE(open_session(token, other));
  EXPECT_FALSE(open_session("", master));
  EXPECT_FALSE(open_session(std::string(kTokenBytesMax + 4, 'A'), master));
  // What is sealed for something else is no token.
  EXPECT_FALSE(open_session(token.substr(0, token.size() - 4), master));
  for (size_t i = 0; i < token.size(); i++) {
    std::string changed = token;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(open_session(changed, master)) << i;
  }
}

TEST(Session, IsKnownByItsTokenAndForgottenWhenNobodyHasIt) {
  Sessions sessions;
  size_t made = 0;
  const auto find = [&](const std::string& token) {
    return sessions.find(token, [&]() -> SessionPtr {
      made++;
      auto session = std::make_shared<Session>();
      session->principal = std::make_shared<Principal>(token, std::make_shared<Rights>());
      return session;
    });
  };
  const SessionPtr kept = find("kept");
  const std::shared_ptr<Principal> connected = find("connected")->principal;
  for (size_t i = 0; i < Sessions::kIdleMax + 100; i++) (void)find(cat("t", i));
  size_t count = 0;
  sessions.for_each([&](const Session&) { count++; });
  EXPECT_LE(count, Sessions::kIdleMax + 2);
  const size_t before = made;
  EXPECT_EQ(find("kept"), kept);
  EXPECT_EQ(find("connected")->principal, connected);
  EXPECT_EQ(made, before);
  (void)find("t0");
  EXPECT_EQ(made, before + 1);
  EXPECT_EQ(sessions.find("none", [] { return SessionPtr(); }), nullptr);
}

// A policy of trust has no resource, and names those who may assume a role; its actions are STS's.
TEST(Trust, HasAGrammarOfItsOwn) {
  const auto parse = [](std::string text) {
    std::replace(text.begin(), text.end(), '\'', '"');
    return policy::parse_trust_policy(text);
  };
  const auto trust = [](std::string_view rest) {
    return cat("{'Version':'2012-10-17','Statement':{'Effect':'Allow',", rest, "}}");
  };
  const std::string_view ok[] = {
      "'Principal':'*','Action':'sts:AssumeRole'",
      "'Principal':{'AWS':['000000000000','AIDAABCDEFGHIJKLMNOPQ']},'Action':['sts:AssumeRole']",
      "'Principal':{'Federated':'arn:aws:iam::000000000000:oidc-provider/a.b:80/x'},"
      "'Action':'sts:AssumeRoleWithWebIdentity','Condition':{'StringLike':{'a.b:80/x:sub':'y*'}}",
      "'Principal':{'AWS':'*'},'Action':'sts:*','Condition':{'Bool':{'aws:SecureTransport':'true'}"
      "}",
  };
  for (auto text : ok) EXPECT_TRUE(parse(trust(text)).ok()) << text;
  const std::string_view bad[] = {
      "'Action':'sts:AssumeRole'",
      "'Principal':'*','Action':'sts:AssumeRole','Resource':'*'",
      "'Principal':'*','Action':'s3:GetObject'",
      "'Principal':'*','Action':'*'",
      "'Principal':{'Service':'ec2.amazonaws.com'},'Action':'sts:AssumeRole'",
      "'Principal':{'Federated':'accounts.google.com'},'Action':'sts:AssumeRole'",
      "'Principal':{'Federated':'arn:aws:iam::000000000000:oidc-provider/*'},'Action':'sts:*'",
      "'NotPrincipal':{'AWS':'000000000000'},'Action':'sts:AssumeRole'",
      "'Principal':'*','Action':'sts:AssumeRole','Condition':{'StringEquals':{'a.b:x/y':'z'}}",
  };
  for (auto text : bad) EXPECT_FALSE(parse(trust(text)).ok()) << text;
  // Claims are asked of tokens by trust alone, and nobody who is identified by one is in a bucket.
  EXPECT_FALSE(policy::ConditionKey::parse("a.b:sub"));
  EXPECT_TRUE(policy::ConditionKey::parse("a.b:sub", true));
  EXPECT_FALSE(
      policy::parse_bucket_policy(
          R"({"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject",)"
          R"("Principal":{"Federated":"arn:aws:iam::000000000000:oidc-provider/a.b"},)"
          R"("Resource":"arn:aws:s3:::b/*"}})",
          "b")
          .ok());
}

TEST(Trust, UsersAreKeptByWhatNobodyElseWillBe) {
  UserTable table;
  const std::vector<std::string> actions;
  Draft draft(table, 1, "root", actions);
  ASSERT_TRUE(draft.create_user("ann", "/staff/").ok());
  const std::string id = draft.table().user("ann")->id;
  const std::string arn = "arn:aws:iam::000000000000:user/staff/ann";
  const auto policy = [](std::string_view who) {
    return cat(R"({"Statement":[{"Principal":{"AWS":[")", who, R"(","000000000000"]}}]})");
  };
  const auto kept = with_unique_ids(draft.table(), policy(arn));
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(*kept, policy(id));
  EXPECT_EQ(with_arns(draft.table(), *kept), policy(arn));
  EXPECT_FALSE(with_unique_ids(draft.table(), policy("arn:aws:iam::000000000000:user/ann")).ok());
  ASSERT_TRUE(draft.delete_user("ann").ok());
  EXPECT_EQ(with_arns(draft.table(), *kept), *kept);
  EXPECT_FALSE(with_unique_ids(draft.table(), *kept).ok());
  ASSERT_TRUE(draft.create_user("ann", "/staff/").ok());
  EXPECT_EQ(with_arns(draft.table(), *kept), *kept);
  // What names nobody stays as it came.
  const std::string plain = R"( {"Statement" : {"Principal":"*"}} )";
  EXPECT_EQ(*with_unique_ids(draft.table(), plain), plain);
}

TEST(Trust, RolesAndProvidersReadBack) {
  RoleRecord role;
  role.id = "AROAEXAMPLE";
  role.name = "reader";
  role.path = "/a/";
  role.description = "x";
  role.max_session_s = 7200;
  role.attached = {"ANPA1"};
  role.trust = PolicyText::of_trust(
      R"({"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"sts:*"}})");
  ASSERT_NE(role.trust.compiled, nullptr);
  RoleRecord again;
  ASSERT_TRUE(decode(encode(role), again));
  EXPECT_EQ(encode(again), encode(role));
  EXPECT_NE(again.trust.compiled, nullptr);
  EXPECT_EQ(again.max_session_s, 7200);
  ProviderRecord provider;
  provider.id = "OIDCEXAMPLE";
  provider.name = "127.0.0.1:80/x";
  provider.plain = true;
  provider.client_ids = {"a", "b"};
  provider.thumbprints = {std::string(40, 'a')};
  ProviderRecord other;
  ASSERT_TRUE(decode(encode(provider), other));
  EXPECT_EQ(encode(other), encode(provider));
  EXPECT_TRUE(other.plain);
  EXPECT_FALSE(decode(encode(role), other));
}

}  // namespace
}  // namespace cairn
