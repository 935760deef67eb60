// GET and HEAD of a key that holds a collection of the Redis door, by who accepts JSON: its
// members, a page at a time.
//
//   {"type":"hash","version":N,"expires_at_ms":N,"members":[…],"next":"…"}
//
// Members are texts in a list and a set, {"field":…,"value":…} in a hash, {"member":…,"score":…} in
// a sorted set, and {"id":…,"fields":[{"field":…,"value":…}…]} in a stream. What is UTF-8 is a JSON
// string; other bytes are {"base64":"…"}. A score is a number, or "inf" or "-inf". `expires_at_ms`
// is there if it expires, `next` if there is more: it is the continuation-token of the next page.
//
// A page is what was there at one moment; between two pages others may change it. Then a hash and a
// set keep SCAN's promise (what is there all the time comes), a stream goes on behind the last
// entry, and a list and a sorted set at the next place or rank.
//
// Threads: as the operation.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

// Whether the client prefers it to nothing.
bool accepts_json(const http::Request& request);
awaitable<Error> get_collection(Call& call);

}  // namespace cairn::s3
