#include "tests/core/policy_model.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <initializer_list>

#include "core/base/text.h"

namespace cairn::policy::model {
namespace {

using Texts = std::vector<std::string>;

// One character of a pattern: itself, or a wildcard.
struct Symbol {
  std::string character;
  char wildcard = 0;
};
using Symbols = std::vector<Symbol>;

Texts characters(const std::string& text) {
  Texts all;
  for (char c : text) {
    const bool goes_on = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    if (goes_on && !all.empty()) {
      all.back() += c;
    } else {
      all.emplace_back(1, c);
    }
  }
  return all;
}

// Nothing: a variable has no value.
std::optional<Symbols> symbols(std::string text, bool wildcards, bool variables,
                               const ModelRequest& request) {
  Symbols all;
  const auto add = [&](const std::string& literal) {
    for (auto& c : characters(literal)) all.push_back({c});
  };
  while (!text.empty()) {
    if (variables && text.rfind("${", 0) == 0) {
      const size_t end = text.find('}');
      std::string name = text.substr(2, end - 2);
      text = text.substr(end + 1);
      std::optional<std::string> otherwise;
      if (const size_t comma = name.find(", '"); comma != std::string::npos) {
        otherwise = name.substr(comma + 3, name.size() - comma - 4);
        name = name.substr(0, comma);
      }
      if (name == "*" || name == "?" || name == "$") {
        add(name);
      } else if (auto it = request.values.find(lower(name)); it != request.values.end()) {
        add(it->second[0]);
      } else if (otherwise) {
        add(*otherwise);
      } else {
        return std::nullopt;
      }
      continue;
    }
    const auto first = characters(text)[0];
    if (wildcards && (first == "*" || first == "?")) {
      all.push_back({"", first[0]});
    } else {
      all.push_back({first});
    }
    text = text.substr(first.size());
  }
  return all;
}

// A table of which prefix of the text each prefix of the pattern can be.
bool like(const Symbols& pattern, const Texts& text) {
  std::vector<std::vector<bool>> can(pattern.size() + 1, std::vector<bool>(text.size() + 1));
  can[0][0] = true;
  for (size_t p = 1; p <= pattern.size(); p++) {
    const Symbol& s = pattern[p - 1];
    for (size_t t = 0; t <= text.size(); t++) {
      if (s.wildcard == '*') {
        can[p][t] = can[p - 1][t] || (t > 0 && can[p][t - 1]);
      } else if (t > 0) {
        const bool same = s.wildcard == '?' || s.character == text[t - 1];
        can[p][t] = same && can[p - 1][t - 1];
      }
    }
  }
  return can[pattern.size()][text.size()];
}

bool action_fits(const std::string& pattern, const std::string& name) {
  static const ModelRequest kNothing;
  if (pattern == "*") return true;
  return like(*symbols(lower(pattern), true, false, kNothing), characters(lower(name)));
}

// What the pattern language has for a text: the version decides about variables.
bool fits(const std::string& pattern, const std::string& text, bool wildcards, bool variables,
          const ModelRequest& request) {
  const auto all = symbols(pattern, wildcards, variables, request);
  return all && like(*all, characters(text));
}

std::optional<long double> number(const std::string& text) {
  char* end = nullptr;
  const long double n = std::strtold(text.c_str(), &end);
  if (text.empty() || *end != 0) return std::nullopt;
  return n;
}

std::optional<long double> moment(const std::string& text) {
  if (text.find_first_not_of("0123456789") == std::string::npos) return number(text);
  tm t{};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &t);
  if (end == nullptr || *end != 0) {
    t = {};
    end = strptime(text.c_str(), "%Y-%m-%d", &t);
    if (end == nullptr || *end != 0) return std::nullopt;
  }
  return timegm(&t);
}

// The bits as text, with the family before them; the second is how many count.
std::optional<std::pair<std::string, size_t>> address(const std::string& text) {
  const size_t slash = text.find('/');
  const std::string host = text.substr(0, slash);
  unsigned char bytes[16];
  const bool v6 = host.find(':') != std::string::npos;
  if (inet_pton(v6 ? AF_INET6 : AF_INET, host.c_str(), bytes) != 1) return std::nullopt;
  std::string bits = v6 ? "6" : "4";
  for (int i = 0; i < (v6 ? 128 : 32); i++) bits += (bytes[i / 8] >> (7 - i % 8) & 1) ? '1' : '0';
  const size_t count =
      slash == std::string::npos ? bits.size() - 1 : std::stoul(text.substr(slash + 1));
  return std::pair(bits, count);
}

Texts arn_parts(const std::string& arn) {
  Texts parts{""};
  for (size_t i = 0; i < arn.size(); i++) {
    if (arn.compare(i, 2, "${") == 0) {  // a variable's own ':' cuts nothing
      const size_t end = arn.find('}', i);
      parts.back() += arn.substr(i, end - i + 1);
      i = end;
    } else if (arn[i] == ':' && parts.size() < 6) {
      parts.emplace_back();
    } else {
      parts.back() += arn[i];
    }
  }
  return parts;
}

// "ArnNotEquals" is NOT ArnEquals: gives the positive operator's name.
std::string without_not(std::string op, bool& negated) {
  const size_t at = op.find("Not");
  negated = at != std::string::npos;
  if (negated) op.erase(at, 3);
  return op;
}

bool compare(const std::string& how, long double a, long double b) {
  if (how == "Equals") return a == b;
  if (how == "LessThan") return a < b;
  if (how == "LessThanEquals") return a <= b;
  if (how == "GreaterThan") return a > b;
  return a >= b;
}

bool value_fits(const std::string& op, const std::string& value, const std::string& with,
                bool variables, const ModelRequest& request) {
  if (op == "StringEquals") return fits(with, value, false, variables, request);
  if (op == "StringLike") return fits(with, value, true, variables, request);
  if (op == "StringEqualsIgnoreCase") {
    const auto all = symbols(with, false, variables, request);
    if (!all) return false;
    std::string text;
    for (auto& s : *all) text += s.character;
    return lower(text) == lower(value);
  }
  if (op == "ArnEquals" || op == "ArnLike") {
    const Texts parts = arn_parts(with), have = arn_parts(value);
    for (size_t i = 0; i < 6; i++) {
      if (have.size() != 6 || !fits(parts[i], have[i], true, variables, request)) return false;
    }
    return true;
  }
  if (op.rfind("Numeric", 0) == 0) {
    const auto a = number(value), b = number(with);
    return a && b && compare(op.substr(7), *a, *b);
  }
  if (op.rfind("Date", 0) == 0) {
    const auto a = moment(value), b = moment(with);
    return a && b && compare(op.substr(4), *a, *b);
  }
  if (op == "Bool") return lower(value) == lower(with);
  if (op == "IpAddress") {
    const auto a = address(value), b = address(with);
    return a && b && a->first.substr(0, 1 + b->second) == b->first.substr(0, 1 + b->second);
  }
  std::abort();  // no such operator in these tests
}

bool holds(const ModelCondition& c, bool variables, const ModelRequest& request) {
  const auto it = request.values.find(lower(c.key));
  const bool there = it != request.values.end();
  Texts values = there ? it->second : Texts();
  Texts not_null;
  for (auto& v : values) {
    if (!v.empty()) not_null.push_back(v);
  }
  if (c.op == "Null") {
    return std::any_of(c.values.begin(), c.values.end(),
                       [&](const std::string& v) { return (v == "true") == not_null.empty(); });
  }
  std::string op = c.op;
  const bool for_all = op.rfind("ForAllValues:", 0) == 0,
             for_any = op.rfind("ForAnyValue:", 0) == 0;
  if (for_all || for_any) op = op.substr(op.find(':') + 1);
  const bool if_exists = op.size() > 8 && op.substr(op.size() - 8) == "IfExists";
  if (if_exists) op.resize(op.size() - 8);
  bool negated;
  op = without_not(op, negated);

  if (!there && if_exists) return true;
  const auto one = [&](const std::string& value) {
    return std::any_of(c.values.begin(), c.values.end(), [&](const std::string& with) {
      return value_fits(op, value, with, variables, request);
    });
  };
  const auto one_or_not = [&](const std::string& value) { return one(value) != negated; };
  if (for_all) return std::all_of(not_null.begin(), not_null.end(), one_or_not);
  if (for_any) return std::any_of(not_null.begin(), not_null.end(), one_or_not);
  return std::any_of(values.begin(), values.end(), one) != negated;
}

bool is_principal(const ModelStatement& s, const std::string& type, const std::string& text,
                  const ModelRequest& r) {
  if (type == "CanonicalUser") return r.canonical_user == text;
  if (text == "*") return true;
  std::string account = text;
  if (text.rfind("arn:", 0) == 0) {
    account = arn_parts(text)[4];
    if (arn_parts(text)[5] != "root") return r.arn == text;
  }
  const bool whole = !s.allow && s.principals_name == "Principal";
  return r.account == account && (whole || r.is_root);
}

// All but the actions.
bool applies(const ModelStatement& s, bool variables, const ModelRequest& r) {
  std::string arn = "arn:aws:s3:::" + (r.space.empty() ? "*" : r.space);
  if (!r.key.empty()) arn += "/" + r.key;
  const bool is_resource = std::any_of(
      s.resources.begin(), s.resources.end(),
      [&](const std::string& pattern) { return fits(pattern, arn, true, variables, r); });
  if (is_resource != (s.resources_name == "Resource")) return false;
  if (!s.principals.empty()) {
    const bool is_one = std::any_of(s.principals.begin(), s.principals.end(), [&](const auto& p) {
      return is_principal(s, p.first, p.second, r);
    });
    if (is_one != (s.principals_name == "Principal")) return false;
  }
  return std::all_of(s.conditions.begin(), s.conditions.end(),
                     [&](const ModelCondition& c) { return holds(c, variables, r); });
}

bool has_action(const ModelStatement& s, const std::string& name) {
  return std::any_of(s.actions.begin(), s.actions.end(),
                     [&](const std::string& pattern) { return action_fits(pattern, name); });
}

}  // namespace

