// What the listings of a bucket's names have in common.
//
// Threads: any.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

struct Listing {
  objects::ListQuery query;
  bool url = false;  // names are sent URL-encoded
  // Whether what XML 1.0 cannot hold is written as references, as add() does; else a page with it
  // is URL-encoded.
  bool references = false;
  std::string encode(std::string_view text) const {
    return url ? http::percent_encode(text, true) : std::string(text);
  }
  void add(pugi::xml_node to, const char* name, std::string_view text) const {
    add_as_it_came(to, name, encode(text));
  }
};
// Prefix, delimiter, max-keys and encoding-type.
Error parse_listing(const Call& call, Listing& listing);
// The page, when all is durable that it rests on; none is asked for where it may hold nothing.
awaitable<Error> list_page(Call& call, Listing& listing, objects::ListPage& page);

}  // namespace cairn::s3
