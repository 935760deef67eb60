#include "objects/find.h"

#include <absl/time/time.h>

#include <algorithm>
#include <bitset>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cassert>

#include "core/base/text.h"

namespace cairn::objects {

namespace {

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("-_./+@:%").find(c) != std::string_view::npos;
}

std::optional<int64_t> time_of(std::string_view text) {
  if (const auto ms = parse_int<int64_t>(text)) return *ms >= 0 ? ms : std::nullopt;
  const bool date = text.size() == 10;
  if (!date && (text.size() != 20 || text.back() != 'Z')) return std::nullopt;
  absl::Time at;
  std::string error;
  const std::string_view format = date ? "%Y-%m-%d" : "%Y-%m-%dT%H:%M:%SZ";
  if (!absl::ParseTime({format.data(), format.size()}, {text.data(), text.size()}, &at, &error)) {
    return std::nullopt;
  }
  return absl::ToUnixMillis(at);
}

}  // namespace

// Recursive, by at most kDepthMax brackets and "not"s.
class FindParser {
 public:
  explicit FindParser(std::string_view text) : text_(text) {}

  StatusOr<FindExpression> run() {
    if (text_.size() > FindExpression::kBytesMax) return fail("it is longer than 4096 bytes");
    if (Status s = any_of(0); !s.ok()) return s;
    blanks();
    if (at_ != text_.size()) return fail("here nothing more is expected");
    return std::move(made_);
  }

 private:
  using Step = FindExpression::Step;
  using Field = FindExpression::Field;
  using Operator = FindExpression::Operator;

  Status fail(std::string_view why) const {
    return absl::InvalidArgumentError(cat("the expression is wrong at byte ", at_, ": ", why));
  }
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) at_++;
  }
  // A word of the language, if it is the next one.
  bool take(std::string_view word) {
    blanks();
    const std::string_view rest = text_.substr(at_);
    if (!rest.starts_with(word)) return false;
    const bool letters = is_word(word.back());
    if (letters && rest.size() > word.size() && is_word(rest[word.size()])) return false;
    at_ += word.size();
    return true;
  }

  Status any_of(size_t depth) {
    if (Status s = all_of(depth); !s.ok()) return s;
    while (take("or")) {
      if (Status s = all_of(depth); !s.ok()) return s;
      made_.steps_.push_back(Step::kOr);
    }
    return absl::OkStatus();
  }
  Status all_of(size_t depth) {
    if (Status s = one(depth); !s.ok()) return s;
    while (take("and")) {
      if (Status s = one(depth); !s.ok()) return s;
      made_.steps_.push_back(Step::kAnd);
    }
    return absl::OkStatus();
  }
  Status one(size_t depth) {
    if (depth == FindExpression::kDepthMax) return fail("it is nested too deeply");
    if (take("not")) {
      if (Status s = one(depth + 1); !s.ok()) return s;
      made_.steps_.push_back(Step::kNot);
      return absl::OkStatus();
    }
    if (!take("(")) return comparison();
    if (Status s = any_of(depth + 1); !s.ok()) return s;
    return take(")") ? absl::OkStatus() : fail("a bracket is not closed");
  }

  // Nothing: there is none.
  std::optional<std::string> word() {
    std::string out;
    if (at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"')) {
      const char quote = text_[at_];
      for (size_t i = at_ + 1; i < text_.size(); i++) {
        if (text_[i] == quote) {
          at_ = i + 1;
          return out;
        }
        if (text_[i] == '\\' && ++i == text_.size()) break;
        out.push_back(text_[i]);
      }
      return std::nullopt;
    }
    while (at_ < text_.size() && is_word(text_[at_])) out.push_back(text_[at_++]);
    return out.empty() ? std::nullopt : std::optional(out);
  }

  Status field(FindExpression::Comparison& c) {
    blanks();
    constexpr std::pair<std::string_view, Field> kNamed[] = {{"tag:", Field::kTag},
                                                             {"meta:", Field::kMeta}};
    for (auto& [prefix, is] : kNamed) {
      if (!text_.substr(at_).starts_with(prefix)) continue;
      at_ += prefix.size();
      const auto name = word();
      if (!name) return fail("a name is expected");
      c.field = is;
      c.name = is == Field::kMeta ? lower(*name) : *name;
      return absl::OkStatus();
    }
    constexpr std::pair<std::string_view, Field> kPlain[] = {{"key", Field::kKey},
                                                             {"size", Field::kSize},
                                                             {"modified", Field::kModified},
                                                             {"content-type", Field::kContentType}};
    for (auto& [name, is] : kPlain) {
      if (!take(name)) continue;
      c.field = is;
      return absl::OkStatus();
    }
    return fail("key, size, modified, content-type, tag:NAME or meta:NAME is expected");
  }

  Status comparison() {
    if (made_.comparisons_.size() == FindExpression::kTermsMax) {
      return fail("it has more than 64 comparisons");
    }
    FindExpression::Comparison c{};
    if (Status s = field(c); !s.ok()) return s;
    constexpr std::pair<std::string_view, Operator> kOperators[] = {
        {"<=", Operator::kLessOrEqual}, {">=", Operator::kGreaterOrEqual},
        {"!=", Operator::kNotEqual},    {"^=", Operator::kPrefix},
        {"=", Operator::kEqual},        {"<", Operator::kLess},
        {">", Operator::kGreater},      {"exists", Operator::kExists}};
    const auto* op = std::find_if(std::begin(kOperators), std::end(kOperators),
                                  [&](auto& o) { return take(o.first); });
    if (op == std::end(kOperators)) return fail("=, !=, <, <=, >, >=, ^= or exists is expected");
    c.op = op->second;
    const bool number = c.field == Field::kSize || c.field == Field::kModified;
    if (c.op == Operator::kPrefix && number) return fail("^= is of texts");
    if (c.op != Operator::kExists) {
      blanks();
      const auto value = word();
      if (!value) return fail("a value is expected");
      c.value = *value;
      std::optional<int64_t> n;
      if (c.field == Field::kSize) n = parse_int<int64_t>(c.value);
      if (c.field == Field::kModified) n = time_of(c.value);
      if (number && (!n || *n < 0)) {
        return fail(c.field == Field::kSize ? "a number of bytes is expected"
                                            : "a time is expected");
      }
      c.number = n.value_or(0);
    }
    made_.asks_tags_ |= c.field == Field::kTag;
    made_.asks_metadata_ |= c.field == Field::kMeta || c.field == Field::kContentType;
    made_.comparisons_.push_back(std::move(c));
    made_.steps_.push_back(Step::kCompare);
    return absl::OkStatus();
  }

  const std::string_view text_;
  size_t at_ = 0;
  FindExpression made_;
};

