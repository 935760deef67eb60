#include "core/store/website.h"

#include <cstring>

#include "core/store/fields.h"

namespace cairn {

namespace {

// On disk: never renumber.
enum Tag : uint8_t { kIndex = 1, kError = 2, kHost = 3, kProtocol = 4, kRule = 5 };
enum RuleTag : uint8_t {
  kPrefix = 1,
  kOfError = 2,
  kToProtocol = 3,
  kToHost = 4,
  kReplacePrefix = 5,
  kReplaceKey = 6,
  kStatus = 7,
};

void add_text(std::string& out, uint8_t tag, std::string_view text) {
  if (!text.empty()) add_field(out, tag, text);
}
void add_number(std::string& out, uint8_t tag, uint16_t number) {
  if (number == 0) return;
  add_field(out, tag, {reinterpret_cast<const char*>(&number), sizeof(number)});
}
bool take_number(std::string_view bytes, uint16_t& number) {
  if (bytes.size() != sizeof(number)) return false;
  std::memcpy(&number, bytes.data(), sizeof(number));
  return true;
}

std::string encode_rule(const RoutingRule& rule) {
  std::string out;
  if (rule.prefix) add_field(out, kPrefix, *rule.prefix);
  add_number(out, kOfError, rule.error);
  add_text(out, kToProtocol, rule.protocol);
  add_text(out, kToHost, rule.host);
  if (rule.replace_prefix) add_field(out, kReplacePrefix, *rule.replace_prefix);
  if (rule.replace_key) add_field(out, kReplaceKey, *rule.replace_key);
  add_number(out, kStatus, rule.status);
  return out;
}

bool take_rule_field(const Field& field, RoutingRule& rule) {
  switch (field.tag) {
    case kPrefix:
      rule.prefix = field.bytes;
      return true;
    case kOfError:
      return take_number(field.bytes, rule.error);
    case kToProtocol:
      rule.protocol = field.bytes;
      return true;
    case kToHost:
      rule.host = field.bytes;
      return true;
    case kReplacePrefix:
      rule.replace_prefix = field.bytes;
      return true;
    case kReplaceKey:
      rule.replace_key = field.bytes;
      return true;
    case kStatus:
      return take_number(field.bytes, rule.status);
    default:
      return false;
  }
}

std::optional<RoutingRule> decode_rule(std::string_view in) {
  RoutingRule rule;
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field || !take_rule_field(*field, rule)) return std::nullopt;
  }
  return rule;
}

}  // namespace

std::string Website::encode() const {
  std::string out;
  add_text(out, kIndex, index);
  add_text(out, kError, error);
  add_text(out, kHost, host);
  add_text(out, kProtocol, protocol);
  for (const RoutingRule& rule : rules) add_field(out, kRule, encode_rule(rule));
  return out;
}

std::optional<Website> Website::decode(std::string_view bytes) {
  Website site;
  while (!bytes.empty()) {
    const auto field = take_field(bytes);
    if (!field) return std::nullopt;
    switch (field->tag) {
      case kIndex:
        site.index = field->bytes;
        break;
      case kError:
        site.error = field->bytes;
        break;
      case kHost:
        site.host = field->bytes;
        break;
      case kProtocol:
        site.protocol = field->bytes;
        break;
      case kRule: {
        auto rule = decode_rule(field->bytes);
        if (!rule) return std::nullopt;
        site.rules.push_back(*std::move(rule));
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return site;
}

}  // namespace cairn
