// S3's errors: code, HTTP status and message, as in "Error responses" of the Amazon S3 API
// reference; and the one table that turns the store's status into them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/types.h"

namespace cairn::s3 {

struct Error {
  std::string_view code;  // empty: no error
  std::string message;    // empty: the table's
  Lsn rests_on = {};      // what was judged: the error leaves when that is durable
  std::vector<std::pair<std::string_view, std::string>> fields = {};  // more elements: Key and such
  explicit operator bool() const { return !code.empty(); }
};

int http_status(std::string_view code);
std::string_view default_message(std::string_view code);
// `header`: the condition that did not hold, or empty.
Error precondition_failed(std::string_view header, Lsn seen = {});
// InvalidArgument, of the parameter, header or field of this name.
Error argument_invalid(std::string_view name, std::string_view value, std::string message);
// What a failed operation means to an S3 client. `missing` is the code for NotFound.
Error error_of(const Status& status, std::string_view missing = "NoSuchKey");

}  // namespace cairn::s3
