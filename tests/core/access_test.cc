// What a bucket says of who may use it: lists, what is public, and what authorize() makes of both.
#include <gtest/gtest.h>

#include "core/base/text.h"
#include "core/store/bucket_access.h"
#include "core/store/policy_json.h"
#include "core/store/user_table.h"
#include "tests/core/principals.h"

namespace cairn {
namespace {

std::string of_bucket(std::string statements) {
  for (char& c : statements) c = c == '\'' ? '"' : c;
  return cat(R"({"Version":"2012-10-17","Statement":[)", statements, "]}");
}
std::string get_by(std::string_view principal, std::string_view condition = "{}",
                   std::string_view effect = "Allow") {
  return cat("{'Effect':'", effect, "','Principal':", principal,
             ",'Action':'s3:GetObject','Resource':'arn:aws:s3:::photos/*','Condition':", condition,
             "}");
}

TEST(PublicPolicy, IsOneThatNothingFixedTies) {
  const auto is_public = [](const std::string& statements) {
    const auto parsed = policy::parse_bucket_policy(of_bucket(statements), "photos");
    EXPECT_TRUE(parsed.ok()) << parsed.status() << statements;
    return parsed.ok() && policy::is_public(*parsed);
  };
  EXPECT_TRUE(is_public(get_by("'*'")));
  EXPECT_TRUE(is_public(get_by("{'AWS':['000000000000','*']}")));
  EXPECT_FALSE(is_public(get_by("{'AWS':'000000000000'}")));
  EXPECT_FALSE(is_public(get_by("'*'", "{}", "Deny")));
  const struct {
    const char* condition;
    bool is_public;
  } kCases[] = {
      {"{'IpAddress':{'aws:SourceIp':'10.0.0.0/8'}}", false},
      {"{'IpAddress':{'aws:SourceIp':'10.0.0.0/7'}}", true},
      {"{'IpAddress':{'aws:SourceIp':['10.1.2.3','0.0.0.0/0']}}", true},
      {"{'IpAddress':{'aws:SourceIp':'2001:db8::/32'}}", false},
      {"{'IpAddress':{'aws:SourceIp':'2001::/16'}}", true},
      {"{'NotIpAddress':{'aws:SourceIp':'10.0.0.0/8'}}", true},
      {"{'IpAddressIfExists':{'aws:SourceIp':'10.0.0.0/8'}}", true},
      {"{'StringEquals':{'aws:userid':'AIDA1'}}", false},
      {"{'StringLike':{'aws:userid':'AIDA*'}}", true},
      {"{'StringEquals':{'aws:username':'${aws:username}'}}", true},
      {"{'ForAllValues:StringEquals':{'aws:userid':'AIDA1'}}", true},
      {"{'StringEquals':{'s3:ExistingObjectTag/public':'yes'}}", true},
      {"{'Bool':{'aws:SecureTransport':'true'}}", true},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(is_public(get_by("'*'", c.condition)), c.is_public) << c.condition;
  }
}

TEST(Acl, IsReadBackAsItWasWritten) {
  const std::string id(64, 'a');
  const Acl acl{{{Whom::kOwner, Permission::kFullControl},
                 {Whom::kUser, Permission::kRead, id},
                 {Whom::kEverybody, Permission::kWriteAcp}}};
  EXPECT_EQ(Acl::decode(acl.encode()), acl);
  EXPECT_EQ(Acl::decode(Acl{{}}.encode()), Acl{{}});
  EXPECT_TRUE(Acl{}.is_default());
  EXPECT_FALSE(Acl{{}}.is_default());
  for (size_t n = 0; n < acl.encode().size(); n++) {
    EXPECT_FALSE(Acl::decode(acl.encode().substr(0, n)).has_value()) << n;
  }
  EXPECT_FALSE(Acl::decode(acl.encode() + "x").has_value());
  EXPECT_FALSE(Acl::decode(std::string("\1\6\1", 3)).has_value());
  EXPECT_FALSE(Acl::decode(std::string("\1\3\3", 3)).has_value());
}

TEST(Acl, OfAnObjectGrantsWhatItSays) {
  const std::string id(64, 'a');
  const policy::Caller ann{"arn:aws:iam::000000000000:user/ann", kAccount, id};
  const policy::Caller bob{"arn:aws:iam::000000000000:user/bob", kAccount, "b"};
  const policy::Caller stranger;
  const int get = policy::s3_number("GetObject"), put = policy::s3_number("PutObjectAcl"),
            remove = policy::s3_number("DeleteObject");
  const Acl of_ann{{{Whom::kUser, Permission::kRead, id}}};
  EXPECT_TRUE(of_ann.grants_object(get, ann, false));
  EXPECT_TRUE(of_ann.grants_object(get, ann, true));
  EXPECT_FALSE(of_ann.grants_object(put, ann, false));
  EXPECT_FALSE(of_ann.grants_object(get, bob, false));
  EXPECT_FALSE(of_ann.grants_object(get, stranger, false));
  const Acl of_all{{{Whom::kEverybody, Permission::kFullControl}}};
  EXPECT_TRUE(of_all.grants_object(get, stranger, false));
  EXPECT_TRUE(of_all.grants_object(put, stranger, false));
  EXPECT_FALSE(of_all.grants_object(get, stranger, true));
  EXPECT_FALSE(of_all.grants_object(remove, stranger, false));
  EXPECT_FALSE(of_all.grants_object(-1, stranger, false));
  const Acl of_known{{{Whom::kAuthenticated, Permission::kRead}}};
  EXPECT_TRUE(of_known.grants_object(get, bob, false));
  EXPECT_FALSE(of_known.grants_object(get, stranger, false));
  const Acl of_logs{{{Whom::kLogDelivery, Permission::kFullControl}}};
  EXPECT_FALSE(of_logs.grants_object(get, bob, false));
  EXPECT_FALSE(Acl{}.grants_object(get, bob, false));
}

TEST(BucketAccess, IsNothingWhereNothingIsSet) {
  EXPECT_EQ(BucketAccess::compile("photos", {}), nullptr);
  Properties set;
  set.acl = Acl{{{Whom::kEverybody, Permission::kRead}}};  // does not count
  EXPECT_EQ(BucketAccess::compile("photos", set), nullptr);
  set.ownership = Ownership::kObjectWriter;
  EXPECT_NE(BucketAccess::compile("photos", set)->acl, nullptr);
}

// A policy of a later version's making denies all, and root can replace it.
TEST(BucketAccess, APolicyThatCannotBeReadDenies) {
  BucketAccessTable table;
  Properties set;
  set.policy = "{";
  const Principal user("other", principal_with(allow("*"))->rights(), &table);
  Principal root("root");
  root.consult(table);
  const Action get{"s3", "GetObject", Access::kRead};
  EXPECT_TRUE(authorize(user, get, "photos", "a"));
  table.set("photos", BucketAccess::compile("photos", set));
  EXPECT_TRUE(table.any_denies());
  EXPECT_FALSE(user.may_all());
  EXPECT_FALSE(authorize(user, get, "photos", "a"));
  EXPECT_TRUE(authorize(user, get, "other", "a"));
  EXPECT_TRUE(authorize(root, get, "photos", "a"));
  table.set("photos", nullptr);
  EXPECT_FALSE(table.any_denies());
  EXPECT_TRUE(user.may_all());
  EXPECT_TRUE(authorize(user, get, "photos", "a"));
}

// What a bucket's policy allows stays within the boundary of the key that asks.
TEST(BucketAccess, StaysWithinTheBoundary) {
  BucketAccessTable table;
  Properties set;
  set.policy = of_bucket(get_by("'*'"));
  table.set("photos", BucketAccess::compile("photos", set));
  Rights rights = *principal_with("")->rights();
  const auto may = [&](const char* key) {
    const Principal p("other", std::make_shared<const Rights>(rights), &table);
    return authorize(p, {"s3", "GetObject", Access::kRead}, "photos", key);
  };
  EXPECT_TRUE(may("a"));
  auto boundary = policy::parse_identity_policy(of_bucket(
      "{'Effect':'Allow','Action':'s3:GetObject','Resource':'arn:aws:s3:::photos/thumbs/*'}"));
  ASSERT_TRUE(boundary.ok());
  rights.boundary = std::make_shared<const policy::Policy>(*std::move(boundary));
  EXPECT_FALSE(may("a"));
  EXPECT_TRUE(may("thumbs/a"));
}

}  // namespace
}  // namespace cairn
