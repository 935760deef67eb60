#include "kv/types/type.h"

#include <algorithm>
#include <cassert>

#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream.h"

namespace cairn::kv {

namespace {
template <class T>
std::string_view encoding(const Collection& c) {
  return static_cast<const T&>(c).encoding();
}
constexpr Type kTypes[] = {
    {ValueType::kString, "string", {}, nullptr},
    {ValueType::kHash, "hash", {Hash::make, Hash::has_times}, encoding<Hash>},
    {ValueType::kList, "list", {List::make, nullptr}, encoding<List>},
    {ValueType::kSet, "set", {Set::make, nullptr}, encoding<Set>},
    {ValueType::kStream, "stream", {Stream::make, nullptr}, encoding<Stream>},
    {ValueType::kSortedSet, "zset", {SortedSet::make, nullptr}, encoding<SortedSet>},
};
}  // namespace

std::span<const Type> types() { return kTypes; }

const Type& type_of(ValueType value) {
  const auto* row = std::find_if(std::begin(kTypes), std::end(kTypes),
                                 [&](const Type& t) { return t.value == value; });
  assert(row != std::end(kTypes));  // the store makes none that it was not told of
  return *row;
}

CollectionTypes collection_types() {
  CollectionTypes made{};
  for (const Type& t : kTypes) made[static_cast<size_t>(t.value)] = t.collection;
  return made;
}

}  // namespace cairn::kv
