// Expressions that objects are found by: what is accepted says the same when it is written out and
// read again, and none takes long or what it should not.
#include "objects/find.h"

#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

using objects::FindExpression;

objects::Info with(uint64_t size) {
  objects::Info info;
  info.size = size;
  info.modified_ms = static_cast<int64_t>(size);
  info.meta.content_type = "a";
  info.meta.tags = {{"a", "b"}, {"", ""}};
  info.meta.user = {{"a", "a"}};
  return info;
}

void check(std::string_view text) {
  const auto e = FindExpression::parse(text);
  if (!e.ok()) {
    law(absl::IsInvalidArgument(e.status()), "a refusal is of the argument");
    return;
  }
  const std::string written = e->text();
  const auto again = FindExpression::parse(written);
  if (!again.ok()) {  // quotes and blanks are added
    law(written.size() > FindExpression::kBytesMax, "what was written is read");
    return;
  }
  law(again->text() == written, "one form");
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{1000}}) {
    const objects::Info info = with(size);
    for (const std::string_view key : {"", "a", "b"}) {
      law(e->holds(key, info) == again->holds(key, info), "what was written says the same");
    }
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::fuzz::check(cairn::fuzz::text_of(data, size));
  return 0;
}
