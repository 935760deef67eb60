// Providers of OpenID Connect, whose word roles may trust.
#include <algorithm>

#include "core/base/text.h"
#include "gateway/events/target.h"
#include "gateway/http/iam/fetch.h"
#include "gateway/http/iam/iam.h"

namespace cairn::iam {
namespace {

constexpr size_t kUrlMax = 255, kClientIdMax = 255;

// "arn:aws:iam::…:oidc-provider/URL"
std::string arn_head() { return cat("arn:aws:iam::", kAccount, ":oidc-provider/"); }

std::string_view without_scheme(std::string_view url) {
  return url.substr(std::min(url.find("://"), url.size() - 3) + 3);
}

std::string target(const Call& c) { return std::string(c.param("OpenIDConnectProviderArn")); }
std::string new_target(const Call& c) {
  const std::string_view url = c.param("Url");
  return cat(arn_head(), url.find("://") == url.npos ? url : without_scheme(url));
}

// The URL without its scheme of the provider that the call is about.
Error find_provider(const Call& c, const ProviderRecord*& provider) {
  const std::string_view arn = c.param("OpenIDConnectProviderArn");
  const std::string head = arn_head();
  provider = arn.starts_with(head) ? c.table().provider(arn.substr(head.size())) : nullptr;
  if (provider != nullptr && arn_of(*provider) == arn) return {};
  return {"NoSuchEntity", cat("OpenIDConnect Provider not found for arn ", arn.substr(0, 300))};
}

// NAME.member.1, NAME.member.2, …
std::vector<std::string> list_of(const Call& c, std::string_view name) {
  std::vector<std::string> all;
  for (size_t i = 1; c.has(cat(name, ".member.", i)); i++) {
    all.emplace_back(c.param(cat(name, ".member.", i)));
  }
  return all;
}

Error check_url(std::string_view text, bool& plain) {
  const auto url = events::parse_url(text);
  // Its name is part of ARNs and of keys of conditions.
  constexpr std::string_view kInUrls =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:/[].-_~";
  const bool fits = url.ok() && text.size() <= kUrlMax &&
                    text.find_first_not_of(kInUrls) == text.npos && !text.ends_with('/');
  plain = url.ok() && !url->tls;
  if (fits && (!plain || is_loopback_host(url->host))) return {};
  return {"InvalidInput",
          "Invalid Open ID Connect Provider URL: it begins with https:// (or http://, of this "
          "machine itself), has no query, and does not end with /"};
}

Error check_client_ids(const std::vector<std::string>& all) {
  for (const std::string& one : all) {
    if (!one.empty() && one.size() <= kClientIdMax) continue;
    return {"ValidationError", "A client id has 1 to 255 characters"};
  }
  return {};
}

Error check_thumbprints(std::vector<std::string>& all) {
  for (std::string& one : all) {
    one = lower(one);
    if (one.size() == 40 && one.find_first_not_of("0123456789abcdef") == one.npos) continue;
    return {"ValidationError", "A thumbprint is a SHA-1 in 40 hexadecimal digits"};
  }
  return {};
}

awaitable<Error> create_provider(Call& c) {
  bool plain = false;
  if (Error e = check_url(c.param("Url"), plain)) co_return e;
  auto client_ids = list_of(c, "ClientIDList"), thumbprints = list_of(c, "ThumbprintList");
  if (Error e = check_client_ids(client_ids)) co_return e;
  if (Error e = check_thumbprints(thumbprints)) co_return e;
  const std::string name(without_scheme(c.param("Url")));
  if (Error e = co_await change(
          c, [&](Draft& d) { return d.create_provider(name, plain, client_ids, thumbprints); })) {
    co_return e;
  }
  add_text(c.result, "OpenIDConnectProviderArn", arn_of(*c.table().provider(name)));
  co_return Error{};
}

void add_list(pugi::xml_node to, const char* name, const std::vector<std::string>& all) {
  auto list = s3::add(to, name);
  for (const std::string& one : all) add_text(list, "member", one);
}

awaitable<Error> get_provider(Call& c) {
  const ProviderRecord* provider = nullptr;
  if (Error e = find_provider(c, provider)) co_return e;
  add_text(c.result, "Url", provider->name);
  add_list(c.result, "ClientIDList", provider->client_ids);
  add_list(c.result, "ThumbprintList", provider->thumbprints);
  add_text(c.result, "CreateDate", http::iso_date(provider->created_ms));
  co_return Error{};
}

awaitable<Error> list_providers(Call& c) {
  auto list = s3::add(c.result, "OpenIDConnectProviderList");
  for (auto& [name, provider] : c.table().providers) {
    add_text(s3::add(list, "member"), "Arn", arn_of(*provider));
  }
  co_return Error{};
}

awaitable<Error> delete_provider(Call& c) {
  const ProviderRecord* provider = nullptr;
  if (Error e = find_provider(c, provider)) co_return e;
  const std::string name = provider->name;
  co_return co_await change(c, [&](Draft& d) { return d.delete_provider(name); });
}

// What the list of client ids is to be, by the list that there is at that moment.
template <class Edit>
awaitable<Error> edit_client_ids(Call& c, Edit edit) {
  const ProviderRecord* provider = nullptr;
  if (Error e = find_provider(c, provider)) co_return e;
  if (Error e = check_client_ids({std::string(c.param("ClientID"))})) co_return e;
  const std::string name = provider->name;
  co_return co_await change(c, [&](Draft& d) -> Status {
    const ProviderRecord* now = d.table().provider(name);
    auto ids = now == nullptr ? std::vector<std::string>() : now->client_ids;
    edit(ids);
    return d.update_provider(name, std::move(ids), std::nullopt);
  });
}

awaitable<Error> add_client_id(Call& c) {
  co_return co_await edit_client_ids(c, [&](std::vector<std::string>& ids) {
    const std::string id(c.param("ClientID"));
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  });
}

awaitable<Error> remove_client_id(Call& c) {
  co_return co_await edit_client_ids(
      c, [&](std::vector<std::string>& ids) { std::erase(ids, c.param("ClientID")); });
}

awaitable<Error> update_thumbprints(Call& c) {
  const ProviderRecord* provider = nullptr;
  if (Error e = find_provider(c, provider)) co_return e;
  auto thumbprints = list_of(c, "ThumbprintList");
  if (Error e = check_thumbprints(thumbprints)) co_return e;
  const std::string name = provider->name;
  co_return co_await change(
      c, [&](Draft& d) { return d.update_provider(name, std::nullopt, thumbprints); });
}

constexpr Row kRows[] = {
    {"CreateOpenIDConnectProvider", create_provider,
     "Url ClientIDList.member.N ThumbprintList.member.N", "Url", new_target},
    {"GetOpenIDConnectProvider", get_provider, "OpenIDConnectProviderArn",
     "OpenIDConnectProviderArn", target},
    {"ListOpenIDConnectProviders", list_providers, "", "", nullptr},
    {"DeleteOpenIDConnectProvider", delete_provider, "OpenIDConnectProviderArn",
     "OpenIDConnectProviderArn", target, false},
    {"AddClientIDToOpenIDConnectProvider", add_client_id, "OpenIDConnectProviderArn ClientID",
     "OpenIDConnectProviderArn ClientID", target, false},
    {"RemoveClientIDFromOpenIDConnectProvider", remove_client_id,
     "OpenIDConnectProviderArn ClientID", "OpenIDConnectProviderArn ClientID", target, false},
    {"UpdateOpenIDConnectProviderThumbprint", update_thumbprints,
     "OpenIDConnectProviderArn ThumbprintList.member.N", "OpenIDConnectProviderArn", target, false},
};

}  // namespace

std::span<const Row> provider_rows() { return kRows; }

}  // namespace cairn::iam
