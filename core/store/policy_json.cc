#include "core/store/policy_json.h"

#include <absl/strings/cord.h>

#include <algorithm>
#include <boost/json.hpp>
#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "core/base/text.h"

namespace cairn::policy {
namespace {

namespace json = boost::json;
using absl::Status;
using absl::StatusOr;

constexpr const char* kDetailKey = "cairn/policy-detail";
constexpr std::string_view kNewVersion = "2012-10-17", kOldVersion = "2008-10-17";

std::string_view text_of(const json::string& s) { return {s.data(), s.size()}; }
std::string_view text_of(json::string_view s) { return {s.data(), s.size()}; }

// Reads JSON for the one thing that a json::value does not tell: a key that stands twice.
struct KeysReader {
  static constexpr size_t max_object_size = SIZE_MAX, max_array_size = SIZE_MAX,
                          max_key_size = SIZE_MAX, max_string_size = SIZE_MAX;
  using Error = json::error_code;
  std::vector<std::vector<std::string>> open;  // the keys of each object that is not closed
  std::string key, twice;

  bool on_document_begin(Error&) { return true; }
  bool on_document_end(Error&) { return true; }
  bool on_object_begin(Error&) {
    open.emplace_back();
    return true;
  }
  bool on_object_end(size_t, Error&) {
    open.pop_back();
    return true;
  }
  bool on_array_begin(Error&) { return true; }
  bool on_array_end(size_t, Error&) { return true; }
  bool on_key_part(json::string_view part, size_t, Error&) {
    key.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, size_t, Error& error) {
    key.append(part.data(), part.size());
    auto& keys = open.back();
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
      twice = key;
      error = json::error::syntax;
      return false;
    }
    keys.push_back(std::exchange(key, {}));
    return true;
  }
  bool on_string_part(json::string_view, size_t, Error&) { return true; }
  bool on_string(json::string_view, size_t, Error&) { return true; }
  bool on_number_part(json::string_view, Error&) { return true; }
  bool on_int64(int64_t, json::string_view, Error&) { return true; }
  bool on_uint64(uint64_t, json::string_view, Error&) { return true; }
  bool on_double(double, json::string_view, Error&) { return true; }
  bool on_bool(bool, Error&) { return true; }
  bool on_null(Error&) { return true; }
  bool on_comment_part(json::string_view, Error&) { return true; }
  bool on_comment(json::string_view, Error&) { return true; }
};

std::string key_that_stands_twice(std::string_view text) {
  json::basic_parser<KeysReader> parser{json::parse_options()};
  json::error_code error;
  parser.write_some(false, text.data(), text.size(), error);
  return parser.handler().twice;
}

// A value of a condition as text.
std::optional<std::string> scalar(const json::value& v) {
  char digits[400];
  if (v.is_string()) return std::string(text_of(v.get_string()));
  if (v.is_bool()) return v.get_bool() ? "true" : "false";
  if (v.is_int64()) return cat(v.get_int64());
  if (v.is_uint64()) return cat(v.get_uint64());
  if (!v.is_double()) return std::nullopt;
  const auto end =
      std::to_chars(digits, digits + sizeof(digits), v.get_double(), std::chars_format::fixed);
  return std::string(digits, end.ptr);
}

// One value, or a list of them; nothing if any is none.
std::optional<std::vector<std::string>> scalars(const json::value& v) {
  std::vector<std::string> all;
  const json::value* at = &v;
  const json::value* end = at + 1;
  if (v.is_array()) {
    at = v.get_array().data();
    end = at + v.get_array().size();
  }
  for (; at != end; at++) {
    auto one = scalar(*at);
    if (!one) return std::nullopt;
    all.push_back(*std::move(one));
  }
  return all;
}

std::optional<std::vector<std::string>> strings(const json::value& v) {
  const auto is_string = [](const json::value& one) { return one.is_string(); };
  const bool all = v.is_array() ? std::all_of(v.get_array().begin(), v.get_array().end(), is_string)
                                : is_string(v);
  return all ? scalars(v) : std::nullopt;
}

bool has_wildcard(std::string_view text) { return text.find_first_of("*?") != text.npos; }

class Reader {
 public:
  // `bucket` null: of no bucket. `trust`: of a role's trust.
  explicit Reader(const std::string_view* bucket, bool trust = false)
      : bucket_(bucket), trust_(trust) {}
  StatusOr<Policy> read(std::string_view text);

