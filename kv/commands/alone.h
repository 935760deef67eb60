// Commands about what a server that is alone has not: replicas, modules.
#pragma once

#include <span>

#include "kv/engine/command.h"

namespace cairn::kv {

// Answers that there is none.
void no_replication(Context& c);

std::span<const Row> alone_rows();

}  // namespace cairn::kv
