#include "gateway/grpc/door.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

#include <fstream>
#include <sstream>

#include "cairn/v1/admin.grpc.pb.h"
#include "core/text.h"
#include "gateway/grpc/kv_service.h"
#include "gateway/grpc/objects_service.h"

namespace cairn::rpc {

namespace {

class AdminService final : public v1::Admin::CallbackService {
 public:
  AdminService(kv::Server& server, kv::Engine& engine) : server_(server), engine_(engine) {}

  grpc::ServerUnaryReactor* Info(grpc::CallbackServerContext* c, const v1::InfoRequest*,
                                 v1::InfoResponse* a) override {
    Store& store = server_.store;
    grpc::Status status = authorize(*c, server_.users);
    if (!status.ok()) return finish(c, store, status);
    char id[17];
    std::snprintf(id, sizeof(id), "%016lx", store.store_id());
    a->set_version(CAIRN_VERSION);
    a->set_store_id(id);
    a->set_epoch(store.epoch());
    a->set_uptime_ms(store.now_ms() - server_.start_ms);
    a->set_threads(static_cast<uint32_t>(server_.threads));
    a->set_storage_engine(server_.volume_engine);
    Durability d = server_.durability;
    a->set_durability(d == Durability::kAlways     ? "always"
                      : d == Durability::kEverySec ? "everysec"
                                                   : "no");
    return finish(c, store, {});
  }

  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* c, const v1::StatsRequest*,
                                  v1::StatsResponse* a) override {
    Store& store = server_.store;
    grpc::Status status = authorize(*c, server_.users);
    if (!status.ok()) return finish(c, store, status);
    auto add = [&](Namespace& ns) {
      auto* out = a->add_namespaces();
      out->set_name(ns.name);
      out->set_keys(ns.size());
      out->set_expiring_keys(static_cast<uint64_t>(ns.volatile_keys.load()));
    };
    for (uint32_t i = 0; i < kDatabases; i++) {
      if (store.database(i).size() > 0) add(store.database(i));
    }
    for (auto& b : store.buckets()) add(*b);
    auto log = store.log().stats();
    auto extents = store.extents().stats();
    a->set_memory_used_bytes(store.used_bytes());
    a->set_memory_limit_bytes(store.memory_bytes());
    a->set_log_tail_version(store.log().tail().value());
    a->set_log_durable_version(store.log().durable().value());
    a->set_log_bytes_written(log.bytes);
    a->set_log_syncs(log.syncs);
    a->set_extent_files(extents.files);
    a->set_extents(extents.extents);
    a->set_extent_bytes(extents.live_bytes);
    a->set_resp_commands(engine_.total_commands());
    a->set_read_only(!store.log().status().ok());
    return finish(c, store, {});
  }

 private:
  kv::Server& server_;
  kv::Engine& engine_;
};

StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::InvalidArgumentError(cat("cannot read ", path));
  return text.str();
}

}  // namespace

struct Door::Services {
  Services(kv::Server& server, kv::Engine& engine)
      : kv({server.store, server.users}),
        objects({server.store, server.users}),
        admin(server, engine) {}
  KeyValueService kv;
  ObjectsService objects;
  AdminService admin;
};

Door::Door(kv::Server& server, kv::Engine& engine)
    : server_(server), services_(std::make_unique<Services>(server, engine)) {}
Door::~Door() = default;

Status Door::start(const std::string& address, const std::string& tls_address,
                   const TlsFiles& tls) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a port in use is an error
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, 100);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
  if (!tls_address.empty()) {
    auto certificate = read_file(tls.certificate);
    auto key = read_file(tls.key);
    if (!certificate.ok()) return certificate.status();
    if (!key.ok()) return key.status();
    grpc::SslServerCredentialsOptions options;
    options.pem_key_cert_pairs.push_back({*key, *certificate});
    builder.AddListeningPort(tls_address, grpc::SslServerCredentials(options), &tls_port_);
  }
  builder.RegisterService(&services_->kv);
  builder.RegisterService(&services_->objects);
  builder.RegisterService(&services_->admin);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || port_ == 0 || (!tls_address.empty() && tls_port_ == 0)) {
    return absl::FailedPreconditionError(
        cat("cannot listen on ", port_ == 0 ? address : tls_address, " for gRPC"));
  }
  return absl::OkStatus();
}

void Door::stop(std::chrono::milliseconds patience) {
  if (grpc_) grpc_->Shutdown(std::chrono::system_clock::now() + patience);
}

}  // namespace cairn::rpc
