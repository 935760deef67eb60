#include "gateway/http/s3/collections.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/base/errors.h"
#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/transaction.h"
#include "kv/engine/errand.h"

namespace cairn::s3 {

namespace {

// ---- JSON ----

void add_string(std::string& json, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const auto plain = [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7f && c != '"' && c != '\\';
  };
  json += '"';
  while (!text.empty()) {
    const auto other = std::find_if_not(text.begin(), text.end(), plain);
    json.append(text.begin(), other);
    text.remove_prefix(static_cast<size_t>(other - text.begin()));
    if (text.empty()) break;
    const auto byte = static_cast<unsigned char>(text[0]);
    if (text[0] == '"' || text[0] == '\\') {
      append(json, "\\", text.substr(0, 1));
    } else {
      append(json, "\\u00", kDigits.substr(byte >> 4, 1), kDigits.substr(byte & 15, 1));
    }
    text.remove_prefix(1);
  }
  json += '"';
}

void add_bytes(std::string& json, std::string_view bytes) {
  // Room for a long one as base64 and for what closes the page, and not twice as much.
  constexpr size_t kLong = 64 << 10, kRest = 4 << 10;
  if (bytes.size() > kLong) json.reserve(json.size() + bytes.size() / 3 * 4 + kRest);
  if (is_utf8(bytes)) return add_string(json, bytes);
  append(json, "{\"base64\":\"", objects::base64(bytes), "\"}");
}

void add_score(std::string& json, double score) {
  if (std::isinf(score)) return add_string(json, score < 0 ? "-inf" : "inf");
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), score);
  json.append(text, end.ptr);
}

void add_field(std::string& json, kv::Values& values) {
  json += "{\"field\":";
  add_bytes(json, values.bytes_of_text());
  json += ",\"value\":";
  add_bytes(json, values.bytes_of_text());
  json += '}';
}

// ---- pages ----

struct Page {
  uint64_t most = 1000;  // members
  std::string token;     // where it begins; empty: at the first
  ValueType type = ValueType::kString;
  Lsn version;
  int64_t expires_at_ms = 0;
  std::string json, next;
  uint64_t count = 0;  // of members
};

bool is_number(std::string_view text) {
  return text.size() <= 20 && parse_int<uint64_t>(text).has_value();
}

// "MS-SEQ".
bool is_id(std::string_view text) {
  const size_t dash = text.find('-');
  return dash != text.npos && is_number(text.substr(0, dash)) && is_number(text.substr(dash + 1));
}

bool by_cursor(ValueType type) { return type == ValueType::kHash || type == ValueType::kSet; }

// The command for a page of so many, and one more where it tells whether there are more.
void say(const Page& page, uint64_t most, const std::string& key, kv::Args& to) {
  const auto more = [&](std::initializer_list<std::string_view> words) {
    for (std::string_view word : words) to.add_copy(word);
  };
  const std::string first = page.token.empty() ? "0" : page.token;
  const uint64_t from = parse_int<uint64_t>(first).value_or(0);
  switch (page.type) {
    case ValueType::kHash:
      return more({"hscan", key, first, "count", cat(most), "until"});
    case ValueType::kSet:
      return more({"sscan", key, first, "count", cat(most)});
    case ValueType::kList:
      return more({"lrange", key, first, cat(from + most)});
    case ValueType::kSortedSet:
      return more({"zrange", key, first, cat(from + most), "withscores"});
    default:
      return more({"xrange", key, page.token.empty() ? "-" : cat("(", page.token), "+", "count",
                   cat(most + 1)});
  }
}

