// Who can be told of events, as the server's options name them. A bucket's rules say which events
// go to whom, by his ARN.
//
//   --webhook='ID URL'            arn:cairn:sqs::ID:webhook     POSTs to an http or https URL
//   --webhook-secret='ID SECRET'                                signs what is sent to it
//   --event-stream='ID DB KEY'    arn:cairn:sqs::ID:redis       entries of a stream of this store,
//                                                               of which the newest stay:
//                                                               notify-keyspace-stream-maxlen
//   --event-channel='ID CHANNEL'  arn:cairn:sns::ID:redis       messages on a channel of it
//
// Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/types.h"

namespace cairn::events {

struct Url {
  bool tls = false;
  std::string host;  // of an IPv6 address without its brackets
  uint16_t port = 0;
  std::string path;  // with the query; begins with '/'
  std::string host_field() const;
};
// InvalidArgument says what is wrong.
StatusOr<Url> parse_url(std::string_view text);

struct Target {
  enum class Kind : uint8_t { kWebhook, kStream, kChannel };
  Kind kind = Kind::kWebhook;
  std::string id;
  Url url;                // of a webhook
  std::string secret;     // likewise; raw bytes; empty: it is not signed
  uint32_t database = 0;  // of a stream
  std::string key = {};   // of a stream; or the channel
  std::string arn() const;
};

struct TargetOptions {
  std::vector<std::string> webhooks, secrets, streams, channels;
};
// InvalidArgument says which option is wrong, and why.
StatusOr<std::vector<Target>> parse_targets(const TargetOptions& options, uint32_t databases);

}  // namespace cairn::events
