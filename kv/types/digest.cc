#include "kv/types/digest.h"

#include <cstdio>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/stream.h"

namespace cairn::kv {

namespace {

// Redis's numbers.
uint8_t number_of(ValueType type) {
  switch (type) {
    case ValueType::kString:
      return 0;
    case ValueType::kList:
      return 1;
    case ValueType::kSet:
      return 2;
    case ValueType::kSortedSet:
      return 3;
    case ValueType::kHash:
      return 4;
    case ValueType::kStream:
      return 6;
  }
  return 0;
}

}  // namespace

Digest::Sha1 Digest::sha1(std::string_view bytes) {
  Sha1 out;
  SHA1(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), out.data());
  return out;
}

void Digest::add(const Sha1& sha1_of_bytes) {
  for (size_t i = 0; i < value_.size(); i++) value_[i] ^= sha1_of_bytes[i];
}

void Digest::mix(const Sha1& sha1_of_bytes) {
  add(sha1_of_bytes);
  value_ = sha1(bytes());
}

void Digest::begin(ValueType type) {
  mix(std::string{'\0', '\0', '\0', static_cast<char>(number_of(type))});
}

void Digest::add_field(std::string_view field, std::string_view value) {
  Digest pair;
  pair.mix(field);
  pair.mix(value);
  add(pair);
}

void Digest::add_scored(const SortedSet::Item& item) {
  char score[64];
  const int size = std::snprintf(score, sizeof(score), "%.17g", item.score);
  add_field(item.member, {score, static_cast<size_t>(size)});
}

void Digest::mix_entry(const StreamEntry& entry) {
  mix(cat(entry.id.ms, ".", entry.id.seq));
  entry.for_each([&](std::string_view field, std::string_view value) {
    mix(field);
    mix(value);
  });
}

void Digest::mix_block(const StreamBlock& block) {
  StreamBlock::Reader reader(block);
  StreamEntry entry;
  while (reader.next(entry)) mix_entry(entry);
}

void Digest::end(bool expires) {
  if (expires) add("!!expire!!");
}

void Digest::add_all(ValueType type, const Collection& value, int64_t now_ms) {
  switch (type) {
    case ValueType::kString:
      return;
    case ValueType::kHash:
      return static_cast<const Hash&>(value).for_each(
          now_ms, [&](std::string_view field, std::string_view text) { add_field(field, text); });
    case ValueType::kList: {
      const auto& list = static_cast<const List&>(value);
      return list.walk(0, list.size(), [&](std::string_view element) {
        mix(element);
        return true;
      });
    }
    case ValueType::kSet:
      return static_cast<const Set&>(value).for_each([&](std::string_view member) { add(member); });
    case ValueType::kSortedSet:
      return static_cast<const SortedSet&>(value).for_each(
          [&](const SortedSet::Item& item) { add_scored(item); });
    case ValueType::kStream: {
      const auto& stream = static_cast<const Stream&>(value);
      for (auto at = stream.tree().first(); at; at.next()) mix_block(**at);
      return;
    }
  }
}

std::string Digest::hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : value_) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Sha1Stream::Sha1Stream() : context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_.get(), EVP_sha1(), nullptr);
}

void Sha1Stream::update(std::string_view bytes) {
  EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

Digest::Sha1 Sha1Stream::finish() {
  Digest::Sha1 out;
  EVP_DigestFinal_ex(context_.get(), out.data(), nullptr);
  return out;
}

}  // namespace cairn::kv
