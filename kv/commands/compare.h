// Conditions on what a string holds now: IFEQ and IFNE of SET and DELEX.
#pragma once

#include "core/base/text.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

struct Comparison {
  bool given = false, equal = true;
  size_t word = 0;  // what it is compared with

  // Whether this word and the one behind it are one; `i` is then at the second one.
  bool parse(const Context& c, size_t& i) {
    const bool eq = equals_ignoring_case(c.args[i], "ifeq");
    if (given || i + 1 >= c.args.size() || !(eq || equals_ignoring_case(c.args[i], "ifne"))) {
      return false;
    }
    *this = {true, eq, ++i};
    return true;
  }

  // False after it answered why it cannot be told. A key that is not there holds nothing, and so
  // something else than what is asked for.
  bool holds(Context& c, Entry* e, bool& result) const {
    if (e != nullptr && !e->is_string()) {
      c.reply.error(kWrongType);
      return false;
    }
    bool same = e != nullptr && value_length(e) == c.args.length(word);
    if (same && (e->is_blob() || c.args.blob(word) != nullptr)) {
      c.reply.error("ERR a value above the extent threshold is not compared");
      return false;
    }
    same = same && e->value() == c.args[word];
    result = same == equal;
    return true;
  }
};

}  // namespace cairn::kv
