// Access keys, of which a user may have several.
#include <algorithm>

#include "core/base/text.h"
#include "core/store/policy_condition.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

std::string target(const Call& c) {
  const std::string name = c.user_name();
  if (name.empty()) return root_arn();
  const UserRecord* user = c.table().user(name);
  return user != nullptr ? arn_of(*user) : cat("arn:aws:iam::", kAccount, ":user/", name);
}

// The user whose keys it is about.
Error find_user(const Call& c, const UserRecord*& user) {
  const std::string name = c.user_name();
  if (name.empty()) {
    return {"ValidationError",
            "Root's key is what the environment says. Name a user with UserName."};
  }
  user = c.table().user(name);
  if (user != nullptr) return {};
  return {"NoSuchEntity", cat("The user with name ", name, " cannot be found.")};
}

// His key of that id.
Error find_key(const Call& c, const KeyRecord*& key) {
  const UserRecord* user = nullptr;
  if (Error e = find_user(c, user)) return e;
  key = c.table().key(c.param("AccessKeyId"));
  if (key != nullptr && key->user == user->id) return {};
  return {"NoSuchEntity", cat("The Access Key with id ", c.param("AccessKeyId").substr(0, 128),
                              " cannot be found.")};
}

Error parse_expiry(const Call& c, std::optional<int64_t>& expires_ms) {
  if (!c.has("ExpiresAt")) return {};
  if (c.param("ExpiresAt").empty()) {
    expires_ms = 0;
    return {};
  }
  expires_ms = policy::parse_moment(c.param("ExpiresAt"));
  if (expires_ms && *expires_ms > c.store.now_ms()) return {};
  return {"ValidationError", "ExpiresAt is a time to come, as 2026-12-31T00:00:00Z"};
}

void add_key(pugi::xml_node to, const UserRecord& user, const KeyRecord& key) {
  add_text(to, "UserName", user.name);
  add_text(to, "AccessKeyId", key.id);
  add_text(to, "Status", key.enabled ? "Active" : "Inactive");
  add_text(to, "CreateDate", http::iso_date(key.created_ms));
  if (key.expires_ms != 0) add_text(to, "ExpiresAt", http::iso_date(key.expires_ms));
  if (key.boundary) add_text(to, "Boundary", http::percent_encode(key.boundary->text, false));
}

awaitable<Error> create_key(Call& c) {
  const UserRecord* user = nullptr;
  if (Error e = find_user(c, user)) co_return e;
  std::optional<int64_t> expires_ms;
  if (Error e = parse_expiry(c, expires_ms)) co_return e;
  const Users::MadeKey made = c.users.make_key();
  const std::string name = user->name;
  if (Error e = co_await change(c, [&](Draft& d) {
        return d.create_key(name, made.id, made.sealed, expires_ms.value_or(0),
                            c.param("Boundary"));
      })) {
    co_return e;
  }
  auto key = s3::add(c.result, "AccessKey");
  add_key(key, *c.table().user(name), *c.table().key(made.id));
  add_text(key, "SecretAccessKey", made.secret);
  co_return Error{};
}

awaitable<Error> list_keys(Call& c) {
  const UserRecord* user = nullptr;
  if (Error e = find_user(c, user)) co_return e;
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  add_text(c.result, "UserName", user->name);
  auto list = s3::add(c.result, "AccessKeyMetadata");
  for (auto& [id, key] : c.table().keys) {
    if (key->user == user->id && page.takes(id)) add_key(s3::add(list, "member"), *user, *key);
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> update_key(Call& c) {
  const KeyRecord* key = nullptr;
  if (Error e = find_key(c, key)) co_return e;
  Draft::KeyChange wanted;
  if (c.has("Status")) {
    if (c.param("Status") != "Active" && c.param("Status") != "Inactive") {
      co_return Error{"ValidationError", "Status is Active or Inactive"};
    }
    wanted.enabled = c.param("Status") == "Active";
  }
  if (Error e = parse_expiry(c, wanted.expires_ms)) co_return e;
  if (c.has("Boundary")) wanted.boundary = std::string(c.param("Boundary"));
  co_return co_await change(c,
                            [&](Draft& d) { return d.update_key(c.param("AccessKeyId"), wanted); });
}

awaitable<Error> delete_key(Call& c) {
  const KeyRecord* key = nullptr;
  if (Error e = find_key(c, key)) co_return e;
  co_return co_await change(c, [&](Draft& d) { return d.delete_key(c.param("AccessKeyId")); });
}

constexpr Row kRows[] = {
    {"CreateAccessKey", create_key, "UserName ExpiresAt Boundary", "", target},
    {"ListAccessKeys", list_keys, "UserName Marker MaxItems", "", target},
    {"UpdateAccessKey", update_key, "UserName AccessKeyId Status ExpiresAt Boundary", "AccessKeyId",
     target, false},
    {"DeleteAccessKey", delete_key, "UserName AccessKeyId", "AccessKeyId", target, false},
};

}  // namespace

std::span<const Row> key_rows() { return kRows; }

}  // namespace cairn::iam