 private:
  Status refuse(std::string_view s3, std::string_view iam, std::string_view detail) const;
  Status wrong_type(std::string_view what) const {
    return refuse("Invalid policy syntax.", "Syntax errors in policy.", what);
  }
  // Of elements that a statement must have. IAM has a sentence for some.
  Status missing(std::string_view field, std::string_view iam = "Syntax errors in policy.") const {
    return refuse(cat("Missing required field ", field), iam, field);
  }
  Status invalid_principal(std::string_view which) const {
    return refuse("Invalid principal in policy", "Invalid principal in policy:", which);
  }
  Status check_fields(const json::object& object, std::string_view known) const;
  Status read_version(const json::object& object);
  Status read_statement(const json::value& value);
  Status read_head(const json::object& object, Statement& to) const;
  Status read_actions(const json::object& object, Statement& to) const;
  Status read_resources(const json::object& object, Statement& to) const;
  Status read_principals(const json::object& object, Statement& to) const;
  Status add_principals(const json::value& value, Statement& to) const;
  Status read_conditions(const json::object& object, Statement& to) const;
  Status add_values(const json::value& value, Condition& to) const;
  // What S3 asks of the statement as a whole.
  Status check_levels(const Statement& statement) const;
  Status check_keys(const Statement& statement) const;
  // The one of two elements that is there. Null: none is.
  StatusOr<const json::value*> one_of(const json::object& object, std::string_view name,
                                      bool& negated) const;

