// What limits or widens who may use a bucket beside its policy and its lists: whether ACLs count,
// what blocks public access, and who pays.
#include "core/base/text.h"
#include "gateway/http/s3/bodies.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

constexpr size_t kDocumentMax = 64 << 10;

// Reads a document whose root has this name and these elements, each at most once and with a text.
class Document {
 public:
  awaitable<Error> read(Call& c, const char* root, const char* elements) {
    std::string text;
    if (Error e = co_await read_small(c, kDocumentMax, text)) co_return e;
    if (text.empty()) co_return Error{"MissingRequestBodyError", ""};
    const bool fine = in_.parse(text, root) && only_elements(in_.root(), elements);
    co_return fine ? Error{} : Error{"MalformedXML", ""};
  }
  pugi::xml_node root() const { return in_.root(); }

 private:
  XmlIn in_;
};

awaitable<Error> change(Call& c, absl::FunctionRef<void(Properties&)> edit) {
  auto lsn = c.store.change_properties(*c.bucket, edit);
  if (!lsn.ok()) co_return error_of(lsn.status(), "NoSuchBucket");
  co_return co_await settle(c, *lsn);
}

// ---- ownership ----

constexpr std::pair<Ownership, std::string_view> kOwnerships[] = {
    {Ownership::kBucketOwnerEnforced, "BucketOwnerEnforced"},
    {Ownership::kBucketOwnerPreferred, "BucketOwnerPreferred"},
    {Ownership::kObjectWriter, "ObjectWriter"},
};

