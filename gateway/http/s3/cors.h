// Requests of web pages of other origins: what a bucket's rules (core/store/properties.h) let them
// do, as S3 has it and the Fetch standard wants it.
//
// A preflight comes unsigned and asks for nothing but this. An actual request is served whatever
// the rules say; its answer, an error too, tells the browser what the page may see of it. Answers
// of a bucket with rules vary with who asks, and say so even where no rule holds: a cache would
// otherwise give one page what was meant for another.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// The first rule that lets a page of `origin` make a request of this method with these headers (as
// Access-Control-Request-Headers lists them), and which of its origins it is.
struct CorsMatch {
  const CorsRule* rule = nullptr;  // null: none does
  std::string_view origin;
};
CorsMatch find_rule(const std::vector<CorsRule>& rules, std::string_view origin,
                    std::string_view method, std::string_view headers);
// Sets what the answer to any request says to a browser. Before it is known who asks.
void answer_origin(Call& call);
// OPTIONS.
awaitable<Error> preflight(Call& call);
// The body of PutBucketCors, and back.
Error parse_cors(const std::string& xml, std::vector<CorsRule>& rules);

}  // namespace cairn::s3
