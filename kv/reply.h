// What a command answers, without saying how it looks on a wire. A reply is a sequence of values;
// aggregates announce how many values follow.
//
// Threads: used by the thread that runs the command and sends its answer. Texts are copied before
// the call returns.
#pragma once

#include <memory>
#include <string_view>

#include "core/extents.h"

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
};

class Reply {
 public:
  virtual ~Reply() = default;
  virtual void simple(std::string_view text) = 0;  // +OK
  virtual void error(std::string_view text) = 0;   // "ERR …", with the code word
  virtual void integer(int64_t value) = 0;
  virtual void real(double value) = 0;
  virtual void boolean(bool value) = 0;
  virtual void bulk(std::string_view bytes) = 0;
  virtual void verbatim(std::string_view text) = 0;
  // The rest of a blob as one bulk string, streamed when the reply is sent.
  virtual void stream(std::unique_ptr<BlobReader> blob) = 0;
  virtual void series(std::unique_ptr<Series> values) = 0;
  virtual void null() = 0;
  virtual void null_array() = 0;
  virtual void array(size_t count) = 0;
  virtual void map(size_t pairs) = 0;
  virtual void set(size_t count) = 0;

  // What was said since a mark can be taken back until it is sent: an error takes the place of an
  // answer that was begun, so that each command has exactly one.
  struct Mark {
    size_t text = 0, streams = 0, errors = 0;
  };
  virtual Mark mark() const = 0;
  virtual void cut(Mark mark) = 0;

  void ok() { simple("OK"); }
  bool failed() const { return failed_; }  // whether error() was called since clear_failed()
  void clear_failed() { failed_ = false; }

 protected:
  bool failed_ = false;
};

}  // namespace cairn::kv
