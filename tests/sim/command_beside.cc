// A recovered store beside a fresh one: law 6 of command_world.h.
#include <algorithm>

#include "core/base/text.h"
#include "tests/fuzz/kv_world.h"
#include "tests/sim/command_life.h"
#include "tests/sim/command_running.h"

namespace cairn::sim {

namespace {

constexpr uint32_t kSpaces = 3;  // that clients use

// Whether two stores must answer it alike: nothing in it is by chance, waits, rests on how values
// lie in memory, or is kept elsewhere.
bool is_comparable(const Batch& batch) {
  constexpr std::string_view kNot[] = {"SPOP",   "SRANDMEMBER", "BLPOP",  "BRPOP",   "BLMOVE",
                                       "BLMPOP", "BRPOPLPUSH",  "OBJECT", "DUMP",    "BZPOPMIN",
                                       "BZMPOP", "BZPOPMAX",    "XINFO",  "WAITAOF", "FUNCTION",
                                       "FCALL",  "BLOCK",       "~",      "photos"};
  // Refused within scripts where a value lies in extents, and a script may keep that to itself.
  constexpr std::string_view kInParts[] = {"APPEND",   "SETRANGE", "SETBIT", "GETBIT", "BITCOUNT",
                                           "BITFIELD", "BITPOS",   "BITOP",  "LCS"};
  return std::none_of(batch.commands.begin(), batch.commands.end(), [&](const Command& c) {
    const bool script = c.words[0].starts_with("EVAL");
    return std::any_of(c.words.begin(), c.words.end(), [&](const std::string& word) {
      return std::find(std::begin(kNot), std::end(kNot), word) != std::end(kNot) ||
             (script &&
              std::find(std::begin(kInParts), std::end(kInParts), word) != std::end(kInParts));
    });
  });
}

// What has no order in Redis has none here.
std::string unordered(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find("\r\n", at), text.size() - 2) + 2;
    lines.push_back(text.substr(at, end - at));
    at = end;
  }
  std::sort(lines.begin(), lines.end());
  std::string out;
  for (auto& line : lines) out += line;
  return out;
}

}  // namespace

awaitable<void> CommandWorld::ask_both() {
  Life& life = *now_running_;
  life.server->durability = Durability::kEverySec;       // so that no time passes within a command
  fuzz::KvWorld fresh(kExtentThreshold, kSegmentBytes);  // on which limits rest
  const auto session = fresh.new_session();
  const auto beside = [&](const Command& c) {
    fresh.scheduler.set_now_ms(life.scheduler.now_ms());
    resp::Output output(session->resp);
    fresh.answer(*session, c.words, output);
    return fresh.sent(output, session->resp);
  };
  for (uint32_t i = 0; i < kSpaces; i++) {
    beside({{"SELECT", std::to_string(i)}, {}});
    const Namespace& ns = life.store->database(i);
    for (auto it = now_.lower_bound({i, ""}); it != now_.end() && it->first.first == i; ++it) {
      const std::string bytes = dump(ns, it->first.second);
      if (bytes.empty()) continue;
      const std::string made = beside(
          {{"RESTORE", it->first.second, std::to_string(it->second->expire_ms), bytes, "ABSTTL"},
           {}});
      if (made != "+OK\r\n") wrong(cat("RESTORE of ", it->first.second, ": ", made));
    }
  }
  const uint32_t home = static_cast<uint32_t>(pick(kSpaces));
  const Command select{{"SELECT", std::to_string(home)}, {}};
  beside(select);
  Client me = connect();
  me.session->ns = life.store->database(home).shared_from_this();
  const int64_t begun = life.scheduler.now_ms();
  for (int i = 0; i < 60 && life.scheduler.now_ms() == begun; i++) {
    choosing_ = me.session.get();
    const Batch batch = commands_.some();
    if (!is_comparable(batch)) continue;
    std::string expected;
    for (const Command& c : batch.commands) expected += beside(c);
    me.wire->to_server += batch.text();
    me.wire->wake_server();
    const std::string got = co_await answers(me, batch.commands.size());
    if (life.scheduler.now_ms() != begun) break;  // another moment, another answer
    // Whether a value lies in extents depends on how it came to be.
    constexpr std::string_view kInExtents = "above the extent threshold";
    if (got.find(kInExtents) != got.npos || expected.find(kInExtents) != got.npos) break;
    seen.asked += batch.commands.size();
    if (verbose_) say(cat("asked of both: ", batch.text()));
    if (got == expected || unordered(got) == unordered(expected)) continue;
    std::string what;
    for (const Command& c : batch.commands) {
      for (auto& word : c.words) append(what, word.substr(0, 60), " ");
      what += "\n";
    }
    wrong(cat("a recovered store answered\n", got, "\nand a fresh one\n", expected, "\nto ", what));
  }
  me.wire->hung_up = true;
  me.wire->wake_server();
  if (always_) life.server->durability = Durability::kAlways;
}

}  // namespace cairn::sim
