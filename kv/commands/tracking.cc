// CLIENT TRACKING and what stands beside it (engine/tracking.h).
#include <absl/container/btree_set.h>

#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

constexpr size_t kLeftAtOnce = 1000;  // prefixes

// ---- prefixes of one client, of which none may begin with another ----

bool overlap(std::string_view a, std::string_view b) {
  return a.starts_with(b) || b.starts_with(a);
}

// A set of such; as long as none begins with another, the only ones that can overlap with a text
// stand beside its place.
template <class Set>
typename Set::const_iterator overlapping(const Set& set, std::string_view text) {
  if (set.empty() || set.begin()->empty()) return set.begin();
  auto it = set.lower_bound(text);
  if (it != set.begin() && overlap(*std::prev(it), text)) return std::prev(it);
  return it != set.end() && overlap(*it, text) ? it : set.end();
}

// The last of the prefixes, going backwards, that overlaps with a later one; their number if none
// does. What begins with another one does not count for itself: it overlaps with nothing more.
size_t first_of_two(std::span<const std::string_view> prefixes) {
  absl::btree_set<std::string_view> later;
  size_t found = prefixes.size();
  for (size_t i = prefixes.size(); i-- > 0;) {
    const std::string_view text = prefixes[i];
    auto it = overlapping(later, text);
    if (it != later.end()) {
      found = i;
      if (text.starts_with(*it)) continue;
      while (it != later.end() && it->starts_with(text)) it = later.erase(it);
    }
    later.insert(text);
  }
  return found;
}

std::string_view shown(std::string_view text) { return text.substr(0, text.find('\0')); }

// Answers the error of the first that overlaps with one that the client has, or with a later one.
bool prefixes_fit(Context& c, std::span<const std::string_view> prefixes) {
  const auto& own = c.session.tracker->prefixes();
  const size_t first = first_of_two(prefixes);
  constexpr std::string_view kMustNot = "'. Prefixes for a single client must not overlap.";
  for (size_t i = 0; i < prefixes.size(); i++) {
    if (const auto it = overlapping(own, prefixes[i]); it != own.end()) {
      c.reply.error(cat("ERR Prefix '", shown(prefixes[i]), "' overlaps with an existing prefix '",
                        shown(*it), kMustNot));
      return false;
    }
    if (i != first) continue;
    size_t other = i + 1;
    while (!overlap(prefixes[i], prefixes[other])) other++;
    c.reply.error(cat("ERR Prefix '", shown(prefixes[i]),
                      "' overlaps with another provided prefix '", shown(prefixes[other]),
                      kMustNot));
    return false;
  }
  return true;
}

// ---- CLIENT TRACKING ----

// False after it answered the error.
bool redirect_to(Context& c, std::string_view word, Tracking::Options& options) {
  if (options.redirect != 0) {
    c.reply.error("ERR A client can only redirect to a single other client");
    return false;
  }
  const auto id = parse_ll(word);
  if (!id) {
    c.reply.error("ERR value is not an integer or out of range");
    return false;
  }
  options.redirect = static_cast<uint64_t>(*id);
  options.target = c.engine.server().sessions.find(options.redirect);
  if (options.target != nullptr) return true;
  c.reply.error("ERR The client ID you want redirect to does not exist");
  return false;
}

bool parse(Context& c, Tracking::Options& options) {
  constexpr std::pair<std::string_view, Tracker::Flag> kFlags[] = {
      {"bcast", Tracker::kBroadcast},
      {"optin", Tracker::kOptIn},
      {"optout", Tracker::kOptOut},
      {"noloop", Tracker::kNoLoop},
  };
  for (size_t i = 3; i < c.args.size(); i++) {
    const bool more = i + 1 < c.args.size();
    uint32_t flag = 0;
    for (const auto& [name, its] : kFlags) {
      if (equals_ignoring_case(c.args[i], name)) flag = its;
    }
    options.flags |= flag;
    if (flag != 0) continue;
    if (more && equals_ignoring_case(c.args[i], "redirect")) {
      if (!redirect_to(c, c.args[++i], options)) return false;
    } else if (more && equals_ignoring_case(c.args[i], "prefix")) {
      options.prefixes.push_back(c.args[++i]);
    } else {
      c.syntax_error();
      return false;
    }
  }
  return true;
}

// Broadcasts name keys of all databases and buckets, whoever asks: as messages do, they take the
// right to the command by its name.
bool may_hear_of_all(Context& c) {
  const Action action{c.row.action.door, c.row.action.name, Access::kByName};
  const Principal* who = c.session.principal.get();
  Circumstances from = c.session.circumstances();
  from.granted = c.engine.acl_allows(c.session, c.request);
  if (who == nullptr || authorize(*who, action, {}, {}, from)) return true;
  c.reply.error(cat("NOPERM this user has no permissions to run the '", c.row.name, "' command"));
  return false;
}

