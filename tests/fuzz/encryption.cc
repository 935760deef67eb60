// What an object's metadata says of its encryption, and bytes that are to be ciphertext of it: any
// are refused, or say the same when they are written and read again; nothing opens that nobody
// encrypted.
#include "objects/encryption.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using namespace cairn::objects;
  fuzz::Input in(data, size);
  const uint64_t at = in.number(4), count = in.number(3);
  const std::string_view described = in.take(in.number(2));
  const auto e = Encryption::decode(described);
  if (!e) return 0;
  const auto again = Encryption::decode(e->encode());
  fuzz::law(again && again->encode() == e->encode(), "it goes both ways");
  fuzz::law(e->size() <= kBlobBytesMax && e->stored_bytes() >= e->size(), "sizes add up");
  const uint64_t offset = e->size() == 0 ? 0 : at % e->size();
  const uint64_t length = std::min<uint64_t>(count, e->size() - offset);
  const StoredRange range = stored_range(*e, offset, length);
  fuzz::law(is_within(range.offset, range.length, e->stored_bytes()),
            "a range is of what is there");
  static const DataKey key = *DataKey::of(std::string(DataKey::kBytes, '1'));
  const auto plain = decrypt(*e, key, in.rest(), offset, length);
  fuzz::law(!plain.ok() || length == 0, "nobody encrypted it");
  return 0;
}
