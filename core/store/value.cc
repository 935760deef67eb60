#include "core/store/value.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/fields.h"

namespace cairn {

namespace {
// On disk: never renumber.
enum Tag : uint8_t {
  kContentType = 1,
  kEtag = 2,
  kModified = 3,
  kUser = 4,
  kHeader = 5,
  kChecksum = 6,
  kExtra = 7,
  kPartSizes = 8,
  kTag = 9,
  kEncryption = 10,
  kVersion = 16,
};
constexpr char kMetaVersion = 1;

void add_pairs(std::string& out, Tag tag, const std::map<std::string, std::string>& pairs) {
  for (auto& [name, value] : pairs)
    add_field(out, tag, cat(name, std::string_view("\0", 1), value));
}
}  // namespace

bool ObjectMeta::empty() const {
  return content_type.empty() && etag.empty() && modified_ms == 0 && user.empty() &&
         headers.empty() && checksums.empty() && extra.empty() && part_sizes.empty() &&
         tags.empty() && encryption.empty();
}

std::string ObjectMeta::encode() const {
  std::string out(1, kMetaVersion);
  if (!content_type.empty()) add_field(out, kContentType, content_type);
  if (!etag.empty()) add_field(out, kEtag, etag);
  if (modified_ms != 0) add_field(out, kModified, {reinterpret_cast<const char*>(&modified_ms), 8});
  add_pairs(out, kUser, user);
  add_pairs(out, kHeader, headers);
  add_pairs(out, kChecksum, checksums);
  add_pairs(out, kExtra, extra);
  if (!part_sizes.empty()) {
    add_field(out, kPartSizes,
              {reinterpret_cast<const char*>(part_sizes.data()), part_sizes.size() * 8});
  }
  add_pairs(out, kTag, tags);
  if (!encryption.empty()) add_field(out, kEncryption, encryption);
  return out;
}

std::optional<ObjectMeta> ObjectMeta::decode(std::string_view in) {
  ObjectMeta m;
  if (in.empty()) return m;
  if (in[0] != kMetaVersion) return std::nullopt;
  in.remove_prefix(1);
  while (!in.empty()) {
    const auto taken = take_field(in);
    if (!taken) return std::nullopt;
    const std::string_view field = taken->bytes;
    const size_t n = field.size();
    auto pair = [&](std::map<std::string, std::string>& to) {
      if (auto named = split_named(field)) to.emplace(named->name, named->value);
    };
    switch (taken->tag) {
      case kContentType:
        m.content_type = field;
        break;
      case kEtag:
        m.etag = field;
        break;
      case kModified:
        if (n == 8) std::memcpy(&m.modified_ms, field.data(), 8);
        break;
      case kUser:
        pair(m.user);
        break;
      case kHeader:
        pair(m.headers);
        break;
      case kChecksum:
        pair(m.checksums);
        break;
      case kExtra:
        pair(m.extra);
        break;
      case kPartSizes:
        if (n > 0 && n % 8 == 0) {
          m.part_sizes.resize(n / 8);
          std::memcpy(m.part_sizes.data(), field.data(), n);
        }
        break;
      case kTag:
        pair(m.tags);
        break;
      case kEncryption:
        m.encryption = field;
        break;
    }
  }
  return m;
}

namespace {
constexpr uint8_t kNullVersion = 1, kDeleteMarker = 2;
constexpr size_t kVersionBytes = 4 + 8 + 1, kLockBytes = 1 + 1 + 8;

// Calls fn(tag, whole field, its bytes) for each, until that returns false.
template <class Fn>
void for_each_field(std::string_view meta, Fn fn) {
  if (meta.empty() || meta[0] != kMetaVersion) return;
  meta.remove_prefix(1);
  while (meta.size() >= 5) {
    uint32_t n;
    std::memcpy(&n, meta.data() + 1, 4);
    if (n > meta.size() - 5) return;
    if (!fn(static_cast<uint8_t>(meta[0]), meta.substr(0, 5 + size_t{n}), meta.substr(5, n)))
      return;
    meta.remove_prefix(5 + size_t{n});
  }
}

// What encryption begins with.
uint64_t size_in(std::string_view encryption) {
  uint64_t size = 0;
  if (encryption.size() >= sizeof(size)) std::memcpy(&size, encryption.data(), sizeof(size));
  return size;
}
}  // namespace

MetaSummary summary_of(std::string_view meta) {
  MetaSummary found;
  for_each_field(meta, [&](uint8_t tag, std::string_view, std::string_view bytes) {
    if (tag == kEtag) {
      found.etag = bytes;
    } else if (tag == kModified && bytes.size() == sizeof(found.modified_ms)) {
      std::memcpy(&found.modified_ms, bytes.data(), sizeof(found.modified_ms));
    } else if (tag == kEncryption) {
      found.encrypted_size = size_in(bytes);
    } else if (tag == kChecksum && found.checksum_algorithm.empty()) {
      if (const auto named = split_named(bytes)) {
        found.checksum_algorithm = named->name;
        found.checksum = named->value;
      }
    }
    return true;
  });
  return found;
}

std::optional<uint64_t> encrypted_size(std::string_view meta) {
  std::optional<uint64_t> size;
  for_each_field(meta, [&](uint8_t tag, std::string_view, std::string_view bytes) {
    if (tag != kEncryption) return true;
    size = size_in(bytes);
    return false;
  });
  return size;
}

std::optional<VersionTag> version_in(std::string_view meta) {
  std::optional<VersionTag> found;
  for_each_field(meta, [&](uint8_t tag, std::string_view, std::string_view bytes) {
    const bool locked = bytes.size() == kVersionBytes + kLockBytes;
    if (tag != kVersion || (!locked && bytes.size() != kVersionBytes)) return true;
    uint32_t bucket;
    VersionTag version;
    if (locked) {
      VersionLock& lock = version.lock;
      lock.retention = static_cast<Retention>(bytes[kVersionBytes]);
      lock.hold = static_cast<LegalHold>(bytes[kVersionBytes + 1]);
      std::memcpy(&lock.until_ms, bytes.data() + kVersionBytes + 2, 8);
      bytes.remove_suffix(kLockBytes);
    }
    std::memcpy(&bucket, bytes.data(), 4);
    std::memcpy(&version.version.number, bytes.data() + 4, 8);
    version.bucket = NamespaceId(bucket);
    version.version.null = (bytes.back() & kNullVersion) != 0;
    version.version.marker = (bytes.back() & kDeleteMarker) != 0;
    found = version;
    return false;
  });
  return found;
}

// In front of all others, where it is found first.
std::string with_version(std::string_view meta, const VersionTag& tag) {
  std::array<char, kVersionBytes + kLockBytes> bytes;
  const uint32_t bucket = tag.bucket.value();
  std::memcpy(bytes.data(), &bucket, 4);
  std::memcpy(bytes.data() + 4, &tag.version.number, 8);
  bytes[kVersionBytes - 1] = static_cast<char>((tag.version.null ? kNullVersion : 0) |
                                               (tag.version.marker ? kDeleteMarker : 0));
  bytes[kVersionBytes] = static_cast<char>(tag.lock.retention);
  bytes[kVersionBytes + 1] = static_cast<char>(tag.lock.hold);
  std::memcpy(bytes.data() + kVersionBytes + 2, &tag.lock.until_ms, 8);
  std::string out(1, kMetaVersion);
  add_field(out, kVersion, {bytes.data(), kVersionBytes + (tag.lock.empty() ? 0 : kLockBytes)});
  for_each_field(meta, [&](uint8_t field, std::string_view whole, std::string_view) {
    if (field != kVersion) out.append(whole);
    return true;
  });
  return out;
}

namespace {
bool is_lower_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || kMarks.find(c) != kMarks.npos;
  });
}
bool is_value(std::string_view text) {
  return is_utf8(text) && std::none_of(text.begin(), text.end(), [](char c) {
           auto u = static_cast<unsigned char>(c);
           return (u < 0x20 && u != '\t') || u == 0x7f;
         });
}
}  // namespace

