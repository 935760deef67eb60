// Server-side encryption: what lies in the store is ciphertext, in the log, in checkpoints, in
// extents and in memory, and the bytes that a client sees are made of it when they are read.
//
// A value has segments, one for each part of a multipart upload; a segment has frames of 64 KiB:
//
//   value   = segment*          segment = frame* end
//   frame   = ciphertext  tag[16]       AES-256-GCM of kFrameBytes of plaintext; the last one of a
//                                       segment may be of less, and an empty segment has none
//   end     = tag[16]                   of no plaintext, as the frame behind the last one
//   key     of a segment: HMAC-SHA256(data key, "segment" salt)
//   nonce   = u32 0  u64 number of the frame in its segment; AAD = that number  u8 1 at the end
//
// Each segment has a salt of its own, so that no key is ever used twice with the same nonce, parts
// that are sent again included; frames that were moved, left out or cut off do not open.
//
// The data key is random, and sealed under a key of the ring (core/store/key_ring.h), the mode and
// the encryption context being what it belongs to; or made of the customer's key (SSE-C), which is
// kept nowhere: HMAC-SHA256(customer's key, "SSE-C" salt). In ObjectMeta::encryption:
//
//   encryption = u64 size  field*        core/store/fields.h; `size`: of all plaintext
//   tag 1 = u8 mode                      1 SSE-S3, 2 SSE-KMS, 3 SSE-C
//   tag 2 = id of the ring's key         tag 3 = u32 its version
//   tag 4 = sealed data key              of SSE-C: salt[32]
//   tag 5 = verifier[16]                 of SSE-C: of HMAC-SHA256(data key, "verifier")
//   tag 6 = context                      of SSE-KMS, as JSON in one form
//   tag 7 = u8 1                         a bucket key was asked for
//   tag 8 = { u64 size  salt[16] }*      the segments
//
// Errors, which begin with the code that S3 has for them: InvalidArgument "InvalidRequest…" (no
// key, or one that is not wanted), "AccessDenied…" (another key), "KMS.NotFoundException…",
// "KMS.DisabledException…"; DataLoss (frames that do not open).
//
// Threads: any; a Cipher belongs to one stream.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/extents/byte_source.h"
#include "core/store/store.h"

struct evp_cipher_ctx_st;

namespace cairn::objects {

inline constexpr uint64_t kFrameBytes = 64 << 10, kFrameTagBytes = 16;
inline constexpr size_t kCustomerKeyBytes = 32;

enum class EncryptionMode : uint8_t { kNone = 0, kS3 = 1, kKms = 2, kCustomer = 3 };

// How what is written is to be encrypted.
struct EncryptionWish {
  EncryptionMode mode = EncryptionMode::kNone;
  std::string key_id = {};        // of kKms; empty: the standard key
  std::string context = {};       // likewise; JSON as context_json() makes it
  bool bucket_key = false;        // likewise; told to who asks, and changes nothing
  std::string customer_key = {};  // of kCustomer
};
// Whether the ETag of what is so encrypted is the MD5 of its bytes, or of those of its parts. Of
// others it is not, as AWS has it: it would tell something of them.
inline bool has_md5_etag(EncryptionMode mode) { return mode <= EncryptionMode::kS3; }
std::string random_etag();
// The id of a key of the ring that AWS names by its id, its ARN, or the alias of the standard one,
// which is empty here.
std::string ring_key(std::string_view name);
// What the bucket says of what comes without a wish of its own.
EncryptionWish default_encryption(const Namespace& ns);

// A key that leaves no trace in memory.
class DataKey {
 public:
  static constexpr size_t kBytes = 32;
  static DataKey random();
  static std::optional<DataKey> of(std::string_view bytes);
  // HMAC-SHA256 under this one.
  DataKey derive(std::string_view what, std::string_view salt) const;
  std::string_view bytes() const { return {reinterpret_cast<const char*>(bytes_.data()), kBytes}; }
  DataKey(const DataKey&) = default;
  DataKey& operator=(const DataKey&) = default;
  ~DataKey();

