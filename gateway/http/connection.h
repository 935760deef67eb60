// A connection of the HTTP door: requests one after the other, their bodies, answers and deadlines.
//
// Threads: lives on one loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/http/status.hpp>

#include "core/base/async.h"
#include "core/base/text.h"
#include "gateway/http/head.h"
#include "gateway/http/patience.h"
#include "gateway/net/blob_stream.h"

namespace cairn::http {

namespace bhttp = boost::beast::http;

template <class Stream>
class Connection {
  using Clock = std::chrono::steady_clock;
  static constexpr size_t kBufferBytesMin = 4 << 10, kBufferBytesMax = 64 << 10;
  static constexpr size_t kTlsBytes = 48 << 10;  // what a connection takes for that, about
  static constexpr size_t kAnswerKept = 64 << 10, kHeadKept = 2 << 10;
  static constexpr size_t kSliceBytes = 64 << 10;  // of a body that is sent

 public:
  Connection(Stream stream, Stats& stats, net::Buffers& buffers, const Handler& handler,
             const net::Guests& guests, const Times& times, const std::function<bool()>& scarce,
             std::string peer, bool from_loopback)
      : stream_(std::move(stream)),
        guests_(guests),
        stats_(stats),
        handler_(handler),
        times_(times),
        scarce_(scarce),
        peer_(std::move(peer)),
        from_loopback_(from_loopback),
        timer_(stream_.executor()),
        pulse_timer_(stream_.executor()),
        held_(buffers),
        buffer_(kBufferBytesMin) {}

  awaitable<void> run() {
    held_.set(buffer_.size());
    arm(times_.header);
    if constexpr (Stream::kTls) {
      if (!held_.try_set(kTlsBytes + buffer_.size())) co_return;
      bool shaken = co_await stream_.handshake();
      if (!shaken) co_return;
    }
    for (bool keep = true; keep && !guests_.closing();) {
      keep = co_await one_request();
    }
    co_await linger();
    co_await stream_.shutdown();
  }
  void end(net::End how) {
    if (how == net::End::kNow) return stream_.abort();
    if (at_rest_) stream_.shutdown_receive();
  }

 private:
  // The body of the current request, as its handler pulls it.
  class RequestBody final : public Body {
   public:
    RequestBody(Connection& c, const Framing& framing)
        : c_(c),
          chunked_(framing.chunked),
          left_(framing.length),
          expects_continue_(framing.expects_continue),
          patience_(c.times_, c.scarce_) {}

    awaitable<StatusOr<size_t>> read(MutableBytes into) override {
      if (into.empty()) co_return size_t{0};
      if (is_ready()) co_return take_buffered(into);
      c_.watch_moves(patience_, false);
      auto n = co_await read_some(into);
      c_.end_moves();
      co_return n;
    }

    awaitable<Status> ready() override {
      c_.watch_moves(patience_, false);
      Status there = co_await wait();
      c_.end_moves();
      co_return there;
    }

    void wait_briefly(bool briefly) override {
      patience_.limit(briefly ? c_.times_.header : c_.times_.stall);
    }
    bool hold(size_t bytes) override { return c_.hold_body(bytes); }
    bool is_ready() const override {
      return !chunked_ && !expects_continue_ && (done() || c_.begin_ != c_.end_);
    }

    bool done() const { return chunked_ ? decoder_.done() : left_ == 0; }
    bool wants_continue() const { return expects_continue_; }
    uint64_t left() const { return chunked_ ? UINT64_MAX : left_; }

   private:
    // Even before an empty body: botocore 1.29 stalls on the request after one that got none.
    awaitable<Status> invite() {
      if (!std::exchange(expects_continue_, false)) co_return absl::OkStatus();
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      bool sent = co_await c_.stream_.write(as_bytes(kContinue));
      if (!sent) co_return absl::CancelledError("the client is gone");
      co_return absl::OkStatus();
    }

