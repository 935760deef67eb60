#include "gateway/http/admin/quota.h"

#include <boost/json.hpp>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "gateway/auth/quotas.h"

namespace cairn::admin {

namespace json = boost::json;

namespace {

constexpr size_t kDocumentMax = 4096;

// Nothing: no limit.
Status take_limit(const json::value& value, std::string_view name, std::optional<uint64_t>& to) {
  to.reset();
  if (value.is_null()) return absl::OkStatus();
  if (value.is_int64() && value.get_int64() >= 0) {
    to = static_cast<uint64_t>(value.get_int64());
  } else if (value.is_uint64()) {
    to = value.get_uint64();
  }
  // The largest number says that there is no limit (QuotaLimits), and is none itself.
  if (!to || *to == QuotaLimits::kNone) {
    return absl::InvalidArgumentError(cat(name, " is to be a number from 0 on, or null"));
  }
  return absl::OkStatus();
}

std::string answer(const QuotaReport& report, bool of_user) {
  const auto limit = [](const std::optional<uint64_t>& n) {
    return n ? json::value(*n) : json::value(nullptr);
  };
  json::object out;
  out["bytes"] = limit(report.quota.bytes);
  out["keys"] = limit(report.quota.keys);
  if (!of_user) {
    out["user"] = report.user.empty() ? json::value(nullptr) : json::value(report.user);
  }
  out["used_bytes"] = report.usage.bytes;
  out["used_keys"] = report.usage.keys;
  const auto text = json::serialize(out);
  return cat(std::string_view(text.data(), text.size()), "\n");
}

void refuse(http::Response& response, int status, std::string_view why) {
  response.status = status;
  json::object out;
  out["error"] = json::string(why.data(), why.size());
  const auto text = json::serialize(out);
  response.body = cat(std::string_view(text.data(), text.size()), "\n");
}

int http_status_of(const Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kResourceExhausted:
      return 507;
    default:
      return 503;
  }
}

}  // namespace

Status parse_quota(std::string_view text, Quota& quota, std::optional<std::string>* user) {
  json::error_code failed;
  json::parse_options options;
  options.max_depth = 2;
  const json::value value = json::parse({text.data(), text.size()}, failed, {}, options);
  if (failed || !value.is_object()) {
    return absl::InvalidArgumentError("the body is no object in JSON");
  }
  quota = {};
  if (user != nullptr) user->reset();
  for (const auto& [key, member] : value.get_object()) {
    const std::string_view name(key.data(), key.size());
    if (name == "bytes") {
      if (Status s = take_limit(member, name, quota.bytes); !s.ok()) return s;
    } else if (name == "keys") {
      if (Status s = take_limit(member, name, quota.keys); !s.ok()) return s;
    } else if (name == "user" && user != nullptr) {
      user->emplace();
      if (member.is_null()) continue;
      if (!member.is_string()) return absl::InvalidArgumentError("user is to be a name, or null");
      **user = std::string_view(member.get_string().data(), member.get_string().size());
    } else {
      return absl::InvalidArgumentError(cat("a quota has no '", name, "'"));
    }
  }
  return absl::OkStatus();
}

awaitable<void> serve_quota(Keyspace& keyspace, Users& users, const http::Request& request,
                            http::Response& response) {
  response.set("Content-Type", "application/json");
  std::string_view name = std::string_view(request.path).substr(kQuotaPath.size());
  const size_t slash = name.find('/');
  const std::string_view kind = name.substr(0, slash);
  name = slash == name.npos ? std::string_view() : name.substr(slash + 1);
  const bool of_user = kind == "user";
  if (name.empty() || (!of_user && kind != "namespace")) {
    co_return refuse(response, 404, "a quota is of /-/quota/namespace/NAME or /-/quota/user/NAME");
  }
  Lsn set;
  if (request.method == "PUT" || request.method == "DELETE") {
    Quota quota;
    std::optional<std::string> user;
    if (request.method == "PUT") {
      auto body = co_await http::read_all(*request.body, kDocumentMax);
      if (absl::IsResourceExhausted(body.status())) {
        co_return refuse(response, 413, "a quota is no longer than 4096 bytes");
      }
      if (!body.ok()) co_return refuse(response, 400, "the body did not come whole");
      if (Status s = parse_quota(*body, quota, of_user ? nullptr : &user); !s.ok()) {
        co_return refuse(response, 400, std::string(s.message()));
      }
    }
    auto done = of_user ? set_quota_of_user(users, name, quota)
                        : set_quota_of_namespace(keyspace, users, name, quota, user);
    if (!done.ok()) {
      co_return refuse(response, http_status_of(done.status()),
                       std::string(done.status().message()));
    }
    set = *done;
  }
  auto report =
      of_user ? quota_of_user(keyspace, users, name) : quota_of_namespace(keyspace, users, name);
  if (!report.ok()) {
    co_return refuse(response, http_status_of(report.status()),
                     std::string(report.status().message()));
  }
  const Lsn rests_on = std::max(report->rests_on, set);
  if (rests_on.valid()) {
    Status durable = co_await keyspace.log().wait_durable(rests_on);
    if (!durable.ok()) co_return refuse(response, 503, std::string(durable.message()));
  }
  response.body = answer(*report, of_user);
}

}  // namespace cairn::admin
