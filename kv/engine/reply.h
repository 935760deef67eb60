// What a command answers, without saying how it looks on a wire. A reply is a sequence of values;
// aggregates announce how many values follow. It counts them, so that the engine can tell whether a
// command answered one whole value, and take back what it answered if not.
//
// Threads: used by the thread that runs the command and sends its answer. Texts are copied before
// the call returns.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/extents/blob_reader.h"
#include "core/index/index.h"

namespace cairn::kv {

class Reply;

// Values that are made while the answer is sent: the rest of an aggregate that would take too long
// to make, and too much room, at once. No lock is held when it is asked.
class Series {
 public:
  virtual ~Series() = default;
  // Adds some to the reply; false after the last.
  virtual bool next(Reply& reply) = 0;
  // It ended too early, since it would have had to keep too much: what was announced cannot come.
  virtual bool lost() const { return false; }
  // What it holds beside what the store does.
  virtual size_t bytes() const { return 0; }
  // The key under whose stripe it makes the next ones, if it needs one: who may wait asks first
  // whether that is busy (core/store/busy.h).
  virtual std::optional<KeyHash> needs() const { return std::nullopt; }
  // Whoever asks holds the stripes that the command had: they are not to be taken again.
  void keep_locks() { locked_ = true; }

 protected:
  bool locked_ = false;
};

class Reply {
 public:
  virtual ~Reply() = default;
  void simple(std::string_view text) {  // +OK
    due_--;
    write_simple(text);
  }
  void error(std::string_view text) {  // "ERR …", with the code word
    due_--;
    errors_++;
    last_error_code_ = text.substr(0, text.find(' '));
    write_error(text);
  }
  void integer(int64_t value) {
    due_--;
    write_integer(value);
  }
  void real(double value) {
    due_--;
    write_real(value);
  }
  // A number of whose digits none may be lost: RESP2 has a bulk string of them, RESP3 a double.
  void decimal(std::string_view digits) {
    due_--;
    write_decimal(digits);
  }
  void boolean(bool value) {
    due_--;
    write_boolean(value);
  }
  void bulk(std::string_view bytes) {
    due_--;
    write_bulk(bytes);
  }
  void verbatim(std::string_view text, std::string_view format = "txt") {
    due_--;
    write_verbatim_as(format, text);
  }
  void big_number(std::string_view digits) {
    due_--;
    write_big_number(digits);
  }
  // The rest of a blob as one bulk string, streamed when the reply is sent.
  void stream(std::unique_ptr<BlobReader> blob) {
    due_--;
    write_stream(std::move(blob));
  }
  // So many values of the aggregates that were announced.
  void series(std::unique_ptr<Series> values, uint64_t count) {
    due_ -= count;
    write_series(std::move(values));
  }
  void null() {
    due_--;
    write_null();
  }
  void null_array() {
    due_--;
    write_null_array();
  }
  void array(size_t count) {
    due_ += count - 1;
    write_array(count);
  }
  void map(size_t pairs) {
    due_ += 2 * pairs - 1;
    write_map(pairs);
  }
  void set(size_t count) {
    due_ += count - 1;
    write_set(count);
  }
  void ok() { simple("OK"); }

  // Beside the answers, even of a client that wants none: what became of a subscription, to which
  // name (nothing: there was none), and how many there are now. The first one of a command stands
  // where its answer would.
  void notice(std::string_view what, std::optional<std::string_view> name, size_t count,
              bool answers) {
    if (answers) due_--;
    write_notice(what, name, count);
  }
  // In RESP3 alone: so many pairs of names and values that say something of the value behind them,
  // and so many values beside the answers.
  void attribute(size_t pairs) {
    due_ += 2 * pairs;
    write_attribute(pairs);
  }
  void push(size_t count) {
    due_ += count;
    write_push(count);
  }
  // What was pushed until now comes before what follows. Not within an answer.
  virtual void pushed_first() {}

  // Bytes that are no value of the protocol, sent before the command is over. After the first ones
  // nothing else is sent to this client, whose connection ends with the command. They leave once
  // `rests_on` is durable, and stay where they are until it returns. False: they do not leave,
  // since the client is gone, or none that could take them.
  virtual awaitable<bool> send_bare(std::string_view, Lsn) { co_return false; }

  // How many values are still to come, counted down from where the counting began: a whole value
  // takes one away, and one that is not whole adds what it lacks. Modulo 2^64.
  uint64_t due() const { return due_; }
  uint64_t errors() const { return errors_; }
  const std::string& last_error_code() const { return last_error_code_; }  // ERR, WRONGTYPE, …

  // It became too large for its client, who is sent away: nobody will see it.
  virtual bool overflowed() const { return false; }

  // Where an answer begins, to take it back.
  struct Mark {
    size_t text, streams;
    uint64_t due, errors;
  };
  virtual Mark mark() const = 0;
  virtual void cut(const Mark& mark) = 0;

 protected:
  uint64_t due_ = 0;
  uint64_t errors_ = 0;
  std::string last_error_code_;

 private:
  virtual void write_simple(std::string_view text) = 0;
  virtual void write_error(std::string_view text) = 0;
  virtual void write_integer(int64_t value) = 0;
  virtual void write_real(double value) = 0;
  virtual void write_decimal(std::string_view digits) { write_bulk(digits); }
  virtual void write_boolean(bool value) = 0;
  virtual void write_bulk(std::string_view bytes) = 0;
  virtual void write_verbatim(std::string_view text) = 0;
  // Only scripts answer these.
  virtual void write_verbatim_as(std::string_view, std::string_view text) { write_verbatim(text); }
  virtual void write_big_number(std::string_view digits) { write_bulk(digits); }
  virtual void write_stream(std::unique_ptr<BlobReader> blob) = 0;
  virtual void write_series(std::unique_ptr<Series> values) = 0;
  virtual void write_null() = 0;
  virtual void write_null_array() = 0;
  virtual void write_array(size_t count) = 0;
  virtual void write_map(size_t pairs) = 0;
  virtual void write_set(size_t count) = 0;
  virtual void write_notice(std::string_view what, std::optional<std::string_view> name,
                            size_t count) = 0;
  // Only clients' protocol has these.
  virtual void write_attribute(size_t) {}
  virtual void write_push(size_t) {}
};

}  // namespace cairn::kv
