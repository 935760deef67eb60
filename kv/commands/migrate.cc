// MIGRATE: keys go to another server, this one's kind or redis-server.
//
// Each is sent as a payload of DUMP, some before the first answer is waited for, and removed here
// after the other server said that it has it, if it is still what was sent: what others changed
// meanwhile is sent again. No thread waits for the other server, and nothing is locked meanwhile.
// At any time each value is here, or there, or at both.
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <deque>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/commands/dump.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"

namespace cairn::kv {

namespace {

using tcp = asio::ip::tcp;

struct Plan {
  std::string host, port, database;
  int64_t timeout_ms = 0;
  bool copy = false, replace = false;
  std::string_view user, password;
  bool authenticates = false;
  size_t first_key = 3, end = 4;
};

bool parse_options(Context& c, Plan& plan) {
  const size_t n = c.args.size();
  for (size_t i = 6; i < n; i++) {
    const std::string_view word = c.args[i];
    if (equals_ignoring_case(word, "copy")) {
      plan.copy = true;
    } else if (equals_ignoring_case(word, "replace")) {
      plan.replace = true;
    } else if (equals_ignoring_case(word, "auth") && i + 1 < n) {
      plan.authenticates = true;
      plan.user = {};
      plan.password = c.args[++i];
    } else if (equals_ignoring_case(word, "auth2") && i + 2 < n) {
      plan.authenticates = true;
      plan.user = c.args[++i];
      plan.password = c.args[++i];
    } else if (equals_ignoring_case(word, "keys")) {
      if (!c.args[3].empty()) {
        c.reply.error(
            "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string");
        return false;
      }
      plan.first_key = i + 1;
      plan.end = n;
      return true;
    } else {
      return c.syntax_error(), false;
    }
  }
  return true;
}

bool parse(Context& c, Plan& plan) {
  constexpr int64_t kDefaultMs = 1000;
  int64_t database;
  if (!parse_options(c, plan) || !c.integer(5, plan.timeout_ms) || !c.integer(4, database)) {
    return false;
  }
  if (plan.timeout_ms <= 0) plan.timeout_ms = kDefaultMs;
  plan.host = c.args[1];
  plan.port = c.args[2];
  plan.database = c.args[4];
  return true;
}

void migrate(Context& c) {
  Plan plan;
  if (!parse(c, plan)) return;
  bool any = false;
  for (size_t i = plan.first_key; i < plan.end; i++) any |= c.find(c.args[i]) != nullptr;
  if (!any) return c.reply.simple("NOKEY");
  if (c.in_exec) return c.reply.error("ERR MIGRATE waits for another server, and not inside MULTI");
  c.defer();
}

// ---- the connection ----

enum class Failed : uint8_t { kConnecting, kWriting, kReading };

std::string_view text_of(Failed how) {
  switch (how) {
    case Failed::kConnecting:
      return "IOERR error or timeout connecting to the client";
    case Failed::kWriting:
      return "IOERR error or timeout writing to target instance";
    default:
      return "IOERR error or timeout reading to target instance";
  }
}

// What an operation that was given up may still touch lives here, as long as it does.
struct Wire {
  explicit Wire(const Executor& executor) : resolver(executor), socket(executor) {}
  tcp::resolver resolver;
  tcp::resolver::results_type places;
  tcp::socket socket;
  std::string out;
  std::array<char, 4096> in;
  boost::system::error_code error;
  size_t taken = 0;
};

class Peer {
 public:
  Peer(Context& c, const Executor& executor, int64_t timeout_ms)
      : c_(c), wire_(std::make_shared<Wire>(executor)), timeout_ms_(timeout_ms) {}
  ~Peer() { close(); }
  Peer(const Peer&) = delete;

