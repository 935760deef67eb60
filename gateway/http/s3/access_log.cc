#include "gateway/http/s3/access_log.h"

#include <algorithm>
#include <array>

#include "core/base/text.h"
#include "core/store/user_table.h"
#include "gateway/http/s3/service.h"
#include "objects/object.h"

namespace cairn::s3 {

namespace {

constexpr int64_t kDayMs = 86'400'000;

struct Time {
  tm parts{};
  explicit Time(int64_t ms) {
    const time_t seconds = static_cast<time_t>(ms / 1000);
    ::gmtime_r(&seconds, &parts);
  }
  std::string text(const char* format) const {
    std::array<char, 64> out;
    return {out.data(), std::strftime(out.data(), out.size(), format, &parts)};
  }
};

// A field that stands in quotes: what would end it, or the line, is percent-encoded.
std::string quoted(std::string_view text) {
  if (text.empty()) return "\"-\"";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f && c != '"') {
      out.push_back(c);
      continue;
    }
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    out.push_back('%');
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
  }
  return out + "\"";
}

// What a URL says that opens something for whoever reads it, as Amazon's logs show that.
constexpr std::string_view kHidden = "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX";

bool is_secret(std::string_view encoded_name) {
  constexpr std::string_view kSecrets[] = {"x-amz-signature", "signature",
                                           "x-amz-server-side-encryption-customer-key",
                                           "x-amz-copy-source-server-side-encryption-customer-key"};
  const auto name = http::percent_decode(encoded_name, true);
  if (!name) return true;  // nobody knows what it is
  return std::any_of(std::begin(kSecrets), std::end(kSecrets),
                     [&](std::string_view one) { return equals_ignoring_case(one, *name); });
}

// A URL whose query has none of that.
std::string without_secrets(std::string_view url) {
  const size_t query = url.find('?');
  if (query == url.npos) return std::string(url);
  std::string out(url.substr(0, query));
  url.remove_prefix(query);
  while (!url.empty()) {
    out.push_back(url[0]);  // ? or &
    url.remove_prefix(1);
    const std::string_view param = url.substr(0, url.find('&'));
    const size_t equals = param.find('=');
    const bool hides = equals != param.npos && is_secret(param.substr(0, equals));
    append(out, hides ? param.substr(0, equals + 1) : param, hides ? kHidden : "");
    url.remove_prefix(param.size());
  }
  return out;
}

// One between blanks.
std::string field(std::string_view text) {
  if (text.empty()) return "-";
  std::string out(text);
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f || c == '"'; },
      '+');
  return out;
}

// REST.METHOD.RESOURCE, as Amazon's logs call what a request is about.
std::string operation_of(const Call& c, bool website) {
  constexpr std::pair<std::string_view, std::string_view> kResources[] = {
      {"CopyObject", "OBJECT"},
      {"CreateMultipartUpload", "UPLOADS"},
      {"ListMultipartUploads", "UPLOADS"},
      {"UploadPart", "PART"},
      {"UploadPartCopy", "PART"},
      {"CompleteMultipartUpload", "UPLOAD"},
      {"AbortMultipartUpload", "UPLOAD"},
      {"ListParts", "UPLOAD"},
      {"DeleteObjects", "MULTI_OBJECT_DELETE"},
      {"ListObjectVersions", "BUCKETVERSIONS"},
      {"GetBucketLogging", "LOGGING_STATUS"},
      {"PutBucketLogging", "LOGGING_STATUS"},
      {"RenameObject", "OBJECT"},
  };
  const std::string_view method = c.request.method;
  if (website) return cat("WEBSITE.", method, ".OBJECT");
  std::string resource = c.key.empty() ? "BUCKET" : "OBJECT";
  if (c.row != nullptr) {
    const auto* known = std::find_if(std::begin(kResources), std::end(kResources),
                                     [&](auto& r) { return r.first == c.row->name; });
    if (known != std::end(kResources)) {
      resource = known->second;
    } else if (!c.row->subresource.empty() && c.row->subresource != "list-type") {
      resource = upper(c.row->subresource);
      if (resource == "POLICY") resource = "BUCKETPOLICY";
    }
    if (c.row->name == "CopyObject" || c.row->name == "UploadPartCopy") {
      return cat("REST.COPY.", resource);
    }
  }
  return cat("REST.", method, ".", resource);
}

