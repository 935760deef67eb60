// Who is told what becomes of a bucket's objects: PutBucketNotificationConfiguration and its GET,
// as "Amazon S3 Event Notifications" of the S3 user guide has them, and MinIO's ListenNotification,
// in which a client is told as long as it listens.
//
// Targets are those of the server's options (gateway/events/target.h), as queues and topics. What a
// configuration asks for that Cairn does not do is refused, and nothing of it is kept.
#include "objects/notifications.h"

#include <algorithm>
#include <set>

#include "core/base/text.h"
#include "gateway/events/notifier.h"
#include "gateway/http/s3/request_context.h"
#include "gateway/http/s3/service.h"
#include "objects/metadata.h"

namespace cairn::s3 {

namespace {

constexpr size_t kRulesMax = 100;         // as S3
constexpr size_t kFilterBytesMax = 1024;  // likewise
constexpr size_t kIdBytesMax = 255;

Error malformed() { return {"MalformedXML", ""}; }
Error invalid(std::string_view message) { return {"InvalidArgument", std::string(message)}; }

struct Kind {
  std::string_view arn;
  const char* element;
  const char* target;  // the element in it that names the target
};
constexpr Kind kKinds[] = {
    {"arn:cairn:sqs:", "QueueConfiguration", "Queue"},
    {"arn:cairn:sns:", "TopicConfiguration", "Topic"},
};

Error parse_filter(const pugi::xml_node& filter, NotificationRule& rule) {
  if (!only_elements(filter, "S3Key")) return malformed();
  bool has_prefix = false, has_suffix = false;
  bool twice = false;
  const auto key = single(filter, "S3Key", twice);
  if (twice || (key && !only_elements(key, "FilterRule"))) return malformed();
  for (auto node : key.children("FilterRule")) {
    if (!only_elements(node, "Name Value")) return malformed();
    bool odd = false;
    const auto name = text_of(single(node, "Name", odd));
    const auto value = text_of(single(node, "Value", odd));
    if (odd || !name || !value) return malformed();
    if (value->size() > kFilterBytesMax) {
      return invalid("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation");
    }
    const bool prefix = equals_ignoring_case(*name, "prefix");
    if (!prefix && !equals_ignoring_case(*name, "suffix")) {
      return invalid("filter rule name must be either prefix or suffix");
    }
    if (std::exchange(prefix ? has_prefix : has_suffix, true)) {
      return invalid(
          cat("Cannot specify more than one ", prefix ? "prefix" : "suffix", " rule in a filter."));
    }
    (prefix ? rule.prefix : rule.suffix) = *value;
  }
  return {};
}

Error parse_events(const pugi::xml_node& node, NotificationRule& rule) {
  for (auto event : node.children("Event")) {
    const auto text = text_of(event);
    if (!text) return malformed();
    switch (objects::event_type(*text)) {
      case objects::EventType::kNone:
        return invalid("A specified event is not supported for notifications.");
      case objects::EventType::kKnown:
        return {"NotImplemented", cat("Cairn does not have events of the type ", *text)};
      case objects::EventType::kHad:
        rule.events.push_back(*text);
    }
  }
  return rule.events.empty() ? malformed() : Error{};
}

Error parse_rule(const Kind& kind, const pugi::xml_node& node, NotificationRule& rule) {
  if (!only_elements(node, cat("Id Event Filter ", kind.target))) return malformed();
  bool twice = false;
  const auto id = single(node, "Id", twice), target = single(node, kind.target, twice);
  const auto filter = single(node, "Filter", twice);
  if (twice || !target) return malformed();
  const auto arn = text_of(target);
  const auto name = id ? text_of(id) : std::optional<std::string>("");
  if (!arn || !name) return malformed();
  if (name->size() > kIdBytesMax) return invalid("Id is longer than 255 characters");
  rule.id = *name;
  rule.target = *arn;
  if (!arn->starts_with("arn:")) return invalid("The ARN could not be parsed");
  if (Error e = parse_events(node, rule)) return e;
  return filter ? parse_filter(filter, rule) : Error{};
}

Error parse_rules(const std::string& text, std::vector<NotificationRule>& rules) {
  XmlIn in;
  if (!in.parse(text, "NotificationConfiguration")) return malformed();
  const auto root = in.root();
  for (const auto& [element, what] : {std::pair("CloudFunctionConfiguration", "functions"),
                                      std::pair("LambdaFunctionConfiguration", "functions"),
                                      std::pair("EventBridgeConfiguration", "EventBridge")}) {
    if (root.child(element)) {
      return {"NotImplemented", cat("Cairn does not send events to ", what)};
    }
  }
  if (!only_elements(root, "QueueConfiguration TopicConfiguration")) return malformed();
  for (const Kind& kind : kKinds) {
    for (auto node : root.children(kind.element)) {
      if (rules.size() == kRulesMax) return invalid("A bucket has at most 100 configurations");
      if (Error e = parse_rule(kind, node, rules.emplace_back())) return e;
      if (rules.back().target.starts_with("arn:cairn:") &&
          !rules.back().target.starts_with(kind.arn)) {
        return invalid("The ARN is of another kind than its configuration");
      }
    }
  }
  return {};
}

// What nobody named gets a name.
Error name_rules(Store& store, std::vector<NotificationRule>& rules) {
  std::set<std::string_view> ids;
  for (NotificationRule& rule : rules) {
    if (rule.id.empty()) {
      const uint64_t raw[2] = {store.random(), store.random()};
      rule.id = objects::hex({reinterpret_cast<const char*>(raw), sizeof(raw)});
    }
    if (!ids.insert(rule.id).second) {
      return invalid("Same ID used for multiple configurations. IDs must be unique");
    }
  }
  return {};
}

awaitable<Error> change_rules(Call& c, std::vector<NotificationRule> rules) {
  auto lsn = c.store.change_properties(*c.bucket,
                                       [&](Properties& p) { p.notifications = std::move(rules); });
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_notification(Call& c) {
  constexpr size_t kBodyMax = 1 << 20;
  std::string text;
  if (Error e = co_await read_small(c, kBodyMax, text)) co_return e;
  if (!c.bucket->is_bucket()) {
    co_return Error{"MethodNotAllowed", "A numbered database sends no events of S3"};
  }
  std::vector<NotificationRule> rules;
  if (Error e = parse_rules(text, rules)) co_return e;
  if (Error e = name_rules(c.store, rules)) co_return e;
  if (objects::overlap(rules)) {
    co_return invalid(
        "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if "
        "the prefixes are overlapping for the same event type.");
  }
  std::vector<std::string> targets;
  const std::vector<std::string> known =
      c.notifier != nullptr ? c.notifier->arns() : std::vector<std::string>();
  for (const NotificationRule& rule : rules) {
    if (std::find(known.begin(), known.end(), rule.target) == known.end()) {
      co_return invalid(cat("Unable to validate the following destination configurations: ",
                            rule.target, " is no target of this server"));
    }
    targets.push_back(rule.target);
  }
  if (c.notifier == nullptr) co_return co_await change_rules(c, std::move(rules));
  const Status named = co_await c.notifier->begin_naming(std::move(targets));
  if (!named.ok()) co_return error_of(named);
  Error e = co_await change_rules(c, std::move(rules));
  c.notifier->end_naming();
  co_return e;
}

awaitable<Error> get_notification(Call& c) {
  XmlOut xml("NotificationConfiguration");
  const auto properties = c.bucket->properties();
  for (const NotificationRule& rule : properties->notifications) {
    const Kind& kind = kKinds[rule.target.starts_with(kKinds[1].arn) ? 1 : 0];
    auto node = add(xml.root(), kind.element);
    add(node, "Id", rule.id);
    add(node, kind.target, rule.target);
    for (const std::string& event : rule.events) add(node, "Event", event);
    if (rule.prefix.empty() && rule.suffix.empty()) continue;
    auto key = add(add(node, "Filter"), "S3Key");
    for (auto& [name, value] :
         {std::pair("Prefix", &rule.prefix), std::pair("Suffix", &rule.suffix)}) {
      if (value->empty()) continue;
      auto filter = add(key, "FilterRule");
      add(filter, "Name", name);
      add_as_it_came(filter, "Value", *value);
    }
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

// ---- listening ----

// AWS has no such operations: they take the rights of who lists.
constexpr Action kListenBucket = action::kListBucket, kListen = action::kListAllMyBuckets;

struct Listening {
  NotificationRule rule;           // what is listened for
  NamespacePtr bucket;             // null: all
  std::optional<int64_t> ping_ms;  // how often without an event a message without records comes
};

class Listener final : public http::Pieces {
 public:
  Listener(const Call& call, Listening what, Lsn from)
      : store_(call.store),
        notifier_(*call.notifier),
        request_(call.request),
        auth_(call.auth),
        what_(std::move(what)),
        cursor_(notifier_.feed(), from),
        clock_(call.store.clock()),
        told_ms_(clock_.now_ms()),
        sent_ms_(told_ms_) {}

  awaitable<StatusOr<std::string>> next() override {
    constexpr int64_t kTurnMs = 1000;
    constexpr int64_t kBlankMs = 5000;
    constexpr size_t kPieceBytes = 64 << 10;
    std::string out;
    // What he may can change while he listens.
    const bool listens =
        what_.bucket != nullptr ? may(kListenBucket, what_.bucket->name) : may(kListen, "");
    if (!listens) co_return absl::PermissionDeniedError("he may listen no more");
    if (at_ == taken_.events().size()) {
      const int64_t silent = clock_.now_ms() - told_ms_;
      const int64_t left = what_.ping_ms.value_or(kTurnMs + silent) - silent;
      auto taken = co_await cursor_.next(std::clamp<int64_t>(left, 1, kTurnMs));
      if (!taken.ok()) co_return taken.status();
      taken_ = std::move(*taken);
      at_ = 0;
    }
    for (; at_ < taken_.events().size() && out.size() < kPieceBytes; at_++) {
      tell(taken_.events()[at_], out);
    }
    const int64_t now = clock_.now_ms();
    const auto is_past = [now](int64_t last, int64_t ms) { return now >= last + ms || now < last; };
    if (out.empty() && what_.ping_ms && is_past(told_ms_, *what_.ping_ms))
      out = "{\"Records\":[]}\n";
    if (!out.empty()) told_ms_ = now;
    // Whether somebody is still there shows when something is sent.
    if (out.empty() && is_past(sent_ms_, kBlankMs)) out = " ";
    if (!out.empty()) sent_ms_ = now;
    co_return out;
  }

 private:
  bool may(const Action& action, std::string_view space) const {
    if (auth_.principal->may_all()) return true;
    const RequestContext context(request_, auth_, {store_, space, {}});
    return authorize(*auth_.principal, action, space, {},
                     {request_.peer, request_.secure, &context});
  }
  void tell(const FeedEvent& e, std::string& out) const {
    const std::string_view name = objects::event_name(e);
    if (name.empty() || (what_.bucket != nullptr && e.id != what_.bucket->id) ||
        !objects::is_wanted(what_.rule, name, e.key)) {
      return;
    }
    if (what_.bucket == nullptr && !may(kListenBucket, e.ns->name)) return;
    const std::string record = objects::record_json(e, "", notifier_.owner(), notifier_.region(),
                                                    objects::Naming::kOfMinio);
    append(out, objects::message_json({record}, &e), "\n");
  }

  Store& store_;
  events::Notifier& notifier_;
  const http::Request& request_;
  const Authenticated auth_;
  const Listening what_;
  ChangeFeed::Cursor cursor_;
  ChangeFeed::Taken taken_;
  size_t at_ = 0;  // of its events
  Clock& clock_;
  int64_t told_ms_, sent_ms_;  // when the last message, and when anything was
};

awaitable<Error> listen(Call& c) {
  if (c.notifier == nullptr) co_return Error{"NotImplemented", "Nobody is told of events here"};
  if (c.is_anonymous()) co_return Error{"AccessDenied", ""};  // whatever lists for strangers
  Listening what;
  what.bucket = c.bucket;
  for (auto& [name, value] : c.request.query) {
    if (name != "events") continue;
    switch (objects::event_type(value)) {
      case objects::EventType::kNone:
        co_return invalid("A specified event is not supported for notifications.");
      case objects::EventType::kKnown:  // there are none, and so none is missed
      case objects::EventType::kHad:
        what.rule.events.push_back(value);
    }
  }
  what.rule.prefix = c.param("prefix");
  what.rule.suffix = c.param("suffix");
  if (std::max(what.rule.prefix.size(), what.rule.suffix.size()) > kFilterBytesMax) {
    co_return invalid("Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation");
  }
  if (c.has_param("ping")) {
    const auto seconds = parse_int<uint32_t>(c.param("ping"));
    if (!seconds || *seconds < 1 || *seconds > 3600) co_return invalid("ping is 1 to 3600 seconds");
    what.ping_ms = int64_t{*seconds} * 1000;
  }
  Lsn from = c.notifier->feed().now();
  if (c.has_param("x-cairn-after")) {
    const auto after = objects::lsn_of_sequencer(c.param("x-cairn-after"));
    if (!after || *after >= from) co_return invalid("x-cairn-after is no sequencer of an event");
    from = Lsn(after->value() + 1);
    if (c.store.log().stretch(from).gone) {
      co_return Error{"InvalidRequest", "The events after this one are gone"};
    }
  }
  c.response.set("Content-Type", "text/event-stream");
  c.response.set("Cache-Control", "no-store");
  c.response.pieces = std::make_unique<Listener>(c, std::move(what), from);
  co_return Error{};
}

constexpr Action kGet{action::kDoor, "GetBucketNotification", Access::kRead};
constexpr Action kPut{action::kDoor, "PutBucketNotification", Access::kWrite};
constexpr std::string_view kListenParams = "prefix suffix ping x-cairn-after";

constexpr Row kRows[] = {
    {"GetBucketNotificationConfiguration", kGet, "GET", Scope::kBucket, "notification", "",
     get_notification, "", ""},
    {"PutBucketNotificationConfiguration", kPut, "PUT", Scope::kBucket, "notification", "",
     put_notification,
     "x-amz-skip-destination-validation x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true,
     true},
    {"ListenBucketNotification", kListenBucket, "GET", Scope::kBucket, "events", "", listen, "",
     kListenParams},
    {"ListenNotification", kListen, "GET", Scope::kService, "events", "", listen, "", kListenParams,
     false, false, true},
};

}  // namespace

std::span<const Row> notification_rows() { return kRows; }

}  // namespace cairn::s3
