// Policies of IAM, compiled, and the one function that evaluates them.
//
// A policy is a list of statements. One applies to a request if its actions, its resources, its
// principals (in policies of buckets) and its conditions all do. A statement that denies and
// applies decides at once; else one that allows does; else nothing is said, which is a no.
//
// An action of another door than S3's goes by several names: its own ("resp:getset") and the
// canonical ones of what it does to the key (s3:GetObject and s3:PutObject). So a policy that was
// written for S3 holds at every door, and:
//   - a Deny of any of the names denies;
//   - an Allow of its own name allows; so do Allows of all its canonical names, which may stand in
//     different statements and policies;
//   - NotAction names what a statement leaves out. With Allow it leaves out an action whose own
//     name or any canonical name it has: "all but s3:DeleteObject" does not allow resp:del. With
//     Deny it leaves out an action whose own name it has, or all canonical names of.
// An action of S3 has its own name alone, and all is as at AWS.
//
// policy_json.h makes a policy from its text.
//
// Threads: all is constant once it is made; any thread may evaluate.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/policy_condition.h"
#include "core/store/policy_names.h"
#include "core/store/policy_pattern.h"

namespace cairn::policy {

// What is done. Takes no memory.
class ActionNames {
 public:
  static constexpr size_t kCanonicalMax = 4;
  // `canonical`: names of S3's, without the door. At most kCanonicalMax.
  ActionNames(std::string_view door, std::string_view name,
              std::initializer_list<std::string_view> canonical = {});
  // One more, by its number.
  void add_canonical(int number);
  const ActionName& own() const { return own_; }
  std::span<const uint16_t> canonical() const { return {canonical_.data(), count_}; }

 private:
  ActionName own_;
  std::array<uint16_t, kCanonicalMax> canonical_ = {};  // numbers among S3's
  size_t count_ = 0;
};

// What it is done to. Views of what the caller holds.
class Resource {
 public:
  static Resource none() { return {true, {"*"}}; }  // neither a namespace nor a user
  static Resource space(std::string_view name) { return {true, {name}}; }
  static Resource key(std::string_view space, std::string_view key) {
    return {true, {space, key, true}};
  }
  // Every key of it, there or not: allowed where all of them are, denied where one of them is.
  static Resource all_keys(std::string_view space) {
    Resource all{true, {space, "", true}};
    all.whole_ = true;
    return all;
  }
  static Resource arn(std::string_view whole) { return {false, {whole}}; }  // of IAM's

  bool is_s3() const { return s3_; }
  const Joined& text() const { return text_; }  // of S3's, what stands behind arn:aws:s3:::
  bool is_whole() const { return whole_; }      // all_keys()

 private:
  Resource(bool s3, Joined text) : s3_(s3), text_(text) {}
  bool s3_;
  bool whole_ = false;
  Joined text_;
};

// Who does it; policies of buckets ask. All empty: nobody said who it is.
struct Caller {
  std::string_view arn;             // "arn:aws:iam::000000000000:user/ann"
  std::string_view account;         // "000000000000"
  std::string_view canonical_user;  // its id, 64 hexadecimal digits
  bool is_root = false;             // of the account
  std::string_view unique_id = {};  // of the user or the role, "AIDA…" or "AROA…"
  std::string_view provider = {};   // the ARN of who said who it is; then all else is empty
};

struct Request {
  const ActionNames& action;
  Resource resource;
  const Caller& caller;
  const Context& context;
};

class ActionSet {
 public:
  // InvalidArgument: no such action, or a pattern that no action fits; the message says why, as IAM
  // words it.
  absl::Status add(std::string_view pattern);
  // Which names it has: bit 0 the action's own, and one for each canonical one.
  uint8_t names(const ActionNames& action) const;
  bool has_all() const { return all_; }
  bool has_s3(size_t number) const { return all_ || s3_[number]; }
  const std::vector<std::string>& texts() const { return texts_; }  // as they were written

 private:
  bool all_ = false;
  std::bitset<kS3Actions> s3_;
  std::vector<std::string> others_;  // patterns of other doors' names, in lower case
  std::vector<std::string> texts_;
};

struct ResourcePattern {
  enum Kind : uint8_t { kAll, kS3, kArn } kind;
  Pattern pattern;   // kS3: of what stands behind arn:aws:s3:::
  std::string text;  // as it was written
  // InvalidArgument: it is none; the message says why, as IAM words it.
  static absl::StatusOr<ResourcePattern> parse(std::string_view text, bool variables);
  // Of all keys: whether it matches each of them.
  bool matches(const Resource& resource, const Context& context) const;
  // Of all keys: whether it may match one of them.
  bool may_match(const Resource& resource, const Context& context) const;
};

struct PrincipalPattern {
  enum Kind : uint8_t {
    kEverybody,  // who has not said who he is too
    kAccount,    // to deny: all of the account; else its root, who may hand on what it was given
    kUser,       // an ARN, of a role also
    kUniqueId,   // "AIDA…" or "AROA…": a user or a role that nobody else will ever be
    kCanonicalUser,  // an id
    kProvider,       // whom the provider with this ARN identified; in what roles trust alone
    kAnyUser,        // everybody who has said who he is; no text says it, ACLs do
  } kind;
  std::string text;  // the account's number, the ARN, the id
  // The forms of AWS that Cairn has: {"AWS": text}, {"CanonicalUser": text}, {"Federated": text}.
  static std::optional<PrincipalPattern> parse(std::string_view type, std::string_view text);
  bool matches(const Caller& caller, bool whole_account) const;
};

struct Statement {
  std::string sid;
  bool allow = false;
  bool not_action = false;
  ActionSet actions;
  bool not_resource = false;
  std::vector<ResourcePattern> resources;
  bool not_principal = false;
  std::vector<PrincipalPattern> principals;  // empty: of whom the policy is attached to
  std::vector<Condition> conditions;

  // Which of the action's names it allows or denies, as in ActionSet::names(); 0: none.
  uint8_t concerns(const ActionNames& action) const;
  // The rest.
  bool applies(const Request& request, Parsed& parsed) const;
};

struct Policy {
  bool has_variables = false;  // version 2012-10-17
  std::optional<std::string> id;
  std::vector<Statement> statements;
};

// InvalidArgument: it names an action of a door whose names are among `known` ("resp:get", in lower
// case), and none of them fits.
absl::Status check_actions(const Policy& policy, std::span<const std::string> known);

enum class Verdict : uint8_t { kNothing, kAllow, kDeny };
// Of all policies together. Allocates nothing and looks at each statement once.
[[nodiscard]] Verdict evaluate(std::span<const Policy* const> policies, const Request& request,
                               std::span<const Policy* const> more = {});

// Whether a bucket's policy allows something to anybody, as S3 sees it for its PolicyStatus and for
// what blocks public access: no condition on it ties it to addresses that are few, or to users.
bool is_public(const Policy& policy);

}  // namespace cairn::policy
