// An answer that is kept as it was made, for whoever sends it later in his own protocol: what a
// client that waited is answered is made by the thread that served it, or that ran it.
//
// Threads: one after the other.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/engine/reply.h"

namespace cairn::kv {

class KeptReply final : public Reply {
 public:
  // Answers all of it.
  void give(Reply& to) {
    for (Value& v : values_) give(v, to);
    values_.clear();
    bytes_ = 0;
  }

  // What would be more than so many bytes is let go, and overflowed() from then on.
  void set_limit(uint64_t bytes) { bytes_max_ = bytes; }
  bool overflowed() const override { return overflowed_; }
  uint64_t bytes() const { return bytes_; }  // that it takes in memory

  Mark mark() const override { return {values_.size(), 0, due_, errors_}; }
  void cut(const Mark& mark) override {
    for (; values_.size() > mark.text; values_.pop_back()) bytes_ -= bytes_of(values_.back());
    due_ = due_before_ = mark.due;
    errors_ = mark.errors;
  }

 private:
  enum class Kind : uint8_t {
    kSimple,
    kError,
    kInteger,
    kReal,
    kBoolean,
    kBulk,
    kVerbatim,
    kStream,
    kSeries,
    kNull,
    kNullArray,
    kArray,
    kMap,
    kSet,
    kDecimal,
    kBigNumber,
    kNotice
  };
  struct Value {
    Kind kind = Kind::kNull;
    bool answers = true;  // where a notice may not
    int64_t number = 0;   // or how many
    double real = 0;
    std::string text = {};
    std::optional<std::string> name = {};  // of a notice; of a verbatim text, its format
    std::unique_ptr<BlobReader> blob = {};
    std::unique_ptr<Series> series = {};
  };
  static uint64_t bytes_of(const Value& v) { return sizeof(Value) + v.text.size(); }
  static void give(Value& v, Reply& to) {
    const auto count = static_cast<size_t>(v.number);
    switch (v.kind) {
      case Kind::kSimple:
        return to.simple(v.text);
      case Kind::kError:
        return to.error(v.text);
      case Kind::kInteger:
        return to.integer(v.number);
      case Kind::kReal:
        return to.real(v.real);
      case Kind::kBoolean:
        return to.boolean(v.number != 0);
      case Kind::kBulk:
        return to.bulk(v.text);
      case Kind::kVerbatim:
        return to.verbatim(v.text, *v.name);
      case Kind::kStream:
        return to.stream(std::move(v.blob));
      case Kind::kSeries:
        return to.series(std::move(v.series), count);
      case Kind::kNull:
        return to.null();
      case Kind::kNullArray:
        return to.null_array();
      case Kind::kArray:
        return to.array(count);
      case Kind::kMap:
        return to.map(count);
      case Kind::kSet:
        return to.set(count);
      case Kind::kDecimal:
        return to.decimal(v.text);
      case Kind::kBigNumber:
        return to.big_number(v.text);
      case Kind::kNotice:
        return to.notice(v.text, v.name, count, v.answers);
    }
  }
  Value& add(Kind kind, uint64_t number = 0, std::string_view text = {}) {
    const bool answers = due_ != due_before_;
    due_before_ = due_;
    overflowed_ |= bytes_ + sizeof(Value) + text.size() > bytes_max_;
    if (overflowed_) {  // nobody will see it
      values_.clear();
      bytes_ = 0;
      text = {};
    }
    Value& v = values_.emplace_back(Value{.kind = kind,
                                          .answers = answers,
                                          .number = static_cast<int64_t>(number),
                                          .text = std::string(text)});
    bytes_ += bytes_of(v);
    return v;
  }
  void write_simple(std::string_view text) override { add(Kind::kSimple, 0, text); }
  void write_error(std::string_view text) override { add(Kind::kError, 0, text); }
  void write_integer(int64_t value) override { add(Kind::kInteger, static_cast<uint64_t>(value)); }
  void write_real(double value) override { add(Kind::kReal).real = value; }
  void write_decimal(std::string_view digits) override { add(Kind::kDecimal, 0, digits); }
  void write_boolean(bool value) override { add(Kind::kBoolean, value ? 1 : 0); }
  void write_bulk(std::string_view bytes) override { add(Kind::kBulk, 0, bytes); }
  void write_verbatim(std::string_view text) override {
    add(Kind::kVerbatim, 0, text).name = "txt";
  }
  void write_verbatim_as(std::string_view format, std::string_view text) override {
    add(Kind::kVerbatim, 0, text).name = format;
  }
  void write_big_number(std::string_view digits) override { add(Kind::kBigNumber, 0, digits); }
  void write_stream(std::unique_ptr<BlobReader> blob) override {
    add(Kind::kStream).blob = std::move(blob);
  }
  void write_series(std::unique_ptr<Series> series) override {
    const uint64_t count = due_before_ - due_;
    add(Kind::kSeries, count).series = std::move(series);
  }
  void write_null() override { add(Kind::kNull); }
  void write_null_array() override { add(Kind::kNullArray); }
  void write_array(size_t count) override { add(Kind::kArray, count); }
  void write_map(size_t pairs) override { add(Kind::kMap, pairs); }
  void write_set(size_t count) override { add(Kind::kSet, count); }
  void write_notice(std::string_view what, std::optional<std::string_view> name,
                    size_t count) override {
    add(Kind::kNotice, count, what).name = name;
  }

  std::vector<Value> values_;
  uint64_t due_before_ = 0;  // after the last value
  uint64_t bytes_ = 0, bytes_max_ = UINT64_MAX;
  bool overflowed_ = false;
};

}  // namespace cairn::kv
