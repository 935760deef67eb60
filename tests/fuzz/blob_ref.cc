// Blob references: what is accepted is written with the same bytes, and its pieces can be read.
#include "core/extents/blob_ref.h"

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string_view text = fuzz::text_of(data, size);
  (void)BlobRef::size_of(text);
  const auto blob = BlobRef::decode(text);
  if (!blob) return 0;
  fuzz::law(blob->encode() == text, "one reference has one form");
  fuzz::law(BlobRef::size_of(text) == blob->size, "both readers of the length agree");
  uint64_t sum = 0;
  for (const Piece& p : blob->pieces) {
    fuzz::law(p.length > 0, "no piece is empty: a reader of one would see damage");
    sum += p.length;
    if (p.is_hole()) continue;
    fuzz::law(p.first_block < kExtentBlocksMax, "a piece begins in its extent");
    fuzz::law(is_within(p.first_block * kExtentBlockBytes, p.length, kExtentDataMax),
              "and ends there");
  }
  fuzz::law(sum == blob->size, "the pieces are the blob");
  return 0;
}
