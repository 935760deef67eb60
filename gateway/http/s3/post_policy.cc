#include "gateway/http/s3/post_policy.h"

#include <absl/time/time.h>

#include <algorithm>
#include <boost/json.hpp>

#include "core/base/text.h"
#include "objects/digest.h"

namespace cairn::s3 {

namespace json = boost::json;

namespace {

Error invalid(std::string_view why) {
  return {"InvalidPolicyDocument", cat("Invalid Policy: ", why)};
}
Error denied(std::string_view why) {
  return {"AccessDenied", cat("Invalid according to Policy: ", why)};
}

std::string text_of(const json::string& text) { return {text.data(), text.size()}; }

// A number, also as a text.
std::optional<uint64_t> number_of(const json::value& value) {
  if (value.is_int64() && value.get_int64() >= 0) return static_cast<uint64_t>(value.get_int64());
  if (value.is_uint64()) return value.get_uint64();
  if (value.is_string()) return parse_int<uint64_t>(text_of(value.get_string()));
  return std::nullopt;
}

std::string without_escaped_dollars(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    const bool escape = text[i] == '\\' && i + 1 < text.size();
    if (escape && text[i + 1] == '$') continue;
    out.push_back(text[i]);
    if (escape) out.push_back(text[++i]);
  }
  return out;
}

Error add_object(const json::object& object, PostPolicy& policy) {
  if (object.size() != 1) {
    return invalid(
        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.");
  }
  const auto& entry = *object.begin();
  if (!entry.value().is_string()) {
    return invalid("Invalid Simple-Condition: value must be a string.");
  }
  policy.conditions.push_back({false,
                               lower(std::string_view(entry.key().data(), entry.key().size())),
                               text_of(entry.value().get_string())});
  return {};
}

Error add_list(const json::array& list, PostPolicy& policy) {
  if (list.size() != 3 || !list[0].is_string()) {
    return invalid("Invalid Condition: expected an operation and two arguments.");
  }
  const std::string operation = lower(text_of(list[0].get_string()));
  if (operation == "content-length-range") {
    const auto least = number_of(list[1]), most = number_of(list[2]);
    if (!least || !most) return invalid("Invalid content-length-range: expected two numbers.");
    policy.bytes_least = std::max(policy.bytes_least, *least);
    policy.bytes_most = std::min(policy.bytes_most, *most);
    return {};
  }
  if (operation != "eq" && operation != "starts-with") {
    return invalid(cat("Invalid Condition: unknown operation '", operation, "'."));
  }
  if (!list[1].is_string() || !list[2].is_string()) {
    return invalid("Invalid Condition: its arguments must be strings.");
  }
  const std::string name = lower(text_of(list[1].get_string()));
  if (!name.starts_with('$') || name.size() < 2) {
    return invalid("Invalid Condition: the name of a field must begin with '$'.");
  }
  policy.conditions.push_back(
      {operation == "starts-with", name.substr(1), text_of(list[2].get_string())});
  return {};
}

// Of a list of types each must begin so.
bool begins(std::string_view value, const PostPolicy::Condition& c) {
  if (c.name != "content-type" || value.find(',') == value.npos) return value.starts_with(c.value);
  while (!value.empty()) {
    const size_t comma = value.find(',');
    std::string_view one = value.substr(0, comma);
    value.remove_prefix(comma == value.npos ? value.size() : comma + 1);
    while (one.starts_with(' ')) one.remove_prefix(1);
    if (!one.starts_with(c.value)) return false;
  }
  return true;
}

// Those that no condition needs to name.
bool is_free(std::string_view name) {
  constexpr std::string_view kFree[] = {"policy", "x-amz-signature", "signature", "awsaccesskeyid"};
  return std::find(std::begin(kFree), std::end(kFree), name) != std::end(kFree) ||
         name.starts_with("x-ignore-");
}

}  // namespace

std::string PostPolicy::Condition::text() const {
  const auto quoted = [](const std::string& text) {
    return json::serialize(json::value(json::string_view(text)));
  };
  return cat("[\"", prefix ? "starts-with" : "eq", "\", ", quoted("$" + name), ", ", quoted(value),
             "]");
}

Error parse_post_policy(std::string_view base64, PostPolicy& policy) {
  const auto text = objects::base64_decode(base64, base64.size());
  if (!text) return invalid("Invalid Base64 Encoding.");
  boost::system::error_code ec;
  // As AWS's own examples have it: a comma behind the last condition, and "\\$" for "$".
  json::parse_options lenient;
  lenient.allow_trailing_commas = true;
  const json::value document = json::parse(without_escaped_dollars(*text), ec, {}, lenient);
  if (ec || !document.is_object()) return invalid("Invalid JSON.");
  const json::object& root = document.get_object();
  const json::value* expiration = root.if_contains("expiration");
  if (expiration == nullptr) return invalid("Policy missing expiration.");
  absl::Time time;
  std::string why;
  const std::string stamp = expiration->is_string() ? text_of(expiration->get_string()) : "";
  if (!absl::ParseTime(absl::RFC3339_full, stamp, &time, &why) || time == absl::InfiniteFuture() ||
      time == absl::InfinitePast()) {
    return invalid(cat("Invalid 'expiration' value: '", stamp, "'"));
  }
  policy.expires_ms = absl::ToUnixMillis(time);
  const json::value* conditions = root.if_contains("conditions");
  if (conditions == nullptr) return invalid("Policy missing conditions.");
  if (!conditions->is_array()) return invalid("Invalid 'conditions' value: must be a List.");
  for (auto& entry : root) {
    if (entry.key() != "expiration" && entry.key() != "conditions") {
      return invalid(
          cat("Unexpected: '", std::string_view(entry.key().data(), entry.key().size()), "'"));
    }
  }
  for (const json::value& one : conditions->get_array()) {
    Error e = one.is_object()  ? add_object(one.get_object(), policy)
              : one.is_array() ? add_list(one.get_array(), policy)
                               : invalid("Invalid condition: must be an object or a list.");
    if (e) return e;
  }
  return {};
}

Error check_post_policy(const PostPolicy& policy, const std::map<std::string, std::string>& fields,
                        std::string_view bucket, int64_t now_ms) {
  if (now_ms >= policy.expires_ms) return denied("Policy expired.");
  for (auto& c : policy.conditions) {
    const auto field = fields.find(c.name);
    const bool there = c.name == "bucket" || field != fields.end();
    const std::string_view value = c.name == "bucket" ? bucket
                                   : there            ? std::string_view(field->second)
                                                      : std::string_view();
    if (!there || !(c.prefix ? begins(value, c) : value == c.value)) {
      return denied(cat("Policy Condition failed: ", c.text()));
    }
  }
  const auto named = [&](std::string_view name) {
    return std::any_of(policy.conditions.begin(), policy.conditions.end(),
                       [&](auto& c) { return c.name == name; });
  };
  std::string extra;
  // Nothing else that is signed says whose bucket it is.
  if (!named("bucket")) extra = "bucket";
  for (auto& [name, value] : fields) {
    if (name == "bucket" || named(name) || is_free(name)) continue;
    append(extra, extra.empty() ? "" : ", ", name);
  }
  return extra.empty() ? Error{} : denied(cat("Extra input fields: ", extra));
}

}  // namespace cairn::s3