Verdict evaluate(const std::vector<ModelPolicy>& policies, const ModelRequest& r) {
  const std::string own = r.door + ":" + r.name;
  Texts canonical;
  for (auto& c : r.canonical) canonical.push_back("s3:" + c);
  const auto any_canonical = [&](const auto& is) {
    return std::any_of(canonical.begin(), canonical.end(), is);
  };
  const auto all_canonical = [&](const auto& is) {
    return !canonical.empty() && std::all_of(canonical.begin(), canonical.end(), is);
  };
  const auto each = [&](const std::function<bool(const ModelStatement&, bool)>& f) {
    for (const ModelPolicy& p : policies) {
      for (const ModelStatement& s : p.statements) {
        if (f(s, p.version == "2012-10-17")) return true;
      }
    }
    return false;
  };
  // An explicit deny in any policy overrides any allow.
  const bool denied = each([&](const ModelStatement& s, bool variables) {
    if (s.allow || !applies(s, variables, r)) return false;
    const auto listed = [&](const std::string& name) { return has_action(s, name); };
    if (s.actions_name == "Action") return listed(own) || any_canonical(listed);
    return !(listed(own) || all_canonical(listed));
  });
  if (denied) return Verdict::kDeny;
  // By default all requests are denied; an explicit allow overrides that.
  const auto allowed = [&](const std::string& name) {
    return each([&](const ModelStatement& s, bool variables) {
      if (!s.allow || !applies(s, variables, r)) return false;
      const auto listed = [&](const std::string& n) { return has_action(s, n); };
      if (s.actions_name == "Action") return listed(name);
      if (listed(own)) return false;  // whatever else its names are
      return name == own ? !any_canonical(listed) : !listed(name);
    });
  };
  if (allowed(own) || all_canonical(allowed)) return Verdict::kAllow;
  return Verdict::kNothing;
}