StatusOr<FindExpression> FindExpression::parse(std::string_view text) {
  return FindParser(text).run();
}

bool FindExpression::compare(const Comparison& c, std::string_view key, const Info& info) const {
  const auto ordered = [&c](const auto& a, const auto& b) {
    switch (c.op) {
      case Operator::kEqual:
        return a == b;
      case Operator::kNotEqual:
        return a != b;
      case Operator::kLess:
        return a < b;
      case Operator::kLessOrEqual:
        return a <= b;
      case Operator::kGreater:
        return a > b;
      case Operator::kGreaterOrEqual:
        return a >= b;
      default:
        return true;  // it exists
    }
  };
  if (c.field == Field::kSize) return ordered(info.size, static_cast<uint64_t>(c.number));
  if (c.field == Field::kModified) return ordered(info.modified_ms, c.number);
  std::optional<std::string_view> text;
  const auto look = [&](const std::map<std::string, std::string>& in) {
    if (const auto it = in.find(c.name); it != in.end()) text = it->second;
  };
  if (c.field == Field::kKey) text = key;
  if (c.field == Field::kContentType && !info.meta.content_type.empty()) {
    text = info.meta.content_type;
  }
  if (c.field == Field::kTag) look(info.meta.tags);
  if (c.field == Field::kMeta) look(info.meta.user);
  if (!text) return c.op == Operator::kNotEqual;
  if (c.op == Operator::kPrefix) return text->starts_with(c.value);
  return ordered(*text, std::string_view(c.value));
}

bool FindExpression::holds(std::string_view key, const Info& info) const {
  std::bitset<kTermsMax> stack;  // no step needs more than there are comparisons
  size_t top = 0, next = 0;
  for (const Step step : steps_) {
    switch (step) {
      case Step::kCompare:
        stack[top++] = compare(comparisons_[next++], key, info);
        break;
      case Step::kNot:
        stack.flip(top - 1);
        break;
      case Step::kAnd:
        top--;
        stack[top - 1] = stack[top - 1] && stack[top];
        break;
      case Step::kOr:
        top--;
        stack[top - 1] = stack[top - 1] || stack[top];
        break;
    }
  }
  assert(top == 1);
  return stack[0];
}

