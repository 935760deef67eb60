#include "gateway/http/s3/encryption.h"

#include <boost/json.hpp>

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/store/user_table.h"
#include "gateway/http/s3/bodies.h"

namespace cairn::s3 {

namespace json = boost::json;
using objects::Encryption;
using objects::EncryptionMode;
using objects::EncryptionWish;

namespace {

constexpr std::string_view kHeader = "x-amz-server-side-encryption",
                           kKeyId = "x-amz-server-side-encryption-aws-kms-key-id",
                           kContext = "x-amz-server-side-encryption-context",
                           kBucketKey = "x-amz-server-side-encryption-bucket-key-enabled";
// The headers of a customer's key: of an object, and of a copy's source.
struct OfCustomer {
  std::string_view algorithm, secret, md5;
};
constexpr OfCustomer kOfObject{"x-amz-server-side-encryption-customer-algorithm",
                               "x-amz-server-side-encryption-customer-key",
                               "x-amz-server-side-encryption-customer-key-md5"};
constexpr OfCustomer kOfSource{"x-amz-copy-source-server-side-encryption-customer-algorithm",
                               "x-amz-copy-source-server-side-encryption-customer-key",
                               "x-amz-copy-source-server-side-encryption-customer-key-md5"};

Error customer_key(const Call& c, const OfCustomer& names, std::string& key) {
  const http::Request& r = c.request;
  const auto& [algorithm, secret, md5] = names;
  if (!r.has_header(algorithm) && !r.has_header(secret) && !r.has_header(md5)) return {};
  const std::string requests =
      "Requests specifying Server Side Encryption with Customer provided keys must ";
  if (!r.secure && !r.from_loopback) {
    return {"InvalidRequest", cat(requests, "be made over a secure connection.")};
  }
  const auto lacks = [&requests](std::string_view name, std::string_view what) {
    return argument_invalid(name, "null", cat(requests, "provide ", what));
  };
  if (r.header(algorithm).empty()) return lacks(algorithm, "a valid encryption algorithm.");
  if (r.header(algorithm) != "AES256") {
    return {"InvalidEncryptionAlgorithmError",
            "",
            {},
            {{"ArgumentName", std::string(algorithm)},
             {"ArgumentValue", std::string(r.header(algorithm))}}};
  }
  if (r.header(secret).empty()) return lacks(secret, "an appropriate secret key.");
  if (r.header(md5).empty()) return lacks(md5, "the client calculated MD5 of the secret key.");
  auto raw = objects::base64_decode(r.header(secret));
  if (!raw || raw->size() != objects::kCustomerKeyBytes) {
    return argument_invalid(secret, "", "The secret key was invalid for the specified algorithm.");
  }
  if (objects::base64(objects::digest_of(objects::Algorithm::kMd5, *raw)) != r.header(md5)) {
    return argument_invalid(
        md5, r.header(md5),
        "The calculated MD5 hash of the key did not match the hash that was provided.");
  }
  key = *std::move(raw);
  return {};
}

// {"name": "text", …}, in base64.
Error parse_context(std::string_view text, std::string& context) {
  constexpr size_t kTextMax = 16 << 10;
  Error invalid = argument_invalid(
      kContext, text, "The header x-amz-server-side-encryption-context is no JSON of texts");
  const auto decoded = objects::base64_decode(text, kTextMax);
  if (!decoded || !is_utf8(*decoded)) return invalid;
  json::error_code failed;
  const json::value value = json::parse({decoded->data(), decoded->size()}, failed);
  if (failed || !value.is_object()) return invalid;
  std::map<std::string, std::string> pairs;
  for (const auto& entry : value.get_object()) {
    if (!entry.value().is_string()) return invalid;
    const json::string& one = entry.value().get_string();
    const auto [at, added] = pairs.emplace(std::string(entry.key().data(), entry.key().size()),
                                           std::string(one.data(), one.size()));
    if (!added) return invalid;
  }
  if (!pairs.empty()) context = objects::context_json(pairs);
  return {};
}

// The key of a KMS that a request names: an id, an ARN, or the alias of the standard one.
Error parse_key_id(const Call& c, std::string_view name, std::string& id) {
  if (name.starts_with("arn:")) {
    const std::string head = cat("arn:aws:kms:", c.region, ":", kAccount, ":");
    if (!name.starts_with(head)) {
      return {"KMS.NotFoundException", cat("Invalid arn ", name.substr(0, 256))};
    }
  }
  id = objects::ring_key(name);
  return {};
}

Error with_kms(const Call& c, EncryptionWish& wish) {
  const http::Request& r = c.request;
  if (r.has_header(kKeyId)) {
    if (Error e = parse_key_id(c, r.header(kKeyId), wish.key_id)) return e;
  }
  if (r.has_header(kContext)) return parse_context(r.header(kContext), wish.context);
  return {};
}

std::optional<Encryption> encryption_in(const ObjectMeta& meta) {
  return Encryption::decode(meta.encryption);
}

Error damaged() { return {"InternalError", "How it is encrypted cannot be read"}; }

}  // namespace

std::string key_arn(std::string_view region, std::string_view id) {
  return cat("arn:aws:kms:", region, ":", kAccount, ":key/", id);
}

bool says_encryption(const http::Request& r) {
  return r.has_header(kHeader) || r.has_header(kOfObject.secret);
}

Error encryption_of(const Call& c, EncryptionWish& wish) {
  const http::Request& r = c.request;
  wish = {};
  if (Error e = customer_key(c, kOfObject, wish.customer_key)) return e;
  const std::string_view mode = r.header(kHeader);
  if (!wish.customer_key.empty()) {
    wish.mode = EncryptionMode::kCustomer;
    if (!r.has_header(kHeader) && !r.has_header(kKeyId) && !r.has_header(kContext)) return {};
    return argument_invalid(kHeader, mode,
                            "Server Side Encryption with Customer provided key is incompatible "
                            "with the encryption method specified");
  }
  if (mode == "aws:kms:dsse") return {"NotImplemented", cat(kHeader, ": ", mode)};
  if (r.has_header(kHeader) && mode != "AES256" && mode != "aws:kms") {
    return argument_invalid(kHeader, mode, "The encryption method specified is not supported");
  }
  if (!r.has_header(kHeader)) {
    wish = objects::default_encryption(*c.bucket);
  } else {
    wish.mode = mode == "AES256" ? EncryptionMode::kS3 : EncryptionMode::kKms;
  }
  if (mode != "aws:kms" && (r.has_header(kKeyId) || r.has_header(kContext))) {
    return argument_invalid(kHeader, mode,
                            "Server Side Encryption with AWS KMS managed key requires HTTP header "
                            "x-amz-server-side-encryption : aws:kms");
  }
  if (r.has_header(kBucketKey)) {
    const std::string text = lower(r.header(kBucketKey));
    if (text != "true" && text != "false") {
      return argument_invalid(kBucketKey, r.header(kBucketKey), "It is true or false");
    }
    wish.bucket_key = wish.mode == EncryptionMode::kKms && text == "true";
  }
  return mode == "aws:kms" ? with_kms(c, wish) : Error{};
}

Error customer_key_of(const Call& c, std::string& key) { return customer_key(c, kOfObject, key); }
Error source_key_of(const Call& c, std::string& key) { return customer_key(c, kOfSource, key); }

Error begin_encryption(const Call& c, ObjectMeta& upload) {
  EncryptionWish wish;
  if (Error e = encryption_of(c, wish)) return e;
  for (const std::string& name :
       {std::string(kHeader), std::string(kKeyId), std::string(kOfObject.algorithm)}) {
    if (c.request.has_header(name)) upload.extra[name] = c.request.header(name);
  }
  if (wish.mode == EncryptionMode::kNone) return {};
  const auto made = objects::make_encryption(c.store, wish);
  if (!made.ok()) return error_of(made.status());
  upload.encryption = made->encryption.encode();
  return {};
}

Error encrypt_part(const Call& c, const ObjectMeta& upload, objects::Upload& bytes) {
  std::string key;
  if (Error e = customer_key_of(c, key)) return e;
  if (upload.encryption.empty()) {
    if (key.empty()) return {};
    return {"InvalidRequest",
            "The multipart upload initiate did not request encryption. Please resend the request "
            "without sending encryption parameters."};
  }
  const auto encryption = encryption_in(upload);
  if (!encryption) return damaged();
  if (encryption->mode == EncryptionMode::kCustomer && key.empty()) {
    return {"InvalidRequest",
            "The multipart upload initiate requested encryption. Subsequent part requests must "
            "include the appropriate encryption parameters."};
  }
  const auto opened = objects::open_data_key(c.store, *encryption, key);
  if (opened.ok()) {
    bytes.encrypt({*encryption, *opened});
    return {};
  }
  if (encryption->mode != EncryptionMode::kCustomer) return error_of(opened.status());
  return {"InvalidRequest",
          "The provided encryption parameters did not match the ones used originally."};
}

Error check_upload_key(const Call& c, const ObjectMeta& upload) {
  std::string key;
  if (Error e = customer_key_of(c, key)) return e;
  if (key.empty()) return {};
  const auto encryption = encryption_in(upload);
  if (encryption && encryption->mode == EncryptionMode::kCustomer &&
      objects::open_data_key(c.store, *encryption, key).ok()) {
    return {};
  }
  return {"InvalidRequest",
          "The provided encryption parameters did not match the ones used originally."};
}

Error check_object_key(const Call& c, const ObjectMeta& meta) {
  std::string key;
  if (Error e = customer_key_of(c, key)) return e;
  const auto encryption = encryption_in(meta);
  if (!encryption && !meta.encryption.empty()) return damaged();
  if (!encryption || encryption->mode != EncryptionMode::kCustomer) {
    if (key.empty()) return {};
    return {"InvalidRequest", "The encryption parameters are not applicable to this object."};
  }
  return error_of(objects::open_data_key(c.store, *encryption, key).status());
}

void say_encryption(Call& c, const Encryption& e, bool written) {
  http::Response& r = c.response;
  switch (e.mode) {
    case EncryptionMode::kNone:
      return;
    case EncryptionMode::kS3:
      r.set(kHeader, "AES256");
      return;
    case EncryptionMode::kKms:
      r.set(kHeader, "aws:kms");
      r.set(kKeyId, key_arn(c.region, e.sealed.key_id));
      if (written && !e.context.empty()) r.set(kContext, objects::base64(e.context));
      if (e.bucket_key) r.set(kBucketKey, "true");
      return;
    case EncryptionMode::kCustomer:
      r.set(kOfObject.algorithm, "AES256");
      if (const std::string_view md5 = kOfObject.md5; c.request.has_header(md5)) {
        r.set(md5, c.request.header(md5));
      }
  }
}

void say_encryption(Call& c, std::string_view encryption, bool written) {
  if (encryption.empty()) return;
  if (const auto e = Encryption::decode(encryption)) say_encryption(c, *e, written);
}

// ---- of buckets ----

namespace {

constexpr size_t kDocumentMax = 64 << 10;

Error parse_configuration(const Call& c, const std::string& text, BucketEncryption& out) {
  Error malformed{"MalformedXML", ""};
  XmlIn in;
  if (!in.parse(text, "ServerSideEncryptionConfiguration") || !only_elements(in.root(), "Rule")) {
    return malformed;
  }
  bool twice = false;
  const auto rule = single(in.root(), "Rule", twice);
  if (!rule || twice) return malformed;
  if (rule.child("BlockedEncryptionTypes")) {
    return {"NotImplemented", "Cairn does not have BlockedEncryptionTypes"};
  }
  if (!only_elements(rule, "ApplyServerSideEncryptionByDefault BucketKeyEnabled")) return malformed;
  const auto applied = single(rule, "ApplyServerSideEncryptionByDefault", twice);
  const auto bucket_key = single(rule, "BucketKeyEnabled", twice);
  if (!applied || twice || !only_elements(applied, "SSEAlgorithm KMSMasterKeyID")) return malformed;
  const auto algorithm = single(applied, "SSEAlgorithm", twice);
  const auto key_id = single(applied, "KMSMasterKeyID", twice);
  const auto mode = algorithm && !twice ? text_of(algorithm) : std::nullopt;
  if (!mode) return malformed;
  if (*mode == "aws:kms:dsse") return {"NotImplemented", "SSEAlgorithm: aws:kms:dsse"};
  if (*mode != "AES256" && *mode != "aws:kms") return malformed;
  out.mode = *mode == "AES256" ? BucketEncryption::Mode::kS3 : BucketEncryption::Mode::kKms;
  if (key_id) {
    const auto name = text_of(key_id);
    constexpr size_t kNameMax = 2048;
    if (!name || name->empty() || name->size() > kNameMax) return malformed;
    if (out.mode == BucketEncryption::Mode::kS3) {
      return {"InvalidArgument",
              "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms"};
    }
    std::string id;
    if (Error e = parse_key_id(c, *name, id)) return {"InvalidArgument", "Invalid KMSMasterKeyID"};
    out.key_id = *name;
  }
  if (bucket_key) {
    const std::string value = lower(text_of(bucket_key).value_or(""));
    if (value != "true" && value != "false") return malformed;
    out.bucket_key = value == "true";
  }
  return {};
}

awaitable<Error> change(Call& c, absl::FunctionRef<void(Properties&)> edit) {
  auto lsn = c.store.change_properties(*c.bucket, edit);
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

awaitable<Error> put_configuration(Call& c) {
  std::string text;
  if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
  if (text.empty()) co_return Error{"MissingRequestBodyError", ""};
  BucketEncryption wanted;
  if (Error e = parse_configuration(c, text, wanted)) co_return e;
  const auto edit = [&](Properties& p) { p.encryption = wanted; };
  co_return co_await change(c, edit);
}

awaitable<Error> get_configuration(Call& c) {
  const auto set = c.bucket->properties()->encryption;
  if (!set) co_return not_set(c, "ServerSideEncryptionConfigurationNotFoundError");
  XmlOut xml("ServerSideEncryptionConfiguration");
  auto rule = add(xml.root(), "Rule");
  auto applied = add(rule, "ApplyServerSideEncryptionByDefault");
  const bool kms = set->mode == BucketEncryption::Mode::kKms;
  add(applied, "SSEAlgorithm", kms ? "aws:kms" : "AES256");
  if (!set->key_id.empty()) add(applied, "KMSMasterKeyID", set->key_id);
  add(rule, "BucketKeyEnabled", set->bucket_key ? "true" : "false");
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> delete_configuration(Call& c) {
  c.response.status = 204;
  const auto edit = [](Properties& p) { p.encryption.reset(); };
  co_return co_await change(c, edit);
}

constexpr Action kGet{action::kDoor, "GetEncryptionConfiguration", Access::kRead};
constexpr Action kPut{action::kDoor, "PutEncryptionConfiguration", Access::kWrite};
constexpr Row kRows[] = {
    {"GetBucketEncryption", kGet, "GET", Scope::kBucket, "encryption", "", get_configuration, "",
     ""},
    {"PutBucketEncryption", kPut, "PUT", Scope::kBucket, "encryption", "", put_configuration,
     "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS, "", true, true},
    {"DeleteBucketEncryption", kPut, "DELETE", Scope::kBucket, "encryption", "",
     delete_configuration, "", ""},
};

}  // namespace

std::span<const Row> encryption_rows() { return kRows; }

}  // namespace cairn::s3