void add_member(Page& page, kv::Values& values) {
  std::string& json = page.json;
  if (page.count++ > 0) json += ',';
  switch (page.type) {
    case ValueType::kHash:
      add_field(json, values);
      if (const int64_t until_ms = values.integer(); until_ms != 0) {
        json.back() = ',';
        append(json, "\"expires_at_ms\":", until_ms, "}");
      }
      return;
    case ValueType::kSortedSet:
      json += "{\"member\":";
      add_bytes(json, values.bytes_of_text());
      json += ",\"score\":";
      add_score(json, values.real().value_or(0));
      json += '}';
      return;
    case ValueType::kStream: {
      (void)values.count();
      page.next = values.bytes_of_text();
      append(json, "{\"id\":\"", page.next, "\",\"fields\":[");
      const uint64_t fields = values.count() / 2;
      for (uint64_t i = 0; i < fields && !values.broken(); i++) {
        if (i > 0) json += ',';
        add_field(json, values);
      }
      json += "]}";
      return;
    }
    default:
      return add_bytes(json, values.bytes_of_text());
  }
}

std::string_view name_of(ValueType type) {
  switch (type) {
    case ValueType::kHash:
      return "hash";
    case ValueType::kList:
      return "list";
    case ValueType::kSet:
      return "set";
    case ValueType::kSortedSet:
      return "sorted-set";
    case ValueType::kStream:
      return "stream";
    default:
      return "string";
  }
}

// Takes what the command answered, as much as a page has; false if that cannot be had.
bool take(Page& page, kv::Values& values) {
  constexpr size_t kPageBytes = 1 << 20;  // then it ends, where it can go on
  if (by_cursor(page.type)) {
    (void)values.count();
    page.next = values.bytes_of_text();
    if (page.next == "0") page.next.clear();
  }
  (void)values.count();
  append(page.json, "{\"type\":\"", name_of(page.type), "\",\"version\":", page.version.value());
  if (page.expires_at_ms != 0) append(page.json, ",\"expires_at_ms\":", page.expires_at_ms);
  page.json += ",\"members\":[";
  const bool cursor = by_cursor(page.type);
  while (values.more() && !values.broken() &&
         (cursor || (page.count < page.most && page.json.size() < kPageBytes))) {
    add_member(page, values);
  }
  const bool ended = !values.more();
  if (!cursor && ended) page.next.clear();
  if (!cursor && !ended && page.type != ValueType::kStream) {
    const uint64_t from = parse_int<uint64_t>(page.token).value_or(0);
    page.next = cat(from + page.count);
  }
  page.json += ']';
  if (!page.next.empty()) append(page.json, ",\"next\":\"", page.next, "\"");
  page.json += "}\n";
  return !values.broken() && !values.lost();
}

Error read_params(const Call& c, Page& page) {
  constexpr uint64_t kMost = 1000;
  for (auto& [name, value] : c.request.query) {
    if (name == "partNumber" || name.starts_with("response-")) {
      return {"NotImplemented", cat("Cairn does not have ?", name, " of a collection")};
    }
  }
  for (auto& [name, value] : c.request.headers) {
    if (name.starts_with("if-") || name == "range") {
      return {"NotImplemented", cat("Cairn does not have ", name, " of a collection")};
    }
  }
  page.token = c.param("continuation-token");
  if (!c.has_param("max-keys")) return {};
  const auto most = parse_int<uint64_t>(c.param("max-keys"));
  if (!most || *most == 0) return {"InvalidArgument", "max-keys is a number above 0"};
  page.most = std::min(*most, kMost);
  return {};
}

enum class Looked : uint8_t { kDone, kTooMuch };