Status check_meta(const ObjectMeta& meta) {
  size_t bytes = 0;
  for (auto& [name, value] : meta.user) {
    bytes += name.size() + value.size();
    if (!is_lower_token(name)) {
      return absl::InvalidArgumentError(
          "a name of user metadata is a token of RFC 9110 in lower case");
    }
    if (!is_value(value)) {
      return absl::InvalidArgumentError(
          "a value of user metadata is UTF-8 without control characters");
    }
  }
  if (bytes > kUserMetaBytesMax) return absl::InvalidArgumentError("MetadataTooLarge");
  constexpr std::string_view kHeaders[] = {"cache-control", "content-disposition",
                                           "content-encoding", "content-language", "expires"};
  bytes = meta.content_type.size();
  if (!is_value(meta.content_type)) return absl::InvalidArgumentError("the content type is none");
  for (auto& [name, value] : meta.headers) {
    bytes += value.size();
    if (std::find(std::begin(kHeaders), std::end(kHeaders), name) == std::end(kHeaders)) {
      return absl::InvalidArgumentError("this header is not one that objects keep");
    }
    if (!is_value(value)) return absl::InvalidArgumentError(cat(name, " is no value of a header"));
  }
  if (bytes > kStandardMetaBytesMax) return absl::InvalidArgumentError("MetadataTooLarge");
  if (!is_value(meta.etag) || meta.etag.find('"') != meta.etag.npos) {
    return absl::InvalidArgumentError("the ETag is none");
  }
  return absl::OkStatus();
}

}  // namespace cairn
