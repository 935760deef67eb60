// LCS: the longest text that two values have in common, not necessarily in one piece.
//
// Time and memory are the product of the lengths, of which proto-max-bulk-len is the limit, as in
// Redis; memory is a bit for each cell of the table instead of four bytes. More than a moment's
// work is done on copies, without locks, and others have their turn in between.
#include <algorithm>
#include <boost/asio/post.hpp>

#include "core/base/text.h"
#include "kv/commands/blob_edit.h"
#include "kv/engine/engine.h"

namespace cairn::kv {
namespace {

class Matrix {
 public:
  Matrix(std::string_view a, std::string_view b)
      : a_(a), b_(b), row_(b.size() + 1), up_((a.size() * b.size() + 63) / 64) {}

  static uint64_t bytes(uint64_t a, uint64_t b) {
    return a * b / 8 + 8 + (b + 1) * sizeof(uint32_t);
  }

  // Fills so many more rows; false when all are filled.
  bool fill(size_t rows) {
    for (; rows > 0 && filled_ < a_.size(); rows--, filled_++) {
      uint32_t corner = 0;  // of the row above
      for (size_t j = 1; j <= b_.size(); j++) {
        const uint32_t above = row_[j];
        if (a_[filled_] == b_[j - 1]) {
          row_[j] = corner + 1;
        } else if (above > row_[j - 1]) {
          const size_t cell = filled_ * b_.size() + j - 1;
          up_[cell / 64] |= uint64_t{1} << (cell % 64);
        } else {
          row_[j] = row_[j - 1];
        }
        corner = above;
      }
    }
    return filled_ < a_.size();
  }
  uint32_t length() const { return row_[b_.size()]; }

  struct Range {
    size_t a0, a1, b0, b1;
    size_t size() const { return a1 - a0 + 1; }
  };
  // Walks back from the end: the text, and where it lies in both values.
  void trace(std::string& text, std::vector<Range>& ranges) const {
    size_t i = a_.size(), j = b_.size(), left = length();
    text.assign(left, '\0');
    bool open = false;
    while (i > 0 && j > 0) {
      if (a_[i - 1] == b_[j - 1]) {
        text[--left] = a_[--i];
        j--;
        if (open) {
          ranges.back().a0 = i;
          ranges.back().b0 = j;
        } else {
          ranges.push_back({i, i, j, j});
        }
        open = true;
        continue;
      }
      open = false;
      const size_t cell = (i - 1) * b_.size() + j - 1;
      if (up_[cell / 64] >> (cell % 64) & 1) {
        i--;
      } else {
        j--;
      }
    }
  }

