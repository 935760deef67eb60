// The types of values that there are, one row each: what the store, TYPE, OBJECT ENCODING and SCAN
// need to know of one. A new type is a row here, and its commands.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "core/index/collection.h"
#include "core/index/index.h"

namespace cairn::kv {

struct Type {
  ValueType value;
  std::string_view name;  // Redis's
  // How one is made, and how one is kept, in Redis's words; null: values are bytes.
  CollectionType collection;
  std::string_view (*encoding)(const Collection& collection);
};

std::span<const Type> types();
const Type& type_of(ValueType value);  // of a value that is in the store
CollectionTypes collection_types();    // for StoreOptions

}  // namespace cairn::kv