  const std::string_view* const bucket_;
  const bool trust_;
  Policy policy_;
};

Status Reader::refuse(std::string_view s3, std::string_view iam, std::string_view detail) const {
  const std::string_view message = bucket_ != nullptr ? s3 : iam;
  Status refusal = absl::InvalidArgumentError(cat(message));
  if (!detail.empty()) {
    refusal.SetPayload(kDetailKey, absl::Cord(cat(detail)));
  }
  return refusal;
}

Status Reader::check_fields(const json::object& object, std::string_view known) const {
  const auto words = words_of(known);
  for (const auto& [name, value] : object) {
    const std::string_view key = text_of(name);
    if (std::find(words.begin(), words.end(), key) == words.end()) {
      const std::string text = cat("Unknown field ", key);
      return refuse(text, "Syntax errors in policy.", text);
    }
  }
  return absl::OkStatus();
}

StatusOr<const json::value*> Reader::one_of(const json::object& object, std::string_view name,
                                            bool& negated) const {
  const std::string other = cat("Not", name);
  const json::value* plain = object.if_contains({name.data(), name.size()});
  const json::value* not_this = object.if_contains(other);
  if (plain != nullptr && not_this != nullptr) {
    return wrong_type(cat("both ", name, " and ", other));
  }
  negated = not_this != nullptr;
  return negated ? not_this : plain;
}

Status Reader::read_version(const json::object& object) {
  const json::value* version = object.if_contains("Version");
  const bool is_text = version != nullptr && version->is_string();
  const std::string_view text = is_text ? text_of(version->get_string()) : std::string_view();
  if (version != nullptr && text != kNewVersion && text != kOldVersion) {
    return refuse("The policy must contain a valid version string", "Syntax errors in policy.",
                  "Version");
  }
  policy_.has_variables = text == kNewVersion;
  if (bucket_ == nullptr && !policy_.has_variables) {
    return refuse("", "Policy document must be version 2012-10-17 or greater.", "Version");
  }
  return absl::OkStatus();
}

StatusOr<Policy> Reader::read(std::string_view text) {
  if (!text.starts_with('{') && bucket_ != nullptr) {
    return refuse("Policies must be valid JSON and the first byte must be '{'", "", "");
  }
  json::error_code error;
  const json::value document = json::parse({text.data(), text.size()}, error);
  if (error) {
    return refuse("This policy contains invalid Json", "Syntax errors in policy.", error.message());
  }
  if (const std::string twice = key_that_stands_twice(text); !twice.empty()) {
    return refuse("This policy contains invalid Json", "Syntax errors in policy.",
                  cat("a key stands twice: ", twice));
  }
  if (!document.is_object()) return wrong_type("the policy is no object");
  const json::object& object = document.get_object();
  if (Status s = check_fields(object, "Version Id Statement"); !s.ok()) return s;
  if (Status s = read_version(object); !s.ok()) return s;
  if (const json::value* id = object.if_contains("Id")) {
    if (!id->is_string()) return wrong_type("Id");
    policy_.id = std::string(text_of(id->get_string()));
  }
  const json::value* statements = object.if_contains("Statement");
  if (statements == nullptr) return missing("Statement");
  const bool is_empty = statements->is_array() && statements->get_array().empty();
  if (is_empty) {
    return refuse("Could not parse the policy: Statement is empty!", "Syntax errors in policy.",
                  "Statement");
  }
  const json::value* at = statements;
  const json::value* end = at + 1;
  if (statements->is_array()) {
    at = statements->get_array().data();
    end = at + statements->get_array().size();
  }
  for (; at != end; at++) {
    if (Status s = read_statement(*at); !s.ok()) return s;
  }
  return std::move(policy_);
}

Status Reader::read_statement(const json::value& value) {
  if (!value.is_object()) return wrong_type("Statement");
  const json::object& object = value.get_object();
  Status s = check_fields(object,
                          "Sid Effect Principal NotPrincipal Action NotAction Resource "
                          "NotResource Condition");
  if (!s.ok()) return s;
  Statement statement;
  using Part = Status (Reader::*)(const json::object&, Statement&) const;
  for (Part part : {&Reader::read_head, &Reader::read_principals, &Reader::read_actions,
                    &Reader::read_resources, &Reader::read_conditions}) {
    if (s = (this->*part)(object, statement); !s.ok()) return s;
  }
  if (bucket_ != nullptr) {
    if (s = check_levels(statement); !s.ok()) return s;
    if (s = check_keys(statement); !s.ok()) return s;
  }
  policy_.statements.push_back(std::move(statement));
  return absl::OkStatus();
}

Status Reader::read_head(const json::object& object, Statement& to) const {
  if (const json::value* sid = object.if_contains("Sid")) {
    if (!sid->is_string()) return wrong_type("Sid");
    to.sid = std::string(text_of(sid->get_string()));
    constexpr std::string_view kInSids =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    if (bucket_ == nullptr && to.sid.find_first_not_of(kInSids) != std::string::npos) {
      return refuse("",
                    "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies "
                    "the regular expression [0-9A-Za-z]*",
                    to.sid);
    }
    const auto& all = policy_.statements;
    const bool again =
        !to.sid.empty() &&
        std::any_of(all.begin(), all.end(), [&](const Statement& s) { return s.sid == to.sid; });
    if (again) {
      return refuse("The Statement Ids in the policy are not unique",
                    "Statement IDs (SID) in a single policy must be unique.", to.sid);
    }
  }
  const json::value* effect = object.if_contains("Effect");
  if (effect == nullptr) return missing("Effect");
  if (!effect->is_string()) return wrong_type("Effect");
  const std::string_view text = text_of(effect->get_string());
  if (text != "Allow" && text != "Deny") {
    const std::string message = cat("Invalid effect: ", text);
    return refuse(message, "Syntax errors in policy.", message);
  }
  to.allow = text == "Allow";
  return absl::OkStatus();
}

Status Reader::read_actions(const json::object& object, Statement& to) const {
  constexpr std::string_view kNone = "Policy statement must contain actions.";
  const auto value = one_of(object, "Action", to.not_action);
  if (!value.ok()) return value.status();
  if (*value == nullptr) return missing("Action", kNone);
  const auto texts = strings(**value);
  if (!texts) return wrong_type("Action");
  if (texts->empty()) return missing("Action cannot be empty!", kNone);
  for (const std::string& text : *texts) {
    if (const Status s = to.actions.add(text); !s.ok()) {
      return refuse("Policy has invalid action", std::string(s.message()), text);
    }
    const std::string door = lower(std::string_view(text).substr(0, text.find(':')));
    constexpr std::string_view kOfTrust[] = {"sts:assumerole", "sts:assumerolewithwebidentity",
                                             "sts:*", "sts:assumerole*"};
    const bool of_trust =
        std::find(std::begin(kOfTrust), std::end(kOfTrust), lower(text)) != std::end(kOfTrust);
    if (trust_ && !of_trust) {
      return refuse("", "AssumeRole policy may only specify STS AssumeRole actions.", text);
    }
    const bool of_no_bucket = door == "iam" || door == "kms" || door == "sts" || door == "admin";
    if (bucket_ != nullptr && of_no_bucket) {
      return refuse("Policy has invalid action", "", text);
    }
  }
  return absl::OkStatus();
}

Status Reader::read_resources(const json::object& object, Statement& to) const {
  constexpr std::string_view kNone = "Policy statement must contain resources.";
  const auto value = one_of(object, "Resource", to.not_resource);
  if (!value.ok()) return value.status();
  if (trust_) {
    if (*value != nullptr) return refuse("", "Has prohibited field Resource.", "Resource");
    to.not_resource = true;  // than none: the role that it is of
    return absl::OkStatus();
  }
  if (*value == nullptr) return missing("Resource", kNone);
  const auto texts = strings(**value);
  if (!texts) return wrong_type("Resource");
  if (texts->empty()) return missing("Resource cannot be empty!", kNone);
  struct Nothing final : Context {
    std::optional<std::string_view> value(const ConditionKey&, size_t) const override {
      return std::nullopt;
    }
  };
  for (const std::string& text : *texts) {
    auto pattern = ResourcePattern::parse(text, policy_.has_variables);
    if (!pattern.ok()) {
      return refuse("Policy has invalid resource", std::string(pattern.status().message()), text);
    }
    const bool of_another = bucket_ != nullptr && pattern->kind != ResourcePattern::kAll &&
                            (pattern->kind != ResourcePattern::kS3 ||
                             !pattern->pattern.before_slash().matches(*bucket_, Nothing()));
    if (of_another) return refuse("Policy has invalid resource", "", text);
    to.resources.push_back(*std::move(pattern));
  }
  return absl::OkStatus();
}

Status Reader::read_principals(const json::object& object, Statement& to) const {
  const auto value = one_of(object, "Principal", to.not_principal);
  if (!value.ok()) return value.status();
  if (bucket_ == nullptr && !trust_) {
    if (*value == nullptr) return absl::OkStatus();
    return refuse("", "Policy document should not specify a principal.", "Principal");
  }
  if (*value == nullptr) return missing("Principal", "Missing required field Principal");
  if (to.not_principal && to.allow) {
    return refuse("Invalid policy syntax.", "Allow with NotPrincipal is not allowed.",
                  "NotPrincipal goes with Deny alone");
  }
  if (Status s = add_principals(**value, to); !s.ok()) return s;
  if (to.principals.empty()) {
    return missing("Principal cannot be empty!",
                   "Missing required field Principal cannot be empty!");
  }
  return absl::OkStatus();
}

Status Reader::add_principals(const json::value& value, Statement& to) const {
  const auto add = [&](std::string_view type, const json::value& list) {
    const auto texts = strings(list);
    if (!texts) return wrong_type("Principal");
    for (const std::string& text : *texts) {
      auto principal = PrincipalPattern::parse(type, text);
      const bool federated = principal && principal->kind == PrincipalPattern::kProvider;
      if (!principal || (federated && !trust_)) {
        return invalid_principal(cat("\"", type, "\" : \"", text, "\""));
      }
      to.principals.push_back(*std::move(principal));
    }
    return absl::OkStatus();
  };
  if (value.is_string()) {
    const std::string_view text = text_of(value.get_string());
    if (text == "*") return add("AWS", value);
    return invalid_principal(text);
  }
  if (!value.is_object()) return wrong_type("Principal");
  for (const auto& [type, list] : value.get_object()) {
    if (Status s = add(text_of(type), list); !s.ok()) return s;
  }
  return absl::OkStatus();
}

Status Reader::read_conditions(const json::object& object, Statement& to) const {
  const json::value* value = object.if_contains("Condition");
  if (value == nullptr) return absl::OkStatus();
  if (!value->is_object()) return wrong_type("Condition");
  for (const auto& [operator_name, map] : value->get_object()) {
    const std::string_view name = text_of(operator_name);
    if (!Condition::parse(name, {}).ok()) {
      const std::string message = cat("Invalid Condition type : ", name);
      return refuse(message, "Syntax errors in policy.", message);
    }
    if (!map.is_object()) return wrong_type(name);
    for (const auto& [key_name, values] : map.get_object()) {
      const auto key = ConditionKey::parse(text_of(key_name), trust_);
      if (!key) {
        constexpr std::string_view kInvalid = "Policy has an invalid condition key";
        return refuse(kInvalid, kInvalid, text_of(key_name));
      }
      // A key's case does not matter, so it may stand twice though the texts differ.
      const bool again =
          std::any_of(to.conditions.begin(), to.conditions.end(), [&](const Condition& c) {
            return c.operator_text() == name && c.key().text() == key->text();
          });
      if (again) return wrong_type(cat("a key stands twice: ", key->text()));
      auto condition = Condition::parse(name, *key);
      if (Status s = add_values(values, *condition); !s.ok()) return s;
      to.conditions.push_back(*std::move(condition));
    }
  }
  return absl::OkStatus();
}

Status Reader::add_values(const json::value& value, Condition& to) const {
  const auto texts = scalars(value);
  if (!texts) return wrong_type(to.key().text());
  if (texts->empty()) return wrong_type(cat("no value of ", to.key().text()));
  const Kind kind = to.op().kind;
  for (const std::string& text : *texts) {
    const Status s = to.add(text, policy_.has_variables);
    // S3 looks at the values of this key whatever they are compared by.
    const bool must_be_address = bucket_ != nullptr && to.key().key == Key::kSourceIp &&
                                 kind != Kind::kNull && !AddressRange::parse(text);
    if (s.ok() && !must_be_address) continue;
    return refuse(kind == Kind::kAddress || must_be_address
                      ? std::string("Invalid IP address in Conditions")
                      : cat("Invalid value in Conditions for operator ", to.operator_text()),
                  "The policy failed legacy parsing",
                  s.ok() ? cat("not an IP address or range: ", text) : std::string(s.message()));
  }
  return absl::OkStatus();
}

Status Reader::check_levels(const Statement& statement) const {
  if (statement.not_action || statement.not_resource) return absl::OkStatus();
  bool objects = false, buckets = false;
  for (const ResourcePattern& r : statement.resources) {
    objects |= r.pattern.may_have_slash();
    buckets |= r.pattern.may_lack_slash();
  }
  for (const std::string& text : statement.actions.texts()) {
    ActionSet one;
    if (!one.add(text).ok()) continue;
    const std::string_view door = std::string_view(text).substr(0, text.find(':'));
    bool applies = !equals_ignoring_case(door, "s3");
    for (size_t i = 0; i < kS3Actions && !applies; i++) {
      if (!one.has_s3(i)) continue;
      const Level level = level_of(i);
      applies = (level == Level::kObject && objects) || (level == Level::kBucket && buckets);
    }
    if (!applies) return refuse("Action does not apply to any resource(s) in statement", "", text);
  }
  return absl::OkStatus();
}

Status Reader::check_keys(const Statement& statement) const {
  if (statement.not_action) return absl::OkStatus();
  for (const std::string& text : statement.actions.texts()) {
    const size_t colon = text.find(':');
    const bool is_s3 = equals_ignoring_case(std::string_view(text).substr(0, colon), "s3");
    if (!is_s3 || has_wildcard(text)) continue;
    const int number = s3_number(std::string_view(text).substr(colon + 1));
    for (const Condition& c : statement.conditions) {
      if (row_of(c.key().key).goes_with(s3_action(static_cast<size_t>(number)))) continue;
      return refuse("Conditions do not apply to combination of actions and resources in statement",
                    "", cat(c.key().text(), " with ", text));
    }
  }
  return absl::OkStatus();
}

Status too_long(std::string_view message) { return absl::OutOfRangeError(cat(message)); }

json::string_view view(std::string_view text) { return {text.data(), text.size()}; }

json::array list_of(const std::vector<std::string>& texts) {
  json::array list;
  for (const std::string& text : texts) list.emplace_back(view(text));
  return list;
}

json::value principals_of(const Statement& statement) {
  const auto& all = statement.principals;
  if (all.size() == 1 && all[0].kind == PrincipalPattern::kEverybody) return "*";
  json::object object;
  for (const PrincipalPattern& p : all) {
    const char* type = p.kind == PrincipalPattern::kCanonicalUser ? "CanonicalUser"
                       : p.kind == PrincipalPattern::kProvider    ? "Federated"
                                                                  : "AWS";
    json::value& list = object[type];
    if (!list.is_array()) list.emplace_array();
    list.get_array().emplace_back(view(p.text));
  }
  return object;
}

json::object to_value(const Statement& statement) {
  json::object object;
  if (!statement.sid.empty()) object["Sid"] = view(statement.sid);
  object["Effect"] = statement.allow ? "Allow" : "Deny";
  if (!statement.principals.empty()) {
    object[statement.not_principal ? "NotPrincipal" : "Principal"] = principals_of(statement);
  }
  object[statement.not_action ? "NotAction" : "Action"] = list_of(statement.actions.texts());
  if (!statement.resources.empty()) {  // of trust there are none
    json::array resources;
    for (const ResourcePattern& r : statement.resources) resources.emplace_back(view(r.text));
    object[statement.not_resource ? "NotResource" : "Resource"] = std::move(resources);
  }
  if (statement.conditions.empty()) return object;
  json::object conditions;
  for (const Condition& c : statement.conditions) {
    json::value& map = conditions[c.operator_text()];
    if (!map.is_object()) map.emplace_object();
    map.get_object()[c.key().text()] = list_of(c.values());
  }
  object["Condition"] = std::move(conditions);
  return object;
}

}  // namespace