    awaitable<Status> wait() {
      Status invited = co_await invite();
      if (!invited.ok()) co_return invited;
      if constexpr (!Stream::kTls) {
        if (!chunked_) {
          if (!done() && c_.begin_ == c_.end_) co_await c_.stream_.ready();
          co_return absl::OkStatus();
        }
      }
      while (!done()) {  // what frames the bytes goes; of these, one at least is in the buffer then
        if (c_.begin_ == c_.end_) {
          c_.grow();
          bool got = co_await c_.fill();
          if (!got) co_return absl::CancelledError("the client is gone");
        }
        if (!chunked_) break;
        auto step = decoder_.put({c_.buffer_.data() + c_.begin_, c_.end_ - c_.begin_}, {});
        if (!step.ok()) co_return step.status();
        c_.begin_ += step->used;
        if (c_.begin_ < c_.end_) break;
      }
      co_return absl::OkStatus();
    }

    awaitable<StatusOr<size_t>> read_some(MutableBytes into) {
      if (chunked_) co_return co_await read_chunked(into);
      Status invited = co_await invite();
      if (!invited.ok()) co_return invited;
      if (done()) co_return size_t{0};
      if (c_.begin_ != c_.end_) co_return take_buffered(into);
      const size_t want = std::min<uint64_t>(into.size(), left_);
      const size_t n = co_await c_.stream_.read_some(into.first(want));
      if (n == 0) co_return absl::CancelledError("the client is gone");
      c_.received(n);
      left_ -= n;
      co_return n;
    }
    size_t take_buffered(MutableBytes into) {
      const size_t n = std::min<uint64_t>({into.size(), left_, c_.end_ - c_.begin_});
      if (n > 0) std::memcpy(into.data(), c_.buffer_.data() + c_.begin_, n);
      c_.begin_ += n;
      left_ -= n;
      return n;
    }
    awaitable<StatusOr<size_t>> read_chunked(MutableBytes into) {
      Status there = co_await wait();
      if (!there.ok()) co_return there;
      if (done()) co_return size_t{0};
      auto step = decoder_.put({c_.buffer_.data() + c_.begin_, c_.end_ - c_.begin_}, into);
      if (!step.ok()) co_return step.status();
      c_.begin_ += step->used;
      co_return step->made;
    }

    Connection& c_;
    ChunkDecoder decoder_;
    const bool chunked_;
    uint64_t left_;
    bool expects_continue_;
    Patience patience_;
  };

  // Reads more into the buffer; false at the end of the stream, or when the buffer is full.
  awaitable<bool> fill() {
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (begin_ > 0 && end_ == buffer_.size()) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (end_ == buffer_.size() && !grow()) co_return false;
    size_t n = co_await stream_.read_some({buffer_.data() + end_, buffer_.size() - end_});
    if (n == 0) co_return false;
    end_ += n;
    received(n);
    co_return true;
  }
  // False also where all connections together have no room for more.
  bool grow() {
    const size_t bytes = buffer_.size() * 2;
    if (bytes > kBufferBytesMax || !hold(bytes)) return false;
    buffer_.resize(bytes);
    return true;
  }
  bool hold(size_t buffer_bytes) {
    return held_.try_set(buffer_bytes + held_of_head() + out_.capacity() +
                         response_.body.capacity() + body_bytes_ + (Stream::kTls ? kTlsBytes : 0));
  }
  // What a large head takes as it is read, beside its bytes. A small one is of what every
  // connection has.
  size_t held_of_head() const {
    constexpr size_t kFieldBytes = sizeof(Headers::Field), kFewFields = 48;
    const size_t fields = request_.headers.room() + request_.query.capacity();
    if (head_bytes_ <= kHeadKept && fields <= kFewFields) return 0;
    return 2 * head_bytes_ + fields * kFieldBytes;
  }
  bool hold_body(size_t bytes) {
    const size_t before = std::exchange(body_bytes_, bytes);
    if (hold(buffer_.size())) return true;
    body_bytes_ = before;
    return false;
  }
  // What a request needed is not kept for the next, which may come in minutes.
  void shrink() {
    if (buffer_.size() > kBufferBytesMin) {
      buffer_ = std::vector<std::byte>(kBufferBytesMin);
      begin_ = end_ = 0;
    }
    out_.clear();
    if (held_of_head() > 0) request_ = Request();
    head_bytes_ = 0;
    response_.clear();
    body_bytes_ = 0;
    for (std::string* text : {&out_, &response_.body}) {
      if (text->capacity() > kAnswerKept || !hold(buffer_.size())) text->shrink_to_fit();
    }
    (void)hold(buffer_.size());
  }
  void received(size_t bytes) {
    moved_ += static_cast<int64_t>(bytes);
    stats_.bytes_in.fetch_add(bytes, std::memory_order_relaxed);
  }

