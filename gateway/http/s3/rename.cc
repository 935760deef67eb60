// RenameObject, as S3 has it in its directory buckets, in every bucket.
#include "objects/rename.h"

#include <algorithm>

#include "core/base/text.h"
#include "gateway/http/s3/service.h"

namespace cairn::s3 {

namespace {

constexpr std::string_view kSource = "x-amz-rename-source", kToken = "x-amz-client-token";

// "/bucket/key", "bucket/key" or "key", percent-encoded: S3's own examples name the key alone, its
// pattern a bucket too. A key may begin with the bucket's name: where both readings name something,
// neither is taken.
Error find_source(const Call& c, std::string& key) {
  const std::string_view text = c.request.header(kSource);
  const auto decoded = http::percent_decode(text, false);
  if (!decoded) return argument_invalid(kSource, text, "The source of the renaming is none");
  std::string_view path = *decoded;
  if (path.starts_with('/')) path.remove_prefix(1);
  if (const std::string bucket = cat(c.bucket_name, "/"); path.starts_with(bucket)) {
    const std::string_view behind = path.substr(bucket.size());
    const bool may = !c.may(action::kGetObject, c.bucket_name, path);
    const auto whole = objects::stat(c.store, *c.bucket, path);
    const auto part = objects::stat(c.store, *c.bucket, behind);
    if (may && whole.ok() && part.ok()) {
      Error e = argument_invalid(kSource, text, "The source of the renaming names two keys");
      e.rests_on = std::max(whole->seen, part->seen);
      return e;
    }
    if (!may || !whole.ok()) path = behind;
  }
  if (path.empty()) return argument_invalid(kSource, text, "The source of the renaming is none");
  if (path.size() > objects::kObjectKeyMax) return {"KeyTooLongError", ""};
  key = path;
  return {};
}

bool is_token(std::string_view text) {
  constexpr size_t kTokenMax = 64;
  return text.size() <= kTokenMax &&
         std::all_of(text.begin(), text.end(), [](char x) { return x >= '!' && x <= '~'; });
}

awaitable<Error> rename_object(Call& c) {
  objects::Renaming renaming;
  renaming.to = c.key;
  renaming.token = c.request.header(kToken);
  if (!is_token(renaming.token)) {
    co_return argument_invalid(kToken, renaming.token, "The client token is none");
  }
  if (Error e = find_source(c, renaming.from)) co_return e;
  // What is renamed can be read, and is there no more.
  for (const Action* action : {&action::kGetObject, &action::kDeleteObject}) {
    if (Error e = c.may(*action, c.bucket_name, renaming.from)) co_return e;
  }
  if (renaming.from == renaming.to) {
    co_return Error{"InvalidRequest", "The source and the destination of a renaming are the same"};
  }
  if (Error e = conditions_of(c.request, renaming.of_target)) co_return e;
  if (Error e = conditions_of(c.request, renaming.of_source, "x-amz-rename-source-")) co_return e;
  auto done = co_await objects::rename(c.store, *c.bucket, renaming);
  if (!done.ok()) {
    Error e = error_of(done.status());
    if (done.status().message() != "NoSuchKey") e = of_source_key(std::move(e), renaming.from);
    co_return e;
  }
  c.response.set("x-cairn-version", done->version.value());
  co_return co_await settle(c, done->seen);
}

constexpr Row kRows[] = {
    {"RenameObject", action::kPutObject, "PUT", Scope::kObject, "renameObject", "", rename_object,
     "if-match if-none-match if-modified-since if-unmodified-since x-amz-rename-source "
     "x-amz-client-token x-amz-rename-source-if-match x-amz-rename-source-if-none-match "
     "x-amz-rename-source-if-modified-since x-amz-rename-source-if-unmodified-since",
     ""},
};

}  // namespace

std::span<const Row> rename_rows() { return kRows; }

}  // namespace cairn::s3