 private:
  DataKey() = default;
  std::array<unsigned char, kBytes> bytes_ = {};
};

struct Segment {
  static constexpr size_t kSaltBytes = 16;
  uint64_t size = 0;  // of the plaintext
  std::array<char, kSaltBytes> salt = {};
  uint64_t frames() const { return (size + kFrameBytes - 1) / kFrameBytes; }
  uint64_t stored_bytes() const { return size + (frames() + 1) * kFrameTagBytes; }
};

// What lies in ObjectMeta::encryption.
struct Encryption {
  EncryptionMode mode = EncryptionMode::kNone;
  KeyRing::Sealed sealed = {};  // of SSE-C its bytes are the salt
  std::string verifier = {};
  std::string context = {};
  bool bucket_key = false;
  std::vector<Segment> segments = {};

  uint64_t size() const;          // of the plaintext
  uint64_t stored_bytes() const;  // of the ciphertext
  std::string encode() const;
  static std::optional<Encryption> decode(std::string_view bytes);  // nothing: it cannot be read
  // Whether what is wished is what this is, so that its bytes may be shared. Never of SSE-C.
  bool meets(Store& store, const EncryptionWish& wish) const;
};

// What a copy is wished to be that nothing is said of: encrypted as its source is, by the store's
// own key where only the customer has the source's.
EncryptionWish wish_like(const Encryption& source);

// Encryption without segments, and its data key.
struct NewEncryption {
  Encryption encryption;
  DataKey key;
};
StatusOr<NewEncryption> make_encryption(Store& store, const EncryptionWish& wish);
// `customer_key`: empty, if none came.
StatusOr<DataKey> open_data_key(Store& store, const Encryption& e, std::string_view customer_key);

// The one form of an encryption context: {"a":"b"} in the order of the names, without blanks.
std::string context_json(const std::map<std::string, std::string>& context);

// The frames of one segment, in one direction.
class Cipher {
 public:
  enum class Does : uint8_t { kEncrypt, kDecrypt };
  Cipher(const DataKey& data_key, const Segment& segment, Does does);
  ~Cipher();
  Cipher(Cipher&&) noexcept;
  Cipher& operator=(Cipher&&) noexcept;

  void begin(uint64_t frame, bool is_end);
  void update(Bytes from, std::byte* to);  // as many bytes as come; `to` may be where they are
  std::array<char, kFrameTagBytes> end();  // of what was encrypted
  [[nodiscard]] bool end(std::string_view tag);  // whether what was decrypted is what was encrypted

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st* c) const;
  };
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;
  Does does_;
};

// Which bytes of the ciphertext a range of the plaintext is made of: frames, whole, and ends.
struct StoredRange {
  size_t segment = 0;               // of the first frame,
  uint64_t frame = 0;               // and its number there
  uint64_t skip = 0;                // bytes of it in front of the range
  uint64_t offset = 0, length = 0;  // of the ciphertext
};
StoredRange stored_range(const Encryption& e, uint64_t offset, uint64_t length);

// Makes plaintext of ciphertext that comes in pieces of any length. Memory: one frame.
class Decryption {
 public:
  // Of a range, whose ciphertext is stored_range()'s.
  Decryption(Encryption e, const DataKey& key, uint64_t offset, uint64_t length);
  uint64_t left() const { return left_; }  // bytes of plaintext that were not given yet
  // Takes from the front of `stored` as much as makes a frame whole. Then gives what of it is in
  // the range, which is valid until the next call; nothing: it takes more. DataLoss.
  StatusOr<std::optional<Bytes>> take(Bytes& stored);

 private:
  void begin_frame();
  bool check_tags();
  const Encryption encryption_;
  const DataKey key_;
  std::optional<Cipher> cipher_;  // of the segment under way
  std::unique_ptr<std::byte[]> frame_;
  size_t segment_;
  uint64_t number_, skip_, left_;
  bool begun_ = false;
  bool ends_ = false;                      // the frame under way is the last one of its segment
  uint64_t frame_bytes_ = 0, filled_ = 0;  // of it
  std::string tags_;                       // of it, and of the end behind it
};

// The plaintext of a range whose ciphertext is at hand.
StatusOr<std::string> decrypt(const Encryption& e, const DataKey& key, std::string_view stored,
                              uint64_t offset, uint64_t length);
// The same of what comes from a blob: `stored` gives the ciphertext of the range.
std::unique_ptr<ByteSource> decrypting(std::unique_ptr<ByteSource> stored, Decryption decryption);

}  // namespace cairn::objects
