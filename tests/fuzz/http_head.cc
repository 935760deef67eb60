// The head of a request: what is accepted can be framed in one way only, whoever reads it.
#include "core/base/text.h"
#include "gateway/http/head.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

size_t count(std::string_view text, std::string_view what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != text.npos; at = text.find(what, at + 1)) n++;
  return n;
}

// As a reader that knows nothing of ours would look for the framing: case and blanks aside, any
// line that could be one of these fields.
void check_framing(std::string_view head, const http::Framing& framing) {
  const std::string text = lower(head);
  size_t lengths = 0, codings = 0, hosts = 0;
  for (size_t at = 0; at < text.size();) {
    size_t end = text.find_first_of("\r\n", at);
    if (end == text.npos) end = text.size();
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
    lengths += line.starts_with("content-length");
    codings += line.starts_with("transfer-encoding");
    hosts += line.starts_with("host:");
  }
  law(codings <= 1 && hosts <= 1, "what frames and names comes once");
  if (framing.chunked) {
    law(count(text, "content-length:") == 0 || lengths == 0, "chunks have no length beside them");
    law(codings == 1, "chunked was asked for");
  }
  law(framing.http10 || hosts == 1, "HTTP/1.1 names a host");
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string_view text = fuzz::text_of(data, size);
  const size_t head = http::head_size(text);
  fuzz::law(head <= text.size(), "a head is within its bytes");
  if (head == 0 || head > http::kHeadBytesMax) return 0;
  http::Request request;
  http::Framing framing;
  const std::string_view bytes = text.substr(0, head);
  if (!http::read_head(bytes, request, framing).ok()) return 0;
  fuzz::law(bytes.find('\0') == bytes.npos, "no NUL in a head");
  fuzz::law(request.path.starts_with('/'), "a path begins with a slash");
  for (auto& [name, value] : request.headers) {
    fuzz::law(http::is_field_name(name) && http::is_field_value(value), "fields are fields");
  }
  fuzz::check_framing(bytes, framing);
  // What percent-encodes back to what was decoded, decodes to it again.
  auto again = http::percent_decode(http::percent_encode(request.path, true), false);
  fuzz::law(again && *again == request.path, "percent-encoding goes both ways");
  return 0;
}
