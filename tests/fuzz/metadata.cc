// Object metadata: what is read says the same when it is written and read again, and what may enter
// does so unchanged.
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/value.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

bool same(const ObjectMeta& a, const ObjectMeta& b) {
  return a.content_type == b.content_type && a.etag == b.etag && a.modified_ms == b.modified_ms &&
         a.user == b.user && a.headers == b.headers && a.checksums == b.checksums &&
         a.extra == b.extra && a.part_sizes == b.part_sizes && a.tags == b.tags &&
         a.encryption == b.encryption;
}

// What every door relies on where check_meta() said yes.
void check_text(const ObjectMeta& meta) {
  size_t bytes = 0;
  const auto text = [](std::string_view value) {
    law(is_utf8(value) && value.find_first_of(std::string_view("\r\n\0", 3)) == value.npos,
        "what enters can be a header");
  };
  for (auto& [name, value] : meta.user) {
    bytes += name.size() + value.size();
    law(!name.empty() && name.find_first_of(": \t") == name.npos && lower(name) == name,
        "names of metadata are names of headers");
    text(value);
  }
  law(bytes <= kUserMetaBytesMax, "user metadata has a limit");
  for (auto& [name, value] : meta.headers) text(value);
  text(meta.content_type);
  text(meta.etag);
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const auto meta = ObjectMeta::decode(fuzz::text_of(data, size));
  if (!meta) return 0;
  const std::string written = meta->encode();
  const auto again = ObjectMeta::decode(written);
  fuzz::law(again && fuzz::same(*meta, *again), "metadata goes both ways");
  fuzz::law(again->encode() == written, "one metadata has one form");
  fuzz::law(!meta->empty() || written.size() == 1, "nothing takes no room");
  fuzz::law(encrypted_size(written).has_value() == !meta->encryption.empty(),
            "what is encrypted is known to be so");
  if (check_meta(*meta).ok()) fuzz::check_text(*meta);
  return 0;
}