namespace {

template <class T>
T pick(Random& random, std::initializer_list<T> from) {
  return *(from.begin() + random() % from.size());
}
std::string pick(Random& random, std::initializer_list<const char*> from) {
  return *(from.begin() + random() % from.size());
}
bool one_in(Random& random, int n) { return random() % static_cast<unsigned>(n) == 0; }

constexpr const char* kAnn = "arn:aws:iam::000000000000:user/ann";
constexpr const char* kBob = "arn:aws:iam::111111111111:user/dir/bob";
constexpr const char* kRoot = "arn:aws:iam::000000000000:root";
const std::string kId(64, 'a'), kOtherId(64, 'b');

ModelCondition make_condition(Random& random) {
  ModelCondition c;
  const auto values = [&](std::initializer_list<const char*> from) {
    for (size_t i = 1 + random() % 2; i > 0; i--) c.values.push_back(pick(random, from));
  };
  switch (random() % 9) {
    case 0:
      c = {pick(random, {"StringEquals", "StringNotEquals", "StringEqualsIgnoreCase",
                         "StringNotEqualsIgnoreCase"}),
           pick(random, {"s3:prefix", "S3:PREFIX", "aws:username", "s3:ExistingObjectTag/team"})};
      values({"a", "A", "ann", "${aws:username}", "${aws:username, 'a'}", "a${*}", "", "${$}a"});
      break;
    case 1:
      c = {pick(random, {"StringLike", "StringNotLike"}),
           pick(random, {"s3:prefix", "aws:UserAgent", "s3:ExistingObjectTag/team"})};
      values(
          {"a*", "*", "?", "*n?", "${aws:username}*", "a/*/b", "\xc3\xa9?", "", "*a*b*", "a${*}"});
      break;
    case 2:
      c = {
          pick(random, {"NumericEquals", "NumericNotEquals", "NumericLessThan",
                        "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals"}),
          pick(random, {"s3:max-keys", "cairn:content-length", "aws:EpochTime", "s3:prefix"})};
      values({"10", "10.0", "9.5", "-3", "1000", "0"});
      break;
    case 3:
      c = {pick(random, {"DateEquals", "DateNotEquals", "DateLessThan", "DateLessThanEquals",
                         "DateGreaterThan", "DateGreaterThanEquals"}),
           pick(random, {"aws:CurrentTime", "aws:EpochTime", "aws:TokenIssueTime"})};
      values({"2026-01-01T00:00:00Z", "1767225600", "2026-01-02", "2025-12-31T23:59:59Z"});
      break;
    case 4:
      c = {"Bool", "aws:SecureTransport"};
      values({"true", "false", "True"});
      break;
    case 5:
      c = {pick(random, {"IpAddress", "NotIpAddress"}), "aws:SourceIp"};
      values({"10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "::/0", "10.1.2.0/25"});
      break;
    case 6:
      c = {pick(random, {"ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"}),
           "aws:PrincipalArn"};
      values({"arn:aws:iam::*:user/*", "arn:aws:iam::000000000000:user/${aws:username}",
              "arn:*:iam::0000*:root", "arn:aws:iam::111111111111:user/dir/???", kAnn});
      break;
    case 7:
      c = {pick(random, {"ForAllValues:", "ForAnyValue:"}) +
               pick(random, {"StringEquals", "StringNotEquals", "StringLike", "StringNotLike"}),
           pick(random, {"s3:RequestObjectTagKeys", "s3:prefix"})};
      values({"team", "t*", "x", "*", "a"});
      break;
    default:
      c = {"Null", pick(random, {"s3:prefix", "s3:RequestObjectTagKeys", "aws:TokenIssueTime"})};
      values({"true", "false"});
      return c;
  }
  if (one_in(random, 4)) c.op += "IfExists";
  return c;
}

ModelStatement make_statement(Random& random, bool of_bucket) {
  ModelStatement s;
  s.allow = !one_in(random, 3);
  if (one_in(random, 5)) s.actions_name = "NotAction";
  if (one_in(random, 6)) s.resources_name = "NotResource";
  for (size_t i = 1 + random() % 2; i > 0; i--) {
    s.actions.push_back(pick(
        random, {"*", "s3:*", "s3:Get*", "S3:getobject", "s3:PutObject", "s3:*Object", "s3:List*",
                 "s3:DeleteObject", "resp:*", "resp:get", "RESP:g?t*", "grpc:*", "*:get*"}));
    s.resources.push_back(
        pick(random,
             {"*", "arn:aws:s3:::photos", "arn:aws:s3:::photos/*", "arn:aws:s3:::photos/a*",
              "arn:aws:s3:::photos/${aws:username}/*", "arn:aws:s3:::ph*", "arn:aws:s3:::photos/?",
              "arn:aws:s3:::photos/${aws:userid, 'none'}", "arn:aws:s3:::photos/a${*}b",
              "arn:aws:s3:::*/b", "arn:aws:s3:::photos/*\xc3\xa9?"}));
  }
  if (of_bucket) {
    if (!s.allow && one_in(random, 3)) s.principals_name = "NotPrincipal";
    for (size_t i = 1 + random() % 2; i > 0; i--) {
      s.principals.push_back(
          pick<std::pair<std::string, std::string>>(random, {{"AWS", "*"},
                                                             {"AWS", "000000000000"},
                                                             {"AWS", kRoot},
                                                             {"AWS", kAnn},
                                                             {"AWS", kBob},
                                                             {"CanonicalUser", kId},
                                                             {"CanonicalUser", kOtherId}}));
    }
  }
  // Two of one operator and key are refused.
  for (size_t i = random() % 3; i > 0; i--) {
    ModelCondition c = make_condition(random);
    const bool again =
        std::any_of(s.conditions.begin(), s.conditions.end(), [&](const ModelCondition& other) {
          return other.op == c.op && lower(other.key) == lower(c.key);
        });
    if (!again) s.conditions.push_back(std::move(c));
  }
  return s;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string list_text(const Texts& texts, Random& random) {
  if (texts.size() == 1 && one_in(random, 2)) return quoted(texts[0]);
  std::string out = "[";
  for (auto& t : texts) out += (out.size() > 1 ? "," : "") + quoted(t);
  return out + "]";
}

std::string to_text(const ModelStatement& s, Random& random) {
  Texts fields;
  fields.push_back(s.allow ? R"("Effect":"Allow")" : R"("Effect": "Deny")");
  fields.push_back(quoted(s.actions_name) + ":" + list_text(s.actions, random));
  fields.push_back(quoted(s.resources_name) + ":" + list_text(s.resources, random));
  if (!s.principals.empty()) {
    std::map<std::string, Texts> types;
    for (auto& [type, text] : s.principals) types[type].push_back(text);
    std::string text;
    for (auto& [type, all] : types) {
      text += (text.empty() ? "" : ", ") + quoted(type) + ":" + list_text(all, random);
    }
    const bool all = s.principals.size() == 1 && s.principals[0].second == "*";
    fields.push_back(quoted(s.principals_name) + ":" +
                     (all && one_in(random, 2) ? "\"*\"" : "{" + text + "}"));
  }
  if (!s.conditions.empty()) {
    std::map<std::string, std::string> ops;
    for (const ModelCondition& c : s.conditions) {
      std::string& map = ops[c.op];
      map += (map.empty() ? "" : ",\n") + quoted(c.key) + " : " + list_text(c.values, random);
    }
    std::string text;
    for (auto& [op, map] : ops) {
      text += (text.empty() ? "" : ", ") + quoted(op) + ": {" + map + "}";
    }
    fields.push_back("\"Condition\" : {" + text + "}");
  }
  std::shuffle(fields.begin(), fields.end(), random);
  std::string out;
  for (auto& f : fields) out += (out.empty() ? "" : ",\n  ") + f;
  return "{" + out + "}";
}

}  // namespace

ModelPolicy make_policy(Random& random, bool of_bucket) {
  ModelPolicy p;
  p.version = "2012-10-17";
  if (of_bucket && one_in(random, 4)) p.version = pick(random, {"", "2008-10-17"});
  for (size_t i = 1 + random() % 3; i > 0; i--) {
    p.statements.push_back(make_statement(random, of_bucket));
  }
  return p;
}

std::string to_text(const ModelPolicy& p, Random& random) {
  std::string statements;
  for (auto& s : p.statements) {
    statements += (statements.empty() ? "" : ",\n ") + to_text(s, random);
  }
  if (p.statements.size() > 1 || one_in(random, 2)) statements = "[" + statements + "]";
  std::string out = "\"Statement\": " + statements;
  if (!p.version.empty()) out = "\"Version\": " + quoted(p.version) + ", " + out;
  return "{" + out + "}";
}

ModelRequest make_request(Random& random) {
  ModelRequest r;
  struct Made {
    const char *door, *name;
    Texts canonical;
  };
  static const std::vector<Made> kMade = {
      {"s3", "GetObject", {}},
      {"s3", "PutObject", {}},
      {"s3", "ListBucket", {}},
      {"s3", "ListAllMyBuckets", {}},
      {"resp", "get", {"GetObject"}},
      {"resp", "getset", {"GetObject", "PutObject"}},
      {"resp", "getdel", {"GetObject", "DeleteObject"}},
      {"resp", "del", {"DeleteObject"}},
      {"resp", "keys", {"ListBucket"}},
      {"resp", "ping", {}},
      {"grpc", "cairn.v1.Objects/Get", {"GetObject"}},
  };
  const Made& made = kMade[random() % kMade.size()];
  r.door = made.door;
  r.name = made.name;
  r.canonical = made.canonical;
  r.space = pick(random, {"photos", "photos", "photos", "photo", "phb", ""});
  if (!r.space.empty()) {
    r.key = pick(random, {"", "a", "ann/x", "a*b", "aab", "x/\xc3\xa9\xc3\xa9", "\xe2\x82\xac",
                          "none", "y/b", "x\xc3\xa9"});
  }
  switch (random() % 4) {
    case 0:
      break;
    case 1:
      r.arn = kAnn;
      r.account = "000000000000";
      r.canonical_user = kId;
      break;
    case 2:
      r.arn = kBob;
      r.account = "111111111111";
      r.canonical_user = kOtherId;
      break;
    default:
      r.arn = kRoot;
      r.account = "000000000000";
      r.canonical_user = kId;
      r.is_root = true;
  }
  const auto maybe = [&](const char* key, std::initializer_list<const char*> values) {
    if (one_in(random, 3)) return;
    r.values[lower(key)] = {pick(random, values)};
  };
  maybe("aws:username", {"ann", "a", "*", "$a"});
  maybe("aws:userid", {"a", "ann/x"});
  maybe("s3:prefix", {"a", "A", "ann", "ann/", "", "a*", "10", "\xc3\xa9z", "xaxb"});
  maybe("s3:ExistingObjectTag/team", {"a", "ann", "b"});
  maybe("aws:UserAgent", {"a", "ann", "x"});
  maybe("s3:max-keys", {"10", "9", "1000", "9.75", "ten"});
  maybe("cairn:content-length", {"0", "10", "5000000000000"});
  maybe("aws:EpochTime", {"1767225600", "1767225601", "10"});
  maybe("aws:CurrentTime", {"2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"});
  maybe("aws:TokenIssueTime", {"2025-06-01T00:00:00Z"});
  maybe("aws:SecureTransport", {"true", "false"});
  maybe("aws:SourceIp", {"10.1.2.3", "10.1.2.200", "192.168.0.1", "2001:db8::1", "::1"});
  if (!r.arn.empty()) r.values["aws:principalarn"] = {r.arn};
  if (one_in(random, 2)) {
    r.values["s3:requestobjecttagkeys"] = pick<Texts>(
        random, {{"team"}, {"team", "x"}, {"time", "team"}, {"y", "z"}, {""}, {"", "x"}});
  }
  return r;
}

std::optional<std::string_view> MapContext::value(const ConditionKey& key, size_t place) const {
  asked++;
  const auto it = values_.find(lower(key.text()));
  if (it == values_.end() || place >= it->second.size()) return std::nullopt;
  return it->second[place];
}

Verdict ask(const std::vector<Policy>& policies, const ModelRequest& r) {
  std::vector<const Policy*> all;
  all.reserve(policies.size());
  for (const Policy& p : policies) all.push_back(&p);
  std::optional<ActionNames> action;
  switch (r.canonical.size()) {
    case 0:
      action.emplace(r.door, r.name);
      break;
    case 1:
      action.emplace(r.door, r.name, std::initializer_list<std::string_view>{r.canonical[0]});
      break;
    default:
      action.emplace(r.door, r.name,
                     std::initializer_list<std::string_view>{r.canonical[0], r.canonical[1]});
  }
  const Resource resource = r.space.empty() ? Resource::none()
                            : r.key.empty() ? Resource::space(r.space)
                                            : Resource::key(r.space, r.key);
  const Caller caller{r.arn, r.account, r.canonical_user, r.is_root};
  const MapContext context(r.values);
  return policy::evaluate(all, {*action, resource, caller, context});
}

}  // namespace cairn::policy::model
