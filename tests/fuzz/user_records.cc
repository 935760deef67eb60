// Records of users: any bytes are refused, or are a record that is written and read again as the
// same; and so is what was sealed, or a password's hash.
#include "core/store/user_records.h"

#include "core/store/sealing.h"
#include "core/store/sessions.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

template <class Record>
void check(std::string_view bytes) {
  Record record;
  if (!decode(bytes, record)) return;
  const std::string written = encode(record);
  Record again;
  law(decode(written, again), "what was written is read");
  law(encode(again) == written, "as the same");
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string_view bytes = fuzz::text_of(data, size);
  fuzz::check<UserRecord>(bytes);
  fuzz::check<GroupRecord>(bytes);
  fuzz::check<PolicyRecord>(bytes);
  fuzz::check<KeyRecord>(bytes);
  fuzz::check<RoleRecord>(bytes);
  fuzz::check<ProviderRecord>(bytes);
  static const MasterKey key = *MasterKey::parse(std::string(64, '1'));
  fuzz::law(!key.open(bytes, "key:A"), "nobody sealed it");
  fuzz::law(!open_session(bytes, key), "nobody gave it out");
  return 0;
}
