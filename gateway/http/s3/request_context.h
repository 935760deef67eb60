// What an S3 request says of itself, for the conditions of policies.
//
// Threads: one request's.
#pragma once

#include <string>

#include "core/store/store.h"
#include "core/store/users.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/sigv4.h"
#include "objects/tags.h"

namespace cairn::s3 {

// What is to be done to: a key, or a bucket where there is none. Views of what the caller holds.
struct Subject {
  Store& store;
  std::string_view space, key;
  const std::string* version = nullptr;  // of the key, as it was named
};

class RequestContext final : public policy::Context {
 public:
  RequestContext(const http::Request& request, const Authenticated& auth, const Subject& subject);
  std::optional<std::string_view> value(const policy::ConditionKey& key,
                                        size_t place) const override;
  bool knows(const policy::ConditionKey& key) const override;
  bool grants(const policy::Request& asked, bool without_public) const override;
  // What an answer rests on that was judged by the object, its tags, its list, or by an upload.
  Lsn seen() const { return seen_; }

 private:
  // The object, looked up when it is asked for; null: there is none.
  const ObjectMeta* object() const;
  // Whether it writes to an upload that was begun; and that one, likewise.
  bool is_of_upload() const;
  const ObjectMeta* upload() const;
  const http::Request& request_;
  const Authenticated& auth_;
  const Subject subject_;
  mutable bool looked_ = false, looked_for_upload_ = false;
  mutable std::optional<ObjectMeta> object_, upload_;
  mutable Lsn seen_;
  std::string signature_age_, content_length_, retention_days_;
  objects::Tags tags_;  // that it sets
  bool knows_tags_ = true;
};

}  // namespace cairn::s3
