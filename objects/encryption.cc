#include "objects/encryption.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <stdexcept>

#include "core/base/text.h"
#include "core/store/fields.h"
#include "core/store/plaintext.h"
#include "core/store/users.h"
#include "objects/digest.h"

namespace cairn::objects {

namespace {

// On disk: never renumber.
enum Tag : uint8_t {
  kMode = 1,
  kKeyId = 2,
  kKeyVersion = 3,
  kSealed = 4,
  kVerifier = 5,
  kContext = 6,
  kBucketKey = 7,
  kSegments = 8,
};
constexpr size_t kSegmentBytes = 8 + Segment::kSaltBytes, kCustomerSaltBytes = 32,
                 kVerifierBytes = 16;

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

template <class Number>
std::string_view bytes_of(const Number& n) {
  return {reinterpret_cast<const char*>(&n), sizeof(n)};
}

std::string verifier_of(const DataKey& key) {
  return std::string(key.derive("verifier", "").bytes().substr(0, kVerifierBytes));
}

// What a data key belongs to.
std::string owner_of(const Encryption& e) {
  return cat("data:", static_cast<int>(e.mode), ":", e.context);
}

Status in_kms_words(const Status& status) {
  if (absl::IsNotFound(status)) {
    return absl::InvalidArgumentError(cat("KMS.NotFoundException ", status.message()));
  }
  if (absl::IsFailedPrecondition(status)) {
    return absl::InvalidArgumentError(cat("KMS.DisabledException ", status.message()));
  }
  if (absl::IsUnavailable(status)) {
    return absl::InvalidArgumentError(cat("KMS.KMSInvalidStateException ", status.message()));
  }
  return status;
}

}  // namespace

std::string ring_key(std::string_view name) {
  if (name.ends_with("alias/aws/s3")) return "";
  const size_t slash = name.rfind('/');
  return std::string(slash == name.npos ? name : name.substr(slash + 1));
}

EncryptionWish default_encryption(const Namespace& ns) {
  if (!ns.encrypts()) return {};
  const auto set = ns.properties();
  if (!set->encryption) return {};
  const bool kms = set->encryption->mode == BucketEncryption::Mode::kKms;
  EncryptionWish wish;
  wish.mode = kms ? EncryptionMode::kKms : EncryptionMode::kS3;
  wish.key_id = ring_key(set->encryption->key_id);
  wish.bucket_key = kms && set->encryption->bucket_key;
  return wish;
}

std::string random_etag() {
  char bytes[16];
  fill_random(bytes, sizeof(bytes));
  return hex({bytes, sizeof(bytes)});
}

EncryptionWish wish_like(const Encryption& source) {
  if (source.mode == EncryptionMode::kCustomer) return {EncryptionMode::kS3};
  return {source.mode, source.sealed.key_id, source.context, source.bucket_key};
}

// ---- keys ----

DataKey DataKey::random() {
  DataKey key;
  fill_random(key.bytes_.data(), kBytes);
  return key;
}

std::optional<DataKey> DataKey::of(std::string_view bytes) {
  if (bytes.size() != kBytes) return std::nullopt;
  DataKey key;
  std::memcpy(key.bytes_.data(), bytes.data(), kBytes);
  return key;
}

DataKey DataKey::derive(std::string_view what, std::string_view salt) const {
  DataKey key;
  const std::string text = cat(what, salt);
  unsigned int n = 0;
  // Looked up once, as digests are.
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (HMAC(sha256, bytes_.data(), kBytes, raw(text), text.size(), key.bytes_.data(), &n) ==
      nullptr) {
    throw std::runtime_error("HMAC-SHA256 does not work");
  }
  return key;
}

DataKey::~DataKey() { OPENSSL_cleanse(bytes_.data(), kBytes); }

StatusOr<NewEncryption> make_encryption(Store& store, const EncryptionWish& wish) {
  NewEncryption made{{}, DataKey::random()};
  Encryption& e = made.encryption;
  e.mode = wish.mode;
  if (wish.mode == EncryptionMode::kCustomer) {
    const auto customer = DataKey::of(wish.customer_key);
    if (!customer) return absl::InvalidArgumentError("InvalidArgument The secret key was invalid");
    e.sealed.bytes.resize(kCustomerSaltBytes);
    fill_random(e.sealed.bytes.data(), kCustomerSaltBytes);
    made.key = customer->derive("SSE-C", e.sealed.bytes);
    e.verifier = verifier_of(made.key);
    return made;
  }
  e.context = wish.context;
  e.bucket_key = wish.bucket_key;
  std::string key_id = wish.key_id;
  if (key_id.empty()) {
    const auto key = store.keys().standard(
        wish.mode == EncryptionMode::kS3 ? KeyRing::Purpose::kS3 : KeyRing::Purpose::kKms);
    if (!key.ok()) return key.status();
    key_id = (*key)->id;
  }
  auto sealed = store.keys().seal(key_id, made.key.bytes(), owner_of(e));
  if (!sealed.ok()) return in_kms_words(sealed.status());
  e.sealed = *std::move(sealed);
  return made;
}

namespace {
// What the ring has sealed.
StatusOr<DataKey> open_sealed(const KeyRing& keys, const Encryption& e) {
  auto opened = keys.open(e.sealed, owner_of(e));
  if (!opened.ok()) return opened.status();
  const auto key = DataKey::of(*opened);
  OPENSSL_cleanse(opened->data(), opened->size());
  if (!key) return absl::DataLossError("the key of the data is none");
  return *key;
}
}  // namespace

StatusOr<DataKey> open_data_key(Store& store, const Encryption& e, std::string_view customer_key) {
  if (e.mode == EncryptionMode::kCustomer) {
    if (customer_key.empty()) {
      return absl::InvalidArgumentError(
          "InvalidRequest The object was stored using a form of Server Side Encryption. The "
          "correct parameters must be provided to retrieve the object.");
    }
    const auto customer = DataKey::of(customer_key);
    if (!customer) return absl::InvalidArgumentError("InvalidArgument The secret key was invalid");
    DataKey key = customer->derive("SSE-C", e.sealed.bytes);
    if (equal_in_constant_time(verifier_of(key), e.verifier)) return key;
    return absl::InvalidArgumentError("AccessDenied Access Denied");
  }
  if (!customer_key.empty()) {
    return absl::InvalidArgumentError(
        "InvalidRequest The encryption parameters are not applicable to this object.");
  }
  auto key = open_sealed(store.keys(), e);
  if (!key.ok()) return in_kms_words(key.status());
  return key;
}

std::string context_json(const std::map<std::string, std::string>& context) {
  const auto quoted = [](std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') out.push_back('\\');
      if (static_cast<unsigned char>(c) >= 0x20) {
        out.push_back(c);
      } else {
        append(out, "\\u00", hex({&c, 1}));
      }
    }
    return out + "\"";
  };
  std::string out = "{";
  for (auto& [name, value] : context) {
    append(out, out.size() > 1 ? "," : "", quoted(name), ":", quoted(value));
  }
  return out + "}";
}