std::string FindExpression::text() const {
  const auto quoted = [](std::string_view text) {
    std::string out = "'";
    for (const char c : text) {
      if (c == '\'' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
    return out + "'";
  };
  constexpr std::string_view kFields[] = {"key",          "size", "modified",
                                          "content-type", "tag:", "meta:"};
  constexpr std::string_view kOperators[] = {"=", "!=", "<", "<=", ">", ">=", "^=", "exists"};
  // Brackets stand only where they are needed, so that it is nested no deeper than what was parsed.
  struct Part {
    std::string text;
    int binds;  // 0 "or", 1 "and", 2 all else
  };
  const auto at_least = [](const Part& part, int binds) {
    return part.binds >= binds ? part.text : cat("(", part.text, ")");
  };
  std::vector<Part> stack;
  size_t next = 0;
  for (const Step step : steps_) {
    if (step == Step::kCompare) {
      const Comparison& c = comparisons_[next++];
      std::string one(kFields[static_cast<size_t>(c.field)]);
      if (c.field == Field::kTag || c.field == Field::kMeta) one += quoted(c.name);
      append(one, " ", kOperators[static_cast<size_t>(c.op)]);
      if (c.op != Operator::kExists) append(one, " ", quoted(c.value));
      stack.push_back({std::move(one), 2});
    } else if (step == Step::kNot) {
      stack.back() = {cat("not ", at_least(stack.back(), 2)), 2};
    } else {
      const int binds = step == Step::kAnd ? 1 : 0;
      const Part right = std::move(stack.back());
      stack.pop_back();
      stack.back() = {cat(at_least(stack.back(), binds), binds == 1 ? " and " : " or ",
                          at_least(right, binds + 1)),
                      binds};
    }
  }
  return stack.back().text;
}

// ---- looking ----

namespace {

// One turn, from `from` on. False: the names are another database's since `swaps` was noted, which
// an empty page does.
bool find_some(Store& store, Namespace& ns, const FindExpression& expression, const FindQuery& q,
               size_t& looked_at, uint64_t& swaps, bool& done, FindPage& page) {
  constexpr size_t kTurn = 256;  // all who change names wait meanwhile
  const int64_t now = store.now_ms();
  MutexLock lock(ns.order_mutex);
  if (looked_at == 0) swaps = ns.order_swaps;
  if (swaps != ns.order_swaps || !ns.ordered()) return false;
  page.newest = std::max(page.newest, Lsn(ns.removed.load()));  // what is not found may be gone
  const bool from_first = page.next.empty() || page.next < q.prefix;
  auto it = from_first ? ns.order.lower_bound(std::string_view(q.prefix))
                       : ns.order.upper_bound(std::string_view(page.next));
  for (size_t n = 0; n < kTurn; ++it) {
    if (it == ns.order.end() || !(*it)->key().starts_with(q.prefix)) {
      done = true;
      return true;
    }
    if (page.items.size() == q.limit || looked_at == kLookedAtMax) {
      page.truncated = done = true;
      return true;
    }
    const Entry* e = *it;
    n++;
    looked_at++;
    page.next = e->key();
    if (e->wished()) page.newest = std::max(page.newest, e->lsn());
    if (e->expired(now) || !e->is_string()) continue;
    Info info = info_of(store, e);
    if (!expression.holds(e->key(), info)) continue;
    page.items.push_back({std::string(e->key()), std::move(info)});
  }
  return true;
}

}  // namespace

awaitable<StatusOr<FindPage>> find(Store& store, NamespacePtr ns, const FindExpression& expression,
                                   const FindQuery& query) {
  const auto executor = co_await asio::this_coro::executor;
  for (;;) {
    Status ordered = co_await store.ensure_ordered(ns);
    if (!ordered.ok()) co_return ordered;
    FindPage page;
    page.next = query.after;
    size_t looked_at = 0;
    uint64_t swaps = 0;
    bool done = query.limit == 0;
    bool whole = true;
    while (whole && !done) {
      whole = find_some(store, *ns, expression, query, looked_at, swaps, done, page);
      if (whole && !done) co_await asio::post(executor, asio::use_awaitable);
    }
    if (whole) co_return page;
  }
}

}  // namespace cairn::objects
