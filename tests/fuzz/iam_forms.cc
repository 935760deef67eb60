// Forms of IAM's calls: what is accepted says the same when it is written out and read again, and
// names each parameter once.
#include "core/base/text.h"
#include "gateway/http/iam/iam.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

std::string encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    append(out, "%", std::string_view(&"0123456789ABCDEF"[byte >> 4], 1),
           std::string_view(&"0123456789ABCDEF"[byte & 15], 1));
  }
  return out;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using fuzz::law;
  const std::string_view body = fuzz::text_of(data, size);
  iam::Params params, again;
  if (const iam::Error refused = iam::parse_form(body, params)) {
    law(!refused.message.empty(), "a refusal says why");
    return 0;
  }
  size_t pairs = 0;
  std::string written;
  for (auto& [name, value] : params) {
    append(written, pairs++ == 0 ? "" : "&", fuzz::encoded(name), "=", fuzz::encoded(value));
  }
  law(params.size() <= body.size() + 1, "a form holds no more than it has");
  law(!iam::parse_form(written, again), "what is written is read again");
  law(again == params, "and says the same");
  return 0;
}
