#include "gateway/resp/door.h"

#include <boost/asio/post.hpp>
#include <cstring>

#include "core/async.h"
#include "core/text.h"
#include "gateway/resp/output.h"
#include "gateway/resp/parser.h"

namespace cairn::resp {

namespace {

constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
constexpr size_t kInputBytes = 16 << 10;    // at rest
constexpr size_t kReadBytes = 64 << 10;     // most that one turn reads: fairness
constexpr size_t kPieceBytes = 64 << 10;    // about so much of a series is made in one turn
constexpr size_t kOutputBytes = 256 << 10;  // sent when there is so much

// One connection: reads, runs and answers until either side ends it.
template <class Stream>
class Connection {
 public:
  Connection(Stream stream, kv::Server& server, kv::Engine& engine, const net::Guests& guests,
             std::string peer, std::string local)
      : stream_(std::move(stream)),
        guests_(guests),
        server_(server),
        engine_(engine),
        store_(server.store),
        session_(std::make_shared<kv::Session>(store_, server.sessions.next_id(), std::move(peer),
                                               std::move(local))),
        output_(session_->resp),
        args_(store_) {
    session_->authenticated = !server.auth_required;
    input_.resize(kInputBytes);
  }

  kv::Session& session() { return *session_; }
  std::shared_ptr<kv::Session> shared_session() { return session_; }

  awaitable<void> run() {
    if constexpr (Stream::kTls) {
      bool shaken = co_await stream_.handshake();
      if (!shaken) co_return;
    }
    while (!guests_.closing()) {
      bool more = true;
      while (more) {
        bool fetched = false;
        more = run_buffered();
        if (stream_word_) {
          bool taken = co_await take_streamed_word();
          if (!taken) co_return;
          more = true;
        } else if (deferred_) {
          deferred_ = false;
          fetched = true;
          seen_ = std::max(seen_, co_await engine_.run_deferred(*session_, args_, output_));
          finish_command();
          args_.clear();
          more = !session_->close_after_reply;
        }
        if (guests_.closing()) more = false;
        const bool wrote = std::exchange(session_->wrote, false);
        if (wrote && store_.log().congested()) co_await wait_for_log();
        if ((wrote || fetched) && store_.memory().overrun()) co_await wait_for_memory();
        if (!output_.empty() &&
            (!more || output_.text().size() >= kOutputBytes || !output_.streams().empty())) {
          bool sent = sent_at_once();
          if (!sent) sent = co_await send();
          if (!sent) co_return;
        }
      }
      if (failed_ || session_->close_after_reply) {
        co_await stream_.shutdown();
        co_return;
      }
      if (begin_ == end_) {
        begin_ = end_ = 0;
        if (input_.size() > 4 * kReadBytes) {
          input_.resize(kInputBytes);
          input_.shrink_to_fit();
        }
      }
      make_room();
      const MutableBytes room{input_.data() + end_, std::min(input_.size() - end_, kReadBytes)};
      size_t n;
      if constexpr (Stream::kTls) {
        n = co_await stream_.read_some(room);
      } else {  // the same without a coroutine of its own, once for every unpipelined command
        ssize_t got = stream_.try_read(room);
        while (got < 0) {
          co_await stream_.readable();
          got = stream_.try_read(room);
        }
        n = static_cast<size_t>(got);
      }
      if (n == 0) co_return;
      end_ += n;
      server_.stats.bytes_in.fetch_add(n, std::memory_order_relaxed);
      session_->last_active_ms.store(store_.now_ms(), std::memory_order_relaxed);
    }
    co_await stream_.shutdown();
  }

 private:
  std::string_view pending() const {
    return {reinterpret_cast<const char*>(input_.data()) + begin_, end_ - begin_};
  }

