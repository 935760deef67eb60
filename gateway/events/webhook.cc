#include "gateway/events/webhook.h"

#include <openssl/hmac.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <optional>

#include "core/base/text.h"
#include "gateway/net/net.h"
#include "objects/digest.h"

namespace cairn::events {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using net::kTuple;
using net::tcp;

namespace {
constexpr std::chrono::seconds kStep{Webhook::kStepSeconds};
Status failed(std::string_view what, const boost::system::error_code& ec) {
  return absl::UnavailableError(cat(what, ": ", ec.message()));
}
using Request = bhttp::request<bhttp::string_body>;

// Sends the request and reads the answer; `keep`: the connection is good for another.
template <class Stream>
awaitable<StatusOr<int>> exchange(Stream& stream, beast::flat_buffer& buffer, Request& request,
                                  bool& keep) {
  auto& socket = beast::get_lowest_layer(stream);
  socket.expires_after(kStep);
  auto [write_ec, sent] = co_await bhttp::async_write(stream, request, kTuple);
  if (write_ec) co_return failed("sending", write_ec);
  bhttp::response_parser<bhttp::string_body> parser;
  parser.body_limit(boost::none);  // of one that says that it is long the status counts, too
  socket.expires_after(kStep);
  auto [head_ec, head_bytes] = co_await bhttp::async_read_header(stream, buffer, parser, kTuple);
  if (head_ec) co_return failed("no answer", head_ec);
  const int status = static_cast<int>(parser.get().result_int());
  if (parser.content_length().value_or(0) > Webhook::kAnswerBytesMax) co_return status;
  parser.body_limit(Webhook::kAnswerBytesMax);
  // What it says beside its status is of no interest; what it takes to pass over it is.
  socket.expires_after(kStep);
  auto [body_ec, body_bytes] = co_await bhttp::async_read(stream, buffer, parser, kTuple);
  keep = !body_ec && parser.get().keep_alive();
  co_return status;
}
}  // namespace

StatusOr<std::shared_ptr<asio::ssl::context>> make_client_tls(const std::string& ca_file) {
  auto tls = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  boost::system::error_code ec;
  tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                       asio::ssl::context::no_tlsv1_1,
                   ec);
  if (!ec) tls->set_default_verify_paths(ec);
  if (!ec) tls->set_verify_mode(asio::ssl::verify_peer, ec);
  if (ec) return absl::InternalError(cat("TLS: ", ec.message()));
  if (!ca_file.empty()) tls->load_verify_file(ca_file, ec);
  if (ec) return absl::InvalidArgumentError(cat("webhook-ca: ", ca_file, ": ", ec.message()));
  return tls;
}

std::string webhook_signature(std::string_view secret, std::string_view id, int64_t now_s,
                              std::string_view body) {
  const std::string text = cat(id, ".", now_s, ".", body);
  unsigned char mac[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  ::HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
         reinterpret_cast<const unsigned char*>(text.data()), text.size(), mac, &size);
  return cat("v1,", objects::base64({reinterpret_cast<const char*>(mac), size}));
}

struct Webhook::Connection {
  std::optional<beast::tcp_stream> plain;
  std::optional<beast::ssl_stream<beast::tcp_stream>> secure;
  beast::flat_buffer buffer;
};

Webhook::Webhook(Url url, std::string secret, std::shared_ptr<asio::ssl::context> tls)
    : url_(std::move(url)), secret_(std::move(secret)), tls_(std::move(tls)) {}
Webhook::~Webhook() = default;

awaitable<Status> Webhook::connect() {
  const Executor executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  // Its own thread's; it cannot be given up while it runs, and gives up by itself.
  const std::string port = cat(url_.port);
  auto [found_ec, found] = co_await resolver.async_resolve(url_.host, port, kTuple);
  if (found_ec) co_return failed(url_.host, found_ec);
  auto made = std::make_unique<Connection>();
  if (url_.tls) {
    made->secure.emplace(executor, *tls_);
  } else {
    made->plain.emplace(executor);
  }
  beast::tcp_stream& socket = url_.tls ? made->secure->next_layer() : *made->plain;
  socket.expires_after(kStep);
  auto [ec, endpoint] = co_await socket.async_connect(found, kTuple);
  if (ec) co_return failed("connecting", ec);
  boost::system::error_code ignored;
  socket.socket().set_option(tcp::no_delay(true), ignored);
  if (url_.tls) {
    // The name of an address is none that a server would look for.
    boost::system::error_code not_address;
    (void)asio::ip::make_address(url_.host, not_address);
    if (not_address) SSL_set_tlsext_host_name(made->secure->native_handle(), url_.host.c_str());
    made->secure->set_verify_callback(asio::ssl::host_name_verification(url_.host), ignored);
    socket.expires_after(kStep);
    auto [tls_ec] = co_await made->secure->async_handshake(asio::ssl::stream_base::client, kTuple);
    if (tls_ec) co_return failed("TLS", tls_ec);
  }
  connection_ = std::move(made);
  co_return absl::OkStatus();
}

awaitable<StatusOr<int>> Webhook::post(std::string_view id, int64_t now_s,
                                       const std::string& body) {
  Request request{bhttp::verb::post, url_.path, 11};
  request.set(bhttp::field::host, url_.host_field());
  request.set(bhttp::field::user_agent, "Cairn");
  request.set(bhttp::field::content_type, "application/json");
  request.set("webhook-id", std::string(id));
  request.set("webhook-timestamp", cat(now_s));
  if (!secret_.empty()) {
    request.set("webhook-signature", webhook_signature(secret_, id, now_s, body));
  }
  request.body() = body;
  request.prepare_payload();
  // A connection that was kept may have ended meanwhile: that is not the receiver's failure.
  for (bool kept = connection_ != nullptr;; kept = false) {
    if (connection_ == nullptr) {
      Status connected = co_await connect();
      if (!connected.ok()) co_return connected;
    }
    bool keep = false;
    StatusOr<int> status = absl::UnavailableError("");
    if (url_.tls) {
      status = co_await exchange(*connection_->secure, connection_->buffer, request, keep);
    } else {
      status = co_await exchange(*connection_->plain, connection_->buffer, request, keep);
    }
    if (!keep) connection_.reset();
    if (status.ok() || !kept) co_return status;
  }
}

}  // namespace cairn::events
