// A live tail: the records of a log that is being written, from an LSN on, in order, and then those
// that follow, as they become durable.
//
//   LogTail tail(volume, log, lives, from);
//   for (;;) {
//     auto records = co_await tail.next();  // of one frame
//     …
//   }
//
// It gives exactly the durable records with an LSN of `from` or above: those of a transaction only
// once all of it is durable, which durable() never cuts in two; a large one comes in several
// frames, and RecordView::goes_on says where it ends. What --repair went over is passed over.
//
// It keeps nothing from the cleaner: a reader that is too slow for it is told OutOfRange, and has
// to begin anew with a checkpoint. Right behind the end of a segment that is gone it may be told so
// although it missed nothing.
//
// Threads: one coroutine; the log is written beside it. The log outlives it, and its drop_waiters()
// destroys a coroutine that waits.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/log/log.h"
#include "core/log/log_reader.h"

namespace cairn {

class LogTail {
 public:
  // `from`: any LSN, also in the middle of a transaction, of which the rest comes then, or one that
  // was not reached yet.
  LogTail(Volume& volume, Log& log, const LogLives& lives, Lsn from)
      : volume_(volume), log_(log), lives_(lives), at_(from) {}

  // The next records, valid until the next call. It waits for them, and has nobody sync for it.
  // OutOfRange: some were cleaned away. Cancelled: the log was closed, and all was given.
  // Unavailable: it failed, likewise. DataLoss: what lies there cannot be read.
  awaitable<StatusOr<std::span<const LogRecord>>> next() { return next(true); }
  // The same without waiting: none, if there are none yet.
  awaitable<StatusOr<std::span<const LogRecord>>> next_of_now() { return next(false); }
  // All before it was given.
  Lsn at() const { return at_; }

 private:
  awaitable<StatusOr<std::span<const LogRecord>>> next(bool waits);
  // False: there is no frame yet, and it does not wait for one.
  awaitable<StatusOr<bool>> find_place(bool waits);
  Status pass_over(const Status& damage);
  Status gone() const;

  Volume& volume_;
  Log& log_;
  const LogLives& lives_;
  Lsn at_;
  Log::Stretch stretch_;
  std::optional<SegmentReader> reader_;
  std::vector<LogRecord> records_;
};

}  // namespace cairn
