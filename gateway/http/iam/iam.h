// IAM's query API on the HTTP port: users, groups, roles, access keys, policies and providers of
// OpenID Connect, as awscli's `aws iam` and Terraform call them; and STS, which gives credentials
// for a while (sts.cc). A call is a POST of a form to "/" with its parameters, signed for the
// service iam (or sts), but for AssumeRoleWithWebIdentity, whose token says who asks.
//
// Source: AWS Identity and Access Management API Reference, version 2010-05-08. The two parameters
// that are Cairn's own, of CreateAccessKey and UpdateAccessKey: ExpiresAt, when the key ends (ISO
// 8601; empty: never), and Boundary, a policy within which all is that is done with it (empty:
// none). A policy has one version, its newest. A parameter that is not honoured is refused.
//
// Threads: handle() on any I/O loop, any number at once.
#pragma once

#include <array>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/store/known_users.h"
#include "core/store/store.h"
#include "gateway/http/s3/sigv4.h"
#include "gateway/http/s3/xml.h"

namespace cairn::iam {

struct Row;
class KeySets;

struct Error {
  std::string_view code;  // empty: no error
  std::string message;
  explicit operator bool() const { return !code.empty(); }
};

// A call's form, into what is empty; the error of a form that is none.
using Params = std::map<std::string, std::string, std::less<>>;
Error parse_form(std::string_view body, Params& params);

// One call on its way through its operation.
struct Call {
  Store& store;
  Users& users;
  KeySets& keys;
  const http::Request& request;
  std::shared_ptr<const KnownUsers> known;  // as of its beginning
  PrincipalPtr who;
  Params params;
  pugi::xml_node result;  // null: the operation has none
  const Row* row = nullptr;
  std::string asker;  // for the audit log; empty: `who`

  std::string_view param(std::string_view name) const {
    const auto it = params.find(name);
    return it == params.end() ? std::string_view() : std::string_view(it->second);
  }
  bool has(std::string_view name) const { return params.contains(name); }
  const UserTable& table() const { return known->table; }
  // Says in the audit log whether it was allowed.
  void note(bool allowed) const;
  // The user that it is about: the named one, or its caller; empty for root.
  std::string user_name() const;
};

struct Row {
  std::string_view name;  // "CreateUser"
  awaitable<Error> (*run)(Call&);
  std::string_view params;             // what it honours, separated by blanks
  std::string_view needs;              // of these, what must be there
  std::string (*target)(const Call&);  // the ARN that it is done to; null: it takes a right on all
  bool has_result = true;
  std::string_view service = "iam";
  enum class Asks : uint8_t {
    kRights,   // its caller must be allowed it
    kDenials,  // he must not be denied it
    kItself,   // `run` asks
    kNothing,
  } asks = Asks::kRights;
  Action action() const {
    return {service, name, asks == Asks::kDenials ? Access::kNone : Access::kAdmin};
  }
};
std::span<const Row> user_rows();
std::span<const Row> group_rows();
std::span<const Row> policy_rows();
std::span<const Row> key_rows();
std::span<const Row> role_rows();
std::span<const Row> provider_rows();
std::span<const Row> sts_rows();
std::array<std::span<const Row>, 7> all_rows();

class Service {
 public:
  Service(Store& store, Users& users, KeySets& keys, std::string region)
      : store_(store), users_(users), keys_(keys), authenticator_(users, std::move(region)) {}
  // Whether a request without a bucket is such a call.
  static bool is_call(const http::Request& request);
  awaitable<void> handle(http::Request& request, http::Response& response);

 private:
  awaitable<Error> run(http::Request& request, s3::XmlOut& xml, const Row*& row);
  // Who calls, of a call that is signed.
  Error authenticate(const http::Request& request, std::string_view body, PrincipalPtr& who);
  Store& store_;
  Users& users_;
  KeySets& keys_;
  s3::Authenticator authenticator_;
};

// ---- shared by the operations ----

// AccessDenied unless its caller may do it to that which this ARN names. Asked before an operation
// runs of its row's target; by an operation of what else it names, and again after it has waited.
Error may(const Call& call, const std::string& target);
// Makes the change, and waits until it is durable.
awaitable<Error> change(Call& call, absl::FunctionRef<Status(Draft&)> edit);
Error error_of(const Status& status);
// ValidationError unless it is a name, or a path, as IAM has them.
Error check_name(std::string_view what, std::string_view text, size_t most = 128);
Error check_path(std::string_view what, std::string_view text);
// The name behind the last '/' of a policy's ARN, if it is of one that Cairn could have.
Error policy_name(const Call& call, std::string& name);

// Which of a listing goes into this answer: MaxItems and Marker.
class Page {
 public:
  static Error parse(const Call& call, Page& page);
  // Of names in ascending order: whether this one is in it.
  bool takes(const std::string& name);
  void end(Call& call) const;  // IsTruncated, Marker

 private:
  std::string after_, last_;
  size_t most_ = 100, count_ = 0;
  bool truncated_ = false;
};

std::string path_prefix(const Call& call);  // "/" if it is not there
void add_text(pugi::xml_node to, const char* name, std::string_view text);
void add_user(pugi::xml_node to, const UserRecord& user);
void add_group(pugi::xml_node to, const GroupRecord& group);

}  // namespace cairn::iam
