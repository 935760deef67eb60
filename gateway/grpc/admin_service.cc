#include "gateway/grpc/admin_service.h"

namespace cairn::rpc {

AdminService::AdminService(const Shared& shared, kv::Server& server, kv::Engine& engine)
    : Service(shared), server_(server), engine_(engine) {
  unary("/cairn.v1.Admin/Info", Access::kAdmin, &AdminService::info);
  unary("/cairn.v1.Admin/Stats", Access::kAdmin, &AdminService::stats);
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

}  // namespace cairn::rpc
