// Policies: what is accepted says the same when it is written out and read again, of a bucket, of a
// user and of what a role trusts; and no policy and no request takes the evaluator long or anywhere
// that it should not go.
#include "core/store/policy.h"

#include "core/store/policy_json.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

using namespace cairn::policy;

// Every key has the same text as its value, or none; tags' names come twice.
struct OneText final : Context {
  explicit OneText(std::optional<std::string_view> text) : text(text) {}
  std::optional<std::string_view> value(const ConditionKey& key, size_t place) const override {
    return place > (row_of(key.key).has_several_values() ? 1 : 0) ? std::nullopt : text;
  }
  std::optional<std::string_view> text;
};

constexpr std::string_view kTexts[] = {"",
                                       "ann",
                                       "10",
                                       "2026-01-01T00:00:00Z",
                                       "true",
                                       "10.1.2.3",
                                       "arn:aws:iam::000000000000:user/ann",
                                       "a*b"};

void check(const absl::StatusOr<Policy>& parsed, auto&& parse) {
  if (!parsed.ok()) {
    law(!parsed.status().message().empty(), "a refusal says why");
    return;
  }
  const Policy& p = *parsed;
  law(!p.statements.empty(), "a policy has statements");
  const std::string written = to_json(p);
  const auto again = parse(written);
  // Lists are written in full, so a policy at the limit may be longer then.
  if (!again.ok() && again.status().code() == absl::StatusCode::kOutOfRange) return;
  law(again.ok() && to_json(*again) == written, "what is written is read again");

  static const ActionNames get("s3", "GetObject"), list("s3", "ListBucket"),
      getset("resp", "getset", {"GetObject", "PutObject"}), ping("resp", "ping");
  const Caller ann{"arn:aws:iam::000000000000:user/ann", "000000000000", kTexts[0]}, nobody;
  law(is_public(p) == is_public(*again), "it is as public as it was");
  const Policy* first[] = {&p};
  const Policy* second[] = {&*again};
  for (size_t i = 0; i <= std::size(kTexts); i++) {
    const OneText context(i < std::size(kTexts) ? std::optional(kTexts[i]) : std::nullopt);
    for (const ActionNames* action : {&get, &list, &getset, &ping}) {
      for (const Resource& r : {Resource::none(), Resource::space("b"), Resource::key("b", "ann/x"),
                                Resource::arn("arn:aws:iam::000000000000:user/ann")}) {
        for (const Caller* caller : {&ann, &nobody}) {
          const Request request{*action, r, *caller, context};
          law(evaluate(first, request) == evaluate(second, request), "it says the same again");
        }
      }
    }
  }
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string_view text = fuzz::text_of(data, size);
  const auto of_bucket = [](std::string_view t) { return policy::parse_bucket_policy(t, "b"); };
  fuzz::check(of_bucket(text), of_bucket);
  fuzz::check(policy::parse_identity_policy(text), policy::parse_identity_policy);
  fuzz::check(policy::parse_trust_policy(text), policy::parse_trust_policy);
  const auto stays = [](std::string_view, std::string_view) {
    return std::optional<std::string>();
  };
  fuzz::law(policy::with_principals(text, stays) == text, "where all stay it is the same text");
  return 0;
}