namespace {
// Without its white space.
size_t counted(std::string_view text) {
  const auto counts = [](char c) { return c != ' ' && c != '\t' && c != '\n' && c != '\r'; };
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), counts));
}
}  // namespace

StatusOr<Policy> parse_identity_policy(std::string_view text) {
  if (text.size() > kIdentityTextBytesMax || counted(text) > kIdentityPolicyBytesMax) {
    return too_long(cat("Cannot exceed quota for PolicySize: ", kIdentityPolicyBytesMax));
  }
  return Reader(nullptr).read(text);
}

StatusOr<Policy> parse_trust_policy(std::string_view text) {
  if (text.size() > kIdentityTextBytesMax || counted(text) > kTrustPolicyBytesMax) {
    return too_long(cat("Cannot exceed quota for ACLSizePerRole: ", kTrustPolicyBytesMax));
  }
  return Reader(nullptr, true).read(text);
}

std::string with_principals(
    std::string_view text,
    absl::FunctionRef<std::optional<std::string>(std::string_view, std::string_view)> other) {
  json::error_code error;
  json::value document = json::parse({text.data(), text.size()}, error);
  bool differs = false;
  const auto replace = [&](std::string_view type, json::value& one) {
    if (!one.is_string()) return;
    if (const auto now = other(type, text_of(one.get_string()))) {
      one = view(*now);
      differs = true;
    }
  };
  const auto each = [](json::value& list, auto&& take) {
    if (!list.is_array()) return take(list);
    for (json::value& one : list.get_array()) take(one);
  };
  const auto look_at = [&](json::value& statement) {
    if (!statement.is_object()) return;
    for (const char* name : {"Principal", "NotPrincipal"}) {
      json::value* principal = statement.get_object().if_contains(name);
      if (principal == nullptr || !principal->is_object()) continue;
      for (auto& [type, list] : principal->get_object()) {
        const std::string_view of = text_of(type);
        each(list, [&](json::value& one) { replace(of, one); });
      }
    }
  };
  json::value* statements =
      error || !document.is_object() ? nullptr : document.get_object().if_contains("Statement");
  if (statements != nullptr) each(*statements, look_at);
  return differs ? json::serialize(document) : std::string(text);
}

StatusOr<Policy> parse_bucket_policy(std::string_view text, std::string_view bucket) {
  if (text.size() > kBucketPolicyBytesMax) {
    return too_long("Policy exceeds the maximum allowed document size.");
  }
  return Reader(&bucket).read(text);
}

std::string detail_of(const Status& refusal) {
  const auto detail = refusal.GetPayload(kDetailKey);
  return detail ? std::string(*detail) : std::string();
}

std::string to_json(const Policy& policy) {
  json::object object;
  object["Version"] = view(policy.has_variables ? kNewVersion : kOldVersion);
  if (policy.id) object["Id"] = view(*policy.id);
  json::array statements;
  for (const Statement& s : policy.statements) statements.emplace_back(to_value(s));
  object["Statement"] = std::move(statements);
  return json::serialize(object);
}

}  // namespace cairn::policy
