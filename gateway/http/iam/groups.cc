#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

std::string group_arn(std::string_view path, std::string_view name) {
  return cat("arn:aws:iam::", kAccount, ":group", path, name);
}
std::string target(const Call& c) {
  const GroupRecord* group = c.table().group(c.param("GroupName"));
  return group != nullptr ? arn_of(*group) : group_arn("/", c.param("GroupName"));
}
std::string new_target(const Call& c) {
  return group_arn(c.has("Path") ? c.param("Path") : "/", c.param("GroupName"));
}

awaitable<Error> create_group(Call& c) {
  const std::string_view path = c.has("Path") ? c.param("Path") : "/";
  if (Error e = check_name("groupName", c.param("GroupName"))) co_return e;
  if (Error e = check_path("path", path)) co_return e;
  if (Error e = co_await change(
          c, [&](Draft& d) { return d.create_group(c.param("GroupName"), path); })) {
    co_return e;
  }
  add_group(s3::add(c.result, "Group"), *c.table().group(c.param("GroupName")));
  co_return Error{};
}

awaitable<Error> get_group(Call& c) {
  const GroupRecord* group = c.table().group(c.param("GroupName"));
  if (group == nullptr) {
    co_return Error{"NoSuchEntity",
                    cat("The group with name ", c.param("GroupName"), " cannot be found.")};
  }
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  add_group(s3::add(c.result, "Group"), *group);
  auto list = s3::add(c.result, "Users");
  for (auto& [name, user] : c.table().users) {
    const bool in_it =
        std::find(user->groups.begin(), user->groups.end(), group->id) != user->groups.end();
    if (in_it && page.takes(name)) add_user(s3::add(list, "member"), *user);
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> list_groups(Call& c) {
  Page page;
  if (Error e = Page::parse(c, page)) co_return e;
  auto list = s3::add(c.result, "Groups");
  for (auto& [name, group] : c.table().groups) {
    if (group->path.starts_with(path_prefix(c)) && page.takes(name)) {
      add_group(s3::add(list, "member"), *group);
    }
  }
  page.end(c);
  co_return Error{};
}

awaitable<Error> update_group(Call& c) {
  std::optional<std::string> name, path;
  if (c.has("NewGroupName")) {
    name = c.param("NewGroupName");
    if (Error e = check_name("newGroupName", *name)) co_return e;
  }
  if (c.has("NewPath")) {
    path = c.param("NewPath");
    if (Error e = check_path("newPath", *path)) co_return e;
  }
  if (const GroupRecord* group = c.table().group(c.param("GroupName"))) {
    if (Error e = may(c, group_arn(path.value_or(group->path), name.value_or(group->name)))) {
      co_return e;
    }
  }
  co_return co_await change(
      c, [&](Draft& d) { return d.update_group(c.param("GroupName"), name, path); });
}

awaitable<Error> delete_group(Call& c) {
  co_return co_await change(c, [&](Draft& d) { return d.delete_group(c.param("GroupName")); });
}

awaitable<Error> add_user_to_group(Call& c) {
  co_return co_await change(
      c, [&](Draft& d) { return d.add_to_group(c.param("GroupName"), c.param("UserName")); });
}

awaitable<Error> remove_user_from_group(Call& c) {
  co_return co_await change(
      c, [&](Draft& d) { return d.remove_from_group(c.param("GroupName"), c.param("UserName")); });
}

constexpr Row kRows[] = {
    {"CreateGroup", create_group, "GroupName Path", "GroupName", new_target},
    {"GetGroup", get_group, "GroupName Marker MaxItems", "GroupName", target},
    {"ListGroups", list_groups, "PathPrefix Marker MaxItems", "", nullptr},
    {"UpdateGroup", update_group, "GroupName NewGroupName NewPath", "GroupName", target, false},
    {"DeleteGroup", delete_group, "GroupName", "GroupName", target, false},
    {"AddUserToGroup", add_user_to_group, "GroupName UserName", "GroupName UserName", target,
     false},
    {"RemoveUserFromGroup", remove_user_from_group, "GroupName UserName", "GroupName UserName",
     target, false},
};

}  // namespace

void add_group(pugi::xml_node to, const GroupRecord& group) {
  add_text(to, "Path", group.path);
  add_text(to, "GroupName", group.name);
  add_text(to, "GroupId", group.id);
  add_text(to, "Arn", arn_of(group));
  add_text(to, "CreateDate", http::iso_date(group.created_ms));
}

std::span<const Row> group_rows() { return kRows; }

}  // namespace cairn::iam
