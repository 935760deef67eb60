#include "gateway/events/target.h"

#include <algorithm>

#include "core/base/text.h"
#include "objects/digest.h"

namespace cairn::events {

namespace {

Status wrong(std::string_view why) { return absl::InvalidArgumentError(std::string(why)); }

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

// "ID REST", where REST may have blanks.
struct Named {
  std::string_view id, rest;
};
StatusOr<Named> named(std::string_view option, std::string_view text) {
  const size_t blank = text.find(' ');
  const std::string_view id = text.substr(0, blank);
  const std::string_view rest = blank == text.npos ? "" : text.substr(blank + 1);
  if (!is_id(id) || rest.empty()) {
    return wrong(cat(option, ": '", id,
                     " …' is not an ID of letters, digits, - and _, a blank, "
                     "and what it stands for"));
  }
  return Named{id, rest};
}

// As https://www.standardwebhooks.com has it: "whsec_" and base64; else the bytes as they are.
StatusOr<std::string> secret_of(std::string_view text) {
  constexpr std::string_view kEncoded = "whsec_";
  if (!text.starts_with(kEncoded)) return std::string(text);
  auto raw = objects::base64_decode(text.substr(kEncoded.size()));
  if (!raw || raw->empty()) return wrong("webhook-secret: what follows whsec_ is not base64");
  return *raw;
}

}  // namespace

StatusOr<Url> parse_url(std::string_view text) {
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://")) {
    url.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return wrong(cat("'", text, "' begins with neither http:// nor https://"));
  }
  const bool printable = std::all_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && static_cast<unsigned char>(c) < 0x7f;
  });
  if (!printable) return wrong("a URL has a character that has to be encoded");
  const size_t end = rest.find_first_of("/?#");
  std::string_view authority = rest.substr(0, end);
  std::string_view path = end == rest.npos ? "" : rest.substr(end);
  path = path.substr(0, path.find('#'));
  url.path = path.starts_with('/') ? std::string(path) : cat("/", path);
  if (authority.find('@') != authority.npos) {
    return wrong("a URL with a user and a password is not taken: webhook-secret signs requests");
  }
  url.port = url.tls ? 443 : 80;
  size_t colon = authority.rfind(':');
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == authority.npos) return wrong(cat("'", text, "' has no host"));
    url.host = authority.substr(1, close - 1);
    if (colon < close) colon = authority.npos;
    if (colon == authority.npos && close + 1 != authority.size()) return wrong("no port");
  } else {
    url.host = authority.substr(0, colon);
  }
  if (url.host.empty()) return wrong(cat("'", text, "' has no host"));
  if (colon != authority.npos) {
    const auto port = parse_int<uint16_t>(authority.substr(colon + 1));
    if (!port || *port == 0) return wrong(cat("'", text, "' has no port of 1 to 65535"));
    url.port = *port;
  }
  return url;
}

std::string Url::host_field() const {
  const std::string name = host.find(':') == host.npos ? host : cat("[", host, "]");
  return port == (tls ? 443 : 80) ? name : cat(name, ":", port);
}

std::string Target::arn() const {
  switch (kind) {
    case Kind::kWebhook:
      return cat("arn:cairn:sqs::", id, ":webhook");
    case Kind::kStream:
      return cat("arn:cairn:sqs::", id, ":redis");
    case Kind::kChannel:
      break;
  }
  return cat("arn:cairn:sns::", id, ":redis");
}

StatusOr<std::vector<Target>> parse_targets(const TargetOptions& options, uint32_t databases) {
  std::vector<Target> targets;
  const auto add = [&](Target target) -> Status {
    for (const Target& other : targets) {
      if (other.id == target.id) return wrong(cat("two targets of events are called ", target.id));
    }
    targets.push_back(std::move(target));
    return absl::OkStatus();
  };
  for (const std::string& text : options.webhooks) {
    const auto said = named("webhook", text);
    if (!said.ok()) return said.status();
    auto url = parse_url(said->rest);
    if (!url.ok()) return wrong(cat("webhook: ", url.status().message()));
    Target target;
    target.id = said->id;
    target.url = std::move(*url);
    if (Status s = add(std::move(target)); !s.ok()) return s;
  }
  for (const std::string& text : options.secrets) {
    const auto said = named("webhook-secret", text);
    if (!said.ok()) return wrong("webhook-secret: it is not an ID, a blank, and a secret");
    const auto target = std::find_if(targets.begin(), targets.end(),
                                     [&](const Target& t) { return t.id == said->id; });
    if (target == targets.end()) {
      return wrong(cat("webhook-secret: there is no webhook ", said->id));
    }
    auto secret = secret_of(said->rest);
    if (!secret.ok()) return secret.status();
    target->secret = std::move(*secret);
  }
  for (const std::string& text : options.streams) {
    const auto said = named("event-stream", text);
    if (!said.ok()) return said.status();
    const size_t blank = said->rest.find(' ');
    const auto number = parse_int<uint32_t>(said->rest.substr(0, blank));
    if (blank == said->rest.npos || !number || *number >= databases ||
        blank + 1 == said->rest.size()) {
      return wrong(
          cat("event-stream: '", text, "' is not an ID, a number of a database, and a key"));
    }
    Target target;
    target.kind = Target::Kind::kStream;
    target.id = said->id;
    target.database = *number;
    target.key = said->rest.substr(blank + 1);
    if (Status s = add(std::move(target)); !s.ok()) return s;
  }
  for (const std::string& text : options.channels) {
    const auto said = named("event-channel", text);
    if (!said.ok()) return said.status();
    Target target;
    target.kind = Target::Kind::kChannel;
    target.id = said->id;
    target.key = said->rest;
    if (Status s = add(std::move(target)); !s.ok()) return s;
  }
  return targets;
}

}  // namespace cairn::events
