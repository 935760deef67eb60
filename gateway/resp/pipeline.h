// Turns what a client sent into commands, runs as many as go together, and gathers their answers,
// in order and exactly one for each. It knows no socket: Connection feeds its input and sends its
// output.
//
// Threads: one connection's.
#pragma once

#include <algorithm>
#include <vector>

#include "gateway/resp/input.h"
#include "gateway/resp/output.h"
#include "gateway/resp/parser.h"
#include "kv/engine/engine.h"

namespace cairn::resp {

class Pipeline {
 public:
  // What has to happen before run() can go on.
  enum class Next : uint8_t {
    kRead,   // the input holds no whole command any more
    kMore,   // nothing
    kSend,   // enough was answered
    kWord,   // the next word is a large one: to be taken out of the stream (streamed_word.h)
    kFetch,  // a command needs values that are on disk: fetch()
    kStay,   // a command meets busy keys: what is answered is to leave, and then fetch()
    kSleep,  // a command waits, perhaps for long: what is answered is to leave, and then sleep()
    kEnd,    // the answers that there are end the conversation
  };

  Pipeline(kv::Server& server, kv::Engine& engine, kv::Session& session);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;

  Input& input() { return input_; }
  Output& output() { return output_; }
  // What the answers in output() have to wait for where the log is synced for each.
  Lsn seen() const { return seen_; }
  void answers_left() { seen_ = Lsn(); }
  void saw(Lsn lsn) { seen_ = std::max(seen_, lsn); }

  Next run();
  // Brings back what the command needs, and runs it; then kMore, kSend, kSleep or kEnd.
  awaitable<Next> fetch();
  // Runs the command that waits; then kMore, kSend or kEnd.
  awaitable<Next> sleep();

  // Of a large word: how long it is, and how much of the command lies before it in the input.
  uint64_t word_bytes() const { return parser_.stream_bytes(); }
  size_t word_offset() const { return parser_.consumed(); }
  // It was taken out of the stream, its CRLF too; an error: it could not be kept, and its command
  // is answered so.
  void word_taken(StatusOr<BlobRef> blob);
  // Answers the error, with which the conversation ends.
  Next fail(std::string_view why);

  // All that this connection holds in memory.
  uint64_t buffer_bytes() const;
  // Tells the session which parts they have.
  void publish_held() const;
  // Of a series that is being sent, so many bytes are on their way.
  void note_piece(uint64_t bytes) { piece_bytes_ = bytes; }
  // Whether the command that is being read may go on to grow.
  bool may_grow() const;

 private:
  ParserLimits parser_limits() const;
  size_t read_group(Parser::Result& stop);
  Next run_group(std::span<kv::Request> requests);
  Next answered(Lsn seen);
  void finish_command();
  void cut_if_given_up();
  void next_command();
  Next after_command();

  kv::Server& server_;
  kv::Engine& engine_;
  Store& store_;
  kv::Session& session_;
  Input input_;
  Output output_;
  uint64_t piece_bytes_ = 0;
  kv::Args waiting_;  // of the command that waits
  Parser parser_;
  std::vector<StatusOr<BlobRef>> words_;  // large ones of the command being read
  Output::Mark mark_{};                   // where the answer to the present command begins
  Lsn seen_;
};

}  // namespace cairn::resp
