#include "gateway/resp/pipeline.h"

#include "core/base/limits.h"
#include "core/base/text.h"

namespace cairn::resp {

Pipeline::Pipeline(kv::Server& server, kv::Engine& engine, kv::Session& session)
    : server_(server),
      engine_(engine),
      store_(server.store),
      session_(session),
      output_(session.resp, &session.outbox),
      waiting_(store_) {}

Pipeline::~Pipeline() {
  for (auto& blob : words_) {
    if (blob.ok()) store_.extents().unref(*blob);
  }
}

ParserLimits Pipeline::parser_limits() const {
  ParserLimits l;
  l.bulk_bytes_max = server_.proto_max_bulk_len.load(std::memory_order_relaxed);
  l.stream_above = store_.options().extent_threshold;
  if (store_.loading()) l.stream_above = l.bulk_bytes_max;  // there are no extents yet
  if (session_.principal == nullptr) {                      // as Redis does
    l.bulk_bytes_max = limits::kStrangerWordBytesMax;
    l.words_max = limits::kStrangerWordsMax;
  }
  return l;
}

// Who has no right yet has nothing to say that takes more than a name and a password.
bool Pipeline::may_grow() const {
  if (session_.principal == nullptr) {
    return input_.size() <= limits::kStrangerQueryBytesMax;
  }
  return input_.size() <= server_.client_limits.query_max();
}

uint64_t Pipeline::buffer_bytes() const {
  return input_.capacity() + output_.capacity() + parser_.buffer_bytes() + session_.queued_bytes +
         session_.watched.bytes() + session_.subscriptions.bytes() + session_.tracker->bytes() +
         piece_bytes_;
}

void Pipeline::publish_held() const {
  auto put = [](std::atomic<uint64_t>& to, uint64_t bytes) {
    to.store(bytes, std::memory_order_relaxed);
  };
  put(session_.held.query, input_.size());
  put(session_.held.query_room, input_.capacity() - input_.size());
  put(session_.held.words, parser_.buffer_bytes());
  put(session_.held.answers, output_.text().size());
  put(session_.held.answer_room, output_.capacity());
  put(session_.held.transaction, session_.queued_bytes);
}

Pipeline::Next Pipeline::fail(std::string_view why) {
  server_.stats.count_error("ERR");
  output_.error(why);
  return Next::kEnd;
}

Pipeline::Next Pipeline::run() {
  output_.set_limit(server_.client_limits.answer_max());
  session_.held.query.store(input_.size(), std::memory_order_relaxed);
  for (;;) {
    Parser::Result stop = Parser::Result::kCommand;
    const size_t read = read_group(stop);
    if (read > 0) {
      const Next next = run_group({engine_.group().data(), read});
      if (next != Next::kMore) return next;
    }
    switch (stop) {
      case Parser::Result::kNeedMore:
        if (!may_grow()) return fail("ERR Protocol error: too big request");
        return Next::kRead;
      case Parser::Result::kError:
        return fail(parser_.error());
      case Parser::Result::kStream:
        return Next::kWord;
      case Parser::Result::kEmpty:
        next_command();
        break;
      case Parser::Result::kCommand:
        break;
    }
  }
}

// Reads ahead up to the first command that is not about one key, which then is the last. Returns
// how many commands there are, and why there are no more.
size_t Pipeline::read_group(Parser::Result& stop) {
  const ParserLimits l = parser_limits();
  auto& group = engine_.group();
  session_.enter_again(store_);  // while nothing is prepared
  size_t n = 0;
  while (n < group.size()) {
    stop = parser_.parse(input_.pending(), l);
    if (stop != Parser::Result::kCommand) break;
    kv::Request& request = group[n++];
    request.clear();
    size_t blob = 0;
    for (auto& w : parser_.words()) {
      if (w.streamed) {
        StatusOr<BlobRef>& word = words_[blob++];
        if (word.ok()) {
          request.args.add_blob(*std::move(word));
        } else {
          request.args.add_lost(word.status());
        }
      } else if (parser_.is_inline()) {
        request.args.add_copy(parser_.text(w, input_.pending()));
      } else {
        request.args.add(parser_.text(w, input_.pending()));
      }
    }
    words_.clear();
    next_command();
    request.end = input_.position();
    engine_.prepare(session_, request);
    if (request.hash == 0) break;
  }
  return n;
}

// kMore: all of them ran. Else the rest of the input has to wait.
Pipeline::Next Pipeline::run_group(std::span<kv::Request> requests) {
  StripeLocks locks(store_);
  auto with_key = requests.first(requests.size() - (requests.back().hash == 0 ? 1 : 0));
  // Where one of them is busy, each takes its own: who comes before that one need not wait.
  if (with_key.size() > 1) (void)engine_.lock_group(session_, with_key, locks);
  for (kv::Request& request : requests) {
    if (request.hash == 0) locks.unlock();
    // A browser that was made to talk to this port says one of these first.
    if (request.row == nullptr && (equals_ignoring_case(request.args[0], "post") ||
                                   equals_ignoring_case(request.args[0], "host:"))) {
      return fail("ERR this is not an HTTP port");
    }
    mark_ = output_.mark();
    auto outcome = engine_.run(session_, request, output_, locks.any() ? &locks : nullptr);
    Next next = outcome.busy ? Next::kStay : outcome.cold ? Next::kFetch : Next::kSleep;
    if (outcome.deferred) {
      waiting_.swap(request.args);
      // So will be others, and their reads need not wait for this one.
      if (outcome.cold && !outcome.busy) {
        locks.unlock();
        for (kv::Request* r = &request + 1; r != requests.data() + requests.size(); r++) {
          engine_.fetch_ahead(session_, *r);
        }
      }
    } else {
      if (request.args.has_blobs()) request.args.clear();
      next = answered(outcome.seen);
    }
    if (next == Next::kMore) continue;
    input_.go_back(request.end);  // what was read ahead is read again
    parser_.reset();
    return next;
  }
  return Next::kMore;
}

Pipeline::Next Pipeline::after_command() {
  if (session_.close_after_reply || output_.overflowed()) return Next::kEnd;
  if (output_.text().size() >= limits::kAnswerBytes || !output_.streams().empty())
    return Next::kSend;
  return Next::kMore;
}

Pipeline::Next Pipeline::answered(Lsn seen) {
  saw(seen);
  finish_command();
  return after_command();
}

awaitable<Pipeline::Next> Pipeline::fetch() {
  mark_ = output_.mark();
  const auto outcome = co_await engine_.run_cold(session_, waiting_, output_);
  if (outcome.deferred) co_return Next::kSleep;
  cut_if_given_up();
  co_return answered(outcome.seen);
}

// A command that its client left (Context::give_up) has no answer, as in Redis: ioredis tells its
// user of an error that comes while it closes.
void Pipeline::cut_if_given_up() {
  const bool gone = session_.unblocked() == kv::Session::Unblock::kGone;
  if (gone && session_.close_after_reply) output_.cut_answers(mark_);
}

awaitable<Pipeline::Next> Pipeline::sleep() {
  mark_ = output_.mark();
  const Lsn seen = co_await engine_.run_deferred(session_, waiting_, output_);
  waiting_.clear();
  cut_if_given_up();
  co_return answered(seen);
}

void Pipeline::finish_command() {
  switch (session_.reply_mode) {
    case kv::ReplyMode::kOn:
      break;
    case kv::ReplyMode::kSkipNext:  // CLIENT REPLY SKIP itself, and the command after it
      session_.reply_mode = kv::ReplyMode::kSkipThis;
      output_.cut_answers(mark_);
      break;
    case kv::ReplyMode::kSkipThis:
      session_.reply_mode = kv::ReplyMode::kOn;
      output_.cut_answers(mark_);
      break;
    case kv::ReplyMode::kOff:
      output_.cut_answers(mark_);
      break;
  }
  output_.end_command();
}

void Pipeline::next_command() {
  input_.skip(parser_.consumed());
  parser_.reset();
}

void Pipeline::word_taken(StatusOr<BlobRef> blob) {
  parser_.streamed();
  words_.push_back(std::move(blob));
}

}  // namespace cairn::resp
