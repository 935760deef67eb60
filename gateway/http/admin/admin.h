// What is beside S3 on the HTTP port, under /-/. Health is for everybody; metrics name buckets and
// take root's password, as HTTP Basic or as a bearer token, or, by a flag, a peer on loopback.
// Quotas (quota.h) take the same.
//
// Threads: any.
#pragma once

#include "core/base/alarms.h"
#include "gateway/events/notifier.h"
#include "gateway/http/door.h"
#include "gateway/http/s3/access_log.h"
#include "kv/engine/engine.h"

namespace cairn::admin {

// Health needs no right.
inline constexpr Action kMetrics{"admin", "metrics", Access::kAdmin};

class Admin {
 public:
  Admin(kv::Server& server, kv::Engine& engine, http::Stats& http, const Alarms& alarms,
        bool metrics_on_loopback, const events::Notifier* notifier = nullptr,
        const s3::AccessLog* access_log = nullptr)
      : server_(server),
        engine_(engine),
        http_(http),
        alarms_(alarms),
        metrics_on_loopback_(metrics_on_loopback),
        notifier_(notifier),
        access_log_(access_log) {}
  awaitable<void> handle(const http::Request& request, http::Response& response);

 private:
  // The status of the answer: 200, or why not.
  awaitable<int> may(const http::Request& request, const Action& action) const;
  awaitable<int> may_see_metrics(const http::Request& request) const;
  void refuse(http::Response& response, const http::Request& request, int status,
              const Action& action) const;
  std::string metrics() const;
  void add_targets(std::string& out) const;
  kv::Server& server_;
  kv::Engine& engine_;
  http::Stats& http_;
  const Alarms& alarms_;
  const bool metrics_on_loopback_;
  const events::Notifier* const notifier_;  // null: nobody is told of events
  const s3::AccessLog* const access_log_;   // null: there is none
};

}  // namespace cairn::admin
