#include "gateway/http/s3/acl.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/store/user_table.h"
#include "gateway/http/s3/bodies.h"

namespace cairn::s3 {

namespace {

struct NamedPermission {
  Permission permission;
  std::string_view name, header;
};
constexpr NamedPermission kPermissions[] = {
    {Permission::kFullControl, "FULL_CONTROL", "x-amz-grant-full-control"},
    {Permission::kRead, "READ", "x-amz-grant-read"},
    {Permission::kReadAcp, "READ_ACP", "x-amz-grant-read-acp"},
    {Permission::kWrite, "WRITE", "x-amz-grant-write"},
    {Permission::kWriteAcp, "WRITE_ACP", "x-amz-grant-write-acp"},
};
struct NamedGroup {
  std::string_view uri;
  Whom whom;
};
constexpr NamedGroup kGroups[] = {
    {"http://acs.amazonaws.com/groups/global/AllUsers", Whom::kEverybody},
    {"http://acs.amazonaws.com/groups/global/AuthenticatedUsers", Whom::kAuthenticated},
    {"http://acs.amazonaws.com/groups/s3/LogDelivery", Whom::kLogDelivery},
};

Error not_supported() { return {"AccessControlListNotSupported", ""}; }
Error is_blocked() {
  return {"AccessDenied",
          "Access Denied: public ACLs are prevented by the BlockPublicAcls setting in S3 Block "
          "Public Access."};
}

bool is_enforced(const Properties& set) { return set.ownership == Ownership::kBucketOwnerEnforced; }
bool blocks(const Properties& set, const Acl& acl) {
  return set.public_access_block && set.public_access_block->block_acls && acl.is_public();
}

Error grantee(std::string_view type, std::string_view value, const Users& users, Grant& to) {
  if (type == "id") {
    to.whom = value == kRootCanonicalId ? Whom::kOwner : Whom::kUser;
    if (to.whom == Whom::kOwner) return {};
    if (!users.user_of(value)) return argument_invalid("CanonicalUser/ID", value, "Invalid id");
    to.user = value;
    return {};
  }
  if (type == "uri") {
    for (const NamedGroup& group : kGroups) {
      if (group.uri != value) continue;
      to.whom = group.whom;
      return {};
    }
    return argument_invalid("Group/URI", value, "Invalid group uri");
  }
  return {"UnresolvableGrantByEmailAddress", ""};  // users of this store have none
}

// The list that a canned one stands for.
Error canned(std::string_view name, AclOf what, Acl& acl) {
  const auto give = [&](Whom whom, Permission permission) {
    acl.grants.push_back({whom, permission});
  };
  acl = {};
  if (name == "private") return {};
  if (name == "public-read" || name == "public-read-write") {
    give(Whom::kEverybody, Permission::kRead);
    if (name == "public-read-write") give(Whom::kEverybody, Permission::kWrite);
    return {};
  }
  if (name == "authenticated-read") {
    give(Whom::kAuthenticated, Permission::kRead);
    return {};
  }
  if (name == "log-delivery-write" && what == AclOf::kBucket) {
    give(Whom::kLogDelivery, Permission::kWrite);
    give(Whom::kLogDelivery, Permission::kReadAcp);
    return {};
  }
  // Who owns the bucket owns what is in it. Of a bucket itself S3 ignores them.
  if (name == "bucket-owner-read" || name == "bucket-owner-full-control") return {};
  if (name == "aws-exec-read") return {"NotImplemented", "x-amz-acl: aws-exec-read"};
  return argument_invalid("x-amz-acl", name, "");
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// id="…", uri="…", emailAddress="…"; the quotes may be missing.
Error add_grants(std::string_view header, std::string_view list, Permission permission,
                 const Users& users, Acl& acl) {
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string_view one = trimmed(list.substr(0, comma));
    list.remove_prefix(comma == list.npos ? list.size() : comma + 1);
    const size_t equals = one.find('=');
    std::string_view type = trimmed(one.substr(0, equals));
    std::string_view value = equals == one.npos ? "" : trimmed(one.substr(equals + 1));
    if (value.size() >= 2 && value.starts_with('"') && value.ends_with('"')) {
      value = value.substr(1, value.size() - 2);
    }
    const bool known = type == "id" || type == "uri" || type == "emailAddress";
    if (!known || value.empty())
      return argument_invalid(header, one, "Argument format not recognized");
    Grant grant;
    grant.permission = permission;
    if (Error e = grantee(type, value, users, grant)) return e;
    acl.grants.push_back(std::move(grant));
  }
  return {};
}

// What type of grantee an element says that it is: xsi:type="Group".
std::string_view type_of(const pugi::xml_node& node) {
  for (const auto& attribute : node.attributes()) {
    const std::string_view name = attribute.name();
    const size_t colon = name.find(':');
    const bool names_space = name.starts_with("xmlns");
    if (!names_space && colon != name.npos && name.substr(colon + 1) == "type") {
      return attribute.value();
    }
  }
  return {};
}

std::optional<std::string> text_in(const pugi::xml_node& node, const char* name) {
  bool twice = false;
  const auto child = single(node, name, twice);
  return child && !twice ? text_of(child) : std::nullopt;
}

Error read_grant(const pugi::xml_node& node, const Users& users, Grant& grant) {
  const Error malformed{"MalformedACLError", ""};
  bool twice = false;
  const auto who = single(node, "Grantee", twice);
  const auto permission = text_in(node, "Permission");
  if (!only_elements(node, "Grantee Permission") || !who || twice || !permission ||
      !only_elements(who, "ID DisplayName EmailAddress URI")) {
    return malformed;
  }
  const auto row = std::find_if(std::begin(kPermissions), std::end(kPermissions),
                                [&](auto& p) { return p.name == *permission; });
  if (row == std::end(kPermissions)) return malformed;
  grant.permission = row->permission;
  const std::string_view type = type_of(who);
  if (type == "CanonicalUser") {
    const auto id = text_in(who, "ID");
    return id ? grantee("id", *id, users, grant) : malformed;
  }
  if (type == "Group") {
    const auto uri = text_in(who, "URI");
    return uri ? grantee("uri", *uri, users, grant) : malformed;
  }
  if (type == "AmazonCustomerByEmail") {
    return text_in(who, "EmailAddress") ? grantee("emailAddress", "", users, grant) : malformed;
  }
  return malformed;
}

}  // namespace

Acl acl_of(const ObjectMeta& meta) {
  const auto it = meta.extra.find(objects::kAcl);
  if (it == meta.extra.end()) return {};
  return Acl::decode(it->second).value_or(Acl{});
}

void set_acl(ObjectMeta& meta, const Acl& acl) {
  meta.extra.erase(objects::kAcl);
  if (!acl.is_default()) meta.extra[objects::kAcl] = acl.encode();
}

Error acl_in_headers(const http::Request& r, const Users& users, AclOf what,
                     std::optional<Acl>& acl) {
  const bool by_name = r.has_header("x-amz-acl");
  if (by_name) {
    if (Error e = canned(r.header("x-amz-acl"), what, acl.emplace())) return e;
  }
  for (const NamedPermission& p : kPermissions) {
    if (!r.has_header(p.header)) continue;
    if (by_name) {
      return {"InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed"};
    }
    if (!acl) acl.emplace().grants.clear();
    if (Error e = add_grants(p.header, r.header(p.header), p.permission, users, *acl)) return e;
  }
  if (acl && acl->grants.size() > Acl::kGrantsMax) return {"MalformedACLError", ""};
  return {};
}

Error parse_acl(const std::string& xml, const Users& users, Acl& acl) {
  XmlIn in;
  const Error malformed{"MalformedACLError", ""};
  if (!in.parse(xml, "AccessControlPolicy") ||
      !only_elements(in.root(), "Owner AccessControlList")) {
    return malformed;
  }
  bool twice = false;
  const auto owner = single(in.root(), "Owner", twice);
  const auto list = single(in.root(), "AccessControlList", twice);
  if (twice || !owner || !list || !only_elements(owner, "ID DisplayName") ||
      !only_elements(list, "Grant")) {
    return malformed;
  }
  const auto id = text_in(owner, "ID");
  if (!id) return malformed;
  if (*id != kRootCanonicalId) return {"AccessDenied", ""};
  acl.grants.clear();
  for (const auto node : list.children("Grant")) {
    if (acl.grants.size() == Acl::kGrantsMax) return malformed;
    if (Error e = read_grant(node, users, acl.grants.emplace_back())) return e;
  }
  return {};
}

Error acl_for_object(const Call& c, ObjectMeta& meta) {
  meta.extra.erase(objects::kAcl);
  if (c.users == nullptr) return {};
  std::optional<Acl> acl;
  if (Error e = acl_in_headers(c.request, *c.users, AclOf::kObject, acl)) return e;
  if (!acl || acl->is_default()) return {};
  const auto set = c.bucket->properties();
  if (is_enforced(*set)) return not_supported();
  if (blocks(*set, *acl)) return is_blocked();
  constexpr Action kPut{action::kDoor, "PutObjectAcl", Access::kWrite};
  if (Error e = c.may(kPut, c.bucket_name, c.key)) return e;
  set_acl(meta, *acl);
  return {};
}

Error access_for_bucket(const Call& c, Properties& set) {
  if (c.request.has_header("x-amz-object-ownership")) {
    constexpr Action kPut{action::kDoor, "PutBucketOwnershipControls", Access::kWrite};
    const std::string_view name = c.request.header("x-amz-object-ownership");
    if (name == "BucketOwnerPreferred") set.ownership = Ownership::kBucketOwnerPreferred;
    if (name == "ObjectWriter") set.ownership = Ownership::kObjectWriter;
    if (!is_enforced(set)) {
      if (Error e = c.may(kPut, c.bucket_name)) return e;
    }
  }
  std::optional<Acl> acl;
  if (Error e = acl_in_headers(c.request, *c.users, AclOf::kBucket, acl)) return e;
  if (!acl || acl->is_default()) return {};
  if (is_enforced(set)) return {"InvalidBucketAclWithObjectOwnership", ""};
  constexpr Action kPut{action::kDoor, "PutBucketAcl", Access::kWrite};
  if (Error e = c.may(kPut, c.bucket_name)) return e;
  set.acl = std::move(acl);
  return {};
}

// ---- operations ----

namespace {

void reply_acl(Call& c, const Acl& acl) {
  XmlOut xml("AccessControlPolicy");
  add_owner(xml.root(), "Owner", c);
  auto list = add(xml.root(), "AccessControlList");
  for (const Grant& g : acl.grants) {
    auto grant = add(list, "Grant");
    auto who = add(grant, "Grantee");
    who.append_attribute("xmlns:xsi") = "http://www.w3.org/2001/XMLSchema-instance";
    const bool one = g.whom == Whom::kOwner || g.whom == Whom::kUser;
    who.append_attribute("xsi:type") = one ? "CanonicalUser" : "Group";
    if (g.whom == Whom::kOwner) {
      add(who, "ID", kRootCanonicalId);
      add(who, "DisplayName", c.owner);
    } else if (g.whom == Whom::kUser) {
      add(who, "ID", g.user);
      const auto name = c.users == nullptr ? std::nullopt : c.users->user_of(g.user);
      if (name) add(who, "DisplayName", *name);
    }
    for (const NamedGroup& group : kGroups) {
      if (group.whom == g.whom) add(who, "URI", group.uri);
    }
    for (const NamedPermission& p : kPermissions) {
      if (p.permission == g.permission) add(grant, "Permission", p.name);
    }
  }
  reply_xml(c, xml);
}

awaitable<Error> get_of_bucket(Call& c) {
  const auto set = c.bucket->properties();
  reply_acl(c, is_enforced(*set) ? Acl{} : set->acl.value_or(Acl{}));
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> get_of_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  auto info = objects::stat(c.store, *c.bucket, c.key, version);
  if (!info.ok()) co_return error_of_object(c, info.status());
  say_version(c, info->version_id);
  reply_acl(c, is_enforced(*c.bucket->properties()) ? Acl{} : acl_of(info->meta));
  co_return co_await settle(c, info->seen);
}

// What a request sets, by its headers or by its body.
awaitable<Error> read_acl(Call& c, AclOf what, Acl& acl) {
  constexpr size_t kDocumentMax = 256 << 10;
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  const auto set = c.bucket->properties();
  if (is_enforced(*set)) co_return not_supported();
  std::optional<Acl> in_headers;
  if (Error e = acl_in_headers(c.request, *c.users, what, in_headers)) co_return e;
  if (in_headers && !text.empty()) co_return Error{"UnexpectedContent", ""};
  if (in_headers) {
    acl = *in_headers;
  } else if (text.empty()) {
    co_return Error{"MissingSecurityHeader", ""};
  } else if (Error e = parse_acl(text, *c.users, acl)) {
    co_return e;
  }
  if (blocks(*set, acl)) co_return is_blocked();
  co_return Error{};
}

awaitable<Error> put_of_bucket(Call& c) {
  Acl acl;
  if (Error e = co_await read_acl(c, AclOf::kBucket, acl)) co_return e;
  // Looked at once more, since another request may have come between.
  bool supported = false;
  auto lsn = c.store.change_properties(*c.bucket, [&](Properties& p) {
    supported = !is_enforced(p);
    if (supported) p.acl = acl.is_default() ? std::nullopt : std::optional(acl);
  });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  if (!supported) co_return not_supported();
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_of_object(Call& c) {
  std::optional<Version> version;
  if (Error e = find_version(c, version)) co_return e;
  Acl acl;
  if (Error e = co_await read_acl(c, AclOf::kObject, acl)) co_return e;
  const auto change = [&acl](ObjectMeta& meta) { set_acl(meta, acl); };
  auto done =
      co_await objects::change_meta(c.store, *c.bucket, c.key, change, Cause::kAclPut, version);
  if (!done.ok()) co_return error_of_object(c, done.status());
  say_version(c, done->version_id);
  co_return co_await settle(c, done->seen);
}

constexpr Action reading(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Action writing(std::string_view name) { return {action::kDoor, name, Access::kWrite}; }
constexpr std::string_view kPutHeaders =
    CAIRN_S3_GRANTS " x-amz-grant-write x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS;

constexpr Row kRows[] = {
    {"GetBucketAcl", reading("GetBucketAcl"), "GET", Scope::kBucket, "acl", "", get_of_bucket, "",
     ""},
    {"PutBucketAcl", writing("PutBucketAcl"), "PUT", Scope::kBucket, "acl", "", put_of_bucket,
     kPutHeaders, "", true, true},
    {"GetObjectAcl", reading("GetObjectAcl"), "GET", Scope::kObject, "acl", "", get_of_object, "",
     "versionId", true, false, false, reading("GetObjectVersionAcl")},
    {"PutObjectAcl", writing("PutObjectAcl"), "PUT", Scope::kObject, "acl", "", put_of_object,
     kPutHeaders, "versionId", true, true, false, writing("PutObjectVersionAcl")},
};

}  // namespace

std::span<const Row> acl_rows() { return kRows; }

}  // namespace cairn::s3
