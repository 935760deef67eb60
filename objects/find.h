// Objects by what they carry: a small language over their metadata, and the objects of a namespace
// for which an expression holds, in order of name.
//
//   expression  = and *("or" and)         and = not *("and" not)
//   not         = *"not" ( "(" expression ")" / comparison )
//   comparison  = field operator value    operator = "=" "!=" "<" "<=" ">" ">=" "^="
//               / field "exists"
//   field       = "key" / "size" / "modified" / "content-type" / "tag:" name / "meta:" name
//   name, value = a word of A-Z a-z 0-9 and - _ . / + @ : %, or in quotes of either kind, where a
//                 backslash stands before a quote or a backslash
//
// "^=" is: begins with. Words of the language are told by lower case. A size is a number of bytes;
// a time is a date (2026-01-31), a date and a time of UTC (2026-01-31T12:00:00Z), or milliseconds
// since 1970. All else is compared byte by byte. Of a tag or a header that is not there, "!=" alone
// holds. Names of meta are in lower case, as S3 keeps them.
//
// Threads: an expression is constant once it is parsed.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "objects/object.h"

namespace cairn::objects {

class FindExpression {
 public:
  static constexpr size_t kBytesMax = 4096, kTermsMax = 64, kDepthMax = 32;

  // InvalidArgument, with what is wrong and where.
  static StatusOr<FindExpression> parse(std::string_view text);
  bool holds(std::string_view key, const Info& info) const;
  // Whether it asks for tags, or for what else only who reads an object may know.
  bool asks_tags() const { return asks_tags_; }
  bool asks_metadata() const { return asks_metadata_; }
  // The same in one form, which parses to the same.
  std::string text() const;

 private:
  friend class FindParser;
  enum class Field : uint8_t { kKey, kSize, kModified, kContentType, kTag, kMeta };
  enum class Operator : uint8_t {
    kEqual,
    kNotEqual,
    kLess,
    kLessOrEqual,
    kGreater,
    kGreaterOrEqual,
    kPrefix,
    kExists
  };
  struct Comparison {
    Field field;
    Operator op;
    std::string name, value;
    int64_t number = 0;  // of a size or a time
  };
  // In the order in which they are worked off: what stands before is on a stack.
  enum class Step : uint8_t { kCompare, kNot, kAnd, kOr };
  std::vector<Comparison> comparisons_;
  std::vector<Step> steps_;
  bool asks_tags_ = false, asks_metadata_ = false;

  bool compare(const Comparison& c, std::string_view key, const Info& info) const;
};

struct FindQuery {
  std::string prefix;
  std::string after;  // exclusive
  size_t limit = 1000;
};
struct Found {
  std::string key;
  Info info;
};
struct FindPage {
  std::vector<Found> items;  // in order of key
  bool truncated = false;
  std::string next;  // pass as `after`: the last key that was looked at
  Lsn newest;        // of what the answer rests on and has to wait for
};
// Looks at the objects one after the other, at most kLookedAtMax of them for a page: it may come
// back with fewer than asked for, or none, and be truncated.
inline constexpr size_t kLookedAtMax = 100'000;
awaitable<StatusOr<FindPage>> find(Store& store, NamespacePtr ns, const FindExpression& expression,
                                   const FindQuery& query);

}  // namespace cairn::objects
