// Uploads by forms: read in pieces of any size a form says the same, and a policy that is taken is
// judged.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <cstring>

#include "core/base/text.h"
#include "gateway/http/s3/form.h"
#include "gateway/http/s3/post_policy.h"
#include "objects/digest.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

struct PiecesBody final : http::Body {
  PiecesBody(std::string_view text, size_t most) : text(text), most(most) {}
  awaitable<StatusOr<size_t>> read(MutableBytes into) override {
    const size_t n = std::min({into.size(), most, text.size() - at});
    if (n > 0) std::memcpy(into.data(), text.data() + at, n);
    at += n;
    co_return n;
  }
  awaitable<Status> ready() override { co_return absl::OkStatus(); }
  const std::string_view text;
  const size_t most;
  size_t at = 0;
};

struct Read {
  std::string code, name, file;
  std::map<std::string, std::string> fields;
  bool whole = false;
  bool operator==(const Read&) const = default;
};

Read read(std::string_view text, std::string_view boundary, size_t most, size_t room) {
  asio::io_context context;
  Read out;
  PiecesBody raw(text, most);
  s3::Form form(raw, boundary);
  auto work = [&]() -> awaitable<void> {
    out.code = (co_await form.read_fields()).code;
    out.fields = form.fields();
    out.name = form.file_name();
    std::string into(room, ' ');
    while (out.code.empty()) {
      auto n = co_await form.read({reinterpret_cast<std::byte*>(into.data()), into.size()});
      out.whole = n.ok() && *n == 0;
      if (!n.ok() || *n == 0) break;
      out.file.append(into, 0, *n);
    }
  };
  asio::co_spawn(context, work(), asio::detached);
  context.run();
  if (!out.code.empty()) out.fields.clear();  // how far it came
  if (!out.whole) out.file.clear();
  return out;
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string_view text = fuzz::text_of(data, size);
  if (text.size() < 3) return 0;
  const size_t most = static_cast<uint8_t>(text[0]) + 1, room = static_cast<uint8_t>(text[1]) + 1;
  const auto boundary = s3::boundary_of(cat("multipart/form-data; boundary=b", text[2] & 1));
  fuzz::law(boundary.has_value(), "a boundary is one");
  const auto whole = fuzz::read(text.substr(3), *boundary, SIZE_MAX, 4096);
  fuzz::law(fuzz::read(text.substr(3), *boundary, most, room) == whole,
            "pieces make no difference");
  s3::PostPolicy policy;
  if (!s3::parse_post_policy(objects::base64(text), policy)) {
    (void)s3::check_post_policy(policy, whole.fields, "bucket", 0);
  }
  return 0;
}