std::string number_or_none(uint64_t n) { return n == 0 ? "-" : cat(n); }

}  // namespace

// ---- lines ----

std::unique_ptr<LoggedRequest> LoggedRequest::of(const Call& c, AccessLog* log, int64_t begun_ms,
                                                 bool website) {
  if (log == nullptr || c.bucket_name.empty()) return nullptr;
  NamespacePtr bucket = c.bucket;
  if (bucket == nullptr) bucket = c.store.find_namespace(c.bucket_name);
  if (bucket == nullptr || !bucket->logs_accesses()) return nullptr;
  auto properties = bucket->properties();
  if (!properties->logging) return nullptr;
  auto a = std::make_unique<LoggedRequest>();
  a->log_ = log;
  a->clock_ = &c.store.clock();
  a->properties_ = std::move(properties);
  a->bucket_ = bucket->name;
  a->begun_ms_ = begun_ms;
  a->time_ms_ = c.store.now_ms() - (a->clock_->steady_ms() - begun_ms);
  const http::Request& r = c.request;
  a->peer_ = r.peer.substr(0, r.peer.rfind(':'));
  a->operation_ = operation_of(c, website);
  a->key_ = http::percent_encode(c.key, true);
  a->uri_ = cat(r.method, " ", without_secrets(r.target), " HTTP/1.1");
  a->referer_ = without_secrets(r.header("referer"));
  a->agent_ = r.header("user-agent");
  a->host_ = r.header("host");
  a->version_ = c.param("versionId");
  const bool known = !website && c.auth.principal != nullptr && !c.auth.anonymous;
  if (known) {
    const auto rights = c.auth.principal->rights();
    const bool root = rights == nullptr || rights->is_root || rights->arn.empty();
    a->requester_ = root ? kRootCanonicalId : std::string_view(rights->shown_arn());
    a->signature_ = c.auth.version2 ? "SigV2" : "SigV4";
    a->authentication_ = c.auth.form ? "-" : c.auth.presigned ? "QueryString" : "AuthHeader";
  }
  if (r.method == "PUT" && !c.key.empty()) {
    const auto decoded = parse_int<uint64_t>(r.header("x-amz-decoded-content-length"));
    a->object_size_ = number_or_none(decoded ? *decoded : r.content_length.value_or(0));
  }
  return a;
}

void LoggedRequest::answered(const Error& e, const http::Response& r, std::string_view request_id) {
  made_ms_ = clock_->steady_ms();
  const auto header = [&](std::string_view name) -> std::string_view {
    const auto it = r.headers.find(name);
    return it == r.headers.end() ? std::string_view() : std::string_view(it->second);
  };
  if (const auto id = header("x-amz-version-id"); !id.empty()) version_ = id;
  if (object_size_.empty() && !key_.empty() && !e) {
    const std::string_view range = header("Content-Range");
    if (const size_t slash = range.rfind('/'); slash != range.npos) {
      object_size_ = range.substr(slash + 1);
    } else if (r.content_length) {
      object_size_ = number_or_none(*r.content_length);
    }
  }
  before_ =
      cat(kRootCanonicalId, " ", bucket_, " ", Time(time_ms_).text("[%d/%b/%Y:%H:%M:%S +0000]"),
          " ", field(peer_), " ", field(requester_), " ", field(request_id), " ", operation_, " ",
          field(key_), " ", quoted(uri_), " ", r.status, " ", field(e.code), " ");
  // Of TLS it is not known here which; there are no hosts, access points, and no lists are needed.
  behind_ = cat(" ", quoted(referer_), " ", quoted(agent_), " ", field(version_), " - ",
                field(signature_), " - ", field(authentication_), " ", field(host_), " - - -\n");
}

void LoggedRequest::left(uint64_t bytes) {
  const int64_t now = clock_->steady_ms();
  const std::string line = cat(before_, number_or_none(bytes), " ", field(object_size_), " ",
                               now - begun_ms_, " ", made_ms_ - begun_ms_, behind_);
  log_->note(bucket_, *properties_->logging, time_ms_, line);
}

// ---- objects ----

void AccessLog::start(const Executor& executor) { task_.spawn(executor, "access logs", run()); }

