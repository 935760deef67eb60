// What CLIENT PAUSE WRITE keeps back: what others, had Redis any, would have to hear of.
//
// Threads: any.
#pragma once

#include "kv/engine/command.h"

namespace cairn::kv {

struct Server;

bool may_replicate(const Row& row);
// Whether it calls a script or a function that says in its flags that it writes nothing.
bool says_it_writes_nothing(Server& server, const Request& request);

}  // namespace cairn::kv
