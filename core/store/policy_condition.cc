#include "core/store/policy_condition.h"

#include <arpa/inet.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>

#include "core/base/text.h"

namespace cairn::policy {
namespace {

constexpr Operator kOperators[] = {
    {"StringEquals", Kind::kText},
    {"StringNotEquals", Kind::kText, true},
    {"StringEqualsIgnoreCase", Kind::kText, false, Order::kEqual, false, true},
    {"StringNotEqualsIgnoreCase", Kind::kText, true, Order::kEqual, false, true},
    {"StringLike", Kind::kText, false, Order::kEqual, true},
    {"StringNotLike", Kind::kText, true, Order::kEqual, true},
    {"NumericEquals", Kind::kNumber},
    {"NumericNotEquals", Kind::kNumber, true},
    {"NumericLessThan", Kind::kNumber, false, Order::kLess},
    {"NumericLessThanEquals", Kind::kNumber, false, Order::kLessOrEqual},
    {"NumericGreaterThan", Kind::kNumber, false, Order::kGreater},
    {"NumericGreaterThanEquals", Kind::kNumber, false, Order::kGreaterOrEqual},
    {"DateEquals", Kind::kMoment},
    {"DateNotEquals", Kind::kMoment, true},
    {"DateLessThan", Kind::kMoment, false, Order::kLess},
    {"DateLessThanEquals", Kind::kMoment, false, Order::kLessOrEqual},
    {"DateGreaterThan", Kind::kMoment, false, Order::kGreater},
    {"DateGreaterThanEquals", Kind::kMoment, false, Order::kGreaterOrEqual},
    {"Bool", Kind::kBool},
    {"BinaryEquals", Kind::kBinary},
    {"IpAddress", Kind::kAddress},
    {"NotIpAddress", Kind::kAddress, true},
    {"ArnEquals", Kind::kArn, false, Order::kEqual, true},
    {"ArnLike", Kind::kArn, false, Order::kEqual, true},
    {"ArnNotEquals", Kind::kArn, true, Order::kEqual, true},
    {"ArnNotLike", Kind::kArn, true, Order::kEqual, true},
    {"Null", Kind::kNull},
};
constexpr std::string_view kAllValues = "ForAllValues:", kAnyValue = "ForAnyValue:",
                           kIfExists = "IfExists";
constexpr size_t kArnParts = 6;

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// So many digits off the front.
std::optional<int> take_digits(std::string_view& text, size_t count) {
  int n = 0;
  if (text.size() < count) return std::nullopt;
  for (char c : text.substr(0, count)) {
    if (c < '0' || c > '9') return std::nullopt;
    n = n * 10 + (c - '0');
  }
  text.remove_prefix(count);
  return n;
}

bool is_digits(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
}

// hh:mm[:ss[.f]], and the zone; nothing is left behind it.
std::optional<int64_t> time_of_day_ms(std::string_view text) {
  const auto hour = take_digits(text, 2);
  const auto minute = take(text, ":") ? take_digits(text, 2) : std::nullopt;
  if (!hour || !minute || *hour > 23 || *minute > 59) return std::nullopt;
  int64_t ms = (int64_t{*hour} * 60 + *minute) * 60'000;
  if (take(text, ":")) {
    const auto second = take_digits(text, 2);
    if (!second || *second > 59) return std::nullopt;
    ms += int64_t{*second} * 1000;
    if (take(text, ".")) {
      const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
      if (digits == 0 || digits > 9) return std::nullopt;
      int64_t unit = 100;
      for (char c : text.substr(0, digits)) {
        ms += (c - '0') * unit;
        unit /= 10;
      }
      text.remove_prefix(digits);
    }
  }
  if (text.empty() || text == "Z") return ms;
  const int sign = text[0] == '+' ? 1 : text[0] == '-' ? -1 : 0;
  text.remove_prefix(1);
  const auto zone_hour = take_digits(text, 2);
  const auto zone_minute = take(text, ":") ? take_digits(text, 2) : std::nullopt;
  if (sign == 0 || !zone_hour || !zone_minute || *zone_hour > 23 || *zone_minute > 59) {
    return std::nullopt;
  }
  if (!text.empty()) return std::nullopt;
  return ms - sign * (int64_t{*zone_hour} * 60 + *zone_minute) * 60'000;
}

std::optional<std::string> decode_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes.push_back(static_cast<char>(bits >> count));
    bits &= (1u << count) - 1;
  }
  if (bits != 0) return std::nullopt;
  return bytes;
}

template <class T>
bool compare(const T& value, Order order, const T& with) {
  switch (order) {
    case Order::kEqual:
      return value == with;
    case Order::kLess:
      return value < with;
    case Order::kLessOrEqual:
      return value <= with;
    case Order::kGreater:
      return value > with;
    case Order::kGreaterOrEqual:
      return value >= with;
  }
  return false;
}