  awaitable<bool> connect(const std::string& host, const std::string& port) {
    auto wire = wire_;
    bool done = co_await wait([&](auto ended) {
      wire->resolver.async_resolve(host, port, [wire, ended](const auto& e, auto places) {
        wire->places = std::move(places);
        ended(e, 0);
      });
    });
    if (!done) co_return false;
    done = co_await wait([&](auto ended) {
      asio::async_connect(wire->socket, wire->places,
                          [ended](const auto& e, const auto&) { ended(e, 0); });
    });
    if (!done) co_return false;
    boost::system::error_code ignored;
    wire->socket.set_option(tcp::no_delay(true), ignored);
    co_return true;
  }
  // Whether nobody listened where it would connect.
  bool refused() const { return wire_->error == asio::error::connection_refused; }
  // What add() gathered goes out once it is long, or with flush().
  void add(std::string_view word) { append(wire_->out, "$", word.size(), "\r\n", word, "\r\n"); }
  void add_head(size_t words) { append(wire_->out, "*", words, "\r\n"); }
  awaitable<bool> add_payload(const HeldPayload& payload) {
    append(wire_->out, "$", payload.size(), "\r\n");
    if (!payload.blob) wire_->out.append(payload.text);
    if (payload.blob) {
      BlobReader reader(c_.store.extents(), *payload.blob, 0, payload.blob->size);
      while (reader.left() > 0) {
        const auto bytes = co_await reader.next();
        if (!bytes.ok()) co_return false;
        wire_->out.append(reinterpret_cast<const char*>(bytes->data()), bytes->size());
        const bool sent = co_await flush();
        if (!sent) co_return false;
      }
    }
    wire_->out.append("\r\n");
    co_return true;
  }
  size_t gathered() const { return wire_->out.size(); }
  awaitable<bool> flush() {
    auto wire = wire_;
    const bool sent = co_await wait([&](auto ended) {
      asio::async_write(wire->socket, asio::buffer(wire->out),
                        [ended](const auto& e, size_t n) { ended(e, n); });
    });
    wire->out.clear();
    co_return sent;
  }
  // One line, without its end.
  awaitable<bool> read_line(std::string& line) {
    constexpr size_t kLineMax = 64 << 10;
    auto wire = wire_;
    const int64_t begun = c_.store.now_ms();
    for (size_t end = read_.find("\r\n");; end = read_.find("\r\n")) {
      if (end != read_.npos) {
        line = read_.substr(0, end);
        read_.erase(0, end + 2);
        co_return !line.empty();
      }
      if (read_.size() > kLineMax) co_return false;
      const bool got = co_await wait([&](auto ended) {
        wire->socket.async_read_some(asio::buffer(wire->in),
                                     [ended](const auto& e, size_t n) { ended(e, n); });
      });
      // The time is the line's, however many pieces it comes in.
      if (!got || c_.store.now_ms() - begun > timeout_ms_) co_return false;
      read_.append(wire->in.data(), wire->taken);
    }
  }

 private:
  // Until what `start` begins has ended, its time is over, or the client is gone.
  template <class Start>
  awaitable<bool> wait(Start start) {
    auto waiter = std::make_shared<Waiter>();
    start([wire = wire_, waiter](const boost::system::error_code& e, size_t n) {
      wire->error = e;
      wire->taken = n;
      waiter->wake();
    });
    const Woken how = co_await c_.session.wait(waiter, c_.store.clock(), timeout_ms_);
    if (how != Woken::kCalled) {
      close();
      wire_ = std::make_shared<Wire>(wire_->socket.get_executor());  // the old one is in use still
      co_return false;
    }
    co_return !wire_->error;
  }
  void close() {
    boost::system::error_code ignored;
    wire_->resolver.cancel();
    wire_->socket.close(ignored);
  }

  Context& c_;
  std::shared_ptr<Wire> wire_;
  const int64_t timeout_ms_;
  std::string read_;
};

// ---- the work ----

class Migration {
 public:
  Migration(Context& c, const Plan& plan, const Executor& executor)
      : c_(c), plan_(plan), peer_(c, executor, plan.timeout_ms) {
    for (size_t i = plan.first_key; i < plan.end; i++) waiting_.push_back({c.args[i], 0});
  }

  awaitable<void> run() {
    const bool connected = co_await peer_.connect(plan_.host, plan_.port);
    // Redis notices that nobody listens there when it writes, and says so.
    if (!connected) co_return fail(peer_.refused() ? Failed::kWriting : Failed::kConnecting);
    greet();
    while (!waiting_.empty()) {
      if (c_.given_up()) co_return;
      const bool sent = co_await send_some();
      if (!sent) co_return;
      const bool answered = co_await take_answers();
      if (!answered) co_return;
    }
    if (!refusal_.empty()) {
      co_return c_.reply.error(cat("ERR Target instance replied with error: ", refusal_));
    }
    c_.reply.ok();
  }

 private:
  struct Waiting {
    std::string_view key;
    int tries;
  };
  struct Sent {
    std::string_view key;
    int tries;
    Lsn version;
    int64_t expire_ms;
  };

  void fail(Failed how) {
    if (!c_.given_up()) c_.reply.error(text_of(how));
  }
  void greet() {
    if (plan_.authenticates) {
      peer_.add_head(plan_.user.empty() ? 2 : 3);
      peer_.add("AUTH");
      if (!plan_.user.empty()) peer_.add(plan_.user);
      peer_.add(plan_.password);
    }
    peer_.add_head(2);
    peer_.add("SELECT");
    peer_.add(plan_.database);
    greetings_ = plan_.authenticates ? 2 : 1;
  }

