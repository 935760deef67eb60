// POST Object: an upload from an HTML form, which brings its signature in its fields.
//
// Threads: any loop.
#pragma once

#include "gateway/http/s3/service.h"

namespace cairn::s3 {

bool is_form(const Call& call);
// From the request's body on; nobody has looked yet who sent it. `claimed_key`: the access key that
// the form names.
awaitable<Error> post_form(Call& call, Authenticator& authenticator, std::string& claimed_key);

}  // namespace cairn::s3
