// What S3 calls a change, who wants it, and how it is said.
#include "objects/notifications.h"

#include <gtest/gtest.h>

#include "core/base/text.h"
#include "objects/versions.h"

namespace cairn::objects {
namespace {

NotificationRule rule(std::vector<std::string> events, std::string prefix = "",
                      std::string suffix = "") {
  return {"id", "arn:cairn:sqs::a:webhook", std::move(events), std::move(prefix),
          std::move(suffix)};
}

FeedEvent event_in(std::string_view bucket, std::string_view key) {
  FeedEvent e;
  e.ns = std::make_shared<Namespace>(NamespaceId(kFirstBucket), std::string(bucket), Properties(),
                                     1, std::make_shared<MemoryCount>());
  e.id = e.ns->id;
  e.key = key;
  e.lsn = Lsn(0xabc);
  return e;
}

TEST(Notifications, EventsAreNamedAsS3NamesThem) {
  FeedEvent e = event_in("bucket", "key");
  EXPECT_EQ(event_name(e), "s3:ObjectCreated:Put");
  e.cause = Cause::kObjectCopy;
  EXPECT_EQ(event_name(e), "s3:ObjectCreated:Copy");
  e.cause = Cause::kPartsCompleted;
  EXPECT_EQ(event_name(e), "s3:ObjectCreated:CompleteMultipartUpload");
  e.cause = Cause::kFormUpload;
  EXPECT_EQ(event_name(e), "s3:ObjectCreated:Post");
  e.kind = FeedEvent::Kind::kRemove;
  EXPECT_EQ(event_name(e), "s3:ObjectRemoved:Delete");
  e.cause = Cause::kExpiry;
  EXPECT_EQ(event_name(e), "s3:LifecycleExpiration:Delete");
  e.kind = FeedEvent::Kind::kMarker;
  EXPECT_EQ(event_name(e), "s3:LifecycleExpiration:DeleteMarkerCreated");
  e.kind = FeedEvent::Kind::kExpiry;
  EXPECT_EQ(event_name(e), "");
  e.kind = FeedEvent::Kind::kPut;
  e.cause = Cause::kTagsPut;
  EXPECT_EQ(event_name(e), "s3:ObjectTagging:Put");
  e.cause = Cause::kTagsDelete;
  EXPECT_EQ(event_name(e), "s3:ObjectTagging:Delete");
  e.cause = Cause::kAclPut;
  EXPECT_EQ(event_name(e), "s3:ObjectAcl:Put");
  e.cause = Cause::kLockPut;
  EXPECT_EQ(event_name(e), "");
  e.kind = FeedEvent::Kind::kPut;
  e.type = ValueType::kHash;
  EXPECT_EQ(event_name(e), "");
  e = event_in("bucket", "key");
  e.ns = nullptr;
  EXPECT_EQ(event_name(e), "");
}

// Of what one change does to a key and to its versions, S3 tells once.
TEST(Notifications, AChangeOfVersionsIsToldOnce) {
  FeedEvent e = event_in("bucket", "key");
  e.version = Version{1, false, true};
  e.kind = FeedEvent::Kind::kRemove;
  EXPECT_EQ(event_name(e), "");
  e.kind = FeedEvent::Kind::kMarker;
  EXPECT_EQ(event_name(e), "s3:ObjectRemoved:DeleteMarkerCreated");
  e.version->marker = false;
  e.kind = FeedEvent::Kind::kRemove;
  EXPECT_EQ(event_name(e), "s3:ObjectRemoved:Delete");
  e.kind = FeedEvent::Kind::kPutBack;
  EXPECT_EQ(event_name(e), "");
  e.kind = FeedEvent::Kind::kVersionRemove;
  EXPECT_EQ(event_name(e), "s3:ObjectRemoved:Delete");
  EXPECT_NE(record_json(e, "", "", "").find(cat(",\"versionId\":\"", version_id(*e.version), "\"")),
            std::string::npos);
  e.version->null = true;
  EXPECT_NE(record_json(e, "", "", "").find(",\"versionId\":\"null\""), std::string::npos);
  e.kind = FeedEvent::Kind::kVersionPut;
  e.cause = Cause::kTagsDelete;
  EXPECT_EQ(event_name(e), "s3:ObjectTagging:Delete");
  e.cause = Cause::kAclPut;
  EXPECT_EQ(event_name(e), "s3:ObjectAcl:Put");
  e.cause = Cause::kLockPut;
  EXPECT_EQ(event_name(e), "");
}

TEST(Notifications, ARuleWantsItsEventsOfItsKeys) {
  const auto r = rule({"s3:ObjectCreated:*"}, "photos/", ".jpg");
  EXPECT_TRUE(is_wanted(r, "s3:ObjectCreated:Put", "photos/a.jpg"));
  EXPECT_TRUE(is_wanted(r, "s3:ObjectCreated:Copy", "photos/.jpg"));
  EXPECT_FALSE(is_wanted(r, "s3:ObjectRemoved:Delete", "photos/a.jpg"));
  EXPECT_FALSE(is_wanted(r, "s3:ObjectCreated:Put", "photos/a.png"));
  EXPECT_FALSE(is_wanted(r, "s3:ObjectCreated:Put", "a.jpg"));
  EXPECT_TRUE(is_wanted(rule({"s3:ObjectRemoved:Delete"}), "s3:ObjectRemoved:Delete", "x"));
}

TEST(Notifications, RulesThatWantTheSameOverlap) {
  EXPECT_FALSE(overlap({}));
  EXPECT_FALSE(overlap({rule({"s3:ObjectCreated:*"}), rule({"s3:ObjectRemoved:*"})}));
  EXPECT_TRUE(overlap({rule({"s3:ObjectCreated:*"}), rule({"s3:ObjectCreated:Put"})}));
  EXPECT_FALSE(overlap({rule({"s3:ObjectCreated:*"}, "a/"), rule({"s3:ObjectCreated:*"}, "b/")}));
  EXPECT_TRUE(overlap({rule({"s3:ObjectCreated:*"}, "a/"), rule({"s3:ObjectCreated:*"}, "a/b/")}));
  EXPECT_FALSE(
      overlap({rule({"s3:ObjectCreated:*"}, "", "jpg"), rule({"s3:ObjectCreated:*"}, "", "png")}));
  EXPECT_TRUE(
      overlap({rule({"s3:ObjectCreated:*"}, "", "g"), rule({"s3:ObjectCreated:*"}, "", "png")}));
}

TEST(Notifications, TheJsonIsThatOfS3) {
  FeedEvent e = event_in("bucket", "a b/\xc3\xa9+");
  e.size = 5;
  e.wall_ms = 1'700'000'000'123;
  ObjectMeta meta;
  meta.etag = "0123";
  meta.content_type = "text/\"plain";
  const std::string encoded = meta.encode();
  e.meta = encoded;
  EXPECT_EQ(
      record_json(e, "my \"rule\"", "owner", "us-east-1"),
      "{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",\"awsRegion\":\"us-east-1\","
      "\"eventTime\":\"2023-11-14T22:13:20.123Z\",\"eventName\":\"ObjectCreated:Put\","
      "\"userIdentity\":{\"principalId\":\"\"},\"requestParameters\":{\"sourceIPAddress\":\"\"},"
      "\"responseElements\":{\"x-amz-request-id\":\"\",\"x-amz-id-2\":\"\"},\"s3\":{"
      "\"s3SchemaVersion\":\"1.0\",\"configurationId\":\"my \\\"rule\\\"\",\"bucket\":{"
      "\"name\":\"bucket\",\"ownerIdentity\":{\"principalId\":\"owner\"},"
      "\"arn\":\"arn:aws:s3:::bucket\"},\"object\":{\"key\":\"a+b/%C3%A9%2B\",\"size\":5,"
      "\"eTag\":\"0123\",\"contentType\":\"text/\\\"plain\",\"sequencer\":\"0000000000000ABC\"}}}");
  EXPECT_EQ(message_json({"{}"}, &e),
            "{\"EventName\":\"s3:ObjectCreated:Put\",\"Key\":\"bucket/a b/\xc3\xa9+\","
            "\"Records\":[{}]}");
  EXPECT_EQ(message_json({"{}", "{}"}, nullptr), "{\"Records\":[{},{}]}");
}

TEST(Notifications, SequencersAreInOrderAndReadBack) {
  EXPECT_LT(sequencer_of(Lsn(0xfff)), sequencer_of(Lsn(0x1000)));
  EXPECT_EQ(lsn_of_sequencer(sequencer_of(Lsn(0x123456789a))), Lsn(0x123456789a));
  EXPECT_EQ(lsn_of_sequencer("12"), std::nullopt);
  EXPECT_EQ(lsn_of_sequencer("FFFFFFFFFFFFFFFF"), std::nullopt);
}

TEST(Notifications, EventTypesThatCairnHasNoneOfAreKnown) {
  EXPECT_EQ(event_type("s3:ObjectCreated:*"), EventType::kHad);
  EXPECT_EQ(event_type("s3:ObjectRestore:*"), EventType::kKnown);
  EXPECT_EQ(event_type("s3:ObjectCreated:Puts"), EventType::kNone);
  EXPECT_EQ(event_type(""), EventType::kNone);
}

}  // namespace
}  // namespace cairn::objects