  void make_room() {
    if (end_ < input_.size()) {
      // Move a partial command down only when little room is left.
      if (input_.size() - end_ >= kInputBytes / 4 || begin_ == 0) return;
    }
    if (begin_ > 0) {
      std::memmove(input_.data(), input_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (input_.size() - end_ < kInputBytes / 4) input_.resize(input_.size() * 2);
  }

  ParserLimits limits() const {
    ParserLimits l;
    l.bulk_bytes_max = server_.proto_max_bulk_len.load(std::memory_order_relaxed);
    l.stream_above = store_.options().extent_threshold;
    if (store_.loading()) l.stream_above = l.bulk_bytes_max;  // there are no extents yet
    if (server_.auth_required && !session_->authenticated) {  // as Redis does
      l.bulk_bytes_max = 16 << 10;
      l.words_max = 10;
    }
    return l;
  }

  // Runs whole commands from the buffer. False when the buffer has no more, or nothing more may
  // run before the output is sent.
  bool run_buffered() {
    for (;;) {
      Parser::Result stop = Parser::Result::kCommand;
      const size_t read = read_group(stop);
      if (read > 0 && !run_group({engine_.group().data(), read})) {
        return !failed_ && !session_->close_after_reply;
      }
      switch (stop) {
        case Parser::Result::kNeedMore: {
          constexpr size_t kCommandBytesMax = size_t{1} << 30;
          if (end_ - begin_ > kCommandBytesMax) return fail("ERR Protocol error: too big request");
          return false;
        }
        case Parser::Result::kError:
          return fail(parser_.error());
        case Parser::Result::kStream:
          stream_word_ = true;
          return true;
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
  size_t read_group(Parser::Result& stop) {
    const ParserLimits l = limits();
    auto& group = engine_.group();
    size_t n = 0;
    while (n < group.size()) {
      stop = parser_.parse(pending(), l);
      if (stop != Parser::Result::kCommand) break;
      kv::Request& request = group[n++];
      request.args.clear();
      size_t blob = 0;
      for (auto& w : parser_.words()) {
        if (w.streamed) {
          request.args.add_blob(std::move(blobs_[blob++]));
        } else if (parser_.is_inline()) {
          request.args.add_copy(parser_.text(w, pending()));
        } else {
          request.args.add(parser_.text(w, pending()));
        }
      }
      blobs_.clear();
      next_command();
      request.end = begin_;
      engine_.prepare(*session_, request);
      if (request.hash == 0) break;
    }
    return n;
  }

  // False when the rest of the buffer has to wait.
  bool run_group(std::span<kv::Request> requests) {
    StripeLocks locks(store_);
    auto with_key = requests.first(requests.size() - (requests.back().hash == 0 ? 1 : 0));
    if (with_key.size() > 1) engine_.lock_group(*session_, with_key, locks);
    for (kv::Request& request : requests) {
      if (request.hash == 0) locks.unlock();
      // A browser that was made to talk to this port says one of these first.
      if (request.row == nullptr && (equals_ignoring_case(request.args[0], "post") ||
                                     equals_ignoring_case(request.args[0], "host:"))) {
        return fail("ERR this is not an HTTP port");
      }
      mark_ = output_.mark();
      auto outcome = engine_.run(*session_, request, output_, locks.any() ? &locks : nullptr);
      if (outcome.deferred) {
        deferred_ = true;
        args_.swap(request.args);
        if (outcome.cold) {  // so will be others, and their reads need not wait for this one
          locks.unlock();
          for (kv::Request* r = &request + 1; r != requests.data() + requests.size(); r++) {
            engine_.fetch_ahead(*session_, *r);
          }
        }
      } else {
        if (outcome.seen > seen_) seen_ = outcome.seen;
        if (request.args.has_blobs()) request.args.clear();
        finish_command();
      }
      if (deferred_ || session_->close_after_reply || output_.text().size() >= kOutputBytes ||
          !output_.streams().empty()) {
        begin_ = request.end;  // what was read ahead is read again
        parser_.reset();
        return false;
      }
    }
    return true;
  }

  void finish_command() {
    switch (session_->reply_mode) {
      case kv::ReplyMode::kOn:
        break;
      case kv::ReplyMode::kSkipNext:  // CLIENT REPLY SKIP itself, and the command after it
        session_->reply_mode = kv::ReplyMode::kSkipThis;
        output_.cut(mark_);
        break;
      case kv::ReplyMode::kSkipThis:
        session_->reply_mode = kv::ReplyMode::kOn;
        output_.cut(mark_);
        break;
      case kv::ReplyMode::kOff:
        output_.cut(mark_);
        break;
    }
  }

  void next_command() {
    begin_ += parser_.consumed();
    parser_.reset();
  }

  bool fail(std::string_view why) {
    output_.error(why);
    failed_ = true;
    return false;
  }

  // Takes a large word out of the stream, from the buffer first, then from the socket straight
  // into the writer's chunks.
  awaitable<bool> take_streamed_word() {
    stream_word_ = false;
    uint64_t left = parser_.stream_bytes();
    BlobWriter writer(store_.extents(), left);
    const size_t head = begin_ + parser_.consumed();  // what is before stays in the buffer
    size_t from_buffer = std::min<uint64_t>(left, end_ - head);
    Status status = co_await writer.append({input_.data() + head, from_buffer});
    left -= from_buffer;
    size_t rest = end_ - head - from_buffer;
    std::memmove(input_.data() + head, input_.data() + head + from_buffer, rest);
    end_ = head + rest;
    while (left > 0) {
      size_t n;
      if (status.ok()) {
        auto room = co_await writer.prepare();
        if (!room.ok()) {
          status = room.status();
          continue;
        }
        n = co_await stream_.read_some({room->data(), std::min<uint64_t>(room->size(), left)});
        if (n > 0) writer.commit(n);
      } else {  // the word is read to its end all the same, so that the answer finds its place
        std::byte sink[16 << 10];
        n = co_await stream_.read_some({sink, std::min<uint64_t>(sizeof(sink), left)});
      }
      if (n == 0) co_return false;
      left -= n;
      server_.stats.bytes_in.fetch_add(n, std::memory_order_relaxed);
    }
    while (end_ - head < 2) {
      make_room_at(head);
      size_t n = co_await stream_.read_some({input_.data() + end_, input_.size() - end_});
      if (n == 0) co_return false;
      end_ += n;
    }
    if (input_[head] != std::byte{'\r'} || input_[head + 1] != std::byte{'\n'}) {
      fail("ERR Protocol error: invalid bulk length");
      bool sent = co_await send();
      (void)sent;
      co_return false;
    }
    std::memmove(input_.data() + head, input_.data() + head + 2, end_ - head - 2);
    end_ -= 2;
    BlobRef blob;
    if (status.ok()) {
      auto finished = co_await writer.finish();
      status = finished.status();
      if (status.ok()) blob = std::move(*finished);
    }
    if (!status.ok()) {
      fail(cat("IOERR cannot store the value: ", status.message()));
      bool sent = co_await send();
      (void)sent;
      co_return false;
    }
    parser_.streamed();
    blobs_.push_back(std::move(blob));
    co_return true;
  }

  void make_room_at(size_t head) {
    if (input_.size() - end_ < 64) input_.resize(std::max(input_.size() * 2, head + 128));
  }

  // Back-pressure on who writes: more waits for the log than it may hold. Readers beside writers
  // waited here too once, up to 100 ms for a sync.
  awaitable<void> wait_for_log() {
    Status ignored = co_await store_.log().wait_durable(Lsn(store_.log().tail().value() - 1));
    (void)ignored;  // a failed log is reported by the next write
  }

  // Likewise on who wrote or had values brought back: memory is full. He makes room, and waits for
  // what has to become durable before it can leave; at most for a moment.
  awaitable<void> wait_for_memory() {
    constexpr int kPatienceMs = 1000;
    for (int i = 0; i < kPatienceMs; i++) {
      if (store_.memory().help()) co_return;
      co_await store_.clock().sleep_ms(1);
    }
  }

  bool must_wait() const { return seen_.valid() && !store_.log().is_durable(seen_); }

  // The common case, without a coroutine: answers that may leave now and that the socket takes.
  // False: send() has to do it, or the rest.
  bool sent_at_once() {
    if (must_wait() || !output_.streams().empty()) return false;
    const Bytes text = as_bytes(output_.text());
    ssize_t n = stream_.try_write(text);
    if (n != static_cast<ssize_t>(text.size())) {
      sent_ = static_cast<size_t>(std::max<ssize_t>(n, 0));
      return false;
    }
    finish_send();
    return true;
  }

  void finish_send() {
    seen_ = Lsn();
    sent_ = 0;
    server_.stats.bytes_out.fetch_add(output_.text().size(), std::memory_order_relaxed);
    if (output_.errors > 0) {
      server_.stats.error_replies.fetch_add(std::exchange(output_.errors, 0));
    }
    output_.clear();
  }

  awaitable<bool> send_blob(BlobReader& blob) {
    while (blob.left() > 0) {
      auto bytes = co_await blob.next();
      if (!bytes.ok()) co_return false;  // its length is already announced
      bool sent = co_await stream_.write(*bytes);
      if (!sent) co_return false;
      server_.stats.bytes_out.fetch_add(bytes->size(), std::memory_order_relaxed);
    }
    co_return true;
  }

  awaitable<bool> send_series(kv::Series& series) {
    Output piece(session_->resp);
    for (bool more = true; more;) {
      piece.clear();
      while (more && piece.text().size() < kPieceBytes) more = series.next(piece);
      bool sent = co_await stream_.write(as_bytes(piece.text()));
      if (!sent) co_return false;
      server_.stats.bytes_out.fetch_add(piece.text().size(), std::memory_order_relaxed);
      co_await asio::post(stream_.executor(), asio::use_awaitable);  // others' turn
    }
    co_return true;
  }

  awaitable<bool> send() {
    if (must_wait()) {
      Status durable = co_await store_.log().wait_durable(seen_);
      if (!durable.ok()) {
        // What the answers promise did not happen: they are not sent.
        output_.clear();
        fail(cat("MISCONF ", durable.message()));
      }
    }
    size_t at = sent_;
    for (auto& s : output_.streams()) {
      bool sent = co_await stream_.write(as_bytes(output_.text()).subspan(at, s.at - at));
      if (!sent) co_return false;
      at = s.at;
      sent = s.blob ? co_await send_blob(*s.blob) : co_await send_series(*s.series);
      if (!sent) co_return false;
      s = {};
    }
    bool sent = co_await stream_.write(as_bytes(output_.text()).subspan(at));
    finish_send();
    co_return sent;
  }

 public:
  Stream& stream() { return stream_; }

 private:
  Stream stream_;
  const net::Guests& guests_;
  kv::Server& server_;
  kv::Engine& engine_;
  Store& store_;
  std::shared_ptr<kv::Session> session_;
  Output output_;
  kv::Args args_;  // of the deferred command
  Parser parser_;
  std::vector<std::byte> input_;
  size_t begin_ = 0, end_ = 0;  // unread input
  std::vector<BlobRef> blobs_;  // streamed words of the command being read
  Output::Mark mark_{0, 0};
  size_t sent_ = 0;  // of output_, already
  Lsn seen_;         // what the answers in output_ have to wait for
  bool stream_word_ = false;
  bool deferred_ = false;
  bool failed_ = false;

 public:
  ~Connection() {
    for (auto& blob : blobs_) store_.extents().unref(blob);
  }
};

}  // namespace

Door::Door(net::Loops& loops, kv::Server& server, std::vector<std::unique_ptr<kv::Engine>>& engines)
    : server_(server),
      engines_(engines),
      plain_(
          loops,
          [this](net::tcp::socket socket, size_t loop) {
            return serve(net::PlainStream(std::move(socket)), loop);
          },
          kFull),
      secure_(loops, [this](net::tcp::socket socket, size_t loop) {
        return serve(net::TlsStream(std::move(socket), *tls_), loop);
      }) {}

Status Door::listen(const net::tcp::endpoint& endpoint) { return plain_.listen(endpoint); }

Status Door::listen_tls(const net::tcp::endpoint& endpoint,
                        std::shared_ptr<asio::ssl::context> tls) {
  tls_ = std::move(tls);
  return secure_.listen(endpoint);
}

void Door::start() {
  plain_.start();
  secure_.start();
  Executor first = server_.store.executors().front();
  spawn(first, "ending idle sessions", end_idle_sessions());
}

// CONFIG SET timeout: clients that were silent for so long are sent away.
awaitable<void> Door::end_idle_sessions() {
  for (;;) {
    co_await server_.store.clock().sleep_ms(1000);
    const auto timeout_ms = static_cast<int64_t>(server_.timeout_s.load()) * 1000;
    if (timeout_ms == 0) continue;
    const int64_t now = server_.store.now_ms();
    for (auto& session : server_.sessions.all()) {
      if (now - session->last_active_ms.load() > timeout_ms) session->kill();
    }
  }
}

void Door::stop() {
  plain_.stop();
  secure_.stop();
}

template <class Stream>
awaitable<void> Door::serve(Stream stream, size_t loop) {
  server_.stats.connections.fetch_add(1, std::memory_order_relaxed);
  const auto peer = stream.peer(), local = stream.local();
  if (server_.sessions.size() >= server_.max_clients) {
    server_.stats.rejected_connections.fetch_add(1, std::memory_order_relaxed);
    if (!Stream::kTls) (void)stream.try_write(as_bytes(kFull));
    co_return;
  }
  auto executor = co_await asio::this_coro::executor;
  auto connection =
      std::make_shared<Connection<Stream>>(std::move(stream), server_, *engines_[loop], guests_,
                                           net::to_string(peer), net::to_string(local));
  auto session = connection->shared_session();
  session->kill = [weak = std::weak_ptr(connection), executor] {
    asio::post(executor, [weak] {
      if (auto c = weak.lock()) c->stream().abort();
    });
  };
  net::Guests::Guest guest(guests_, executor, [&stream = connection->stream()](net::End how) {
    how == net::End::kNow ? stream.abort() : stream.shutdown_receive();
  });
  server_.sessions.add(session);
  co_await connection->run();
  server_.sessions.remove(session->id);
}

}  // namespace cairn::resp