awaitable<void> AccessLog::stop() {
  stopping_ = true;
  wake_.notify();
  co_await task_.ended();
  co_await put_all();
}

void AccessLog::note(std::string_view source, const AccessLogging& to, int64_t time_ms,
                     std::string_view line) {
  const int64_t day = to.keys == LogKeys::kByEventTime ? time_ms / kDayMs : 0;
  bool full = false;
  {
    MutexLock lock(mutex_);
    if (held_ + line.size() > kHeldBytes) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return;
    }
    held_ += line.size();
    Lines& lines = all_[Kind(to.bucket, to.prefix, to.keys, std::string(source), day)];
    lines.text += line;
    lines.count++;
    full = lines.text.size() >= kObjectBytes;
  }
  if (full && !full_.exchange(true)) wake_.notify();
}

awaitable<void> AccessLog::run() {
  while (!stopping_) {
    co_await wake_.until([this] { return stopping_.load() || full_.load(); }, store_.clock(),
                         period_ms_);
    if (stopping_) break;
    full_ = false;
    co_await put_all();
  }
}

awaitable<void> AccessLog::put_all() {
  All taken;
  {
    MutexLock lock(mutex_);
    taken.swap(all_);
  }
  for (auto& [kind, lines] : taken) {
    const size_t bytes = lines.text.size();
    Status put = co_await this->put(kind, lines);
    if (!put.ok()) {
      lost_.fetch_add(lines.count, std::memory_order_relaxed);
      if (!failing_ && store_.options().report) {
        store_.options().report(
            Severity::kWarning, "access-log",
            cat(lines.count, " lines are lost, which were to go to ", std::get<0>(kind), "/",
                std::get<1>(kind), ": ", std::string(put.message())));
      }
    }
    failing_ = !put.ok();
    MutexLock lock(mutex_);
    held_ -= bytes;
  }
}

std::string AccessLog::key_of(const Kind& kind) const {
  const auto& [bucket, prefix, keys, source, day] = kind;
  const Time now(store_.now_ms());
  std::array<char, 17> unique;
  std::snprintf(unique.data(), unique.size(), "%016lX",
                static_cast<unsigned long>(store_.random()));
  if (keys == LogKeys::kSimple) {
    return cat(prefix, now.text("%Y-%m-%d-%H-%M-%S-"), unique.data());
  }
  // By the day of what it tells of, the time of day is none.
  const bool by_event = keys == LogKeys::kByEventTime;
  const Time at = by_event ? Time(day * kDayMs) : now;
  return cat(prefix, kAccount, "/", region_, "/", source, "/",
             at.text("%Y/%m/%d/%Y-%m-%d-%H-%M-%S-"), unique.data());
}

awaitable<Status> AccessLog::put(const Kind& kind, Lines& lines) {
  const NamespacePtr bucket = store_.find_namespace(std::get<0>(kind));
  if (bucket == nullptr) co_return absl::NotFoundError("there is no such bucket");
  if (Status s = store_.check_write(true); !s.ok()) co_return s;
  objects::Upload upload(store_, lines.text.size());
  if (Status s = objects::encrypt_by_default(store_, *bucket, upload); !s.ok()) co_return s;
  upload.add_digest(objects::Algorithm::kMd5);
  Status taken = co_await upload.append(as_bytes(lines.text));
  if (taken.ok()) taken = co_await upload.finish();
  if (!taken.ok()) co_return taken;
  ObjectMeta meta;
  meta.content_type = "text/plain";
  meta.etag = objects::hex(upload.digest(objects::Algorithm::kMd5));
  if (upload.encrypted() && !objects::has_md5_etag(upload.encrypted()->mode)) {
    meta.etag = objects::random_etag();
  }
  meta.modified_ms = store_.now_ms();
  const std::string key = key_of(kind);
  if (key.size() > objects::kObjectKeyMax) {
    co_return absl::InvalidArgumentError("the key would be too long");
  }
  Now now(store_.clock());
  auto put = objects::put(store_, *bucket, key, upload, meta, bucket->default_expiry_ms(now), {});
  if (!put.ok()) co_return put.status();
  co_return co_await store_.log().wait_durable(put->version);
}

}  // namespace cairn::s3
