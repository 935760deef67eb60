#include "core/store/policy_json.h"

#include <gtest/gtest.h>

#include "core/base/text.h"
#include "tests/core/policy_model.h"

namespace cairn::policy {
namespace {

struct Refusal {
  std::string text;
  const char* message;
  const char* detail = nullptr;  // null: whatever
};

// What stands for a quote is '.
std::string quoted(std::string text) {
  for (char& c : text) c = c == '\'' ? '"' : c;
  return text;
}
// A statement with one part put in the place of another.
std::string bucket_policy(std::string_view replaced = "", std::string_view with = "") {
  std::string text =
      "{'Version':'2012-10-17','Statement':[{'Sid':'a b','Effect':'Allow','Principal':'*',"
      "'Action':'s3:GetObject','Resource':'arn:aws:s3:::b/*',"
      "'Condition':{'StringEquals':{'aws:Referer':'x'}}}]}";
  if (!replaced.empty()) text.replace(text.find(replaced), replaced.size(), with);
  return text;
}
std::string identity_policy(std::string_view replaced = "", std::string_view with = "") {
  std::string text =
      "{'Version':'2012-10-17','Statement':[{'Sid':'a','Effect':'Allow',"
      "'Action':'s3:GetObject','Resource':'arn:aws:s3:::b/*',"
      "'Condition':{'StringEquals':{'aws:Referer':'x'}}}]}";
  if (!replaced.empty()) text.replace(text.find(replaced), replaced.size(), with);
  return text;
}
std::string condition(std::string_view with) {
  return bucket_policy("{'StringEquals':{'aws:Referer':'x'}}", with);
}

TEST(PolicyJson, WhatS3RefusesOfBucketsIsRefusedInItsWords) {
  const std::string kAction = "'Action':'s3:GetObject'", kResource = "'arn:aws:s3:::b/*'",
                    kPrincipal = "'Principal':'*'";
  const Refusal rows[] = {
      {"", "Policies must be valid JSON and the first byte must be '{'"},
      {" {}", "Policies must be valid JSON and the first byte must be '{'"},
      {"[]", "Policies must be valid JSON and the first byte must be '{'"},
      {"{", "This policy contains invalid Json"},
      {"{}x", "This policy contains invalid Json"},
      {"{'Statement':[],}", "This policy contains invalid Json"},
      {bucket_policy("'Sid':'a b'", "'Effect':'Deny'"), "This policy contains invalid Json",
       "a key stands twice: Effect"},
      {"{'Version':'2012-10-17'}", "Missing required field Statement"},
      {"{'Statement':[]}", "Could not parse the policy: Statement is empty!"},
      {"{'Statement':['x']}", "Invalid policy syntax.", "Statement"},
      {bucket_policy("'Version':'2012-10-17'", "'Version':'2012-10-18'"),
       "The policy must contain a valid version string"},
      {bucket_policy("'Version':'2012-10-17'", "'Version':2012"),
       "The policy must contain a valid version string"},
      {bucket_policy("'Version':'2012-10-17'", "'version':'2012-10-17'"), "Unknown field version"},
      {bucket_policy("'Condition'", "'condition'"), "Unknown field condition"},
      {bucket_policy("'Sid':'a b'", "'Sid':1"), "Invalid policy syntax.", "Sid"},
      {bucket_policy("'Effect':'Allow',", ""), "Missing required field Effect"},
      {bucket_policy("'Allow'", "'hello'"), "Invalid effect: hello"},
      {bucket_policy("'Allow'", "'allow'"), "Invalid effect: allow"},
      {bucket_policy(kPrincipal + ",", ""), "Missing required field Principal"},
      {bucket_policy(kPrincipal, "'Principal':{}"),
       "Missing required field Principal cannot be empty!"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':[]}"),
       "Missing required field Principal cannot be empty!"},
      {bucket_policy(kPrincipal, "'Principal':'ann'"), "Invalid principal in policy", "ann"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':'ann'}"), "Invalid principal in policy",
       "\"AWS\" : \"ann\""},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':'arn:aws:iam::000000000000:user/*'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':'arn:aws:iam::000000000000:group/g'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':'arn:aws:iam::000000000000:user/'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':'arn:aws:iam::1234:root'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'Service':'logging.s3.amazonaws.com'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'Federated':'accounts.google.com'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'CanonicalUser':'xyz'}"),
       "Invalid principal in policy"},
      {bucket_policy(kPrincipal, "'Principal':{'AWS':{}}"), "Invalid policy syntax."},
      {bucket_policy(kPrincipal, "'NotPrincipal':'*'"), "Invalid policy syntax."},
      {bucket_policy(kPrincipal, "'Principal':'*','NotPrincipal':'*'"), "Invalid policy syntax.",
       "both Principal and NotPrincipal"},
      {bucket_policy(kAction + ",", ""), "Missing required field Action"},
      {bucket_policy(kAction, "'Action':[]"), "Missing required field Action cannot be empty!"},
      {bucket_policy(kAction, "'Action':[1]"), "Invalid policy syntax.", "Action"},
      {bucket_policy(kAction, "'Action':'s3:GetObject','NotAction':'s3:*'"),
       "Invalid policy syntax.", "both Action and NotAction"},
      {bucket_policy(kAction, "'Action':'invalid_action'"), "Policy has invalid action",
       "invalid_action"},
      {bucket_policy(kAction, "'Action':'s3:GetObjekt'"), "Policy has invalid action"},
      {bucket_policy(kAction, "'Action':'s3:Gt*'"), "Policy has invalid action"},
      {bucket_policy(kAction, "'Action':'s3:'"), "Policy has invalid action"},
      {bucket_policy(kAction, "'Action':'ec2:*'"), "Policy has invalid action", "ec2:*"},
      {bucket_policy(kAction, "'Action':'iam:CreateUser'"), "Policy has invalid action"},
      {bucket_policy(kAction, "'Action':'s?:GetObject'"), "Policy has invalid action"},
      {bucket_policy(",'Resource':'arn:aws:s3:::b/*'", ""), "Missing required field Resource"},
      {bucket_policy(kResource, "[]"), "Missing required field Resource cannot be empty!"},
      {bucket_policy(kResource, "'b/*'"), "Policy has invalid resource", "b/*"},
      {bucket_policy(kResource, "'arn:aws:s3:::c/*'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::bb/*'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:us-east-1::b/*'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:iam::000000000000:user/ann'"),
       "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:minio:s3:::b/*'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::b/${aws:nobody}'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::b/${aws:username'"), "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::b/${s3:RequestObjectTagKeys}'"),
       "Policy has invalid resource"},
      {bucket_policy(kResource, "'arn:aws:s3:::b'"),
       "Action does not apply to any resource(s) in statement", "s3:GetObject"},
      {bucket_policy(kAction, "'Action':'s3:ListBucket'"),
       "Action does not apply to any resource(s) in statement"},
      {bucket_policy(kAction, "'Action':'s3:ListAllMyBuckets'"),
       "Action does not apply to any resource(s) in statement"},
      {bucket_policy("'Sid':'a b'", "'Sid':''") + "x", "This policy contains invalid Json"},
      {"{'Statement':[{'Sid':'x','Effect':'Deny','Principal':'*','Action':'*','Resource':'*'},"
       "{'Sid':'x','Effect':'Deny','Principal':'*','Action':'*','Resource':'*'}]}",
       "The Statement Ids in the policy are not unique", "x"},
      {condition("[]"), "Invalid policy syntax.", "Condition"},
      {condition("{'StringEquals':'x'}"), "Invalid policy syntax.", "StringEquals"},
      {condition("{'StringEquals':{'aws:Referer':[]}}"), "Invalid policy syntax."},
      {condition("{'StringEquals':{'aws:Referer':{}}}"), "Invalid policy syntax."},
      {condition("{'StringEquals':{'aws:Referer':null}}"), "Invalid policy syntax."},
      {condition("{'StringEquals':{'aws:Referer':'x','AWS:referer':'y'}}"),
       "Invalid policy syntax.", "a key stands twice: aws:Referer"},
      {condition("{'stringEquals':{'aws:Referer':'x'}}"), "Invalid Condition type : stringEquals"},
      {condition("{'StringEqual':{}}"), "Invalid Condition type : StringEqual"},
      {condition("{'NullIfExists':{}}"), "Invalid Condition type : NullIfExists"},
      {condition("{'ForAllValues:Null':{}}"), "Invalid Condition type : ForAllValues:Null"},
      {condition("{'ForSomeValues:StringEquals':{}}"),
       "Invalid Condition type : ForSomeValues:StringEquals"},
      {condition("{'StringEquals':{'aws:Nobody':'x'}}"), "Policy has an invalid condition key",
       "aws:Nobody"},
      {condition("{'Bool':{'aws:MultiFactorAuthPresent':'true'}}"),
       "Policy has an invalid condition key", "aws:MultiFactorAuthPresent"},
      {condition("{'StringEquals':{'s3:ExistingObjectTag/':'x'}}"),
       "Policy has an invalid condition key"},
      {condition("{'StringEquals':{'aws:SourceVpce':'x'}}"), "Policy has an invalid condition key"},
      {condition("{'StringLike':{'s3:prefix':'x'}}"),
       "Conditions do not apply to combination of actions and resources in statement",
       "s3:prefix with s3:GetObject"},
      {condition("{'IpAddress':{'aws:SourceIp':'10.0.0.0/33'}}"),
       "Invalid IP address in Conditions"},
      {condition("{'StringEquals':{'aws:SourceIp':'10.0.0'}}"), "Invalid IP address in Conditions"},
      {condition("{'DateLessThan':{'aws:CurrentTime':'soon'}}"),
       "Invalid value in Conditions for operator DateLessThan", "not a date: soon"},
      {condition("{'NumericEquals':{'s3:signatureAge':'1x'}}"),
       "Invalid value in Conditions for operator NumericEquals"},
      {condition("{'Bool':{'aws:SecureTransport':'yes'}}"),
       "Invalid value in Conditions for operator Bool", "not true or false: yes"},
      {condition("{'BoolIfExists':{'aws:SecureTransport':'${aws:username}'}}"),
       "Invalid value in Conditions for operator BoolIfExists"},
      {condition("{'Null':{'aws:Referer':'x'}}"), "Invalid value in Conditions for operator Null"},
      {condition("{'BinaryEquals':{'aws:Referer':'x'}}"),
       "Invalid value in Conditions for operator BinaryEquals", "not base64: x"},
      {condition("{'ArnLike':{'aws:PrincipalArn':'arn:aws:iam'}}"),
       "Invalid value in Conditions for operator ArnLike"},
      {condition("{'StringLike':{'aws:Referer':'${'}}"),
       "Invalid value in Conditions for operator StringLike"},
      {condition("{'StringLike':{'aws:Referer':'${aws:username, x}'}}"),
       "Invalid value in Conditions for operator StringLike"},
  };
  for (const Refusal& row : rows) {
    const auto p = parse_bucket_policy(quoted(row.text), "b");
    ASSERT_FALSE(p.ok()) << row.text;
    EXPECT_EQ(p.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(p.status().message(), row.message) << row.text;
    if (row.detail != nullptr) {
      EXPECT_EQ(detail_of(p.status()), row.detail) << row.text;
    }
  }
}

TEST(PolicyJson, WhatIamRefusesIsRefusedInItsWords) {
  const std::string kAction = "'Action':'s3:GetObject'", kResource = "'arn:aws:s3:::b/*'";
  const Refusal rows[] = {
      {"", "Syntax errors in policy."},
      {"[]", "Syntax errors in policy."},
      {"{", "Syntax errors in policy."},
      {"{'Version':'2012-10-17'}", "Syntax errors in policy."},
      {"{'Version':'2012-10-17','Statement':[]}", "Syntax errors in policy."},
      {identity_policy("'Version':'2012-10-17'", "'Version':'2008-10-17'"),
       "Policy document must be version 2012-10-17 or greater."},
      {identity_policy("'Version':'2012-10-17',", ""),
       "Policy document must be version 2012-10-17 or greater."},
      {identity_policy("'Version':'2012-10-17'", "'Version':'2017-10-17'"),
       "Syntax errors in policy."},
      {identity_policy("'Sid':'a'", "'Foo':'a'"), "Syntax errors in policy.", "Unknown field Foo"},
      {identity_policy("'Sid':'a'", "'Sid':'a b'"),
       "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular "
       "expression [0-9A-Za-z]*",
       "a b"},
      {identity_policy("'Sid':'a'", "'Principal':'*'"),
       "Policy document should not specify a principal."},
      {identity_policy("'Sid':'a'", "'Action':'s3:*'"), "Syntax errors in policy.",
       "a key stands twice: Action"},
      {identity_policy("'Allow'", "'Maybe'"), "Syntax errors in policy.", "Invalid effect: Maybe"},
      {identity_policy(kAction + ",", ""), "Policy statement must contain actions."},
      {identity_policy(kAction, "'Action':[]"), "Policy statement must contain actions."},
      {identity_policy(kAction, "'Action':'GetObject'"),
       "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."},
      {identity_policy(kAction, "'Action':'s3:Get:Object'"),
       "Actions/Condition can contain only one colon."},
      {identity_policy(kAction, "'Action':'ec2:Run'"), "Vendor ec2 is not valid"},
      {identity_policy(kAction, "'Action':'s3:GetObjekt'"), "no such action: s3:GetObjekt"},
      {identity_policy(kAction, "'Action':'resp:a b'"), "no such action: resp:a b"},
      {identity_policy(",'Resource':'arn:aws:s3:::b/*'", ""),
       "Policy statement must contain resources."},
      {identity_policy(kResource, "'b'"), "Resource b must be in ARN format or \"*\"."},
      {identity_policy(kResource, "'arn:gcp:s3:::b'"),
       "Partition \"gcp\" is not valid for resource \"arn:gcp:s3:::b\"."},
      {identity_policy(kResource, "'arn:aws:s3:us-east-1::b'"),
       "Resource arn:aws:s3:us-east-1::b can not contain region information."},
      {identity_policy(kResource, "'arn:aws:*:::b'"),
       "Resource vendor must be fully qualified and cannot contain regexes."},
      {identity_policy("{'StringEquals':{'aws:Referer':'x'}}", "{'Foo':{'aws:Referer':'x'}}"),
       "Syntax errors in policy.", "Invalid Condition type : Foo"},
      {identity_policy("{'StringEquals':{'aws:Referer':'x'}}",
                       "{'DateEquals':{'aws:Referer':'x'}}"),
       "The policy failed legacy parsing", "not a date: x"},
      {"{'Version':'2012-10-17','Statement':["
       "{'Sid':'x','Effect':'Deny','Action':'*','Resource':'*'},"
       "{'Sid':'x','Effect':'Deny','Action':'*','Resource':'*'}]}",
       "Statement IDs (SID) in a single policy must be unique."},
  };
  for (const Refusal& row : rows) {
    const auto p = parse_identity_policy(quoted(row.text));
    ASSERT_FALSE(p.ok()) << row.text;
    EXPECT_EQ(p.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(p.status().message(), row.message) << row.text;
    if (row.detail != nullptr) {
      EXPECT_EQ(detail_of(p.status()), row.detail) << row.text;
    }
  }
}

TEST(PolicyJson, WhatAwsAcceptsIsAccepted) {
  EXPECT_TRUE(parse_bucket_policy(quoted(bucket_policy()), "b").ok());
  EXPECT_TRUE(parse_identity_policy(quoted(identity_policy())).ok());
  const std::string kAction = "'Action':'s3:GetObject'", kResource = "'arn:aws:s3:::b/*'";
  for (const std::string& text : {
           bucket_policy(kAction, "'Action':['s3:Put*','s3:*']"),
           bucket_policy(kAction, "'NotAction':'s3:ListBucket'"),
           bucket_policy(kAction, "'Action':['S3:getobject','resp:get','grpc:*']"),
           bucket_policy(kResource, "'*'"),
           bucket_policy(kResource, "['arn:aws:s3:::b','arn:aws:s3:::b/*','arn:aws:s3:::*']"),
           bucket_policy("'Principal':'*'",
                         "'Principal':{'AWS':['000000000000',"
                         "'arn:aws:iam::000000000000:user/a/b.c@d']}"),
           condition("{}"),
           condition("{'StringEquals':{}}"),
           condition("{'NumericLessThan':{'s3:signatureAge':600000}}"),
           condition("{'Bool':{'aws:SecureTransport':true}}"),
           condition("{'NumericLessThan':{'s3:signatureAge':0.5},"
                     "'NumericLessThanIfExists':{'s3:signatureAge':['1',2]}}"),
           condition(
               "{'ArnLike':{'aws:PrincipalArn':['*','arn:aws:iam::*:user/${aws:username}']}}"),
           bucket_policy("'Action':'s3:GetObject','Resource':'arn:aws:s3:::b/*',"
                         "'Condition':{'StringEquals':{'aws:Referer':'x'}}",
                         "'Action':'s3:*','Resource':'*','Condition':{'StringLike':{"
                         "'s3:prefix':'x'}}"),
       }) {
    const auto p = parse_bucket_policy(quoted(text), "b");
    EXPECT_TRUE(p.ok()) << text << p.status() << detail_of(p.status());
  }
}

TEST(PolicyJson, SizesAreAwsS) {
  std::string text = quoted(bucket_policy());
  text.insert(text.size() - 1, kBucketPolicyBytesMax - text.size(), ' ');
  EXPECT_TRUE(parse_bucket_policy(text, "b").ok());
  text.insert(text.size() - 1, " ");
  EXPECT_EQ(parse_bucket_policy(text, "b").status().code(), absl::StatusCode::kOutOfRange);

  // White space is not counted here.
  text = quoted(identity_policy());
  text.insert(text.size() - 1, 50000, ' ');
  EXPECT_TRUE(parse_identity_policy(text).ok());
  text = quoted(identity_policy(
      "'arn:aws:s3:::b/*'", "'arn:aws:s3:::b/" + std::string(kIdentityPolicyBytesMax, 'x') + "'"));
  EXPECT_EQ(parse_identity_policy(text).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(parse_identity_policy(text).status().message(),
            "Cannot exceed quota for PolicySize: 6144");
}

TEST(PolicyJson, NestingIsBounded) {
  EXPECT_FALSE(parse_bucket_policy("{\"Statement\":" + std::string(10000, '['), "b").ok());
}

TEST(PolicyJson, WhatIsWrittenIsReadAgain) {
  model::Random random(7);
  int accepted = 0;
  for (int i = 0; i < 3000; i++) {
    const bool bucket = i % 2 == 0;
    const std::string text = model::to_text(model::make_policy(random, bucket), random);
    const auto parse = [&](const std::string& t) {
      return bucket ? parse_bucket_policy(t, model::kBucket) : parse_identity_policy(t);
    };
    const auto p = parse(text);
    if (!p.ok()) continue;
    accepted++;
    const std::string written = to_json(*p);
    const auto again = parse(written);
    ASSERT_TRUE(again.ok()) << again.status() << written;
    ASSERT_EQ(to_json(*again), written);
    for (int j = 0; j < 10; j++) {
      const auto r = model::make_request(random);
      ASSERT_EQ(model::ask({*p}, r), model::ask({*again}, r)) << text << "\n" << written;
    }
  }
  EXPECT_GT(accepted, 1500);
}

}  // namespace
}  // namespace cairn::policy
