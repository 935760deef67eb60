#include "core/plant.h"

namespace cairn {

Bug planted_bug = Bug::kNone;

}  // namespace cairn