std::optional<bool> parse_bool(std::string_view text) {
  if (equals_ignoring_case(text, "true")) return true;
  if (equals_ignoring_case(text, "false")) return false;
  return std::nullopt;
}

bool matches_arn(const std::vector<Pattern>& patterns, std::string_view arn,
                 const Context& context) {
  for (size_t i = 0; i < patterns.size(); i++) {
    const size_t end = i + 1 < patterns.size() ? arn.find(':') : arn.size();
    if (end == arn.npos || !patterns[i].matches(arn.substr(0, end), context)) return false;
    arn.remove_prefix(std::min(end + 1, arn.size()));
  }
  return true;
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
  const bool negative = take(text, "-");
  const size_t point = std::min(text.find('.'), text.size());
  const std::string_view before = text.substr(0, point);
  const std::string_view behind = text.substr(std::min(point + 1, text.size()));
  if (!is_digits(before) || before.size() > 18 || behind.size() > 9) return std::nullopt;
  if (point < text.size() && !is_digits(behind)) return std::nullopt;
  Decimal d{*parse_int<int64_t>(before), 0};
  for (size_t i = 0; i < 9; i++) {
    d.billions = d.billions * 10 + (i < behind.size() ? behind[i] - '0' : 0);
  }
  if (!negative) return d;
  if (d.billions == 0) return Decimal{-d.whole, 0};
  return Decimal{-d.whole - 1, 1'000'000'000 - d.billions};
}

std::optional<int64_t> parse_moment(std::string_view text) {
  if (is_digits(text)) {
    if (text.size() > 15) return std::nullopt;
    return *parse_int<int64_t>(text) * 1000;
  }
  const auto year = take_digits(text, 4);
  const auto month = take(text, "-") ? take_digits(text, 2) : std::nullopt;
  if (!year || !month) return std::nullopt;
  int day = 1;
  if (take(text, "-")) {
    const auto given = take_digits(text, 2);
    if (!given) return std::nullopt;
    day = *given;
    if (!text.empty() && text[0] != 'T') return std::nullopt;
  } else if (!text.empty()) {
    return std::nullopt;
  }
  const std::chrono::year_month_day date{std::chrono::year(*year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  if (text.empty()) return days * 86'400'000;
  const auto time = time_of_day_ms(text.substr(1));
  if (!time) return std::nullopt;
  return days * 86'400'000 + *time;
}

std::optional<AddressRange> AddressRange::parse(std::string_view text) {
  const size_t slash = std::min(text.find('/'), text.size());
  char address[INET6_ADDRSTRLEN] = {};
  if (slash >= sizeof(address)) return std::nullopt;
  std::memcpy(address, text.data(), slash);
  if (std::strlen(address) != slash) return std::nullopt;
  AddressRange range;
  range.v6 = text.substr(0, slash).find(':') != text.npos;
  if (inet_pton(range.v6 ? AF_INET6 : AF_INET, address, range.bytes.data()) != 1) {
    return std::nullopt;
  }
  range.bits = range.v6 ? 128 : 32;
  if (slash < text.size()) {
    const auto bits = parse_int<int>(text.substr(slash + 1));
    if (!bits || !is_digits(text.substr(slash + 1)) || *bits > range.bits) return std::nullopt;
    range.bits = *bits;
  }
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (range.v6 && range.bits >= 96 && std::memcmp(range.bytes.data(), kMapped, 12) == 0) {
    std::copy_n(range.bytes.begin() + 12, 4, range.bytes.begin());
    std::fill(range.bytes.begin() + 4, range.bytes.end(), uint8_t{0});
    range.v6 = false;
    range.bits -= 96;
  }
  return range;
}

bool AddressRange::contains(const AddressRange& address) const {
  if (address.v6 != v6 || address.bits < bits) return false;
  const auto whole = static_cast<size_t>(bits) / 8;
  if (std::memcmp(bytes.data(), address.bytes.data(), whole) != 0) return false;
  const int rest = bits % 8;
  return rest == 0 || (bytes[whole] ^ address.bytes[whole]) >> (8 - rest) == 0;
}

absl::StatusOr<Condition> Condition::parse(std::string_view operator_text, ConditionKey key) {
  std::string_view name = operator_text;
  const Set set = take(name, kAllValues)  ? Set::kAllValues
                  : take(name, kAnyValue) ? Set::kAnyValue
                                          : Set::kNone;
  const bool if_exists = name.ends_with(kIfExists);
  if (if_exists) name.remove_suffix(kIfExists.size());
  const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                   [&](const Operator& op) { return op.name == name; });
  const bool takes_no_words = found != std::end(kOperators) && found->kind == Kind::kNull;
  if (found == std::end(kOperators) || (takes_no_words && (if_exists || set != Set::kNone))) {
    return absl::InvalidArgumentError(cat("no such operator: ", operator_text));
  }
  Condition condition(*found, std::move(key));
  condition.set_ = set;
  condition.if_exists_ = if_exists;
  return condition;
}

std::string Condition::operator_text() const {
  return cat(set_ == Set::kAllValues  ? kAllValues
             : set_ == Set::kAnyValue ? kAnyValue
                                      : std::string_view(),
             operator_->name, if_exists_ ? kIfExists : std::string_view());
}

absl::Status Condition::add(std::string_view value, bool variables) {
  const auto keep = [&](auto operand, const char* what) -> absl::Status {
    if (!operand) return absl::InvalidArgumentError(cat("not ", what, ": ", value));
    operands_.emplace_back(std::move(*operand));
    texts_.emplace_back(value);
    return absl::OkStatus();
  };
  switch (operator_->kind) {
    case Kind::kText:
    case Kind::kArn: {
      auto pattern =
          Pattern::parse(value, {operator_->wildcards, variables, operator_->ignores_case});
      if (!pattern.ok()) return pattern.status();
      if (operator_->kind == Kind::kText) return keep(std::optional(*std::move(pattern)), "");
      auto parts = pattern->split(kArnParts);
      const bool is_arn = value == "*" || (parts.size() == kArnParts && value.starts_with("arn:"));
      return keep(is_arn ? std::optional(std::move(parts)) : std::nullopt, "an ARN");
    }
    case Kind::kNumber:
      return keep(Decimal::parse(value), "a number");
    case Kind::kMoment:
      return keep(parse_moment(value), "a date");
    case Kind::kBool:
    case Kind::kNull:
      return keep(parse_bool(value), "true or false");
    case Kind::kBinary: {
      auto bytes = decode_base64(value);
      return keep(bytes ? std::optional(Binary{*std::move(bytes)}) : std::nullopt, "base64");
    }
    case Kind::kAddress:
      return keep(AddressRange::parse(value), "an IP address or range");
  }
  return absl::InternalError("no such kind");
}

// Whether any of its own values is what the operator asks for, as if it were not negated.
bool Condition::fits(std::string_view value, const Context& context, Parsed& parsed) const {
  const auto any = [&](const auto& is_it) {
    return std::any_of(operands_.begin(), operands_.end(), is_it);
  };
  const auto any_compared = [&](const auto& given) {
    using T = std::remove_cvref_t<decltype(*given)>;
    return given &&
           any([&](const Operand& o) { return compare(*given, operator_->order, std::get<T>(o)); });
  };
  const auto is_new = [&](std::string_view& known) {
    if (value.data() == known.data() && value.size() == known.size()) return false;
    known = value;
    return true;
  };
  switch (operator_->kind) {
    case Kind::kText:
      return any([&](const Operand& o) { return std::get<Pattern>(o).matches(value, context); });
    case Kind::kArn:
      return any([&](const Operand& o) { return matches_arn(std::get<Arn>(o), value, context); });
    case Kind::kNumber:
      return any_compared(Decimal::parse(value));
    case Kind::kMoment:
      if (is_new(parsed.moment_text)) parsed.moment = parse_moment(value);
      return any_compared(parsed.moment);
    case Kind::kBool:
      return any_compared(parse_bool(value));
    case Kind::kBinary:
      return any([&](const Operand& o) { return std::get<Binary>(o).bytes == value; });
    case Kind::kAddress:
      if (is_new(parsed.address_text)) parsed.address = AddressRange::parse(value);
      return parsed.address && any([&](const Operand& o) {
               return std::get<AddressRange>(o).contains(*parsed.address);
             });
    case Kind::kNull:
      break;  // is_null()
  }
  return false;
}

bool Condition::is_null(const Context& context) const {
  for (size_t i = 0;; i++) {
    const auto value = context.value(key_, i);
    if (!value) return true;
    if (!value->empty()) return false;
  }
}

bool Condition::holds(const Context& context, Parsed& parsed) const {
  if (operator_->kind == Kind::kNull) {
    const bool null = is_null(context);
    return std::any_of(operands_.begin(), operands_.end(),
                       [&](const Operand& o) { return std::get<bool>(o) == null; });
  }
  bool any = false, all = true;
  size_t place = 0;
  for (;; place++) {
    const auto value = context.value(key_, place);
    if (!value) break;
    if (set_ != Set::kNone && value->empty()) continue;
    const bool holds = fits(*value, context, parsed) != operator_->negated;
    any |= holds;
    all &= holds;
  }
  if (place == 0 && if_exists_) return true;
  switch (set_) {
    case Set::kAllValues:
      return all;
    case Set::kAnyValue:
      return any;
    case Set::kNone:
      return operator_->negated ? all : any;
  }
  return false;
}

}  // namespace cairn::policy
