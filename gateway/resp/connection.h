// One client of the Redis door: reads into the pipeline, runs it, and sends its answers, until
// either side ends it. Beside that, anybody may push to it (Outbox) at any time: what is pushed
// goes out between two answers, also while the client says nothing or a command waits.
//
// Pushes go out while there are no answers, and answers that are there go first: what a command
// brought about is never heard of before its answer.
//
// Threads: that of its loop; what Session offers from any.
#pragma once

#include <memory>

#include "core/base/async.h"
#include "gateway/net/guests.h"
#include "gateway/resp/streamed_word.h"

namespace cairn::resp {

template <class Stream>
class Connection final : public kv::Sender,
                         public std::enable_shared_from_this<Connection<Stream>> {
 public:
  Connection(Stream stream, kv::Server& server, kv::Engine& engine, const net::Guests& guests,
             std::shared_ptr<kv::Session> session)
      : stream_(std::move(stream)),
        guests_(guests),
        server_(server),
        store_(server.store),
        session_(std::move(session)),
        pipeline_(server, engine, *session_) {
    output().on_send_bare(
        [this](std::string_view bytes, Lsn rests_on) { return send_bare(bytes, rests_on); });
  }

  Stream& stream() { return stream_; }

  awaitable<void> run() {
    if constexpr (Stream::kTls) {
      bool shaken = co_await stream_.handshake();
      if (!shaken) co_return;
    }
    if constexpr (!Stream::kTls) stream_.on_send([this] { send_late(); });
    for (Next next = Next::kRead; next != Next::kEnd && !guests_.closing();) {
      do {
        bool slept = next == Next::kSleep || next == Next::kStay;
        if (next == Next::kSleep) {
          next = co_await pipeline_.sleep();
        } else {
          next = slept ? co_await pipeline_.fetch() : pipeline_.run();
        }
        if (bare_) [[unlikely]]
          break;
        if (session_->kept_events) [[unlikely]]
          co_await write_events();
        if (next == Next::kWord && !output().empty()) {
          // The client may wait for what was answered before it sends the rest of the word.
          bool sent = sent_at_once();
          if (!sent) sent = co_await send(next);
          if (!sent) co_return;
        }
        if (next == Next::kWord) {
          moved(0);
          bool taken = co_await take_streamed_word(stream_, pipeline_, store_.extents(), next,
                                                   [this](size_t bytes) {
                                                     moved(0);
                                                     server_.stats.count_read(bytes);
                                                   });
          if (!taken) co_return;
          session_->stalled_s = kv::Session::kNothingMoves;
        } else if (next == Next::kFetch) {
          slept = true;
          next = co_await pipeline_.fetch();
          if (session_->kept_events) [[unlikely]]
            co_await write_events();
        }
        if (guests_.closing()) next = Next::kEnd;
        const bool wrote = std::exchange(session_->wrote, false);
        // Of what is large one waits for one's own, also where there are no answers to wait with.
        const bool large = output().empty() && must_wait() && store_.log().has_large();
        if (wrote && (large || store_.log().congested())) co_await wait_for_log();
        if ((wrote || slept) && store_.memory().overrun()) {
          co_await store_.memory().wait_for_room([this] { return session_->sent_away.load(); });
        }
        session_->publish();  // whoever has an answer finds in CLIENT LIST what it brought about
        if (output().empty()) push_at_once();  // it waited for answers that nobody wants
        if (next == Next::kWord || next == Next::kMore || output().empty()) continue;
        if (next == Next::kRead && sends_later()) break;
        bool sent = sent_at_once();
        if (!sent) sent = co_await send(next);
        if (!sent) co_return;
      } while (next != Next::kRead && next != Next::kEnd);
      if (next == Next::kEnd || bare_) break;
      const MutableBytes room = pipeline_.input().room();
      if (!note_buffers()) co_return;
      size_t n;
      if constexpr (Stream::kTls) {
        n = co_await stream_.read_some(room);
      } else {  // the same without a coroutine of its own, once for every unpipelined command
        if (!output().empty()) {  // they leave while it waits here
          co_await stream_.readable();
          bool sent = output().empty();
          if (!sent) sent = co_await send(next);
          if (!sent) co_return;
          if (next == Next::kEnd) break;
        }
        ssize_t got = stream_.try_read(room);
        while (got < 0) {
          co_await stream_.readable();
          got = stream_.try_read(room);
        }
        n = static_cast<size_t>(got);
      }
      if (n == 0) co_return;
      pipeline_.input().added(n);
      server_.stats.count_read(n);
      session_->silent_s.store(0, std::memory_order_relaxed);
    }
    co_await stream_.shutdown();
  }

  // What others may do to it.
  void offer_to(const std::shared_ptr<kv::Session>& session, const Executor& executor,
                const kv::Engine& engine, kv::Bell& bell) {
    const auto weak = this->weak_from_this();
    const std::weak_ptr<kv::Session> weak_session = session;
    session->kill = [weak, weak_session, executor] {
      asio::post(executor, [weak, weak_session] {
        if (auto s = weak_session.lock()) s->unblock_all();
        if (auto self = weak.lock()) self->stream().abort();
      });
    };
    session->recheck = [weak, weak_session, executor, &engine] {
      asio::post(executor, [weak, weak_session, &engine] {
        auto s = weak_session.lock();
        if (s == nullptr || engine.may_go_on(*s)) return;
        s->unblock_all();
        if (auto self = weak.lock()) self->stream().abort();
      });
    };
    session->descriptor = stream_.descriptor();
    session->outbox.belongs_to(weak, bell);
    stream_.when_ended([weak_session] {
      if (auto s = weak_session.lock()) s->peer_ended();
    });
  }

  // The bell rang: something was pushed.
  void send_pushes() override {
    if (session_->away) return;  // its answer comes, and they behind it
    push_at_once();
    (void)note_buffers();  // if it is too much, it is sent away for it
  }

 private:
  using Next = Pipeline::Next;
  static constexpr size_t kPieceBytes = 64 << 10;  // about so much of a series is made in one turn

  // Who writes to the stream: one at a time, so that nothing comes between the parts of an answer.
  enum class Writer : uint8_t { kNobody, kAnswers, kPushes };

  Output& output() { return pipeline_.output(); }
  kv::Outbox& outbox() { return session_->outbox; }

  void moved(size_t sent_bytes) {
    session_->stalled_s.store(0, std::memory_order_relaxed);
    server_.stats.count_write(sent_bytes);
  }

  // Says what the connection holds; false if it is to go for it.
  bool note_buffers() {
    pipeline_.publish_held();
    const uint64_t bytes = pipeline_.buffer_bytes() + outbox().bytes() + piece_.capacity();
    if (bytes == noted_bytes_) return true;
    noted_bytes_ = bytes;
    session_->stranger = session_->principal == nullptr;
    return server_.sessions.note_buffers(*session_, bytes, server_.client_limits.left());
  }

  // Back-pressure on who writes: more waits for the log than it may hold. Readers beside writers
  // waited here too once, up to 100 ms for a sync.
  awaitable<void> wait_for_log() {
    const Lsn last(store_.log().tail().value() - 1);
    Status ignored = co_await session_->wait_durable(store_.log(), last);
    (void)ignored;  // a failed log is reported by the next write
  }

  // The events of what it changed are in the log before the answers leave.
  awaitable<void> write_events() {
    session_->kept_events = false;
    session_->wrote = true;  // a key that was missed may be an event, too
    const Lsn written = co_await server_.events.streams.write(server_.wish());
    pipeline_.saw(written);
  }

  bool must_wait() const {
    return pipeline_.seen().valid() && !store_.log().is_durable(pipeline_.seen());
  }

  bool may_leave() {
    return writer_ == Writer::kNobody && !must_wait() && output().streams().empty() &&
           !output().overflowed();
  }

  // Leaves the answers to send_late().
  bool sends_later() {
    if constexpr (Stream::kTls) {
      return false;
    } else {
      if (!stream_.sends_later() || !may_leave()) return false;
      stream_.send_later();
      return true;
    }
  }
  void send_late() {
    if (!output().empty() && !sent_at_once()) stream_.wake_reader();  // which sends the rest
  }

  // The common case, without a coroutine: answers that may leave now and that the socket takes.
  // False: send() has to do it, or the rest.
  bool sent_at_once() {
    if (!may_leave()) return false;
    const Bytes text = as_bytes(output().text());
    ssize_t n = stream_.try_write(text);
    if (n != static_cast<ssize_t>(text.size())) {
      sent_ = static_cast<size_t>(std::max<ssize_t>(n, 0));
      return false;
    }
    finish_send();
    push_at_once();
    return true;
  }

  void finish_send() {
    pipeline_.answers_left();
    sent_ = 0;
    server_.stats.count_write(output().text().size());
    output().clear();
  }

  // Sends all answers, when they may leave. False: the peer is gone, or is to go. `next`: kEnd if
  // the log failed.
  awaitable<bool> send(Next& next) {
    if (output().overflowed()) {
      server_.stats.output_limit_disconnections.fetch_add(1, std::memory_order_relaxed);
      co_return false;
    }
    if (!note_buffers()) co_return false;
    if (must_wait()) {
      Status durable = co_await session_->wait_durable(store_.log(), pipeline_.seen());
      if (durable.ok()) {
        bool sent = sent_at_once();
        if (sent) co_return true;
      } else {
        // What the answers promise did not happen: they are not sent.
        output().clear();
        next = pipeline_.fail(cat("MISCONF ", durable.message()));
      }
    }
    if (writer_ != Writer::kNobody) {
      co_await pushed_.until([this] { return writer_ == Writer::kNobody; });
    }
    writer_ = Writer::kAnswers;
    moved(0);
    // Else a command that is under way has words in the input.
    takes_in_ = next == Next::kRead || next == Next::kMore || next == Next::kSend;
    bool sent = co_await send_answers();
    takes_in_ = false;
    session_->stalled_s = kv::Session::kNothingMoves;
    writer_ = Writer::kNobody;
    if (sent) push_at_once();
    co_return sent;
  }

  // See kv::Reply::send_bare().
  awaitable<bool> send_bare(std::string_view bytes, Lsn rests_on) {
    if (!bare_) {
      if (writer_ != Writer::kNobody) {
        co_await pushed_.until([this] { return writer_ == Writer::kNobody; });
      }
      writer_ = Writer::kAnswers;  // for good: nobody else writes any more
      bare_ = true;
    }
    if (rests_on.valid() && !store_.log().is_durable(rests_on)) {
      const Status durable = co_await session_->wait_durable(store_.log(), rests_on);
      if (!durable.ok()) co_return false;
    }
    pipeline_.note_piece(bytes.size());
    if (!note_buffers()) co_return false;
    moved(0);
    const bool sent = co_await write(as_bytes(bytes));
    session_->stalled_s = kv::Session::kNothingMoves;
    if (sent) server_.stats.count_write(bytes.size());
    pipeline_.note_piece(0);
    co_return sent;
  }

  // In pieces, so that progress shows.
  awaitable<bool> write(Bytes bytes) {
    while (!bytes.empty()) {
      const Bytes piece = bytes.first(std::min(bytes.size(), kPieceBytes));
      bool sent = co_await write_piece(piece);
      if (!sent) co_return false;
      moved(0);
      bytes = bytes.subspan(piece.size());
    }
    co_return true;
  }

  // A client may send all of a long pipeline before it reads the first answer, as redis-py does:
  // what it sends is taken in while its answers stand still, as far as it may hold so much. Redis
  // keeps the answers; the commands are mostly shorter.
  awaitable<bool> write_piece(Bytes bytes) {
    if constexpr (Stream::kTls) {
      co_return co_await stream_.write(bytes);
    } else {
      for (bool takes_in = takes_in_;;) {
        const ssize_t n = stream_.try_write(bytes);
        if (n < 0) co_return false;
        bytes = bytes.subspan(static_cast<size_t>(n));
        if (bytes.empty()) co_return true;
        ssize_t came = -1;
        if (takes_in && pipeline_.may_grow()) {
          came = stream_.try_read(pipeline_.input().room());
          takes_in = came != 0;  // it sends no more, and may read yet
        }
        if (came > 0) {
          pipeline_.input().added(static_cast<size_t>(came));
          server_.stats.count_read(static_cast<size_t>(came));
          moved(0);
          if (!note_buffers()) co_return false;
          co_await asio::post(stream_.executor(), asio::use_awaitable);  // others' turn
        } else if (takes_in && pipeline_.may_grow()) {
          co_await stream_.writable_or_readable();
        } else {
          co_await stream_.writable();
        }
      }
    }
  }

  awaitable<bool> send_answers() {
    size_t at = sent_;
    for (auto& s : output().streams()) {
      bool sent = co_await write(as_bytes(output().text()).subspan(at, s.at - at));
      if (!sent) co_return false;
      at = s.at;
      if (s.blob) {
        sent = co_await net::send_blob(stream_, *s.blob, [this](size_t bytes) { moved(bytes); });
      } else {
        sent = co_await send_series(*s.series);
      }
      if (!sent) co_return false;
      s = {};
    }
    bool sent = co_await write(as_bytes(output().text()).subspan(at));
    finish_send();
    co_return sent;
  }

  awaitable<bool> send_series(kv::Series& series) {
    Output piece(session_->resp, &outbox());
    for (bool more = true; more;) {
      piece.clear();
      if (const auto hash = series.needs(); hash && store_.busy().is_busy(*hash)) [[unlikely]] {
        (void)co_await store_.busy().until_idle(*hash);  // past its patience the holder gives way
      }
      while (more && piece.text().size() < kPieceBytes) more = series.next(piece);
      if (series.lost()) co_return false;
      pipeline_.note_piece(piece.capacity());  // a single field may be of 512 MiB
      if (!note_buffers()) co_return false;
      bool sent = co_await write(as_bytes(piece.text()));
      if (!sent) co_return false;
      moved(piece.text().size());
      co_await asio::post(stream_.executor(), asio::use_awaitable);  // others' turn
    }
    pipeline_.note_piece(0);
    co_return true;
  }

  // ---- pushes, while no answer is on its way ----

  // What the socket takes without waiting, up to a turn's worth; push_all() sends what it does not.
  void push_at_once() {
    if (!outbox().empty() && writer_ == Writer::kNobody && output().empty()) begin_to_push();
  }
  [[gnu::noinline]] void begin_to_push() {
    constexpr size_t kTextBytes = 16 << 10, kTurnBytes = 256 << 10;
    [[gnu::uninitialized]] char text[kTextBytes];  // else it would be cleared each time
    size_t n = 0;
    for (size_t done = 0; done < kTurnBytes; done += n) {
      n = outbox().copy(text, sizeof(text), session_->push_byte(), false);
      if (n == 0) return;
      const ssize_t took = stream_.try_write(as_bytes(std::string_view(text, n)));
      if (took < 0) return end_pushes();
      outbox().sent(static_cast<size_t>(took));
      server_.stats.count_write(static_cast<uint64_t>(took));
      if (static_cast<size_t>(took) < n) return go_on_pushing();
    }
    // Amidst a message nobody else may write.
    outbox().begun() ? go_on_pushing() : outbox().ring();
  }

  void go_on_pushing() {
    writer_ = Writer::kPushes;
    spawn(stream_.executor(), "pushing to a client", push_all(this->shared_from_this()),
          [](const Status&) {});
  }

  static awaitable<void> push_all(std::shared_ptr<Connection> self) {
    bool sent = true;
    while (sent) {
      // Answers that were made meanwhile come first, but never within a message.
      const bool begun = !self->output().empty();
      self->piece_.resize(kPieceBytes);
      const size_t n = self->outbox().copy(self->piece_.data(), self->piece_.size(),
                                           self->session_->push_byte(), begun);
      if (n == 0) break;
      self->outbox().sent(n);
      sent = co_await self->stream_.write(as_bytes(self->piece_).first(n));
      self->server_.stats.count_write(n);
      co_await asio::post(self->stream_.executor(), asio::use_awaitable);  // others' turn
    }
    self->piece_ = {};
    self->writer_ = Writer::kNobody;
    if (!sent) self->end_pushes();
    self->pushed_.notify();
  }

  // The peer is gone, which whoever reads will find.
  void end_pushes() {
    outbox().close();
    stream_.abort();
  }

  Stream stream_;
  const net::Guests& guests_;
  kv::Server& server_;
  Store& store_;
  const std::shared_ptr<kv::Session> session_;
  Pipeline pipeline_;
  Writer writer_ = Writer::kNobody;
  Gate pushed_;            // writer_ is nobody again
  std::string piece_;      // of pushes, on its way
  bool bare_ = false;      // what was sent last is no value of the protocol
  size_t sent_ = 0;        // of the output, already
  bool takes_in_ = false;  // what comes while answers are sent
  uint64_t noted_bytes_ = 0;
};

}  // namespace cairn::resp
