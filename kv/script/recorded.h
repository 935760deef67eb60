// The answer to a command of a script, kept until the command is over and then made into a Lua
// value: Lua's errors never pass through a command. Its room is used again by the next one.
//
// Threads: one.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/engine/reply.h"
#include "kv/engine/session.h"
#include "kv/script/lua.h"

namespace cairn::kv {

class Recorded final : public Reply {
 public:
  // The protocol that the script asked for with redis.setresp, which decides what it gets.
  void begin(int version) {
    version_ = version;
    text_.clear();
    values_.clear();
    streams_.clear();
    if (text_.capacity() > kKeptMax) text_.shrink_to_fit();
    if (values_.capacity() > kKeptMax / sizeof(Value)) values_.shrink_to_fit();
    due_ = errors_ = 0;
    overflowed_ = false;
  }
  bool is_error() const { return !values_.empty() && values_[0].kind == Kind::kError; }
  std::string_view error_text() const { return text_of(values_[0]); }
  // The value of a blob that the answer needs; it has to be read first. Null: it needs none.
  std::unique_ptr<BlobReader> missing() {
    return streams_.empty() ? nullptr : std::move(streams_.front());
  }
  const Session::Lacking* lacking = nullptr;  // what was fetched for this script
  // Pushes it. It has to be whole, and no error.
  void push_value(lua_State* lua) const {
    size_t at = 0;
    push_next(lua, at, 0);
  }

  Mark mark() const override { return {values_.size(), streams_.size(), due_, errors_}; }
  void cut(const Mark& mark) override {
    values_.resize(mark.text);
    streams_.resize(mark.streams);
    due_ = mark.due;
    errors_ = mark.errors;
  }
  bool overflowed() const override { return overflowed_; }

 private:
  static constexpr size_t kKeptMax = 1 << 20;
  static constexpr size_t kBytesMax = 512 << 20;
  enum class Kind : uint8_t {
    kStatus,
    kError,
    kInteger,
    kReal,
    kBoolean,
    kBulk,
    kVerbatim,
    kBigNumber,
    kNull,
    kNullArray,
    kArray,
    kMap,
    kSet,
  };
  struct Value {
    Kind kind;
    uint64_t at;    // of its text
    uint64_t size;  // or number, bits of a real, members
  };

  std::string_view text_of(const Value& v) const {
    return std::string_view(text_).substr(v.at, v.size);
  }
  void add(Kind kind, std::string_view text) {
    if (text_.size() + values_.size() * sizeof(Value) + text.size() > kBytesMax) {
      overflowed_ = true;
      return;
    }
    values_.push_back({kind, text_.size(), text.size()});
    text_.append(text);
  }
  void add(Kind kind, uint64_t number) { values_.push_back({kind, 0, number}); }
  void push_next(lua_State* lua, size_t& at, int depth) const;

  void write_simple(std::string_view text) override { add(Kind::kStatus, text); }
  void write_error(std::string_view text) override { add(Kind::kError, text); }
  void write_integer(int64_t value) override { add(Kind::kInteger, static_cast<uint64_t>(value)); }
  void write_real(double value) override;
  void write_decimal(std::string_view digits) override;
  void write_boolean(bool value) override {
    version_ < 3 ? write_integer(value) : add(Kind::kBoolean, uint64_t{value});
  }
  void write_bulk(std::string_view bytes) override { add(Kind::kBulk, bytes); }
  void write_verbatim(std::string_view text) override {
    add(version_ < 3 ? Kind::kBulk : Kind::kVerbatim, text);
  }
  void write_big_number(std::string_view digits) override {
    add(version_ < 3 ? Kind::kBulk : Kind::kBigNumber, digits);
  }
  void write_stream(std::unique_ptr<BlobReader> blob) override;
  void write_series(std::unique_ptr<Series> values) override;
  void write_null() override { add(Kind::kNull, uint64_t{0}); }
  void write_null_array() override { add(Kind::kNullArray, uint64_t{0}); }
  void write_array(size_t count) override { add(Kind::kArray, count); }
  void write_map(size_t pairs) override {
    version_ < 3 ? add(Kind::kArray, 2 * pairs) : add(Kind::kMap, pairs);
  }
  void write_set(size_t count) override { add(version_ < 3 ? Kind::kArray : Kind::kSet, count); }
  void write_notice(std::string_view what, std::optional<std::string_view> name,
                    size_t count) override;

  int version_ = 2;
  std::string text_;
  std::vector<Value> values_;
  std::vector<std::unique_ptr<BlobReader>> streams_;
  bool overflowed_ = false;
};

// The value at the top of the stack as Redis answers it; it is popped. `version`: what the script
// asked for with redis.setresp.
void answer_value(lua_State* lua, Reply& reply, int version);

// The field of an error that a command answered: the statistics have it already.
inline constexpr const char* kCountedError = "ignore_error_stats_update";

}  // namespace cairn::kv
