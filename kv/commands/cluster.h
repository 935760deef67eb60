// CLUSTER, ASKING, READONLY and READWRITE, of a cluster that this server is alone
// (kv/engine/cluster.h).
#pragma once

#include <span>

#include "kv/engine/command.h"

namespace cairn::kv {

std::span<const Row> cluster_rows();

}  // namespace cairn::kv