// ---- what is known of a value ----

uint64_t Encryption::size() const {
  uint64_t sum = 0;
  for (const Segment& s : segments) sum += s.size;
  return sum;
}

uint64_t Encryption::stored_bytes() const {
  uint64_t sum = 0;
  for (const Segment& s : segments) sum += s.stored_bytes();
  return sum;
}

std::string Encryption::encode() const {
  std::string out(bytes_of(size()));
  add_field(out, kMode, bytes_of(mode));
  if (!sealed.key_id.empty()) {
    add_field(out, kKeyId, sealed.key_id);
    add_field(out, kKeyVersion, bytes_of(sealed.version));
  }
  if (!sealed.bytes.empty()) add_field(out, kSealed, sealed.bytes);
  if (!verifier.empty()) add_field(out, kVerifier, verifier);
  if (!context.empty()) add_field(out, kContext, context);
  if (bucket_key) add_field(out, kBucketKey, "\1");
  std::string list;
  list.reserve(segments.size() * kSegmentBytes);
  for (const Segment& s : segments) {
    list.append(bytes_of(s.size)).append(s.salt.data(), s.salt.size());
  }
  if (!list.empty()) add_field(out, kSegments, list);
  return out;
}

std::optional<Encryption> Encryption::decode(std::string_view in) {
  Encryption e;
  uint64_t size = 0, sum = 0;
  if (in.size() < sizeof(size)) return std::nullopt;
  std::memcpy(&size, in.data(), sizeof(size));
  in.remove_prefix(sizeof(size));
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return std::nullopt;
    std::string_view bytes = field->bytes;
    switch (field->tag) {
      case kMode:
        if (bytes.size() != 1 || bytes[0] < 1 || bytes[0] > 3) return std::nullopt;
        e.mode = static_cast<EncryptionMode>(bytes[0]);
        break;
      case kKeyId:
        e.sealed.key_id = bytes;
        break;
      case kKeyVersion:
        if (bytes.size() != sizeof(e.sealed.version)) return std::nullopt;
        std::memcpy(&e.sealed.version, bytes.data(), bytes.size());
        break;
      case kSealed:
        e.sealed.bytes = bytes;
        break;
      case kVerifier:
        e.verifier = bytes;
        break;
      case kContext:
        e.context = bytes;
        break;
      case kBucketKey:
        e.bucket_key = true;
        break;
      case kSegments:
        if (bytes.size() % kSegmentBytes != 0) return std::nullopt;
        for (; !bytes.empty(); bytes.remove_prefix(kSegmentBytes)) {
          Segment s;
          std::memcpy(&s.size, bytes.data(), sizeof(s.size));
          std::memcpy(s.salt.data(), bytes.data() + sizeof(s.size), s.salt.size());
          if (s.size > kBlobBytesMax || sum + s.size > kBlobBytesMax) return std::nullopt;
          sum += s.size;
          e.segments.push_back(s);
        }
        break;
      default:
        return std::nullopt;  // of a later version's making: how it is encrypted is not known
    }
  }
  if (e.mode == EncryptionMode::kNone || sum != size) return std::nullopt;
  return e;
}

