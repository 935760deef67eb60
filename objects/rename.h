// Renaming an object: one transaction, and no bytes move.
//
// Threads and errors as in objects/object.h.
#pragma once

#include "objects/object.h"

namespace cairn::objects {

struct Renaming {
  std::string from, to;
  Conditions of_source, of_target;
  // Who asks again with the token of a renaming that was done is told so, as long as the object is
  // there under its new name. Empty: none.
  std::string token;
};
// The object keeps its metadata, ETag, time and expiry; what the new name held goes.
// InvalidArgument "IdempotencyParameterMismatch": the token was another renaming's.
awaitable<StatusOr<PutResult>> rename(Store& store, Namespace& ns, const Renaming& renaming);

// What was written otherwise than by a renaming is not what one made.
void forget_renaming(ObjectMeta& meta);

}  // namespace cairn::objects
