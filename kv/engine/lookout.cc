#include "kv/engine/lookout.h"

#include <algorithm>
#include <ctime>

#include "core/base/text.h"
#include "kv/engine/engine.h"
#include "kv/engine/replicable.h"

namespace cairn::kv {

// ---- MONITOR ----

namespace {

// As Redis writes a text for people: quoted, what cannot be printed escaped.
void append_quoted(std::string& to, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  to.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '\\':
      case '"':
        to.push_back('\\');
        to.push_back(c);
        break;
      case '\n':
        to += "\\n";
        break;
      case '\r':
        to += "\\r";
        break;
      case '\t':
        to += "\\t";
        break;
      case '\a':
        to += "\\a";
        break;
      case '\b':
        to += "\\b";
        break;
      default:
        if (byte >= 0x20 && byte < 0x7f) {
          to.push_back(c);
        } else {
          to += "\\x";
          to.push_back(kHex[byte >> 4]);
          to.push_back(kHex[byte & 15]);
        }
    }
  }
  to.push_back('"');
}

std::string line_of(const Context& c) {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  const std::string us = cat(now.tv_nsec / 1000 + 1'000'000);  // a digit more, which keeps zeros
  std::string_view db = c.session.ns->name;
  if (db.substr(0, 2) == "db" && parse_int<int>(db.substr(2))) db.remove_prefix(2);
  const std::string_view who = c.script != nullptr ? std::string_view("lua") : c.session.address;
  std::string line = cat(now.tv_sec, ".", us.substr(1), " [", db, " ", who, "]");
  for (size_t i = 0; i < c.args.size(); i++) {
    line.push_back(' ');
    if (is_secret(c.row, c.args, i)) {
      append_quoted(line, kRedacted);
    } else if (c.args[i].empty() && c.args.length(i) > 0) {
      append_quoted(line, cat("(", c.args.length(i), " bytes)"));
    } else {
      constexpr size_t kWordMax = 16 << 10;  // it is made while others wait for the locks
      const std::string_view word = c.args[i];
      append_quoted(line, word.substr(0, kWordMax));
      if (word.size() > kWordMax) append(line, "... (", word.size() - kWordMax, " more bytes)");
    }
  }
  line += "\r\n";
  return line;
}

}  // namespace

bool Monitors::add(Session& session) {
  MutexLock lock(mutex_);
  if (std::find(sessions_.begin(), sessions_.end(), &session) != sessions_.end()) return false;
  sessions_.push_back(&session);
  session.monitors = true;
  return true;
}

bool Monitors::remove(Session& session) {
  if (!session.monitors) return false;
  MutexLock lock(mutex_);
  std::erase(sessions_, &session);
  session.monitors = false;
  return true;
}

size_t Monitors::size() const {
  MutexLock lock(mutex_);
  return sessions_.size();
}

void Monitors::tell(Channels& channels, const Context& c) const {
  static const auto kNothing = std::make_shared<const std::string>();
  const Push line{kNothing, std::make_shared<const std::string>(line_of(c)), '+'};
  MutexLock lock(mutex_);
  for (Session* session : sessions_) (void)channels.push(*session, line);
}

// ---- CLIENT PAUSE ----

void Pause::begin(What what, int64_t until_ms) {
  MutexLock lock(mutex_);
  what_ = std::max(what_, what);
  until_ms_ = std::max(until_ms_, until_ms);
}

void Pause::end() {
  MutexLock lock(mutex_);
  what_ = What::kNothing;
  until_ms_ = 0;
  for (auto& waiter : waiting_) waiter->wake();
}

Pause::What Pause::what(int64_t now_ms) const {
  MutexLock lock(mutex_);
  return now_ms < until_ms_ ? what_ : What::kNothing;
}

bool may_replicate(const Row& row) {
  constexpr std::string_view kBeside[] = {"publish", "spublish", "pfcount", "eval",
                                          "evalsha", "fcall",    "script"};
  return (row.flags & kWrite) != 0 ||
         std::find(std::begin(kBeside), std::end(kBeside), row.name) != std::end(kBeside);
}