bool Encryption::meets(Store& store, const EncryptionWish& wish) const {
  if (mode != wish.mode || mode == EncryptionMode::kCustomer) return false;
  if (context != wish.context || bucket_key != wish.bucket_key) return false;
  if (!wish.key_id.empty()) return wish.key_id == sealed.key_id;
  const auto key = store.keys().standard(mode == EncryptionMode::kS3 ? KeyRing::Purpose::kS3
                                                                     : KeyRing::Purpose::kKms);
  return key.ok() && (*key)->id == sealed.key_id;
}

// ---- frames ----

namespace {
void check(bool worked) {
  if (!worked) throw std::runtime_error("AES-256-GCM does not work");
}
}  // namespace

void Cipher::Free::operator()(evp_cipher_ctx_st* c) const { EVP_CIPHER_CTX_free(c); }

Cipher::Cipher(const DataKey& data_key, const Segment& segment, Does does)
    : context_(EVP_CIPHER_CTX_new()), does_(does) {
  static const EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  const DataKey key = data_key.derive("segment", {segment.salt.data(), segment.salt.size()});
  check(EVP_CipherInit_ex(context_.get(), gcm, nullptr, raw(key.bytes()), nullptr,
                          does == Does::kEncrypt ? 1 : 0) == 1);
}
Cipher::~Cipher() = default;
Cipher::Cipher(Cipher&&) noexcept = default;
Cipher& Cipher::operator=(Cipher&&) noexcept = default;

void Cipher::begin(uint64_t frame, bool is_end) {
  unsigned char nonce[12] = {}, aad[9];
  std::memcpy(nonce + 4, &frame, sizeof(frame));
  std::memcpy(aad, &frame, sizeof(frame));
  aad[8] = is_end ? 1 : 0;
  int n = 0;
  check(EVP_CipherInit_ex(context_.get(), nullptr, nullptr, nullptr, nonce, -1) == 1 &&
        EVP_CipherUpdate(context_.get(), nullptr, &n, aad, sizeof(aad)) == 1);
}

void Cipher::update(Bytes from, std::byte* to) {
  int n = 0;
  check(EVP_CipherUpdate(context_.get(), reinterpret_cast<unsigned char*>(to), &n,
                         reinterpret_cast<const unsigned char*>(from.data()),
                         static_cast<int>(from.size())) == 1 &&
        static_cast<size_t>(n) == from.size());
}

std::array<char, kFrameTagBytes> Cipher::end() {
  std::array<char, kFrameTagBytes> tag;
  int n = 0;
  unsigned char none[16];
  check(EVP_CipherFinal_ex(context_.get(), none, &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_GET_TAG, kFrameTagBytes, tag.data()) == 1);
  return tag;
}

bool Cipher::end(std::string_view tag) {
  std::array<char, kFrameTagBytes> expected;
  std::copy_n(tag.data(), kFrameTagBytes, expected.data());
  int n = 0;
  unsigned char none[16];
  check(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_GCM_SET_TAG, kFrameTagBytes,
                            expected.data()) == 1);
  return EVP_CipherFinal_ex(context_.get(), none, &n) == 1;
}

