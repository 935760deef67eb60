// The options that name targets of events, and signatures of webhooks.
#include <gtest/gtest.h>

#include "gateway/events/target.h"
#include "gateway/events/webhook.h"

namespace cairn::events {
namespace {

TEST(Targets, UrlsAreTakenApart) {
  auto url = parse_url("https://example.com/a?b=c#d");
  ASSERT_TRUE(url.ok());
  EXPECT_TRUE(url->tls);
  EXPECT_EQ(url->host, "example.com");
  EXPECT_EQ(url->port, 443);
  EXPECT_EQ(url->path, "/a?b=c");
  EXPECT_EQ(url->host_field(), "example.com");
  url = parse_url("http://[::1]:8080");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->host, "::1");
  EXPECT_EQ(url->port, 8080);
  EXPECT_EQ(url->path, "/");
  EXPECT_EQ(url->host_field(), "[::1]:8080");
  url = parse_url("http://a?q");
  ASSERT_TRUE(url.ok());
  EXPECT_EQ(url->path, "/?q");
  for (const char* wrong :
       {"", "ftp://a/", "http://", "http://a:0/", "http://a:99999/", "http://a:/", "http://u:p@a/",
        "http://a/ b", "http://[::1/", "http://[::1]x/"}) {
    EXPECT_FALSE(parse_url(wrong).ok()) << wrong;
  }
}

TEST(Targets, OptionsNameThem) {
  TargetOptions options;
  options.webhooks = {"a http://x/", "b https://y/z"};
  options.secrets = {"a whsec_AAEC", "b a secret with blanks"};
  options.streams = {"c 3 my events"};
  options.channels = {"d news"};
  const auto targets = parse_targets(options, 16);
  ASSERT_TRUE(targets.ok()) << targets.status();
  ASSERT_EQ(targets->size(), 4u);
  EXPECT_EQ((*targets)[0].arn(), "arn:cairn:sqs::a:webhook");
  EXPECT_EQ((*targets)[0].secret, std::string("\0\1\2", 3));
  EXPECT_EQ((*targets)[1].secret, "a secret with blanks");
  EXPECT_EQ((*targets)[2].arn(), "arn:cairn:sqs::c:redis");
  EXPECT_EQ((*targets)[2].database, 3u);
  EXPECT_EQ((*targets)[2].key, "my events");
  EXPECT_EQ((*targets)[3].arn(), "arn:cairn:sns::d:redis");
}

TEST(Targets, WhatIsNoneIsRefused) {
  const auto refused = [](TargetOptions options) { return !parse_targets(options, 16).ok(); };
  EXPECT_TRUE(refused({.webhooks = {"a"}, .secrets = {}, .streams = {}, .channels = {}}));
  EXPECT_TRUE(
      refused({.webhooks = {"a:b http://x/"}, .secrets = {}, .streams = {}, .channels = {}}));
  EXPECT_TRUE(refused(
      {.webhooks = {"a http://x/", "a http://y/"}, .secrets = {}, .streams = {}, .channels = {}}));
  EXPECT_TRUE(refused({.webhooks = {}, .secrets = {"a s"}, .streams = {}, .channels = {}}));
  EXPECT_TRUE(refused(
      {.webhooks = {"a http://x/"}, .secrets = {"a whsec_!"}, .streams = {}, .channels = {}}));
  EXPECT_TRUE(refused({.webhooks = {}, .secrets = {}, .streams = {"a 16 key"}, .channels = {}}));
  EXPECT_TRUE(refused({.webhooks = {}, .secrets = {}, .streams = {"a 1"}, .channels = {}}));
  EXPECT_TRUE(refused({.webhooks = {}, .secrets = {}, .streams = {}, .channels = {"a "}}));
}

// Computed with Python's hmac.
TEST(Webhook, SignaturesAreThoseOfStandardWebhooks) {
  EXPECT_EQ(webhook_signature("secret", "msg_1", 1700000000, "{\"a\":1}"),
            "v1,Q5nZ7DiOGwijBBqvBVAK6c0zDr2JLkXI7TaV4f+Q2vY=");
}

}  // namespace
}  // namespace cairn::events
