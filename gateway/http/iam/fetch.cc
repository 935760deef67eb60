#include "gateway/http/iam/fetch.h"

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "core/base/text.h"
#include "gateway/net/net.h"
#include "objects/digest.h"

namespace cairn::iam {
namespace {

namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using net::kTuple;
using net::tcp;

constexpr std::chrono::seconds kStep{kFetchStepSeconds};

Status failed(std::string_view what, std::string_view why) {
  return absl::UnavailableError(cat(what, ": ", why));
}

struct Freed {
  void operator()(X509* x) const { X509_free(x); }
  void operator()(X509_STORE* x) const { X509_STORE_free(x); }
  void operator()(X509_STORE_CTX* x) const { X509_STORE_CTX_free(x); }
};
template <class T>
using Owned = std::unique_ptr<T, Freed>;

std::string thumbprint_of(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha1(), digest, &size) != 1) return {};
  return objects::hex({reinterpret_cast<const char*>(digest), size});
}

bool is_of_host(X509* certificate, const std::string& host) {
  boost::system::error_code not_address;
  (void)asio::ip::make_address(host, not_address);
  return (not_address ? X509_check_host(certificate, host.data(), host.size(), 0, nullptr)
                      : X509_check_ip_asc(certificate, host.c_str(), 0)) == 1;
}

// Whether what the server showed leads to a certificate that is pinned.
bool is_pinned(SSL* ssl, const std::string& host, const std::vector<std::string>& thumbprints) {
  const Owned<X509> leaf(SSL_get1_peer_certificate(ssl));
  STACK_OF(X509)* shown = SSL_get_peer_cert_chain(ssl);
  if (leaf == nullptr || shown == nullptr || !is_of_host(leaf.get(), host)) return false;
  const Owned<X509_STORE> trusted(X509_STORE_new());
  const Owned<X509_STORE_CTX> context(X509_STORE_CTX_new());
  bool any = false;
  for (int i = 0; i < sk_X509_num(shown); i++) {
    X509* const one = sk_X509_value(shown, i);
    const std::string print = thumbprint_of(one);
    if (std::find(thumbprints.begin(), thumbprints.end(), print) == thumbprints.end()) continue;
    any = X509_STORE_add_cert(trusted.get(), one) == 1 || any;
  }
  // A pinned certificate need not be a root.
  X509_STORE_set_flags(trusted.get(), X509_V_FLAG_PARTIAL_CHAIN);
  return any && X509_STORE_CTX_init(context.get(), trusted.get(), leaf.get(), shown) == 1 &&
         X509_STORE_CTX_set_default(context.get(), "ssl_server") == 1 &&
         X509_verify_cert(context.get()) == 1;
}

template <class Stream>
awaitable<StatusOr<std::string>> get(Stream& stream, const events::Url& url) {
  bhttp::request<bhttp::empty_body> request{bhttp::verb::get, url.path, 11};
  request.set(bhttp::field::host, url.host_field());
  request.set(bhttp::field::user_agent, "Cairn");
  request.set(bhttp::field::accept, "application/json");
  request.set(bhttp::field::connection, "close");
  auto& socket = beast::get_lowest_layer(stream);
  socket.expires_after(kStep);
  auto [write_ec, sent] = co_await bhttp::async_write(stream, request, kTuple);
  if (write_ec) co_return failed("sending", write_ec.message());
  beast::flat_buffer buffer;
  bhttp::response_parser<bhttp::string_body> answer;
  answer.body_limit(kFetchBytesMax);
  socket.expires_after(kStep);
  auto [ec, bytes] = co_await bhttp::async_read(stream, buffer, answer, kTuple);
  if (ec) co_return failed("no answer", ec.message());
  const auto status = answer.get().result_int();
  if (status != 200) co_return failed(url.path, cat("status ", status));
  co_return std::move(answer.get().body());
}

}  // namespace

bool is_loopback_host(const std::string& host) {
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(host, ec);
  return ec ? equals_ignoring_case(host, "localhost") : net::is_loopback(address);
}

awaitable<StatusOr<std::string>> fetch(const events::Url& url,
                                       std::shared_ptr<asio::ssl::context> tls,
                                       std::vector<std::string> thumbprints) {
  const Executor executor = co_await asio::this_coro::executor;
  tcp::resolver resolver(executor);
  const std::string port = cat(url.port);
  auto [found_ec, found] = co_await resolver.async_resolve(url.host, port, kTuple);
  if (found_ec) co_return failed(url.host, found_ec.message());
  if (!url.tls) {
    beast::tcp_stream socket(executor);
    socket.expires_after(kStep);
    auto [ec, endpoint] = co_await socket.async_connect(found, kTuple);
    if (ec) co_return failed("connecting", ec.message());
    // A name may lead elsewhere: what is not encrypted stays on this machine.
    if (!net::is_loopback(endpoint.address())) co_return failed(url.host, "it is not this machine");
    co_return co_await get(socket, url);
  }
  beast::ssl_stream<beast::tcp_stream> stream(executor, *tls);
  auto& socket = stream.next_layer();
  socket.expires_after(kStep);
  auto [ec, endpoint] = co_await socket.async_connect(found, kTuple);
  if (ec) co_return failed("connecting", ec.message());
  boost::system::error_code not_address, ignored;
  (void)asio::ip::make_address(url.host, not_address);
  if (not_address) SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());
  // What the system does not trust may be pinned: that is seen once all has been shown.
  bool trusted = true;
  stream.set_verify_callback(
      [&trusted, name = asio::ssl::host_name_verification(url.host)](
          bool valid, asio::ssl::verify_context& context) {
        trusted = name(valid, context) && trusted;
        return true;
      },
      ignored);
  socket.expires_after(kStep);
  auto [tls_ec] = co_await stream.async_handshake(asio::ssl::stream_base::client, kTuple);
  if (tls_ec) co_return failed("TLS", tls_ec.message());
  if (!trusted && !is_pinned(stream.native_handle(), url.host, thumbprints)) {
    co_return failed("TLS", "nobody whom the system or a thumbprint names vouches for it");
  }
  co_return co_await get(stream, url);
}

}  // namespace cairn::iam