StoredRange stored_range(const Encryption& e, uint64_t offset, uint64_t length) {
  assert(is_within(offset, length, e.size()));
  StoredRange r;
  if (e.size() == 0) r.length = e.stored_bytes();
  if (length == 0) return r;
  // Where the byte `at` of the plaintext lies: its segment, and the ciphertext in front of that.
  const auto find = [&e](uint64_t& at, uint64_t& before) {
    size_t i = 0;
    for (; at >= e.segments[i].size; i++) {
      at -= e.segments[i].size;
      before += e.segments[i].stored_bytes();
    }
    return i;
  };
  constexpr uint64_t kStoredFrame = kFrameBytes + kFrameTagBytes;
  uint64_t first = offset, last = offset + length - 1, begin = 0, end = 0;
  // From the first byte on it is the whole beginning, segments without bytes included.
  if (offset > 0) r.segment = find(first, begin);
  r.frame = first / kFrameBytes;
  r.skip = first % kFrameBytes;
  r.offset = begin + r.frame * kStoredFrame;
  const Segment& ends_in = e.segments[find(last, end)];
  const uint64_t frames = last / kFrameBytes + 1;
  end += frames == ends_in.frames() ? ends_in.stored_bytes() : frames * kStoredFrame;
  r.length = end - r.offset;
  return r;
}

// ---- reading ----

Decryption::Decryption(Encryption e, const DataKey& key, uint64_t offset, uint64_t length)
    : encryption_(std::move(e)), key_(key), left_(length) {
  const StoredRange r = stored_range(encryption_, offset, length);
  segment_ = r.segment;
  number_ = r.frame;
  skip_ = r.skip;
}

void Decryption::begin_frame() {
  const Segment& s = encryption_.segments[segment_];
  if (!cipher_) cipher_.emplace(key_, s, Cipher::Does::kDecrypt);
  frame_bytes_ = std::min(kFrameBytes, s.size - number_ * kFrameBytes);
  if (frame_ == nullptr) frame_.reset(new std::byte[std::min(kFrameBytes, encryption_.size())]);
  ends_ = number_ + 1 >= s.frames();
  filled_ = 0;
  tags_.clear();
  if (frame_bytes_ > 0) cipher_->begin(number_, false);
  begun_ = true;
}

bool Decryption::check_tags() {
  const std::string_view tags = tags_;
  if (frame_bytes_ > 0 && !cipher_->end(tags.substr(0, kFrameTagBytes))) return false;
  if (!ends_) return true;
  cipher_->begin(encryption_.segments[segment_].frames(), true);
  return cipher_->end(tags.substr(tags.size() - kFrameTagBytes));
}

StatusOr<std::optional<Bytes>> Decryption::take(Bytes& stored) {
  while (left_ > 0) {
    if (!begun_) begin_frame();
    const size_t text = std::min<uint64_t>(stored.size(), frame_bytes_ - filled_);
    if (text > 0) cipher_->update(stored.first(text), frame_.get() + filled_);
    filled_ += text;
    stored = stored.subspan(text);
    if (filled_ < frame_bytes_) return std::nullopt;
    const size_t wanted = (frame_bytes_ > 0 ? kFrameTagBytes : 0) + (ends_ ? kFrameTagBytes : 0);
    const size_t tag = std::min<uint64_t>(stored.size(), wanted - tags_.size());
    tags_.append(as_text(stored.first(tag)));
    stored = stored.subspan(tag);
    if (tags_.size() < wanted) return std::nullopt;
    if (!check_tags()) {
      return absl::DataLossError("encrypted data does not open: it is not what was written");
    }
    begun_ = false;
    number_++;
    if (ends_) {
      segment_++;
      number_ = 0;
      cipher_.reset();
    }
    if (frame_bytes_ == 0) continue;
    const uint64_t begin = std::exchange(skip_, 0);
    const uint64_t n = std::min(frame_bytes_ - begin, left_);
    left_ -= n;
    return std::optional<Bytes>(Bytes{frame_.get() + begin, n});
  }
  return std::optional<Bytes>(Bytes{});
}

