// What an S3 request says of itself, for the conditions of policies.
//
// Threads: one request's.
#pragma once

#include <string>

#include "core/store/users.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/sigv4.h"
#include "objects/tags.h"

namespace cairn::s3 {

class RequestContext final : public policy::Context {
 public:
  RequestContext(const http::Request& request, const Authenticated& auth, int64_t now_ms);
  std::optional<std::string_view> value(const policy::ConditionKey& key,
                                        size_t place) const override;
  bool knows(const policy::ConditionKey& key) const override;

 private:
  const http::Request& request_;
  const Authenticated& auth_;
  std::string signature_age_, content_length_;
  objects::Tags tags_;  // that it sets
  bool knows_tags_ = true;
};

}  // namespace cairn::s3