bool Pause::holds(const Session& session, const Request& request, int64_t now_ms) const {
  const What what = this->what(now_ms);
  if (what == What::kNothing || request.row->name == "client|unpause") return false;
  if (session.principal == nullptr) return false;  // he may come to end it
  if (what == What::kAll || may_replicate(*request.row)) return true;
  const bool runs_queue = (request.row->flags & kQueue) != 0;
  return runs_queue && std::any_of(session.queue.begin(), session.queue.end(),
                                   [](const Request& r) { return may_replicate(*r.row); });
}

awaitable<void> Pause::wait(Session& session, Clock& clock) {
  auto waiter = std::make_shared<Waiter>();
  int64_t left_ms;
  std::list<std::shared_ptr<Waiter>>::iterator place;
  {
    MutexLock lock(mutex_);
    left_ms = until_ms_ - clock.now_ms();
    if (left_ms <= 0) co_return;
    place = waiting_.insert(waiting_.end(), waiter);
  }
  // As in Redis it is listed as blocked, so that it is not sent away for its silence.
  (void)co_await session.wait(std::move(waiter), clock, left_ms, Session::Seen::kPaused);
  MutexLock lock(mutex_);
  waiting_.erase(place);
}

void Lookout::monitor(Session& session, bool on) {
  MutexLock lock(mutex_);
  const bool changed = on ? monitors.add(session) : monitors.remove(session);
  if (!changed) return;
  session.monitored_by = on ? this : nullptr;
  set(kMonitored, monitors.size() > 0);
}

void Lookout::pause_until(Pause::What what, int64_t until_ms) {
  MutexLock lock(mutex_);
  pause.begin(what, until_ms);
  set(kPaused, true);
}

void Lookout::unpause() {
  MutexLock lock(mutex_);
  pause.end();
  set(kPaused, false);
}

bool Lookout::pauses(const Session& session, const Request& request, int64_t now_ms) {
  if (pause.holds(session, request, now_ms)) return true;
  if (pause.what(now_ms) != Pause::What::kNothing) return false;
  MutexLock lock(mutex_);  // it is over
  if (pause.what(now_ms) == Pause::What::kNothing) {
    pause.end();
    set(kPaused, false);
  }
  return false;
}

// ---- what took long ----

void Lookout::refresh() {
  constexpr uint64_t kBriefNs = 1'000'000;  // less than this a brief command takes by itself
  uint64_t least = UINT64_MAX;
  const auto at_most = [&least](uint64_t n, uint64_t each_ns) {
    if (n <= UINT64_MAX / each_ns) least = std::min(least, n * each_ns);  // else it is never
  };
  if (const int64_t us = slower_than_us_; us >= 0) at_most(static_cast<uint64_t>(us), 1000);
  if (const uint64_t ms = diary_ms_; ms > 0) at_most(ms, 1'000'000);
  slow_ns_ = least;
  set(kTimesAll, least < kBriefNs);
}

void Lookout::note_slow(const Context& c, uint64_t ns) {
  const int64_t at_s = c.store.now_ms() / 1000;
  const uint64_t us = ns / 1000, ms = us / 1000;
  const int64_t logged_us = slower_than_us_;
  const bool runs_others = (c.row.flags & kQueue) != 0;  // each of them is noted by itself
  if (logged_us >= 0 && us >= static_cast<uint64_t>(logged_us) && !runs_others) {
    Slowlog::Entry entry;
    entry.at_s = at_s;
    entry.us = us;
    entry.words = Slowlog::shown(c.row, c.args);
    entry.address = c.session.address;
    {
      MutexLock lock(c.session.mutex);
      entry.name = c.session.name;
    }
    slowlog.add(std::move(entry));
  }
  const uint64_t diary_from_ms = diary_ms_;
  if (diary_from_ms > 0 && ms >= diary_from_ms) {
    diary.add((c.row.flags & kFast) != 0 ? "fast-command" : "command", at_s, ms);
  }
}

}  // namespace cairn::kv
