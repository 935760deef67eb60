// The XML bodies: what is accepted says the same when it is written out and read again.
#include "core/base/text.h"
#include "gateway/http/s3/acl.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/cors.h"
#include "gateway/http/s3/website.h"
#include "gateway/http/s3/xml.h"
#include "objects/metadata.h"
#include "tests/fuzz/fuzz.h"

namespace cairn::fuzz {
namespace {

using namespace cairn::s3;

void deletes(const std::string& text) {
  DeleteBody body, again;
  if (parse_delete(text, body)) return;
  law(!body.objects.empty() && body.objects.size() <= kDeleteKeysMax, "one to a thousand keys");
  XmlOut out("Delete");
  for (auto& o : body.objects) {
    law(!o.key.empty() && o.key.find('\0') == o.key.npos, "keys are text");
    auto object = add(out.root(), "Object");
    add_as_it_came(object, "Key", o.key);
    if (!o.etag.empty()) add_as_it_came(object, "ETag", o.etag);
    if (o.size) add(object, "Size", *o.size);
  }
  add(out.root(), "Quiet", body.quiet ? "true" : "false");
  law(!parse_delete(out.text(), again), "what was written is read");
  law(again.quiet == body.quiet && again.objects.size() == body.objects.size(), "nothing is lost");
  for (size_t i = 0; i < body.objects.size(); i++) {
    law(again.objects[i].key == body.objects[i].key &&
            again.objects[i].etag == body.objects[i].etag &&
            again.objects[i].size == body.objects[i].size,
        "keys and conditions stay what they are");
  }
}

void completes(const std::string& text) {
  std::vector<objects::CompletePart> parts, again;
  if (parse_complete(text, parts)) return;
  XmlOut out("CompleteMultipartUpload");
  for (auto& p : parts) {
    law(p.number >= 1 && p.number <= objects::kPartNumberMax, "part numbers are S3's");
    auto part = add(out.root(), "Part");
    add(part, "PartNumber", p.number);
    add_as_it_came(part, "ETag", cat("\"", p.etag, "\""));
    for (auto& [tag, name] : kChecksumTags) {
      if (auto it = p.checksums.find(name); it != p.checksums.end()) {
        add_as_it_came(part, tag, it->second);
      }
    }
  }
  law(!parse_complete(out.text(), again) && again.size() == parts.size(),
      "what was written is read");
  for (size_t i = 0; i < parts.size(); i++) {
    law(again[i].number == parts[i].number && again[i].etag == parts[i].etag &&
            again[i].checksums == parts[i].checksums,
        "parts stay what they are");
  }
}

// What a bucket is set to is kept as it was taken.
void settings(const std::string& text) {
  Properties p;
  if (!parse_cors(text, p.cors)) {
    law(!p.cors.empty(), "a document of rules has one");
    for (auto& rule : p.cors) {
      law(!rule.origins.empty() && !rule.methods.empty(), "a rule is for someone and something");
      for (auto& header : rule.exposed) law(objects::is_field_value(header), "it can be sent");
    }
  } else {
    p.cors.clear();
  }
  static const Users users{"root", "password", true};
  if (parse_acl(text, users, p.acl.emplace()) || p.acl->is_default()) p.acl.reset();
  if (parse_website(text, p.website.emplace())) {
    p.website.reset();
  } else {
    const Website& site = *p.website;
    law(site.host.empty() != site.index.empty(), "it has pages, or leads elsewhere");
    law(objects::is_field_value(site.host), "it can be sent");
  }
  if (parse_tagging(text, objects::TagsOf::kBucket, p.tags)) p.tags.clear();
  law(objects::check_tags(p.tags, objects::TagsOf::kBucket).ok(), "tags are such");
  law(Properties::decode(p.encode()) == p, "what is set is read back");
  objects::Tags tags;
  if (!parse_tagging_header(text, tags)) {
    law(objects::check_tags(tags, objects::TagsOf::kObject).ok(), "tags are such");
  }
}

void locks(const std::string& text) {
  LockConfiguration configuration;
  if (!parse_lock_configuration(text, configuration)) {
    law(configuration.has_rule || (configuration.mode.empty() && !configuration.days),
        "what has no rule says nothing");
  }
  std::string mode, date, status;
  if (parse_retention(text, mode, date)) return;
  XmlOut out("Retention");
  add_as_it_came(out.root(), "Mode", mode);
  add_as_it_came(out.root(), "RetainUntilDate", date);
  std::string again, same_date;
  law(!parse_retention(out.text(), again, same_date) && again == mode && same_date == date,
      "what was written is read");
  (void)parse_legal_hold(text, status);
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  const std::string text(fuzz::text_of(data, size));
  fuzz::deletes(text);
  fuzz::completes(text);
  fuzz::settings(text);
  fuzz::locks(text);
  (void)s3::parse_create_bucket(text, "us-east-1");
  // Any text can be written, and is read back if XML can hold it.
  s3::XmlOut out("Error", false);
  s3::add(out.root(), "Message", std::string_view(text));
  s3::XmlIn in;
  fuzz::law(in.parse(out.text(), "Error"), "what is written is well-formed");
  if (s3::is_xml_text(text)) {
    fuzz::law(s3::text_of(in.root().child("Message")) == text, "text goes both ways");
  }
  return 0;
}