awaitable<Error> get_ownership(Call& c) {
  const Ownership now = c.bucket->properties()->ownership;
  if (now == Ownership::kNone) co_return not_set(c, "OwnershipControlsNotFoundError");
  XmlOut xml("OwnershipControls");
  auto rule = add(xml.root(), "Rule");
  for (const auto& [ownership, name] : kOwnerships) {
    if (ownership == now) add(rule, "ObjectOwnership", name);
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> put_ownership(Call& c) {
  Document document;
  if (Error e = co_await document.read(c, "OwnershipControls", "Rule")) co_return e;
  const Error malformed{"MalformedXML", ""};
  bool twice = false;
  const auto rule = single(document.root(), "Rule", twice);
  if (!rule || twice || !only_elements(rule, "ObjectOwnership")) co_return malformed;
  const auto named = single(rule, "ObjectOwnership", twice);
  const auto text = named && !twice ? text_of(named) : std::nullopt;
  std::optional<Ownership> wanted;
  for (const auto& [ownership, name] : kOwnerships) {
    if (text && *text == name) wanted = ownership;
  }
  if (!wanted) co_return malformed;
  bool has_grants = false;
  const auto edit = [&](Properties& p) {
    has_grants = *wanted == Ownership::kBucketOwnerEnforced && p.acl.has_value();
    if (!has_grants) p.ownership = *wanted;
  };
  Error done = co_await change(c, edit);
  if (!done && has_grants) done = {"InvalidBucketAclWithObjectOwnership", ""};
  co_return done;
}

awaitable<Error> delete_ownership(Call& c) {
  c.response.status = 204;
  const auto edit = [](Properties& p) { p.ownership = Ownership::kNone; };
  co_return co_await change(c, edit);
}

// ---- public access ----

constexpr std::pair<const char*, bool PublicAccessBlock::*> kBlocks[] = {
    {"BlockPublicAcls", &PublicAccessBlock::block_acls},
    {"IgnorePublicAcls", &PublicAccessBlock::ignore_acls},
    {"BlockPublicPolicy", &PublicAccessBlock::block_policy},
    {"RestrictPublicBuckets", &PublicAccessBlock::restrict_buckets},
};

awaitable<Error> get_block(Call& c) {
  const auto block = c.bucket->properties()->public_access_block;
  if (!block) co_return not_set(c, "NoSuchPublicAccessBlockConfiguration");
  XmlOut xml("PublicAccessBlockConfiguration");
  for (const auto& [name, member] : kBlocks) {
    add(xml.root(), name, (*block).*member ? "true" : "false");
  }
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> put_block(Call& c) {
  Document document;
  if (Error e = co_await document.read(
          c, "PublicAccessBlockConfiguration",
          "BlockPublicAcls IgnorePublicAcls BlockPublicPolicy RestrictPublicBuckets")) {
    co_return e;
  }
  PublicAccessBlock block;
  bool twice = false;
  for (const auto& [name, member] : kBlocks) {
    const auto node = single(document.root(), name, twice);
    if (!node) continue;
    const std::string text = lower(text_of(node).value_or(""));
    if (text != "true" && text != "false") co_return Error{"MalformedXML", ""};
    block.*member = text == "true";
  }
  if (twice) co_return Error{"MalformedXML", ""};
  const auto edit = [&](Properties& p) { p.public_access_block = block; };
  co_return co_await change(c, edit);
}

awaitable<Error> delete_block(Call& c) {
  c.response.status = 204;
  const auto edit = [](Properties& p) { p.public_access_block.reset(); };
  co_return co_await change(c, edit);
}

// ---- who pays ----

awaitable<Error> get_payer(Call& c) {
  XmlOut xml("RequestPaymentConfiguration");
  add(xml.root(), "Payer", c.bucket->properties()->requester_pays ? "Requester" : "BucketOwner");
  reply_xml(c, xml);
  co_return co_await settle(c, c.store.newest_name());
}

awaitable<Error> put_payer(Call& c) {
  Document document;
  if (Error e = co_await document.read(c, "RequestPaymentConfiguration", "Payer")) co_return e;
  bool twice = false;
  const auto node = single(document.root(), "Payer", twice);
  const auto payer = node && !twice ? text_of(node) : std::nullopt;
  if (!payer || (*payer != "Requester" && *payer != "BucketOwner")) {
    co_return Error{"MalformedXML", ""};
  }
  const bool requester = *payer == "Requester";
  const auto edit = [requester](Properties& p) { p.requester_pays = requester; };
  co_return co_await change(c, edit);
}

constexpr Action reading(std::string_view name) { return {action::kDoor, name, Access::kRead}; }
constexpr Action writing(std::string_view name) { return {action::kDoor, name, Access::kWrite}; }
constexpr std::string_view kPutHeaders = "x-amz-sdk-checksum-algorithm " CAIRN_S3_CHECKSUMS;

constexpr Row row(std::string_view operation, Action action, std::string_view method,
                  std::string_view subresource, Operation run) {
  const bool puts = method == "PUT";
  return {operation,   action, method, Scope::kBucket,
          subresource, "",     run,    puts ? kPutHeaders : std::string_view(),
          "",          true,   puts};
}

constexpr Row kRows[] = {
    row("GetBucketOwnershipControls", reading("GetBucketOwnershipControls"), "GET",
        "ownershipControls", get_ownership),
    row("PutBucketOwnershipControls", writing("PutBucketOwnershipControls"), "PUT",
        "ownershipControls", put_ownership),
    row("DeleteBucketOwnershipControls", writing("PutBucketOwnershipControls"), "DELETE",
        "ownershipControls", delete_ownership),
    row("GetPublicAccessBlock", reading("GetBucketPublicAccessBlock"), "GET", "publicAccessBlock",
        get_block),
    row("PutPublicAccessBlock", writing("PutBucketPublicAccessBlock"), "PUT", "publicAccessBlock",
        put_block),
    row("DeletePublicAccessBlock", writing("PutBucketPublicAccessBlock"), "DELETE",
        "publicAccessBlock", delete_block),
    row("GetBucketRequestPayment", reading("GetBucketRequestPayment"), "GET", "requestPayment",
        get_payer),
    row("PutBucketRequestPayment", writing("PutBucketRequestPayment"), "PUT", "requestPayment",
        put_payer),
};

}  // namespace

std::span<const Row> public_access_rows() { return kRows; }

}  // namespace cairn::s3
