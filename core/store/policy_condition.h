// The conditions of a statement: an operator, a key, and the values that it is compared with.
//
// As AWS documents them. A statement applies if all its conditions hold; a condition holds if its
// operator is true of the request's value and any of its own, or, where it is negated, of none.
// Where the request has no value of the key: ...IfExists holds, ForAllValues holds, ForAnyValue
// does not, a negated operator holds, any other does not. For ForAllValues, ForAnyValue and Null an
// empty text is no value. Where a key has several values and the operator is of no set, any may
// fit.
//
// Threads: constant once it is made.
#pragma once

#include <absl/status/statusor.h>

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/store/policy_pattern.h"

namespace cairn::policy {

// A number of at most 18 digits, and 9 behind the point.
struct Decimal {
  int64_t whole;     // the largest that is not above it
  int64_t billions;  // what is left, in billionths
  auto operator<=>(const Decimal&) const = default;
  static std::optional<Decimal> parse(std::string_view text);
};

// Seconds since 1970, or what the W3C's profile of ISO 8601 has: a year and month, a day, a time
// with its zone (without one it is UTC). In milliseconds since 1970.
std::optional<int64_t> parse_moment(std::string_view text);

// An address, or all that have the same first bits. IPv4 is not IPv6; its form within IPv6 is IPv4.
struct AddressRange {
  std::array<uint8_t, 16> bytes = {};
  bool v6 = false;
  int bits = 0;
  static std::optional<AddressRange> parse(std::string_view text);
  bool contains(const AddressRange& address) const;
};

enum class Kind : uint8_t { kText, kArn, kNumber, kMoment, kBool, kBinary, kAddress, kNull };
enum class Order : uint8_t { kEqual, kLess, kLessOrEqual, kGreater, kGreaterOrEqual };
struct Operator {
  std::string_view name;
  Kind kind;
  bool negated = false;
  Order order = Order::kEqual;
  bool wildcards = false;
  bool ignores_case = false;
};

enum class Set : uint8_t { kNone, kAllValues, kAnyValue };

// The last values that were read as an address and as a moment: one walk over many statements reads
// the client's address once. A view is known by where it lies, since it holds for all of the walk.
struct Parsed {
  std::string_view address_text, moment_text;
  std::optional<AddressRange> address;
  std::optional<int64_t> moment;
};

class Condition {
 public:
  // InvalidArgument: there is no such operator.
  static absl::StatusOr<Condition> parse(std::string_view operator_text, ConditionKey key);
  // InvalidArgument: the operator does not take it; the message says why.
  absl::Status add(std::string_view value, bool variables);

  bool holds(const Context& context, Parsed& parsed) const;

  std::string operator_text() const;  // "ForAllValues:StringLikeIfExists"
  const Operator& op() const { return *operator_; }
  const ConditionKey& key() const { return key_; }
  const std::vector<std::string>& values() const { return texts_; }

 private:
  using Arn = std::vector<Pattern>;  // its six parts
  struct Binary {
    std::string bytes;
  };
  using Operand = std::variant<Pattern, Arn, Decimal, int64_t, bool, Binary, AddressRange>;

  Condition(const Operator& op, ConditionKey key) : operator_(&op), key_(std::move(key)) {}
  bool fits(std::string_view value, const Context& context, Parsed& parsed) const;
  bool is_null(const Context& context) const;

  const Operator* operator_;
  Set set_ = Set::kNone;
  bool if_exists_ = false;
  ConditionKey key_;
  std::vector<Operand> operands_;
  std::vector<std::string> texts_;  // the same, as they were written
};

}  // namespace cairn::policy