  // As many as are worth one wait for answers.
  awaitable<bool> send_some() {
    constexpr size_t kKeysMax = 64, kBytesMax = 1 << 20;
    while (!waiting_.empty() && sent_.size() < kKeysMax && peer_.gathered() < kBytesMax) {
      const Waiting next = waiting_.front();
      waiting_.pop_front();
      HeldPayload payload(c_.store);
      const Dumped how = co_await payload_in_turns(c_, next.key, payload);
      if (how == Dumped::kRefused) co_return false;
      if (how == Dumped::kAbsent) continue;
      const int64_t now = c_.store.now_ms();
      const int64_t left =
          payload.expire_ms == 0 ? 0 : std::max<int64_t>(1, payload.expire_ms - now);
      const bool replaces = plan_.replace || next.tries > 0;  // what it sent itself
      peer_.add_head(replaces ? 5 : 4);
      peer_.add("RESTORE");
      peer_.add(next.key);
      peer_.add(cat(left));
      const bool added = co_await peer_.add_payload(payload);
      if (!added) co_return fail(Failed::kWriting), false;
      if (replaces) peer_.add("REPLACE");
      sent_.push_back({next.key, next.tries, payload.version, payload.expire_ms});
    }
    const bool flushed = co_await peer_.flush();
    if (!flushed) fail(Failed::kWriting);
    co_return flushed;
  }

  awaitable<bool> take_answers() {
    std::string line;
    for (; greetings_ > 0; greetings_--) {
      const bool got = co_await peer_.read_line(line);
      if (!got) co_return fail(Failed::kReading), false;
      if (line[0] == '-') refuse(line);
    }
    while (!sent_.empty()) {
      const bool got = co_await peer_.read_line(line);
      if (!got) co_return fail(Failed::kReading), false;
      const Sent sent = sent_.front();
      sent_.pop_front();
      if (line[0] == '-') {
        refuse(line);
      } else if (!plan_.copy && greeted_) {
        (void)co_await c_.store.busy().until_idle(c_.ns().hash(sent.key), Busy::Patience::kEndless);
        const bool removed = remove(sent);
        if (!removed) co_return false;
      }
    }
    if (!greeted_) waiting_.clear();  // it takes none of them, or into another database
    co_return true;
  }
  void refuse(std::string_view line) {
    if (greetings_ > 0) greeted_ = false;
    if (refusal_.empty()) refusal_ = line.substr(1);
  }

  // What the other server has goes here, if it is that still. False after an answer.
  bool remove(const Sent& sent) {
    constexpr int kTriesMax = 8;
    StripeLocks locks(c_.store, c_.ns().hash(sent.key));
    Context::Turn turn(c_, locks);
    Entry* e = c_.look(sent.key);
    if (e == nullptr) return true;
    const int64_t expire_ms = e->has_expiry() ? e->expire_ms() : 0;
    if (e->version() == sent.version && expire_ms == sent.expire_ms) {
      return c_.remove(c_.ns(), e) && turn.commit();
    }
    if (sent.tries == kTriesMax) {
      c_.reply.error("ERR the value changes faster than it can be sent");
      return false;
    }
    waiting_.push_back({sent.key, sent.tries + 1});
    return true;
  }

  Context& c_;
  const Plan& plan_;
  Peer peer_;
  std::deque<Waiting> waiting_;
  std::deque<Sent> sent_;  // whose answers have not come
  int greetings_ = 0;
  bool greeted_ = true;
  std::string refusal_;  // the first
};

awaitable<void> migrate_deferred(Context& c) {
  Plan plan;
  if (!parse(c, plan)) co_return;
  const auto executor = co_await asio::this_coro::executor;
  Migration migration(c, plan, executor);
  co_await migration.run();
}

// The word after KEYS is looked for where the options are.
constexpr uint16_t kGoes = kKeyReadWrite | kKeyAccess | kKeyDelete | kKeyNameOnly | kKeyLooked;
constexpr KeySpec kMigrates[] = {{.flags = kGoes, .first = 3},
                                 {.flags = kGoes, .first = 6, .keyword = "KEYS", .last = -1}};
constexpr Row kRows[] = {
    {"migrate", -6, kWrite | kDangerous, kMigrates, migrate, migrate_deferred, "generic",
     "Atomically transfers a key from one Redis instance to another.", "2.6.0"},
};

}  // namespace
std::span<const Row> migrate_rows() { return kRows; }

}  // namespace cairn::kv