// Why these options do not go together, or not with what the client said before; empty: they do.
std::string_view refusal(const Tracker& now, const Tracking::Options& options) {
  const auto wants = [&](uint32_t flag) { return (options.flags & flag) != 0; };
  const bool broadcast = wants(Tracker::kBroadcast);
  if (!broadcast && !options.prefixes.empty()) {
    return "ERR PREFIX option requires BCAST mode to be enabled";
  }
  if (now.has(Tracker::kOn) && now.has(Tracker::kBroadcast) != broadcast) {
    return "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and "
           "then re-enabling it with a different mode.";
  }
  if (broadcast && wants(Tracker::kOptIn | Tracker::kOptOut)) {
    return "ERR OPTIN and OPTOUT are not compatible with BCAST";
  }
  if (wants(Tracker::kOptIn) && wants(Tracker::kOptOut)) {
    return "ERR You can't specify both OPTIN mode and OPTOUT mode";
  }
  if ((wants(Tracker::kOptIn) && now.has(Tracker::kOptOut)) ||
      (wants(Tracker::kOptOut) && now.has(Tracker::kOptIn))) {
    return "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and "
           "then re-enabling it with a different mode.";
  }
  return {};
}

void tracking(Context& c) {
  Tracking::Options options;
  if (!parse(c, options)) return;
  Tracking& tracking = c.engine.server().tracking;
  if (equals_ignoring_case(c.args[2], "off")) {
    if (tracking.leave(c.session, c.in_exec ? SIZE_MAX : kLeftAtOnce)) return c.defer();
    return c.reply.ok();
  }
  if (!equals_ignoring_case(c.args[2], "on")) return c.syntax_error();
  const std::string_view why = refusal(*c.session.tracker, options);
  if (!why.empty()) return c.reply.error(why);
  if ((options.flags & Tracker::kBroadcast) != 0 && !may_hear_of_all(c)) return;
  if (!prefixes_fit(c, options.prefixes)) return;
  tracking.enable(c.session, options);
  c.reply.ok();
}

// The rest of OFF.
awaitable<void> leave_in_turns(Context& c) {
  const Executor executor = co_await asio::this_coro::executor;
  while (c.engine.server().tracking.leave(c.session, kLeftAtOnce)) {
    co_await asio::post(executor, asio::use_awaitable);
  }
  c.reply.ok();
}

void caching(Context& c) {
  Tracker& tracker = *c.session.tracker;
  if (!tracker.has(Tracker::kOn)) {
    return c.reply.error(
        "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or "
        "OPTOUT mode enabled");
  }
  if (equals_ignoring_case(c.args[2], "yes")) {
    if (!tracker.has(Tracker::kOptIn)) {
      return c.reply.error(
          "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.");
    }
  } else if (equals_ignoring_case(c.args[2], "no")) {
    if (!tracker.has(Tracker::kOptOut)) {
      return c.reply.error(
          "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.");
    }
  } else {
    return c.syntax_error();
  }
  tracker.set_caching();
  c.reply.ok();
}

void getredir(Context& c) { c.reply.integer(c.session.tracker->redirect()); }

void trackinginfo(Context& c) {
  const Tracker& tracker = *c.session.tracker;
  const bool said = tracker.has(Tracker::kCaching);
  std::vector<std::string_view> flags{tracker.has(Tracker::kOn) ? "on" : "off"};
  if (tracker.has(Tracker::kBroadcast)) flags.emplace_back("bcast");
  if (tracker.has(Tracker::kOptIn)) flags.emplace_back("optin");
  if (tracker.has(Tracker::kOptIn) && said) flags.emplace_back("caching-yes");
  if (tracker.has(Tracker::kOptOut)) flags.emplace_back("optout");
  if (tracker.has(Tracker::kOptOut) && said) flags.emplace_back("caching-no");
  if (tracker.has(Tracker::kNoLoop)) flags.emplace_back("noloop");
  if (tracker.has(Tracker::kBroken)) flags.emplace_back("broken_redirect");
  c.reply.map(3);
  c.reply.bulk("flags");
  c.reply.set(flags.size());
  for (std::string_view flag : flags) c.reply.bulk(flag);
  c.reply.bulk("redirect");
  c.reply.integer(tracker.redirect());
  c.reply.bulk("prefixes");
  c.reply.array(tracker.prefixes().size());
  for (const std::string& prefix : tracker.prefixes()) c.reply.bulk(prefix);
}

constexpr std::string_view kGroup = "connection";
constexpr uint32_t kClient = kLoading | kNoScript;
constexpr Row kRows[] = {
    {"client|caching",
     3,
     kClient,
     {},
     caching,
     nullptr,
     kGroup,
     "Instructs the server whether to track the keys in the next request.",
     "6.0.0"},
    {"client|getredir",
     2,
     kClient,
     {},
     getredir,
     nullptr,
     kGroup,
     "Returns the client ID to which the connection's tracking notifications are redirected.",
     "6.0.0"},
    {"client|tracking",
     -3,
     kClient,
     {},
     tracking,
     leave_in_turns,
     kGroup,
     "Controls server-assisted client-side caching for the connection.",
     "6.0.0"},
    {"client|trackinginfo",
     2,
     kClient,
     {},
     trackinginfo,
     nullptr,
     kGroup,
     "Returns information about server-assisted client-side caching for the connection.",
     "6.2.0"},
};

}  // namespace
std::span<const Row> tracking_rows() { return kRows; }

}  // namespace cairn::kv
