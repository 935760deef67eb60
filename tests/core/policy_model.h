// Policies as plain data, an evaluator that follows AWS's pages word by word, and makers of random
// ones: what the evaluator of the store is compared with. It shares no code with it.
#pragma once

#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/store/policy.h"

namespace cairn::policy::model {

struct ModelCondition {
  std::string op;
  std::string key;
  std::vector<std::string> values;
};
struct ModelStatement {
  bool allow = true;
  std::string actions_name = "Action", resources_name = "Resource", principals_name = "Principal";
  std::vector<std::string> actions, resources;
  std::vector<std::pair<std::string, std::string>> principals;  // type, text; empty: none
  std::vector<ModelCondition> conditions;
};
struct ModelPolicy {
  std::string version;  // empty: none
  std::vector<ModelStatement> statements;
};
struct ModelRequest {
  std::string door, name;
  std::vector<std::string> canonical;  // of S3's
  std::string space, key;              // space empty: none; key empty: none
  std::string arn, account, canonical_user;
  bool is_root = false;
  std::map<std::string, std::vector<std::string>> values;  // by the key's name, in lower case
};

Verdict evaluate(const std::vector<ModelPolicy>& policies, const ModelRequest& request);

using Random = std::mt19937_64;
inline constexpr const char* kBucket = "photos";
ModelPolicy make_policy(Random& random, bool of_bucket);
ModelRequest make_request(Random& random);
// In one of the ways in which the same can be written.
std::string to_text(const ModelPolicy& policy, Random& random);

// The request as the store's evaluator takes it.
class MapContext final : public Context {
 public:
  explicit MapContext(std::map<std::string, std::vector<std::string>> values)
      : values_(std::move(values)) {}
  std::optional<std::string_view> value(const ConditionKey& key, size_t place) const override;
  mutable int asked = 0;

 private:
  const std::map<std::string, std::vector<std::string>> values_;
};
Verdict ask(const std::vector<Policy>& policies, const ModelRequest& request);

}  // namespace cairn::policy::model