namespace {
Status ends_early() { return absl::DataLossError("encrypted data ends early"); }

// Of a value without bytes there are the ends.
Status check_ends(const Encryption& e, const DataKey& key, std::string_view stored) {
  if (stored.size() != e.stored_bytes()) return ends_early();
  for (const Segment& s : e.segments) {
    Cipher cipher(key, s, Cipher::Does::kDecrypt);
    cipher.begin(0, true);
    if (!cipher.end(stored.substr(0, kFrameTagBytes))) return ends_early();
    stored.remove_prefix(kFrameTagBytes);
  }
  return absl::OkStatus();
}
}  // namespace

StatusOr<std::string> decrypt(const Encryption& e, const DataKey& key, std::string_view stored,
                              uint64_t offset, uint64_t length) {
  if (e.size() == 0) {
    if (Status s = check_ends(e, key, stored); !s.ok()) return s;
  }
  Decryption decryption(e, key, offset, length);
  Bytes bytes = as_bytes(stored);
  std::string out;
  out.reserve(length);
  while (decryption.left() > 0) {
    auto taken = decryption.take(bytes);
    if (!taken.ok()) return taken.status();
    if (!*taken) return ends_early();
    out.append(as_text(**taken));
  }
  return out;
}

namespace {

class Decrypting final : public ByteSource {
 public:
  Decrypting(std::unique_ptr<ByteSource> stored, Decryption decryption)
      : stored_(std::move(stored)), decryption_(std::move(decryption)) {}

  uint64_t left() const override { return decryption_.left(); }

  awaitable<StatusOr<Bytes>> next() override {
    if (!stored_->keep()) piece_ = {};  // it is given again
    if (decryption_.left() == 0) co_return Bytes{};
    for (;;) {
      if (piece_.empty()) {
        auto more = co_await stored_->next();
        if (!more.ok()) co_return more.status();
        if (more->empty()) co_return ends_early();
        piece_ = *more;
      }
      auto taken = decryption_.take(piece_);
      if (!taken.ok()) co_return taken.status();
      if (*taken) co_return **taken;
    }
  }
  // What it gave is its own; others may have the chunk that it is made from.
  void offer(uint64_t /*bytes*/, const Executor& executor) override {
    stored_->offer(piece_.size(), executor);
  }
  bool keep() override {
    if (!stored_->keep()) piece_ = {};
    return true;
  }

 private:
  const std::unique_ptr<ByteSource> stored_;
  Decryption decryption_;
  Bytes piece_;  // of the ciphertext, not used yet
};

}  // namespace

std::unique_ptr<ByteSource> decrypting(std::unique_ptr<ByteSource> stored, Decryption decryption) {
  return std::make_unique<Decrypting>(std::move(stored), std::move(decryption));
}

}  // namespace cairn::objects

// ---- for who knows nothing of objects ----

namespace cairn {

namespace {

struct Openable {
  objects::Encryption encryption;
  objects::DataKey key;
};
StatusOr<Openable> openable(const KeyRing& keys, std::string_view meta, uint64_t stored_bytes) {
  const auto decoded = ObjectMeta::decode(meta);
  auto e = decoded ? objects::Encryption::decode(decoded->encryption) : std::nullopt;
  if (!e || e->stored_bytes() != stored_bytes) {
    return absl::DataLossError("how it is encrypted cannot be read");
  }
  if (e->mode == objects::EncryptionMode::kCustomer) {
    return absl::FailedPreconditionError("only its customer has the key");
  }
  const auto key = objects::open_sealed(keys, *e);
  if (key.ok()) return Openable{*std::move(e), *key};
  if (absl::IsDataLoss(key.status())) return key.status();
  return absl::FailedPreconditionError(key.status().message());
}

}  // namespace

StatusOr<std::string> plaintext_of(const KeyRing& keys, std::string_view meta,
                                   std::string_view stored) {
  const auto with = openable(keys, meta, stored.size());
  if (!with.ok()) return with.status();
  return objects::decrypt(with->encryption, with->key, stored, 0, with->encryption.size());
}

StatusOr<std::unique_ptr<ByteSource>> plaintext_of(const KeyRing& keys, std::string_view meta,
                                                   std::unique_ptr<ByteSource> stored) {
  auto with = openable(keys, meta, stored->left());
  if (!with.ok()) return with.status();
  const uint64_t size = with->encryption.size();
  return objects::decrypting(std::move(stored),
                             objects::Decryption(std::move(with->encryption), with->key, 0, size));
}

}  // namespace cairn
