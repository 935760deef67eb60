#include "core/store/policy.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <ctime>

#include "core/base/text.h"
#include "core/store/policy_json.h"
#include "tests/allocations.h"
#include "tests/core/policy_model.h"

namespace cairn::policy {
namespace {

std::vector<const Policy*> pointers(const std::vector<Policy>& policies) {
  std::vector<const Policy*> all;
  all.reserve(policies.size());
  for (const Policy& p : policies) all.push_back(&p);
  return all;
}

using model::MapContext;
using model::ModelPolicy;
using model::ModelRequest;

constexpr const char* kAnn = "arn:aws:iam::000000000000:user/ann";

Policy identity(std::string_view text) {
  auto p = parse_identity_policy(text);
  EXPECT_TRUE(p.ok()) << p.status() << " " << detail_of(p.status()) << "\n" << text;
  return p.ok() ? *std::move(p) : Policy{};
}
Policy of_bucket(std::string_view text, std::string_view bucket) {
  auto p = parse_bucket_policy(text, bucket);
  EXPECT_TRUE(p.ok()) << p.status() << " " << detail_of(p.status()) << "\n" << text;
  return p.ok() ? *std::move(p) : Policy{};
}
// One statement of an identity policy, its quotes as '.
Policy statement(std::string text) {
  for (char& c : text) c = c == '\'' ? '"' : c;
  return identity(cat(R"({"Version":"2012-10-17","Statement":)", text, "}"));
}

ModelRequest request(std::string name, std::string space = "", std::string key = "",
                     std::map<std::string, std::vector<std::string>> values = {}) {
  ModelRequest r;
  r.door = name.substr(0, name.find(':'));
  r.name = name.substr(name.find(':') + 1);
  r.space = std::move(space);
  r.key = std::move(key);
  r.values = std::move(values);
  return r;
}
ModelRequest by(ModelRequest r, std::string arn) {
  r.arn = std::move(arn);
  r.account = r.arn.empty() ? "" : r.arn.substr(13, 12);
  r.is_root = r.arn.ends_with(":root");
  return r;
}
ModelRequest also(ModelRequest r, std::vector<std::string> canonical) {
  r.canonical = std::move(canonical);
  return r;
}
bool allows(const Policy& policy, const ModelRequest& r) {
  return model::ask({policy}, r) == Verdict::kAllow;
}

bool is_like(std::string_view pattern, std::string_view text,
             std::map<std::string, std::vector<std::string>> values = {}) {
  const auto p = Pattern::parse(pattern, {});
  EXPECT_TRUE(p.ok()) << p.status();
  return p->matches(text, MapContext(values));
}

TEST(PolicyPattern, WildcardsAreAnyTextAndOneCharacter) {
  EXPECT_TRUE(is_like("*", ""));
  EXPECT_TRUE(is_like("a*c", "abbc"));
  EXPECT_TRUE(is_like("a**c", "ac"));
  EXPECT_FALSE(is_like("a*c", "abcd"));
  EXPECT_TRUE(is_like("*ab", "aab"));
  EXPECT_TRUE(is_like("a?c",
                      "a\xe2\x82\xac"
                      "c"));
  EXPECT_FALSE(is_like("?", ""));
  EXPECT_FALSE(is_like("*??", "\xe2\x82\xac"));
  EXPECT_FALSE(is_like("A", "a"));
}

TEST(PolicyPattern, AValueStandsForItself) {
  EXPECT_TRUE(is_like("x/${aws:username}/*", "x/ann/1", {{"aws:username", {"ann"}}}));
  EXPECT_TRUE(is_like("x/${AWS:UserName}/*", "x/ann/1", {{"aws:username", {"ann"}}}));
  EXPECT_FALSE(is_like("x/${aws:username}", "x/ann", {{"aws:username", {"*"}}}));
  EXPECT_FALSE(is_like("x/${aws:username}", "x/"));
  EXPECT_FALSE(is_like("*${aws:username}", "x"));
  EXPECT_TRUE(is_like("x/${aws:username, 'no}body'}", "x/no}body"));
  EXPECT_TRUE(is_like("${*}${?}${$}{a}", "*?${a}"));
  EXPECT_FALSE(is_like("${*}", "a"));
}

TEST(PolicyPattern, ManyWildcardsTakeNoMoreThanTextTimesPattern) {
  std::string pattern;
  for (int i = 0; i < 500; i++) pattern += "a*";
  EXPECT_FALSE(is_like(pattern + "b", std::string(100000, 'a')));
}

TEST(PolicyPattern, ATextInTwoPiecesIsOne) {
  const MapContext nothing({});
  const std::string whole = "ab/cd";
  for (const char* pattern : {"ab/cd", "a*d", "*/c?", "ab/", "ab", "*b/c*", "ab/cd/", "?????"}) {
    const auto p = *Pattern::parse(pattern, {});
    EXPECT_EQ(p.matches(Joined{"ab", "cd", true}, nothing), p.matches(whole, nothing)) << pattern;
  }
}

TEST(PolicyCondition, NumbersAreDecimal) {
  EXPECT_EQ(Decimal::parse("9007199254740993"), (Decimal{9007199254740993, 0}));
  EXPECT_LT(*Decimal::parse("-1.5"), *Decimal::parse("-1.25"));
  EXPECT_EQ(Decimal::parse("10.0"), Decimal::parse("10"));
  for (const char* no : {"", "-", "1.", ".5", "1e3", "0x1", " 1", "1 ", "+1", "1.2.3",
                         "1234567890123456789", "1.0123456789"}) {
    EXPECT_FALSE(Decimal::parse(no)) << no;
  }
}

TEST(PolicyCondition, MomentsAreSecondsOrIso8601) {
  EXPECT_EQ(parse_moment("1767225600"), 1767225600000);
  for (const char* same :
       {"2026-01-01T00:00:00Z", "2026-01-01T00:00Z", "2026-01-01", "2026-01",
        "2026-01-01T01:30:00+01:30", "2025-12-31T23:00:00.000-01:00", "2026-01-01T00:00:00"}) {
    EXPECT_EQ(parse_moment(same), 1767225600000) << same;
  }
  EXPECT_EQ(parse_moment("2026-01-01T00:00:00.25Z"), 1767225600250);
  for (const char* no : {"", "2026-13-01", "2026-02-30", "2026-01-01T24:00:00Z", "2026-01-01T00Z",
                         "2026-01-01 00:00:00Z", "yesterday", "-5", "2026-01-01T00:00:00ZZ",
                         "2026-01-01T00:00:00+1", "2026-1-1", "2026-01-01T00:00:00.Z"}) {
    EXPECT_FALSE(parse_moment(no)) << no;
  }
}

TEST(PolicyCondition, AddressesAreOfOneFamily) {
  const auto contains = [](const char* range, const char* address) {
    return AddressRange::parse(range)->contains(*AddressRange::parse(address));
  };
  EXPECT_TRUE(contains("203.0.113.0/24", "203.0.113.255"));
  EXPECT_FALSE(contains("203.0.113.0/24", "203.0.114.0"));
  EXPECT_TRUE(contains("203.0.113.77/25", "203.0.113.1"));
  EXPECT_TRUE(contains("10.1.2.3", "10.1.2.3"));
  EXPECT_TRUE(contains("10.0.0.0/8", "::ffff:10.1.2.3"));
  EXPECT_TRUE(contains("::ffff:10.0.0.0/104", "10.1.2.3"));
  EXPECT_TRUE(contains("2001:DB8:1234:5678::/64", "2001:db8:1234:5678::9"));
  EXPECT_FALSE(contains("::/0", "10.1.2.3"));
  EXPECT_FALSE(contains("0.0.0.0/0", "::1"));
  for (const char* no : {"", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "::/129", "x",
                         "10.0.0.0/8/8", "10.0.0.256", "fe80::1%eth0"}) {
    EXPECT_FALSE(AddressRange::parse(no)) << no;
  }
}

struct ConditionRow {
  const char* op;
  const char* key;
  std::vector<std::string> values;
  std::optional<std::vector<std::string>> of_request;
  bool holds;
};
TEST(PolicyCondition, HoldsAsAwsSays) {
  const std::vector<std::string> kNone;
  const ConditionRow rows[] = {
      {"StringEquals", "s3:prefix", {"a", "b"}, {{"b"}}, true},
      {"StringEquals", "s3:prefix", {"a*"}, {{"ab"}}, false},
      {"StringEquals", "s3:prefix", {""}, {{""}}, true},
      {"StringEquals", "s3:prefix", {"a"}, {}, false},
      {"StringNotEquals", "s3:prefix", {"a", "b"}, {{"b"}}, false},
      {"StringNotEquals", "s3:prefix", {"a", "b"}, {{"c"}}, true},
      {"StringNotEquals", "s3:prefix", {"a"}, {}, true},
      {"StringEqualsIgnoreCase", "s3:prefix", {"aB"}, {{"Ab"}}, true},
      {"StringNotEqualsIgnoreCase", "s3:prefix", {"aB"}, {{"Ab"}}, false},
      {"StringLike", "s3:prefix", {"home/*"}, {{"home/ann/"}}, true},
      {"StringNotLike", "s3:prefix", {"home/*"}, {{"home/ann/"}}, false},
      {"StringLikeIfExists", "s3:prefix", {"home/*"}, {}, true},
      {"StringLikeIfExists", "s3:prefix", {"home/*"}, {{"x"}}, false},
      {"NumericLessThanEquals", "s3:max-keys", {"10"}, {{"10"}}, true},
      {"NumericLessThanEquals", "s3:max-keys", {"10"}, {{"11"}}, false},
      {"NumericEquals", "s3:max-keys", {"10"}, {{"10.0"}}, true},
      {"NumericEquals", "s3:max-keys", {"10"}, {{"ten"}}, false},
      {"NumericNotEquals", "s3:max-keys", {"10"}, {{"ten"}}, true},
      {"NumericGreaterThan", "cairn:content-length", {"5368709120"}, {{"5368709121"}}, true},
      {"DateGreaterThan", "aws:CurrentTime", {"2026-01-01T00:00:00Z"}, {{"2026-06-01"}}, true},
      {"DateLessThan", "aws:EpochTime", {"2026-01-01"}, {{"1767225599"}}, true},
      {"DateLessThan", "aws:TokenIssueTime", {"2026-01-01"}, {}, false},
      {"DateNotEquals", "aws:TokenIssueTime", {"2026-01-01"}, {}, true},
      {"Bool", "aws:SecureTransport", {"false"}, {{"false"}}, true},
      {"Bool", "aws:SecureTransport", {"true"}, {{"false"}}, false},
      {"BoolIfExists", "aws:SecureTransport", {"true"}, {}, true},
      {"BinaryEquals",
       "s3:prefix",
       {"QmluYXJ5VmFsdWVJbkJhc2U2NA=="},
       {{"BinaryValueInBase64"}},
       true},
      {"IpAddress", "aws:SourceIp", {"203.0.113.0/24"}, {{"203.0.113.9"}}, true},
      {"NotIpAddress", "aws:SourceIp", {"203.0.113.0/24"}, {{"203.0.113.9"}}, false},
      {"NotIpAddress", "aws:SourceIp", {"203.0.113.0/24"}, {}, true},
      {"IpAddress", "aws:SourceIp", {"203.0.113.0/24"}, {{"unknown"}}, false},
      {"ArnLike", "aws:PrincipalArn", {"arn:aws:iam::*:user/*"}, {{kAnn}}, true},
      {"ArnEquals", "aws:PrincipalArn", {"arn:aws:iam::*:user/*"}, {{kAnn}}, true},
      // The page of the operators: with StringLike this matches, with ArnLike it does not.
      {"StringLike",
       "aws:PrincipalArn",
       {"arn:aws:someservice:*:111122223333:finance/*"},
       {{"arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"}},
       true},
      {"ArnLike",
       "aws:PrincipalArn",
       {"arn:aws:someservice:*:111122223333:finance/*"},
       {{"arn:aws:someservice:us-east-2:999999999999:store/abc:111122223333:finance/document.txt"}},
       false},
      {"ArnNotLike", "aws:PrincipalArn", {"arn:aws:iam::*:role/*"}, {}, true},
      {"ArnNotLike", "aws:PrincipalArn", {"arn:aws:iam::*:role/*"}, {{"no ARN"}}, true},
      {"Null", "aws:TokenIssueTime", {"true"}, {}, true},
      {"Null", "aws:TokenIssueTime", {"false"}, {}, false},
      {"Null", "aws:TokenIssueTime", {"false"}, {{"2026-01-01"}}, true},
      {"Null", "s3:x-amz-acl", {"true"}, {{""}}, true},
      {"ForAllValues:StringLike",
       "s3:RequestObjectTagKeys",
       {"PostDateTime", "Message", "Tags"},
       {{"PostDateTime", "UserName"}},
       false},
      {"ForAllValues:StringLike",
       "s3:RequestObjectTagKeys",
       {"PostDateTime", "Message", "Tags"},
       {{"PostDateTime", "Message"}},
       true},
      {"ForAnyValue:StringLike",
       "s3:RequestObjectTagKeys",
       {"ID", "PostDateTime"},
       {{"UserName", "Message", "PostDateTime"}},
       true},
      {"ForAnyValue:StringLike",
       "s3:RequestObjectTagKeys",
       {"ID", "PostDateTime"},
       {{"UserName"}},
       false},
      {"ForAllValues:StringEquals", "s3:RequestObjectTagKeys", {"a"}, {}, true},
      {"ForAllValues:StringEquals", "s3:RequestObjectTagKeys", {"a"}, {{""}}, true},
      {"ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", {"a"}, {}, false},
      {"ForAnyValue:StringEquals", "s3:RequestObjectTagKeys", {""}, {{""}}, false},
      {"ForAnyValue:StringNotEquals", "s3:RequestObjectTagKeys", {"a"}, {}, false},
      {"ForAnyValue:StringNotEquals", "s3:RequestObjectTagKeys", {"a"}, {{"a", "b"}}, true},
      {"ForAllValues:StringNotEquals", "s3:RequestObjectTagKeys", {"a"}, {{"a", "b"}}, false},
      {"ForAnyValue:StringEqualsIfExists", "s3:RequestObjectTagKeys", {"a"}, {}, true},
  };
  for (const ConditionRow& row : rows) {
    auto c = Condition::parse(row.op, *ConditionKey::parse(row.key));
    ASSERT_TRUE(c.ok()) << row.op;
    EXPECT_EQ(c->operator_text(), row.op);
    for (auto& v : row.values) ASSERT_TRUE(c->add(v, true).ok()) << row.op << " " << v;
    std::map<std::string, std::vector<std::string>> values;
    if (row.of_request) values[lower(row.key)] = *row.of_request;
    Parsed parsed;
    EXPECT_EQ(c->holds(MapContext(values), parsed), row.holds)
        << row.op << " " << row.key << " " << row.values[0];
  }
}

TEST(PolicyCondition, AVariableWithoutValueEqualsNothing) {
  auto p = statement(
      "{'Effect':'Allow','Action':'s3:ListBucket','Resource':'*','Condition':{"
      "'StringNotLike':{'s3:prefix':'${aws:username}/*'}}}");
  EXPECT_TRUE(allows(p, request("s3:ListBucket", "b", "", {{"s3:prefix", {"a/"}}})));
  p = statement(
      "{'Effect':'Allow','Action':'s3:GetObject','Resource':'arn:aws:s3:::b/${aws:username}'}");
  EXPECT_FALSE(allows(p, request("s3:GetObject", "b", "ann")));
}

TEST(Policy, AnExplicitDenyOverridesAndWhatNobodyAllowsIsNot) {
  const Policy allow = statement("{'Effect':'Allow','Action':'s3:*','Resource':'*'}");
  const Policy deny =
      statement("{'Effect':'Deny','Action':'s3:GetObject','Resource':'arn:aws:s3:::b/secret/*'}");
  const auto get = request("s3:GetObject", "b", "secret/1");
  EXPECT_EQ(model::ask({}, get), Verdict::kNothing);
  EXPECT_EQ(model::ask({allow}, get), Verdict::kAllow);
  EXPECT_EQ(model::ask({deny}, get), Verdict::kDeny);
  EXPECT_EQ(model::ask({allow, deny}, get), Verdict::kDeny);
  EXPECT_EQ(model::ask({deny, allow}, get), Verdict::kDeny);
  EXPECT_EQ(model::ask({allow, deny}, request("s3:GetObject", "b", "open")), Verdict::kAllow);
  EXPECT_EQ(model::ask({allow, deny}, request("iam:CreateUser")), Verdict::kNothing);
}

TEST(Policy, APolicyOfS3HoldsAtEveryDoor) {
  const auto get = also(request("resp:get", "b", "k"), {"GetObject"});
  const auto getset = also(request("resp:getset", "b", "k"), {"GetObject", "PutObject"});
  const auto ping = request("resp:ping");
  const Policy reads = statement("{'Effect':'Allow','Action':'s3:Get*','Resource':'*'}");
  const Policy writes = statement("{'Effect':'Allow','Action':'s3:PutObject','Resource':'*'}");
  const Policy no_writes = statement("{'Effect':'Deny','Action':'s3:PutObject','Resource':'*'}");
  const Policy getsets = statement("{'Effect':'Allow','Action':'RESP:GetSet','Resource':'*'}");
  EXPECT_TRUE(allows(reads, get));
  EXPECT_FALSE(allows(reads, getset));
  EXPECT_EQ(model::ask({reads, writes}, getset), Verdict::kAllow);
  EXPECT_EQ(model::ask({reads, getsets, no_writes}, getset), Verdict::kDeny);
  EXPECT_TRUE(allows(getsets, getset));
  EXPECT_FALSE(allows(getsets, get));
  EXPECT_FALSE(allows(reads, ping));
  EXPECT_TRUE(allows(statement("{'Effect':'Allow','Action':'resp:*','Resource':'*'}"), ping));
  EXPECT_TRUE(allows(statement("{'Effect':'Allow','Action':'*','Resource':'*'}"), ping));
  // S3's own actions have no other names: who may read an object may not read its ACL.
  EXPECT_FALSE(allows(statement("{'Effect':'Allow','Action':'s3:GetObject','Resource':'*'}"),
                      request("s3:GetObjectAcl", "b", "k")));
}

TEST(Policy, NotActionLeavesOutWhatAnyNameOfItSays) {
  const auto del = also(request("resp:del", "b", "k"), {"DeleteObject"});
  const auto get = also(request("resp:get", "b", "k"), {"GetObject"});
  const auto getdel = also(request("resp:getdel", "b", "k"), {"GetObject", "DeleteObject"});
  const Policy all_but =
      statement("{'Effect':'Allow','NotAction':'s3:DeleteObject','Resource':'*'}");
  EXPECT_TRUE(allows(all_but, get));
  EXPECT_FALSE(allows(all_but, del));
  EXPECT_FALSE(allows(all_but, getdel));
  const Policy but_del = statement("{'Effect':'Allow','NotAction':'resp:del','Resource':'*'}");
  EXPECT_FALSE(allows(but_del, del));
  EXPECT_TRUE(allows(but_del, getdel));
  EXPECT_TRUE(allows(but_del, request("s3:DeleteObject", "b", "k")));
  const Policy no_resp = statement("{'Effect':'Allow','NotAction':'resp:*','Resource':'*'}");
  EXPECT_FALSE(allows(no_resp, get));
  EXPECT_FALSE(allows(no_resp, request("resp:ping")));
  EXPECT_TRUE(allows(no_resp, request("s3:GetObject", "b", "k")));
  const Policy read_only = statement("{'Effect':'Deny','NotAction':'s3:Get*','Resource':'*'}");
  EXPECT_EQ(model::ask({read_only}, get), Verdict::kNothing);
  EXPECT_EQ(model::ask({read_only}, getdel), Verdict::kDeny);
  EXPECT_EQ(model::ask({read_only}, request("resp:ping")), Verdict::kDeny);
}

TEST(Policy, PrincipalsAreEverybodyAccountsAndUsers) {
  const auto policy = [](const char* effect, const char* principal) {
    return of_bucket(cat(R"({"Statement":{"Effect":")", effect, R"(","Action":"s3:GetObject",)",
                         R"("Resource":"arn:aws:s3:::b/*",)", principal, "}}"),
                     "b");
  };
  const auto get = request("s3:GetObject", "b", "k");
  const auto ann = by(get, kAnn), root = by(get, "arn:aws:iam::000000000000:root"),
             bob = by(get, "arn:aws:iam::000000000000:user/bob");
  for (const char* all : {R"("Principal":"*")", R"("Principal":{"AWS":"*"})"}) {
    EXPECT_TRUE(allows(policy("Allow", all), get));
    EXPECT_TRUE(allows(policy("Allow", all), ann));
  }
  const auto users =
      policy("Allow", R"("Principal":{"AWS":["arn:aws:iam::000000000000:user/ann"]})");
  EXPECT_TRUE(allows(users, ann));
  EXPECT_FALSE(allows(users, bob));
  EXPECT_FALSE(allows(users, get));
  for (const char* account : {R"("Principal":{"AWS":"000000000000"})",
                              R"("Principal":{"AWS":"arn:aws:iam::000000000000:root"})"}) {
    EXPECT_TRUE(allows(policy("Allow", account), root));
    EXPECT_FALSE(allows(policy("Allow", account), ann));  // its administrator may hand it on
    EXPECT_EQ(model::ask({policy("Deny", account)}, ann), Verdict::kDeny);
    EXPECT_EQ(model::ask({policy("Deny", account)}, get), Verdict::kNothing);
  }
  const auto but = policy("Deny", R"("NotPrincipal":{"AWS":"arn:aws:iam::000000000000:user/ann"})");
  EXPECT_EQ(model::ask({but}, ann), Verdict::kNothing);
  EXPECT_EQ(model::ask({but}, bob), Verdict::kDeny);
  EXPECT_EQ(model::ask({but}, get), Verdict::kDeny);
  const std::string id(64, 'c');
  const auto canonical =
      policy("Allow", cat(R"("Principal":{"CanonicalUser":")", id, "\"}").c_str());
  auto other = bob;
  other.canonical_user = id;
  EXPECT_TRUE(allows(canonical, other));
  EXPECT_FALSE(allows(canonical, bob));
}

TEST(Policy, VariablesAreOfTheNewVersionAlone) {
  const std::string rest =
      R"("Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
         "Resource":"arn:aws:s3:::b/${aws:username}"}})";
  auto ann = request("s3:GetObject", "b", "ann", {{"aws:username", {"ann"}}});
  const auto literal = request("s3:GetObject", "b", "${aws:username}");
  EXPECT_TRUE(allows(of_bucket(cat(R"({"Version":"2012-10-17",)", rest), "b"), ann));
  EXPECT_FALSE(allows(of_bucket(cat(R"({"Version":"2012-10-17",)", rest), "b"), literal));
  for (const char* old : {"{", R"({"Version":"2008-10-17",)"}) {
    EXPECT_FALSE(allows(of_bucket(cat(old, rest), "b"), ann));
    EXPECT_TRUE(allows(of_bucket(cat(old, rest), "b"), literal));
  }
}

TEST(Policy, NothingIsComputedThatNoStatementAsksFor) {
  const Policy p = statement(
      "[{'Effect':'Allow','Action':'s3:GetObject','Resource':'arn:aws:s3:::b/*'},"
      "{'Effect':'Deny','Action':'s3:GetObject','Resource':'arn:aws:s3:::c/*',"
      "'Condition':{'IpAddress':{'aws:SourceIp':'10.0.0.0/8'}}},"
      "{'Effect':'Deny','Action':'s3:PutObject','Resource':'*',"
      "'Condition':{'IpAddress':{'aws:SourceIp':'10.0.0.0/8'}}}]");
  const MapContext context({});
  const ActionNames action("s3", "GetObject");
  const Caller caller;
  const Policy* all[] = {&p};
  EXPECT_EQ(evaluate(all, {action, Resource::key("b", "k"), caller, context}), Verdict::kAllow);
  EXPECT_EQ(context.asked, 0);
  EXPECT_EQ(evaluate(all, {action, Resource::key("c", "k"), caller, context}), Verdict::kNothing);
  EXPECT_EQ(context.asked, 1);
}

// S3's user guide, "Bucket policy examples" and "User policy examples"; IAM's, "Variables".
TEST(Policy, AwsExamples) {
  const auto home = identity(R"({
    "Version":"2012-10-17","Statement":[
      {"Sid":"AllowGroupToSeeBucketListInTheConsole","Action":["s3:ListAllMyBuckets","s3:GetBucketLocation"],
       "Effect":"Allow","Resource":["arn:aws:s3:::*"]},
      {"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::BUCKET",
       "Condition":{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/"]}}},
      {"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::BUCKET/home/${aws:username}",
       "arn:aws:s3:::BUCKET/home/${aws:username}/*"]}]})");
  const std::map<std::string, std::vector<std::string>> kDavid = {{"aws:username", {"David"}}};
  const auto lists = [&](const char* prefix) {
    auto values = kDavid;
    values["s3:prefix"] = {prefix};
    return allows(home, request("s3:ListBucket", "BUCKET", "", values));
  };
  EXPECT_TRUE(allows(home, request("s3:ListAllMyBuckets")));
  EXPECT_TRUE(lists("") && lists("home/") && lists("home/David/"));
  EXPECT_FALSE(lists("home/Ann/") || lists("x"));
  EXPECT_TRUE(allows(home, request("s3:PutObject", "BUCKET", "home/David/a", kDavid)));
  EXPECT_FALSE(allows(home, request("s3:PutObject", "BUCKET", "home/Davida", kDavid)));

  const auto public_read = of_bucket(R"({"Version":"2012-10-17","Statement":[{
    "Sid":"PublicRead","Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:GetObjectVersion"],
    "Resource":["arn:aws:s3:::amzn-s3-demo-bucket/*"]}]})",
                                     "amzn-s3-demo-bucket");
  EXPECT_TRUE(allows(public_read, request("s3:GetObject", "amzn-s3-demo-bucket", "x")));
  EXPECT_FALSE(allows(public_read, request("s3:PutObject", "amzn-s3-demo-bucket", "x")));

  const auto tls_only = of_bucket(R"({"Version":"2012-10-17","Statement":[{
    "Sid":"RestrictToTLSRequestsOnly","Action":"s3:*","Effect":"Deny","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
    "Condition":{"Bool":{"aws:SecureTransport":"false"}},"Principal":"*"}]})",
                                  "b");
  EXPECT_EQ(model::ask({tls_only},
                       request("s3:GetObject", "b", "x", {{"aws:securetransport", {"false"}}})),
            Verdict::kDeny);
  EXPECT_EQ(model::ask({tls_only},
                       request("s3:GetObject", "b", "x", {{"aws:securetransport", {"true"}}})),
            Verdict::kNothing);

  const auto source = of_bucket(R"({"Id":"S3PolicyId1","Version":"2012-10-17","Statement":[{
    "Sid":"IPAllow","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
    "Condition":{"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:DB8:1234:5678::/64"]}}}]})",
                                "b");
  const auto from = [&](const char* ip) {
    return model::ask({source}, request("s3:GetObject", "b", "x", {{"aws:sourceip", {ip}}}));
  };
  EXPECT_EQ(from("192.0.2.9"), Verdict::kNothing);
  EXPECT_EQ(from("2001:db8:1234:5678::1"), Verdict::kNothing);
  EXPECT_EQ(from("192.0.3.9"), Verdict::kDeny);

  const auto tags = of_bucket(R"({"Version":"2012-10-17","Statement":[
    {"Principal":{"AWS":["arn:aws:iam::111122223333:user/Carlos"]},"Effect":"Allow",
     "Action":["s3:PutObjectTagging"],"Resource":["arn:aws:s3:::b/*"],
     "Condition":{"ForAllValues:StringLike":{"s3:RequestObjectTagKeys":["Owner","CreationDate"]}}},
    {"Principal":"*","Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":"arn:aws:s3:::b/*",
     "Condition":{"StringEquals":{"s3:ExistingObjectTag/security":"public"}}}]})",
                              "b");
  const auto carlos = [&](std::vector<std::string> keys) {
    return allows(tags, by(request("s3:PutObjectTagging", "b", "x",
                                   {{"s3:requestobjecttagkeys", std::move(keys)}}),
                           "arn:aws:iam::111122223333:user/Carlos"));
  };
  EXPECT_TRUE(carlos({"Owner"}));
  EXPECT_FALSE(carlos({"Owner", "Other"}));
  EXPECT_TRUE(allows(
      tags, request("s3:GetObject", "b", "x", {{"s3:existingobjecttag/security", {"public"}}})));
  EXPECT_FALSE(allows(tags, request("s3:GetObject", "b", "x")));

  const auto full_control = of_bucket(R"({"Version":"2012-10-17","Statement":[{
    "Sid":"PolicyForAllowUploadWithACL","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/Dave"},
    "Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
    "Condition":{"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control"}}}]})",
                                      "b");
  const auto dave = by(request("s3:PutObject", "b", "x"), "arn:aws:iam::111122223333:user/Dave");
  EXPECT_FALSE(allows(full_control, dave));
  auto with_acl = dave;
  with_acl.values["s3:x-amz-acl"] = {"bucket-owner-full-control"};
  EXPECT_TRUE(allows(full_control, with_acl));

  const auto retention = identity(R"({"Version":"2012-10-17","Statement":[{"Effect":"Deny",
    "Action":["s3:PutObjectRetention"],"Resource":"arn:aws:s3:::b/*",
    "Condition":{"NumericGreaterThan":{"s3:object-lock-remaining-retention-days":"10"}}}]})");
  EXPECT_EQ(model::ask({retention}, request("s3:PutObjectRetention", "b", "x",
                                            {{"s3:object-lock-remaining-retention-days", {"11"}}})),
            Verdict::kDeny);

  const auto no_write = of_bucket(R"({"Version":"2012-10-17","Statement":[
    {"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
     "Condition":{"Null":{"s3:if-none-match":"true"}}}]})",
                                  "b");
  EXPECT_EQ(model::ask({no_write}, request("s3:PutObject", "b", "x")), Verdict::kDeny);
  EXPECT_EQ(
      model::ask({no_write}, request("s3:PutObject", "b", "x", {{"s3:if-none-match", {"*"}}})),
      Verdict::kNothing);
}

TEST(Policy, AgreesWithANaiveEvaluator) {
  model::Random random(14);
  std::map<Verdict, int> verdicts;
  int refused = 0;
  constexpr int kPolicies = 3000, kRequests = 10;
  for (int i = 0; i < kPolicies; i++) {
    std::vector<ModelPolicy> models;
    std::vector<Policy> policies;
    std::string texts;
    for (size_t n = 1 + random() % 2; n > 0; n--) {
      const bool bucket = random() % 2 == 0;
      const ModelPolicy made = model::make_policy(random, bucket);
      const std::string text = model::to_text(made, random);
      auto parsed =
          bucket ? parse_bucket_policy(text, model::kBucket) : parse_identity_policy(text);
      if (!parsed.ok()) {
        ASSERT_TRUE(bucket) << parsed.status() << " " << detail_of(parsed.status()) << text;
        refused++;
        continue;
      }
      models.push_back(made);
      policies.push_back(*std::move(parsed));
      texts += text + "\n";
    }
    for (int j = 0; j < kRequests; j++) {
      const ModelRequest r = model::make_request(random);
      const Verdict expected = model::evaluate(models, r);
      verdicts[expected]++;
      ASSERT_EQ(model::ask(policies, r), expected)
          << texts << r.door << ":" << r.name << " " << r.space << "/" << r.key << " " << r.arn;
    }
  }
  EXPECT_LT(refused, kPolicies * 3 / 4);
  for (Verdict v : {Verdict::kNothing, Verdict::kAllow, Verdict::kDeny}) {
    EXPECT_GT(verdicts[v], kPolicies * kRequests / 20) << static_cast<int>(v);
  }
}

// A user with so many statements of several policies, of which one, the last, allows.
std::vector<Policy> hundred_statements(const char* each) {
  std::vector<Policy> policies;
  for (int p = 0; p < 5; p++) {
    std::string list;
    for (int s = 0; s < 20; s++) {
      std::string one = each;
      one.replace(one.find('#'), 1, cat(p * 20 + s));
      append(list, list.empty() ? "" : ",", one);
    }
    policies.push_back(statement("[" + list + "]"));
  }
  policies.push_back(statement("{'Effect':'Allow','Action':'s3:*','Resource':'arn:aws:s3:::b/*'}"));
  return policies;
}
constexpr const char* kEach[] = {
    "{'Effect':'Deny','Action':['s3:Get*','s3:PutObject'],'Resource':['arn:aws:s3:::bucket#/*']}",
    "{'Effect':'Deny','Action':'*','Resource':['arn:aws:s3:::b/users/#/*','arn:aws:s3:::b/x#*'],"
    "'Condition':{'Bool':{'aws:SecureTransport':'false'}}}",
    "{'Effect':'Deny','Action':['resp:set','resp:get*'],'Resource':'arn:aws:s3:::b/${aws:username}/"
    "#'}",
    "{'Effect':'Deny','Action':'s3:GetObject','Resource':'*',"
    "'Condition':{'IpAddress':{'aws:SourceIp':'10.0.#.0/24'}}}",
};

// Commands that reach all keys of a database must be allowed each of them and denied none.
TEST(Policy, AllKeysAreAllowedTogetherAndDeniedByOne) {
  const MapContext context({});
  const Caller caller;
  const ActionNames flush("resp", "flushdb", {"PutObject", "DeleteObject"});
  const auto verdict = [&](std::initializer_list<const char*> statements) {
    std::vector<Policy> policies;
    for (const char* text : statements) policies.push_back(statement(text));
    const auto all = pointers(policies);
    return evaluate(all, {flush, Resource::all_keys("db0"), caller, context});
  };
  const auto allow = [&](const char* resource) {
    return verdict(
        {cat("{'Effect':'Allow','Action':'s3:*Object','Resource':'", resource, "'}").c_str()});
  };
  for (const char* all : {"*", "arn:aws:s3:::*", "arn:aws:s3:::db0/*", "arn:aws:s3:::db?/*",
                          "arn:aws:s3:::db0*", "arn:aws:s3:::*/*"}) {
    EXPECT_EQ(allow(all), Verdict::kAllow) << all;
  }
  for (const char* some : {"arn:aws:s3:::db0", "arn:aws:s3:::db0/", "arn:aws:s3:::db0/?",
                           "arn:aws:s3:::db0/?*", "arn:aws:s3:::db0/a*", "arn:aws:s3:::db1/*",
                           "arn:aws:s3:::*/a", "arn:aws:s3:::db0/*/*", "arn:aws:s3:::db0/*a"}) {
    EXPECT_EQ(allow(some), Verdict::kNothing) << some;
  }
  constexpr const char* kAll = "{'Effect':'Allow','Action':'*','Resource':'*'}";
  const auto deny = [&](const std::string& rest) {
    return verdict({kAll, cat("{'Effect':'Deny','Action':'s3:DeleteObject',", rest, "}").c_str()});
  };
  for (const char* one : {"db0/secret", "*/secret", "db0/a*", "d*", "*secret", "*a/b*", "db0?a",
                          "d${aws:username}"}) {
    EXPECT_EQ(deny(cat("'Resource':'arn:aws:s3:::", one, "'")), Verdict::kDeny) << one;
  }
  for (const char* other : {"db0", "db1/*", "d/*"}) {
    EXPECT_EQ(deny(cat("'Resource':'arn:aws:s3:::", other, "'")), Verdict::kAllow) << other;
  }
  EXPECT_EQ(deny("'NotResource':'arn:aws:s3:::db0/a*'"), Verdict::kDeny);
  EXPECT_EQ(deny("'NotResource':'arn:aws:s3:::db0/*'"), Verdict::kAllow);
  EXPECT_EQ(verdict({"{'Effect':'Allow','Action':'*','NotResource':'arn:aws:s3:::db0/a'}"}),
            Verdict::kNothing);
  EXPECT_EQ(verdict({"{'Effect':'Allow','Action':'*','NotResource':'arn:aws:s3:::db1/*'}"}),
            Verdict::kAllow);
  constexpr const char* kTag =
      "'Resource':'*','Condition':{'StringEquals':{'s3:ExistingObjectTag/a':'b'}}";
  EXPECT_EQ(deny(kTag), Verdict::kDeny);
  EXPECT_EQ(verdict({cat("{'Effect':'Allow','Action':'*',", kTag, "}").c_str()}),
            Verdict::kNothing);
}

// Of a request over TLS from this address.
struct Fixed final : Context {
  std::optional<std::string_view> value(const ConditionKey& key, size_t place) const override {
    if (place > 0) return std::nullopt;
    return key.key == Key::kSourceIp ? "192.168.0.1" : "true";
  }
};

TEST(Policy, AWalkAllocatesNothing) {
  if (!kCountsAllocations) GTEST_SKIP() << "the sanitizer has an operator new of its own";
  const Fixed context;
  const Caller caller;
  const ActionNames get("s3", "GetObject"), resp("resp", "getset", {"GetObject", "PutObject"});
  for (const char* each : kEach) {
    const auto policies = hundred_statements(each);
    const auto all = pointers(policies);
    std::atomic<uint64_t> allocations{0};
    count_allocations(&allocations);
    for (const ActionNames* action : {&get, &resp}) {
      EXPECT_EQ(evaluate(all, {*action, Resource::key("b", "photos/1"), caller, context}),
                Verdict::kAllow);
    }
    count_allocations(nullptr);
    EXPECT_EQ(allocations, 0u) << each;
  }
}

// Of this thread, whoever else has the machine.
int64_t cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * int64_t{1'000'000'000} + t.tv_nsec;
}

// The aim is 2 us with 100 statements. Printed, not asserted.
TEST(Policy, CostOfAHundredStatements) {
  const Fixed context;
  const Caller caller;
  const ActionNames get("s3", "GetObject"), resp("resp", "getset", {"GetObject", "PutObject"});
  for (const char* each : kEach) {
    const auto policies = hundred_statements(each);
    const auto all = pointers(policies);
    for (const ActionNames* action : {&get, &resp}) {
      constexpr int kRounds = 2000;
      int allowed = 0;
      const int64_t start = cpu_ns();
      for (int i = 0; i < kRounds; i++) {
        allowed += evaluate(all, {*action, Resource::key("b", "photos/2026/1.jpg"), caller,
                                  context}) == Verdict::kAllow;
      }
      const int64_t took = cpu_ns() - start;
      EXPECT_EQ(allowed, kRounds);
      std::printf("%6d ns, %.*s, %.60s...\n", static_cast<int>(took / kRounds),
                  static_cast<int>(action->own().text().size()), action->own().text().data(), each);
    }
  }
}

}  // namespace
}  // namespace cairn::policy