 private:
  const std::string_view a_, b_;
  std::vector<uint32_t> row_;  // of the table, the last one filled
  std::vector<uint64_t> up_;   // by cell: the longer one goes on with the row above
  size_t filled_ = 0;
};

struct Options {
  bool length_only = false, ranges = false, with_lengths = false;
  int64_t least = 0;
};

bool parse(Context& c, Options& o) {
  for (size_t i = 3; i < c.args.size(); i++) {
    if (equals_ignoring_case(c.args[i], "len")) {
      o.length_only = true;
    } else if (equals_ignoring_case(c.args[i], "idx")) {
      o.ranges = true;
    } else if (equals_ignoring_case(c.args[i], "withmatchlen")) {
      o.with_lengths = true;
    } else if (equals_ignoring_case(c.args[i], "minmatchlen") && i + 1 < c.args.size()) {
      if (!c.integer(++i, o.least)) return false;
    } else {
      return c.syntax_error(), false;
    }
  }
  if (!o.length_only || !o.ranges) return true;
  c.reply.error("ERR If you want both the length and indexes, please just use IDX.");
  return false;
}

void answer(Context& c, const Options& o, const Matrix& table) {
  if (o.length_only) return c.reply.integer(table.length());
  std::string text;
  std::vector<Matrix::Range> all;
  table.trace(text, all);
  if (!o.ranges) return c.reply.bulk(text);
  std::erase_if(all, [&](auto& r) { return static_cast<int64_t>(r.size()) < o.least; });
  c.reply.map(2);
  c.reply.bulk("matches");
  c.reply.array(all.size());
  for (auto& r : all) {
    c.reply.array(o.with_lengths ? 3 : 2);
    for (auto [from, to] : {std::pair(r.a0, r.a1), std::pair(r.b0, r.b1)}) {
      c.reply.array(2);
      c.reply.integer(static_cast<int64_t>(from));
      c.reply.integer(static_cast<int64_t>(to));
    }
    if (o.with_lengths) c.reply.integer(static_cast<int64_t>(r.size()));
  }
  c.reply.bulk("len");
  c.reply.integer(table.length());
}

bool too_large(Context& c, uint64_t a, uint64_t b) {
  uint64_t bytes;
  const bool fits = !__builtin_mul_overflow(a + 1, b + 1, &bytes) &&
                    !__builtin_mul_overflow(bytes, sizeof(uint32_t), &bytes) &&
                    bytes <= c.engine.server().proto_max_bulk_len;
  if (fits) return false;
  c.reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
  return true;
}

void lcs(Context& c) {
  const Entry* a = c.find(c.args[1]);
  const Entry* b = c.find(c.args[2]);
  if ((a != nullptr && !a->is_string()) || (b != nullptr && !b->is_string())) {
    return c.reply.error("ERR The specified keys must contain string values");
  }
  Options options;
  if (!parse(c, options)) return;
  const uint64_t a_size = a == nullptr ? 0 : value_length(a);
  const uint64_t b_size = b == nullptr ? 0 : value_length(b);
  if (too_large(c, a_size, b_size)) return;
  constexpr uint64_t kCellsAtOnce = 1 << 20;  // some milliseconds
  const bool in_extents = (a != nullptr && a->is_blob()) || (b != nullptr && b->is_blob());
  if (!c.in_exec && (in_extents || a_size * b_size > kCellsAtOnce)) return c.defer();
  const auto left = text_at_once(c, a), right = left ? text_at_once(c, b) : left;
  if (!right) return;
  Matrix table(*left, *right);
  table.fill(a_size);
  answer(c, options, table);
}

awaitable<void> lcs_deferred(Context& c) {
  Options options;
  if (!parse(c, options)) co_return;
  std::unique_ptr<Workspace::Share> share;
  std::optional<std::vector<HeldValue>> held;
  for (;;) {  // nothing is held by who waits; what is there may change meanwhile
    std::vector<std::string_view> names{c.args[1], c.args[2]};
    held = co_await hold_values(c, std::move(names));
    if (!held) co_return;
    const uint64_t a = (*held)[0].size(), b = (*held)[1].size();
    if (too_large(c, a, b)) co_return;
    const uint64_t needed = Matrix::bytes(a, b) + a + b;
    if (share != nullptr && needed <= share->bytes()) break;
    held.reset();
    share.reset();
    share = co_await c.workspace(needed);
    if (share == nullptr) co_return;
  }
  const std::vector<HeldValue>& values = *held;
  auto a = co_await read_held(c, values[0], 0, values[0].size());
  if (!a.ok()) co_return c.status_error(a.status());
  auto b = co_await read_held(c, values[1], 0, values[1].size());
  if (!b.ok()) co_return c.status_error(b.status());
  Matrix table(*a, *b);
  constexpr size_t kCellsPerTurn = 1 << 18;
  const auto executor = co_await asio::this_coro::executor;
  while (table.fill(1 + kCellsPerTurn / (b->size() + 1))) {
    if (c.given_up()) co_return;
    co_await asio::post(executor, asio::use_awaitable);
  }
  answer(c, options, table);
}

constexpr KeySpec kTwoKeys[] = {{.flags = kKeyReadOnly | kKeyAccess, .last = 1}};
constexpr Row kRows[] = {
    {"lcs", -3, kReadOnly, kTwoKeys, lcs, lcs_deferred, "string",
     "Finds the longest common substring.", "7.0.0"},
};

}  // namespace
std::span<const Row> lcs_rows() { return kRows; }

}  // namespace cairn::kv