  // ---- deadlines: one timer, which wakes up now and then and looks what is due ----

  // The connection ends after this time, unless it is armed anew or disarmed.
  void arm(Clock::duration time) {
    patience_ = nullptr;
    deadline_ = Clock::now() + time;
    start_watch();
  }
  void disarm() {
    patience_ = nullptr;
    deadline_ = Clock::time_point::max();
  }
  // The connection ends when this patience does, by the bytes that move from now on: those that
  // come, or those that the peer acknowledges.
  void watch_moves(Patience& patience, bool sending) {
    deadline_ = Clock::time_point::max();
    patience_ = &patience;
    sending_ = sending;
    seen_ = moved();
    patience.begin();
    start_watch();
  }
  void end_moves() {
    if (patience_ != nullptr) due();
    disarm();
  }
  int64_t moved() { return sending_ ? moved_ - static_cast<int64_t>(stream_.unsent()) : moved_; }
  void start_watch() {
    if (timer_running_) return;
    timer_running_ = true;
    watch();
  }
  bool due() {
    if (Clock::now() >= deadline_) return true;
    if (patience_ == nullptr) return false;
    const int64_t before = std::exchange(seen_, std::max(seen_, moved()));
    return patience_->moved(seen_ - before);
  }
  void watch() {
    timer_.expires_at(std::min(deadline_, Clock::now() + times_.watch));
    timer_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code ec) {
      if (ec || alive.expired()) return;
      if (!due()) return watch();
      timer_running_ = false;
      stream_.abort();
    });
  }

  // ---- one request ----

  // Whether a whole head is at the front of the buffer; a `bad` status says why there never will.
  awaitable<size_t> wait_for_head(Response& bad) {
    for (;;) {
      const std::string_view have(reinterpret_cast<char*>(buffer_.data()) + begin_, end_ - begin_);
      if (!Stream::kTls && have.starts_with('\x16')) {  // a TLS handshake: it sends nothing more
        bad.status = 400;
        bad.body = "bad request: this port speaks HTTP, not HTTPS\n";
        co_return 0;
      }
      const size_t size = head_size(have);
      if (size > kHeadBytesMax || (size == 0 && have.size() > kHeadBytesMax)) {
        bad.status = 431;
        bad.body = "bad request: the header is too large\n";
        co_return 0;
      }
      if (size > 0) co_return size;
      bool got = co_await fill();
      if (!got) co_return 0;
    }
  }

  awaitable<bool> one_request() {
    if (begin_ == end_) {
      shrink();
      arm(first_ ? times_.header : times_.idle);
      at_rest_ = true;
      bool got = co_await fill();
      at_rest_ = false;
      if (!got) co_return false;
    }
    first_ = false;
    arm(times_.header);
    Request& request = request_;
    Response& response = response_;
    request.clear();
    response.clear();
    response.status = 0;
    const size_t size = co_await wait_for_head(response);
    if (size == 0 && response.status == 0) co_return false;
    Framing framing;
    bool wants_head = false;
    if (size > 0) {
      const std::string_view head(reinterpret_cast<char*>(buffer_.data()) + begin_, size);
      wants_head = head.starts_with("HEAD ");
      Status read = read_head(head, request, framing);
      begin_ += size;
      head_bytes_ = std::max(head_bytes_, size);
      response.status = read.ok() ? 200 : 400;
      if (!read.ok()) response.body = cat(read.message(), "\n");
      if (read.ok() && held_of_head() > 0 && !hold(buffer_.size())) {
        response.status = 503;
        response.body = "clients hold too much memory; try again\n";
      }
    }
    disarm();
    stats_.requests.fetch_add(1, std::memory_order_relaxed);
    if (response.status != 200) {
      response.close = true;
      linger_ = true;
      bool sent = co_await respond(response, wants_head);
      (void)sent;
      co_return false;
    }
    co_return co_await handle(request, framing, response);
  }

  awaitable<bool> handle(Request& request, const Framing& framing, Response& response) {
    request.peer = peer_;
    request.from_loopback = from_loopback_;
    request.secure = Stream::kTls;
    RequestBody body(*this, framing);
    request.body = &body;
    const bool head = request.method == "HEAD";
    http10_ = framing.http10;
    keep_ = framing.keep_alive;
    response.takes_long = [this, &response] { begin_pulse(response); };
    std::exception_ptr thrown;
    try {
      co_await handler_(request, response);
    } catch (...) {
      thrown = std::current_exception();
    }
    const bool begun = co_await end_pulse();
    if (thrown) std::rethrow_exception(thrown);
    const Leaving leaving(*this, response);
    bool keep = keep_ && !response.close && !guests_.closing();
    // A client that was told the end in place of "100 Continue" may send its body or not.
    if (body.wants_continue()) keep = false;
    if (!body.done()) {
      // Nobody wants the rest. A short one is read over; for a long one the connection ends.
      body.wait_briefly(true);
      constexpr uint64_t kSkipMax = 256 << 10;
      if (body.wants_continue() || body.left() > kSkipMax) {
        keep = false;
      } else {
        std::vector<std::byte> sink(16 << 10);
        while (!body.done()) {
          auto n = co_await body.read({sink.data(), sink.size()});
          if (!n.ok()) co_return false;
        }
      }
    }
    response.close = !keep;
    linger_ = !body.done();
    bool sent;
    if (begun) {
      sent = co_await respond_late(response);
    } else {
      sent = co_await respond(response, head);
    }
    co_return sent&& keep;
  }

  // Tells who wants to know what of the answer has left.
  class Leaving {
   public:
    Leaving(Connection& connection, Response& response)
        : connection_(connection), response_(response) {
      connection.answer_bytes_ = connection.answer_head_bytes_ = 0;
    }
    ~Leaving() {
      const uint64_t all = connection_.answer_bytes_, head = connection_.answer_head_bytes_;
      if (response_.left) response_.left(all - std::min(all, head));
    }
    Leaving(const Leaving&) = delete;

   private:
    Connection& connection_;
    Response& response_;
  };

  // ---- signs of life of a long operation ----

  void begin_pulse(Response& response) {
    if (pulsing_) return;
    pulsing_ = true;
    pulse_over_ = pulse_begun_ = pulse_failed_ = false;
    pulse_.spawn(stream_.executor(), "signs of life", pulse(response));
  }
  // After each Times::pulse a blank: at first behind the head of a 200.
  awaitable<void> pulse(Response& response) {
    Patience patience(times_, scarce_);
    while (!pulse_over_) {
      pulse_timer_.expires_after(times_.pulse);
      co_await pulse_timer_.async_wait(net::kTuple);
      if (pulse_over_) co_return;
      std::string text;
      if (!std::exchange(pulse_begun_, true)) {
        Response early;
        early.headers = response.headers;
        early.set("Content-Type", "application/xml");
        early.close = !keep_;
        append_head(text, early, 200, std::nullopt);
        append(text, part(response.xml_head));
      }
      append(text, part(" "));
      watch_moves(patience, true);
      bool sent = co_await write(as_bytes(text));
      end_moves();
      if (!sent) {
        pulse_failed_ = true;
        co_return;
      }
    }
  }
  // Whether the head of the answer has left.
  awaitable<bool> end_pulse() {
    if (!pulsing_) co_return false;
    pulse_over_ = true;
    pulse_timer_.cancel();
    co_await pulse_.ended();
    pulsing_ = false;
    co_return std::exchange(pulse_begun_, false);
  }
  // A piece of a body of unknown length: a chunk, or for HTTP/1.0 as it is.
  std::string part(std::string_view text) const {
    if (http10_ || text.empty()) return std::string(text);
    char size[24];
    const char* end = std::to_chars(size, size + sizeof(size), text.size(), 16).ptr;
    return cat(std::string_view(size, static_cast<size_t>(end - size)), "\r\n", text, "\r\n");
  }
  awaitable<bool> respond_late(Response& r) {
    count(r.status);
    if (pulse_failed_) co_return false;
    std::string_view body = r.body;
    if (body.starts_with(r.xml_head)) body.remove_prefix(r.xml_head.size());
    std::string text = part(body);
    if (!http10_) text += "0\r\n\r\n";
    Patience patience(times_, scarce_);
    watch_moves(patience, true);
    const bool sent = co_await write(as_bytes(text));
    end_moves();
    co_return sent && !http10_;
  }

  // ---- the answer ----

  void count(int status) {
    auto& counter = status == 501   ? stats_.not_implemented
                    : status >= 500 ? stats_.errors_5xx
                                    : stats_.errors_4xx;
    if (status >= 400) counter.fetch_add(1, std::memory_order_relaxed);
  }

  // Without a length the body comes in chunks, or for HTTP/1.0 until the end of the connection.
  void append_head(std::string& out, const Response& r, int status,
                   std::optional<uint64_t> length) {
    const auto reason = bhttp::obsolete_reason(static_cast<bhttp::status>(status));
    append(out, "HTTP/1.1 ", status, " ", std::string_view(reason.data(), reason.size()), "\r\n");
    for (auto& [name, value] : r.headers) append(out, name, ": ", value, "\r\n");
    if (length) {
      if (status != 204 && status != 304) append(out, "Content-Length: ", *length, "\r\n");
    } else if (!http10_) {
      out += "Transfer-Encoding: chunked\r\n";
    }
    append(out, "Date: ", date(), "\r\nServer: Cairn\r\n");
    const bool close = r.close || (!length && http10_);
    out += close     ? "Connection: close\r\n\r\n"
           : http10_ ? "Connection: keep-alive\r\n\r\n"
                     : "\r\n";
  }

  // A header that is none would be another header, or another answer, to who reads it.
  static void refuse_bad_headers(Response& r) {
    for (auto& [name, value] : r.headers) {
      if (is_field_name(name) && is_field_value(value)) continue;
      r.headers.clear();
      r.stream.reset();
      r.content_length.reset();
      r.status = 500;
      r.body = "a header of the answer is none\n";
      return;
    }
  }

  // As they are made, each in its own time.
  awaitable<bool> send_pieces(Response& r) {
    out_.clear();
    append_head(out_, r, r.status, std::nullopt);
    answer_head_bytes_ = out_.size();
    Patience patience(times_, scarce_);
    for (;;) {
      watch_moves(patience, true);
      const bool sent = co_await write(as_bytes(out_));
      end_moves();
      if (!sent) co_return false;
      out_.clear();
      while (out_.empty()) {
        if (guests_.closing()) co_return false;
        auto piece = co_await r.pieces->next();
        if (absl::IsCancelled(piece.status())) break;
        if (!piece.ok()) co_return false;
        out_ = part(*piece);
      }
      if (out_.empty()) break;
    }
    if (!http10_) out_ = "0\r\n\r\n";
    const bool ended = co_await write(as_bytes(out_));
    co_return ended && !http10_;
  }

  awaitable<bool> respond(Response& r, bool head) {
    refuse_bad_headers(r);
    count(r.status);
    if (r.pieces != nullptr && r.status == 200) {
      const bool sent = co_await send_pieces(r);
      co_return sent;
    }
    uint64_t length = r.content_length ? *r.content_length
                      : r.stream       ? r.stream->left()
                                       : r.body.size();
    out_.clear();
    append_head(out_, r, r.status, length);
    answer_head_bytes_ = out_.size();
    const bool has_body = !head && r.status != 204 && r.status != 304;
    if (has_body && !r.stream && r.body.size() <= kAnswerKept) {
      out_ += r.body;
    } else if (has_body && !r.stream) {  // too much to have twice
      r.body.insert(0, out_);
      out_ = std::move(r.body);
    }
    Bytes text = as_bytes(out_);
    ssize_t n = stream_.try_write(text);
    if (n < 0) co_return false;
    wrote(static_cast<size_t>(n));
    if (static_cast<size_t>(n) == text.size() && !(has_body && r.stream)) co_return true;
    co_return co_await send_rest(text.subspan(static_cast<size_t>(n)),
                                 has_body ? r.stream.get() : nullptr);
  }
  awaitable<bool> send_rest(Bytes text, ByteSource* stream) {
    Patience patience(times_, scarce_);
    watch_moves(patience, true);
    bool sent = co_await write(text);
    end_moves();
    while (sent && stream != nullptr && stream->left() > 0) {
      auto bytes = co_await stream->next();  // the time that the disk takes is not the client's
      if (!bytes.ok()) co_return false;      // the length is already announced
      watch_moves(patience, true);
      sent = co_await net::send_part(stream_, *stream, *bytes, [this](size_t n) { wrote(n); });
      end_moves();
    }
    co_return sent;
  }
  // In slices, so that what has moved is known.
  awaitable<bool> write(Bytes data) {
    while (!data.empty()) {
      const Bytes slice = data.first(std::min(data.size(), kSliceBytes));
      bool sent = co_await stream_.write(slice);
      if (!sent) co_return false;
      wrote(slice.size());
      data = data.subspan(slice.size());
    }
    co_return true;
  }
  void wrote(size_t bytes) {
    moved_ += static_cast<int64_t>(bytes);
    answer_bytes_ += bytes;
    stats_.bytes_out.fetch_add(bytes, std::memory_order_relaxed);
  }

  // A client that still sends would lose our answer to a reset: take a little more of its bytes.
  awaitable<void> linger() {
    if (!linger_) co_return;
    stream_.shutdown_send();
    arm(std::chrono::seconds(2));
    for (size_t taken = 0; taken < (64 << 20);) {
      size_t n = co_await stream_.read_some({buffer_.data(), buffer_.size()});
      if (n == 0) break;
      taken += n;
    }
  }

  const std::string& date() {
    int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
    if (now != date_s_) {
      date_s_ = now;
      date_ = http_date(now * 1000);
    }
    return date_;
  }

  Stream stream_;
  const net::Guests& guests_;
  Stats& stats_;
  const Handler& handler_;
  const Times& times_;
  const std::function<bool()>& scarce_;
  const std::string peer_;
  const bool from_loopback_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  asio::steady_timer timer_;
  bool timer_running_ = false;
  Clock::time_point deadline_;
  Patience* patience_ = nullptr;  // of what is under way
  bool sending_ = false;          // what patience_ judges
  int64_t moved_ = 0, seen_ = 0;  // bytes, both ways; where patience_ saw it last
  asio::steady_timer pulse_timer_;
  Tasks pulse_;
  bool pulsing_ = false, pulse_over_ = false, pulse_begun_ = false, pulse_failed_ = false;
  net::Buffers::Held held_;
  size_t body_bytes_ = 0;  // of the request's body, that its handler keeps
  size_t head_bytes_ = 0;  // of the largest head since the connection was at rest
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;
  Request request_;  // the one under way, and the room of the one before
  Response response_;
  std::string out_;
  uint64_t answer_bytes_ = 0, answer_head_bytes_ = 0;  // that left of it, and what its head takes
  std::string date_;
  int64_t date_s_ = 0;
  bool first_ = true;
  bool at_rest_ = false;  // between two requests
  bool linger_ = false;
  bool http10_ = false, keep_ = false;  // of the request under way
};

}  // namespace cairn::http
