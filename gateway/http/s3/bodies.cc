#include "gateway/http/s3/bodies.h"

#include "core/base/text.h"
#include "gateway/http/message.h"
#include "gateway/http/s3/xml.h"

namespace cairn::s3 {

namespace {

Error malformed() { return {"MalformedXML", ""}; }

// The text of the one child of this name; "" if there is none. False: it is odd.
bool field(const pugi::xml_node& of, const char* name, std::string& text) {
  bool twice = false;
  const auto node = single(of, name, twice);
  if (twice) return false;
  if (!node) return true;
  auto found = text_of(node);
  if (!found) return false;
  text = std::move(*found);
  return true;
}

Error parse_object(const pugi::xml_node& node, DeleteBody::Object& out) {
  if (!only_elements(node, "Key VersionId ETag LastModifiedTime Size")) return malformed();
  if (node.child("VersionId")) {
    if (!field(node, "VersionId", out.version.emplace()) || out.version->empty()) {
      return malformed();
    }
  }
  if (!field(node, "Key", out.key) || !field(node, "ETag", out.etag) || out.key.empty()) {
    return malformed();
  }
  std::string modified, size;
  if (!field(node, "LastModifiedTime", modified) || !field(node, "Size", size)) return malformed();
  if (node.child("LastModifiedTime")) {
    out.modified_at_s = http::parse_http_date(modified);
    if (!out.modified_at_s) return malformed();
  }
  if (node.child("Size")) {
    out.size = parse_int<uint64_t>(size);
    if (!out.size) return malformed();
  }
  // An empty condition would be none.
  if (node.child("ETag") && out.etag.empty()) return malformed();
  return {};
}

Error parse_part(const pugi::xml_node& node, objects::CompletePart& out) {
  std::string names = "PartNumber ETag";
  for (auto& [tag, name] : kChecksumTags) append(names, " ", tag);
  std::string number;
  if (!only_elements(node, names) || !field(node, "PartNumber", number) ||
      !field(node, "ETag", out.etag) || out.etag.empty()) {
    return malformed();
  }
  auto n = parse_int<unsigned>(number);
  if (!n || *n < 1 || *n > objects::kPartNumberMax) return malformed();
  out.number = *n;
  if (out.etag.size() >= 2 && out.etag.front() == '"' && out.etag.back() == '"') {
    out.etag = out.etag.substr(1, out.etag.size() - 2);
  }
  for (auto& [tag, name] : kChecksumTags) {
    std::string value;
    if (!field(node, tag, value)) return malformed();
    if (node.child(tag)) out.checksums[name] = value;
  }
  return {};
}

}  // namespace

Error parse_versioning(const std::string& xml, bool& enabled) {
  XmlIn in;
  if (!in.parse(xml, "VersioningConfiguration") || !only_elements(in.root(), "Status MfaDelete")) {
    return malformed();
  }
  std::string status, mfa;
  if (!field(in.root(), "Status", status) || !field(in.root(), "MfaDelete", mfa)) {
    return malformed();
  }
  if (!mfa.empty() && mfa != "Enabled" && mfa != "Disabled") return malformed();
  if (mfa == "Enabled") return {"NotImplemented", "Cairn does not have MFA delete"};
  if (status.empty() && !in.root().child("Status")) {
    return {"IllegalVersioningConfigurationException", "The Versioning element must be specified"};
  }
  if (status != "Enabled" && status != "Suspended") return malformed();
  enabled = status == "Enabled";
  return {};
}

Error parse_lock_configuration(const std::string& xml, LockConfiguration& out) {
  XmlIn in;
  std::string enabled;
  bool twice = false;
  if (!in.parse(xml, "ObjectLockConfiguration") ||
      !only_elements(in.root(), "ObjectLockEnabled Rule") ||
      !field(in.root(), "ObjectLockEnabled", enabled) || enabled != "Enabled") {
    return malformed();
  }
  const auto rule = single(in.root(), "Rule", twice);
  if (twice) return malformed();
  if (!rule) return {};
  const auto retention = single(rule, "DefaultRetention", twice);
  if (twice || !retention || !only_elements(rule, "DefaultRetention") ||
      !only_elements(retention, "Mode Days Years") || !field(retention, "Mode", out.mode)) {
    return malformed();
  }
  out.has_rule = true;
  for (auto& [name, to] : {std::pair{"Days", &out.days}, std::pair{"Years", &out.years}}) {
    std::string text;
    if (!field(retention, name, text)) return malformed();
    if (!retention.child(name)) continue;
    *to = parse_int<int64_t>(text);
    if (!*to) return malformed();
  }
  return {};
}

Error parse_retention(const std::string& xml, std::string& mode, std::string& date) {
  XmlIn in;
  if (!in.parse(xml, "Retention") || !only_elements(in.root(), "Mode RetainUntilDate") ||
      !field(in.root(), "Mode", mode) || !field(in.root(), "RetainUntilDate", date)) {
    return malformed();
  }
  return {};
}

Error parse_legal_hold(const std::string& xml, std::string& status) {
  XmlIn in;
  if (!in.parse(xml, "LegalHold") || !only_elements(in.root(), "Status") ||
      !field(in.root(), "Status", status)) {
    return malformed();
  }
  return {};
}

Error parse_delete(const std::string& xml, DeleteBody& out) {
  XmlIn in;
  if (!in.parse(xml, "Delete") || !only_elements(in.root(), "Object Quiet")) return malformed();
  std::string quiet;
  if (!field(in.root(), "Quiet", quiet)) return malformed();
  if (in.root().child("Quiet") && quiet != "true" && quiet != "false") return malformed();
  out.quiet = quiet == "true";
  for (auto node : in.root().children("Object")) {
    if (out.objects.size() == kDeleteKeysMax) return malformed();
    if (Error e = parse_object(node, out.objects.emplace_back())) return e;
  }
  return out.objects.empty() ? malformed() : Error{};
}

Error parse_complete(const std::string& xml, std::vector<objects::CompletePart>& parts) {
  XmlIn in;
  if (!in.parse(xml, "CompleteMultipartUpload") || !only_elements(in.root(), "Part")) {
    return malformed();
  }
  for (auto node : in.root().children("Part")) {
    if (parts.size() == objects::kPartNumberMax) return malformed();
    if (Error e = parse_part(node, parts.emplace_back())) return e;
  }
  return parts.empty() ? malformed() : Error{};
}

Error check_restore(const std::string& xml) {
  if (xml.empty()) return {};
  XmlIn in;
  constexpr std::string_view kNames =
      "Days GlacierJobParameters Type Tier Description SelectParameters OutputLocation";
  if (!in.parse(xml, "RestoreRequest") || !only_elements(in.root(), kNames)) return malformed();
  std::string days;
  if (!field(in.root(), "Days", days)) return malformed();
  if (in.root().child("Days") && parse_int<int32_t>(days).value_or(0) < 1) return malformed();
  return {};
}

namespace {
// InvalidTag, with what is wrong.
Error check_tag(objects::TagsOf what, const std::string& name, const std::string& value) {
  const auto refuse = [&](const Status& why) {
    Error e = error_of(why);
    e.fields = {{"TagKey", name}};
    if (objects::is_tag_name(name) && !objects::is_tag_value(value)) {
      e.fields.emplace_back("TagValue", value);
    }
    return e;
  };
  const Status valid = objects::check_tags({{name, value}}, what);
  return valid.ok() ? Error{} : refuse(valid);
}
}  // namespace

Error parse_tagging(const std::string& xml, objects::TagsOf what, objects::Tags& tags) {
  if (xml.empty()) return {"MissingRequestBodyError", ""};
  XmlIn in;
  bool twice = false;
  if (!in.parse(xml, "Tagging") || !only_elements(in.root(), "TagSet")) return malformed();
  const auto set = single(in.root(), "TagSet", twice);
  if (!set || twice || !only_elements(set, "Tag")) return malformed();
  for (auto node : set.children("Tag")) {
    std::string name, value;
    if (!only_elements(node, "Key Value") || !node.child("Key") || !node.child("Value") ||
        !field(node, "Key", name) || !field(node, "Value", value)) {
      return malformed();
    }
    if (tags.contains(name)) {
      return {
          "InvalidTag", "Cannot provide multiple Tags with the same key", {}, {{"TagKey", name}}};
    }
    if (Error e = check_tag(what, name, value)) return e;
    tags.emplace(std::move(name), std::move(value));
  }
  return error_of(objects::check_tags(tags, what));  // how many
}

Error parse_tagging_header(std::string_view text, objects::Tags& tags) {
  Error malformed{
      "InvalidArgument",
      "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters "
      "without tag name duplicates.",
      {},
      {{"ArgumentName", "x-amz-tagging"}, {"ArgumentValue", std::string(text)}}};
  while (!text.empty()) {
    const size_t end = text.find('&');
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    const auto name = http::percent_decode(pair.substr(0, equals), true);
    const auto value = http::percent_decode(
        equals == pair.npos ? std::string_view() : pair.substr(equals + 1), true);
    if (!name || !value || tags.contains(*name)) return malformed;
    if (Error e = check_tag(objects::TagsOf::kObject, *name, *value)) return e;
    tags.emplace(*name, *value);
  }
  return error_of(objects::check_tags(tags, objects::TagsOf::kObject));
}

Error parse_create_bucket(const std::string& xml, std::string_view region) {
  if (xml.empty()) return {};
  XmlIn in;
  if (!in.parse(xml, "CreateBucketConfiguration")) return malformed();
  constexpr std::string_view kAbsent = "Location Bucket Tags";
  if (!only_elements(in.root(), cat("LocationConstraint ", kAbsent))) return malformed();
  for (auto node : in.root().children()) {
    if (node.type() == pugi::node_element &&
        std::string_view(node.name()) != "LocationConstraint") {
      return {"NotImplemented", cat("Cairn does not have ", node.name(), " of buckets")};
    }
  }
  std::string where;
  if (!field(in.root(), "LocationConstraint", where)) return malformed();
  if (where.empty() || where == region) return {};
  return {"IllegalLocationConstraintException",
          cat("This is the region ", region, ", and the bucket would be in ", where, ".")};
}

}  // namespace cairn::s3
