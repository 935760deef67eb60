#include "core/base/plant.h"

namespace cairn {

Bug planted_bug = Bug::kNone;

}  // namespace cairn
