#include "gateway/grpc/admin_service.h"

#include "core/base/errors.h"
#include "gateway/auth/quotas.h"

namespace cairn::rpc {

AdminService::AdminService(const Shared& shared, kv::Server& server, kv::Engine& engine)
    : Service(shared), server_(server), engine_(engine) {
  unary("/cairn.v1.Admin/Info", Access::kAdmin, &AdminService::info);
  unary("/cairn.v1.Admin/Stats", Access::kAdmin, &AdminService::stats);
  unary("/cairn.v1.Admin/GetQuota", Access::kAdmin, &AdminService::get_quota);
  unary("/cairn.v1.Admin/SetQuota", Access::kAdmin, &AdminService::set_quota);
  add_user_methods();
}

Unary* AdminService::info(Context* c, const Caller&, const v1::InfoRequest*, v1::InfoResponse* a) {
  char id[17];
  std::snprintf(id, sizeof(id), "%016lx", store_.store_id());
  a->set_version(CAIRN_VERSION);
  a->set_store_id(id);
  a->set_epoch(store_.epoch());
  a->set_uptime_ms(store_.now_ms() - server_.start_ms);
  a->set_threads(static_cast<uint32_t>(server_.threads));
  a->set_storage_engine(server_.volume_engine);
  Durability d = server_.durability;
  a->set_durability(d == Durability::kAlways     ? "always"
                    : d == Durability::kEverySec ? "everysec"
                                                 : "no");
  return finish(c, {});
}

Unary* AdminService::stats(Context* c, const Caller&, const v1::StatsRequest*,
                           v1::StatsResponse* a) {
  uint64_t bytes = 0, left_out = 0;
  auto add = [&](Namespace& ns) {
    bytes += ns.name.size() + 32;
    if (bytes > kAnswerBytesMax) {
      left_out++;
      return;
    }
    auto* out = a->add_namespaces();
    out->set_name(ns.name);
    out->set_keys(static_cast<uint64_t>(ns.committed_size()));
    out->set_expiring_keys(static_cast<uint64_t>(ns.volatile_keys.load()));
    out->set_bytes(ns.usage().bytes);
  };
  for (uint32_t i = 0; i < store_.databases(); i++) {
    if (store_.database(i).size() > 0) add(store_.database(i));
  }
  for (auto& b : store_.buckets()) add(*b);
  a->set_namespaces_left_out(left_out);
  auto log = store_.log().stats();
  auto extents = store_.extents().stats();
  a->set_memory_used_bytes(store_.used_bytes());
  a->set_memory_limit_bytes(store_.memory_bytes());
  a->set_log_tail_version(store_.log().tail().value());
  a->set_log_durable_version(store_.log().durable().value());
  a->set_log_bytes_written(log.bytes);
  a->set_log_syncs(log.syncs);
  a->set_extent_files(extents.files);
  a->set_extents(extents.extents);
  a->set_extent_bytes(extents.live_bytes);
  a->set_resp_commands(engine_.total_commands());
  a->set_read_only(!store_.log().status().ok());
  answered(shared_, *c, a->ByteSizeLong());
  answer_goes(shared_, *c, *a, {});
  return finish(c, {});
}

Unary* AdminService::get_quota(Context* c, const Caller&, const v1::GetQuotaRequest* q,
                               v1::GetQuotaResponse* a) {
  if (q->of_case() == v1::GetQuotaRequest::OF_NOT_SET) {
    return finish(c, store_, bad_argument("a quota is of a namespace or of a user"));
  }
  const auto report = q->has_user() ? quota_of_user(store_, server_.users, q->user())
                                    : quota_of_namespace(store_, server_.users, q->namespace_());
  if (!report.ok()) return finish(c, store_, error_of(report.status()), rests_on(report.status()));
  if (report->quota.bytes) a->mutable_quota()->set_bytes(*report->quota.bytes);
  if (report->quota.keys) a->mutable_quota()->set_keys(*report->quota.keys);
  a->set_used_bytes(report->usage.bytes);
  a->set_used_keys(report->usage.keys);
  if (!q->has_user()) a->set_counts_for(report->user);
  return finish(c, store_, {}, report->rests_on);
}

Unary* AdminService::set_quota(Context* c, const Caller&, const v1::SetQuotaRequest* q,
                               v1::SetQuotaResponse*) {
  if (q->of_case() == v1::SetQuotaRequest::OF_NOT_SET) {
    return finish(c, store_, bad_argument("a quota is of a namespace or of a user"));
  }
  if (q->has_user() && q->has_counts_for()) {
    return finish(c, store_, bad_argument("counts_for is of a namespace"));
  }
  Quota quota;
  if (q->quota().has_bytes()) quota.bytes = q->quota().bytes();
  if (q->quota().has_keys()) quota.keys = q->quota().keys();
  // The largest number says that there is no limit (QuotaLimits), and is none itself.
  if (quota.bytes == QuotaLimits::kNone || quota.keys == QuotaLimits::kNone) {
    return finish(c, store_, bad_argument("a limit is too large"));
  }
  std::optional<std::string_view> counts_for;
  if (q->has_counts_for()) counts_for = q->counts_for();
  const auto set = q->has_user() ? set_quota_of_user(server_.users, q->user(), quota)
                                 : set_quota_of_namespace(store_, server_.users, q->namespace_(),
                                                          quota, counts_for);
  if (!set.ok()) return finish(c, store_, error_of(set.status()), rests_on(set.status()));
  return finish(c, store_, {}, *set);
}

}  // namespace cairn::rpc