// Runs the command for at most so many under the key's lock; what it answered is in `values`.
awaitable<Error> look(Call& c, Page& page, uint64_t most, kv::Command& command, Lsn& rests_on,
                      Looked& looked) {
  constexpr uint64_t kHeldMax = 4 << 20, kOneMax = 64 << 20;  // of one member
  const Executor loop = co_await asio::this_coro::executor;
  kv::Errand errand(kv::engine_of(*c.engines, loop));
  const KeyHash hash = c.bucket->hash(c.key);
  const std::vector<KeyHash> hashes{hash};
  const Faults::Keys keys{{c.bucket, c.key}};
  StripeLocks locks(c.store);
  Status locked = co_await c.store.faults().lock_with_values(locks, hashes, keys);
  if (!locked.ok()) co_return error_of(locked);
  Transaction t(c.store, &locks, Shape::kOne);
  const Entry* e = t.find(*c.bucket, c.key, hash);
  rests_on = t.seen();
  if (e == nullptr) co_return Error{"NoSuchKey", "", rests_on};
  // Bytes took its place since they were looked for.
  if (e->is_string()) co_return Error{"SlowDown", "", rests_on};
  page.type = e->type();
  page.version = e->version();
  page.expires_at_ms = e->expire_ms();
  const bool fits = page.token.empty() ||
                    (page.type == ValueType::kStream ? is_id(page.token) : is_number(page.token));
  if (!fits)
    co_return Error{"InvalidArgument", "continuation-token is none of this type", rests_on};
  say(page, most, c.key, command.words());
  command.find_row(errand.engine().table());
  command.enter(errand.engine(), c.bucket);
  command.values.set_limit(most == 1 ? kOneMax : kHeldMax);
  const std::string failure = errand.run(command, locks, t);
  errand.end(true);
  rests_on = std::max({rests_on, t.seen(), errand.seen()});
  if (!failure.empty()) {  // what else can be wrong with it
    co_return Error{"InvalidArgument", "continuation-token is out of range", rests_on};
  }
  looked = command.values.overflowed() ? Looked::kTooMuch : Looked::kDone;
  co_return Error{};
}

// Whether they have a weight of 0: "not acceptable" (RFC 9110, 12.4.2).
bool is_refused(std::string_view params) {
  const size_t q = std::min(params.find("q="), params.find("Q="));
  if (q == params.npos) return false;
  const std::string_view weight = params.substr(q + 2, params.find(';', q) - q - 2);
  return weight.starts_with('0') && weight.find_first_of("123456789") == weight.npos;
}

}  // namespace

bool accepts_json(const http::Request& request) {
  constexpr std::string_view kJson = "application/json";
  std::string_view accept = request.header("accept");
  while (!accept.empty()) {
    const size_t comma = accept.find(',');
    std::string_view one = accept.substr(0, comma);
    accept = comma == accept.npos ? "" : accept.substr(comma + 1);
    const size_t semicolon = one.find(';');
    const std::string_view params = semicolon == one.npos ? "" : one.substr(semicolon);
    one = one.substr(0, semicolon);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (equals_ignoring_case(one, kJson)) return !is_refused(params);
  }
  return false;
}

awaitable<Error> get_collection(Call& c) {
  Page page;
  if (Error e = read_params(c, page)) co_return e;
  std::unique_ptr<kv::Command> command;
  Lsn rests_on;
  Looked looked = Looked::kTooMuch;
  for (uint64_t most = page.most;; most = std::max<uint64_t>(most / 32, 1)) {
    command = std::make_unique<kv::Command>(c.store);
    if (Error e = co_await look(c, page, most, *command, rests_on, looked)) co_return e;
    if (looked == Looked::kDone) page.most = most;
    if (looked == Looked::kDone || most == 1) break;
  }
  if (looked == Looked::kTooMuch) co_return Error{"EntityTooLarge", "A member is too large"};
  if (!take(page, command->values)) co_return Error{"SlowDown", "It changes too much, try again"};
  command = nullptr;  // it may be as large as the page
  if (!c.body->hold(page.json.capacity())) {
    co_return Error{"SlowDown", "Clients hold too much memory, try again"};
  }
  if (Error e = co_await settle(c, rests_on)) co_return e;
  c.response.body = std::move(page.json);
  c.response.set("Content-Type", "application/json");
  c.response.set("x-cairn-version", page.version.value());
  if (page.expires_at_ms != 0) c.response.set("x-cairn-expires-ms", page.expires_at_ms);
  c.response.set("Vary", "Accept");
  co_return Error{};
}

}  // namespace cairn::s3
