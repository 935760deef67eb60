#include "gateway/grpc/door.h"

#include <absl/synchronization/mutex.h>
#include <google/protobuf/stubs/logging.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <sstream>

#include "core/base/text.h"
#include "gateway/grpc/admin_service.h"
#include "gateway/grpc/collections_service.h"
#include "gateway/grpc/connections.h"
#include "gateway/grpc/events_service.h"
#include "gateway/grpc/health.h"
#include "gateway/grpc/kv_service.h"
#include "gateway/grpc/objects_service.h"
#include "gateway/grpc/reflection.h"

namespace cairn::rpc {

namespace {

constexpr const char* kServices[] = {
    "cairn.v1.KeyValue",     "cairn.v1.Objects",
    "cairn.v1.Hashes",       "cairn.v1.Lists",
    "cairn.v1.Sets",         "cairn.v1.SortedSets",
    "cairn.v1.Streams",      "cairn.v1.Events",
    "cairn.v1.Admin",        "grpc.reflection.v1.ServerReflection",
    "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection",
};

StatusOr<std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return absl::InvalidArgumentError(cat("cannot read ", path));
  return text.str();
}

StatusOr<std::shared_ptr<grpc::ServerCredentials>> credentials_of(const TlsFiles& files) {
  auto certificate = read_file(files.certificate);
  auto key = read_file(files.key);
  if (!certificate.ok()) return certificate.status();
  if (!key.ok()) return key.status();
  grpc::SslServerCredentialsOptions options;
  options.pem_key_cert_pairs.push_back({*key, *certificate});
  return grpc::SslServerCredentials(options);
}

void set_limits(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kReadBytesMax);
  // What is packed has no bound: 2 MiB of gzip took 2 GB. A client that packs gets UNIMPLEMENTED.
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0);
  builder.SetResourceQuota(grpc::ResourceQuota("cairn").Resize(kQuotaBytes));
  // Clients may ping twice a second, with calls under way or without. The server pings who has been
  // silent for a minute, and lets go who does not answer.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10'000);
}

// What Protocol Buffers says of a message, to the log: any stranger's may be malformed, and it
// would write lines of its own to the standard error.
void log_protobuf(google::protobuf::LogLevel level, const char*, int, const std::string& text) {
  const bool fatal = level == google::protobuf::LOGLEVEL_FATAL;
  spdlog::log(fatal ? spdlog::level::critical : spdlog::level::debug, "protobuf: {}", text);
}

}  // namespace

struct Door::Services {
  Services(const Shared& shared, kv::Server& server, kv::Engine& engine)
      : kv(shared),
        objects(shared),
        collections(shared),
        events(shared),
        admin(shared, server, engine),
        reflection(shared, {std::begin(kServices), std::end(kServices)}),
        health(shared, {std::begin(kServices), std::end(kServices)}) {}
  KeyValueService kv;
  ObjectsService objects;
  CollectionsService collections;
  EventsService events;
  AdminService admin;
  ReflectionService reflection;
  HealthService health;
};

Door::Door(net::Loops& loops, kv::Server& server,
           const std::vector<std::unique_ptr<kv::Engine>>& engines, ChangeFeed& feed)
    : server_(server),
      engines_(engines),
      feed_(feed),
      loops_(loops),
      plain_(loops, [this](net::tcp::socket socket,
                           size_t) { return hand_over(std::move(socket), *plain_acceptor_); }),
      secure_(loops, [this](net::tcp::socket socket, size_t) {
        return hand_over(std::move(socket), *secure_acceptor_);
      }) {}
Door::~Door() = default;

awaitable<void> Door::hand_over(net::tcp::socket socket, Acceptor& acceptor) {
  boost::system::error_code ec;
  const net::tcp::endpoint peer = socket.remote_endpoint(ec);
  if (ec || !connections_->add(socket.native_handle(), peer)) co_return;
  co_await connections_->wait_for_room();
  socket.set_option(net::tcp::no_delay(true), ec);
  socket.native_non_blocking(true, ec);
  Acceptor::NewConnectionParameters connection;
  connection.fd = socket.release(ec);
  if (!ec) acceptor.HandleNewConnection(&connection);
  co_return;
}

std::vector<std::string> Door::action_names() const {
  std::vector<std::string> names;
  const auto add = [&](const Service& service) {
    for (const Service::Row& row : service.rows()) names.push_back(cat("grpc:", row.action.name));
  };
  add(services_->kv);
  add(services_->objects);
  add(services_->collections);
  add(services_->events);
  add(services_->admin);
  return names;
}

Status Door::start(const DoorOptions& options) {
  // Debian's Abseil looks for cycles among gRPC's locks at every one that is taken.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  google::protobuf::SetLogHandler(log_protobuf);
  connections_ = std::make_shared<Connections>(server_.store.any_executor(), server_.store.clock(),
                                               loops_.clients_below, options.patience_ms);
  grpc::ServerBuilder builder;
  set_limits(builder);
  builder.SetContextAllocator(connections_->contexts());
  using Type = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  plain_acceptor_ = builder.experimental().AddExternalConnectionAcceptor(
      Type::FROM_FD, grpc::InsecureServerCredentials());
  if (Status listens = plain_.listen(options.address); !listens.ok()) return listens;
  if (options.tls_address) {
    auto credentials = credentials_of(options.tls);
    if (!credentials.ok()) return credentials.status();
    secure_acceptor_ =
        builder.experimental().AddExternalConnectionAcceptor(Type::FROM_FD, *credentials);
    if (Status listens = secure_.listen(*options.tls_address); !listens.ok()) return listens;
  }
  const Shared shared{
      server_.store, server_.users, *connections_, options.patience_ms, options.open_on_loopback,
      &engines_,     &feed_};
  services_ = std::make_unique<Services>(shared, server_, *engines_.front());
  builder.RegisterService(&services_->kv);
  builder.RegisterService(&services_->objects);
  builder.RegisterService(&services_->collections);
  builder.RegisterService(&services_->events);
  builder.RegisterService(&services_->admin);
  builder.RegisterService(&services_->reflection);
  builder.RegisterService(&services_->health);
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr) return absl::InternalError("gRPC does not start");
  plain_.start();
  secure_.start();
  return absl::OkStatus();
}

void Door::stop(std::chrono::milliseconds patience) {
  plain_.stop();
  secure_.stop();
  if (!grpc_) return;
  services_->health.stop();
  services_->collections.stop();
  services_->events.stop();
  grpc_->Shutdown(std::chrono::system_clock::now() + patience);
}

}  // namespace cairn::rpc
