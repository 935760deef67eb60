// SYNC of whoever wants nothing but a file: what is in it while others change all of it.
#include <functional>
#include <map>

#include "kv/types/rdb_format.h"
#include "tests/core/principals.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

class BareReply final : public RecordedReply {
 public:
  std::string sent;
  std::function<bool()> before_send = [] { return true; };  // false: the client is gone
  awaitable<bool> send_bare(std::string_view bytes, Lsn) override {
    if (!before_send()) co_return false;
    sent.append(bytes);
    co_return true;
  }
};

struct ExportTest : EngineTest {
  std::string sync(BareReply& reply, Session& s) {
    Request request(*store);
    request.args.add_copy("sync");
    Engine& engine = *engines.front();
    engine.prepare(s, request);
    auto outcome = engine.run(s, request, reply);
    const Status done = finish([&]() -> awaitable<Status> {
      if (outcome.cold) outcome = co_await engine.run_cold(s, request.args, reply);
      if (outcome.deferred) (void)co_await engine.run_deferred(s, request.args, reply);
      co_return absl::OkStatus();
    }());
    EXPECT_TRUE(done.ok());
    return reply.text();
  }
  void wish_file() {
    EXPECT_EQ(run({"REPLCONF", "capa", "eof", "capa", "other"}), "+OK");
    EXPECT_EQ(run({"REPLCONF", "rdb-only", "1"}), "+OK");
  }

  // How often each string is in the file, with the number of its database.
  std::map<std::pair<uint64_t, std::string>, int> names_in(const std::string& sent) {
    std::map<std::pair<uint64_t, std::string>, int> names;
    constexpr size_t kMark = 40;
    const size_t head = sent.find("\r\n") + 2;
    EXPECT_EQ(sent.substr(0, 5), "$EOF:");
    EXPECT_EQ(sent.substr(5, kMark), sent.substr(sent.size() - kMark));
    const std::string file = sent.substr(head, sent.size() - kMark - head);
    rdb::Source in{std::string_view(file).substr(9)};
    uint64_t database = 0, n, crc;
    uint8_t type = 0;
    const auto string = [&] {
      std::string_view s;
      std::string held;
      EXPECT_TRUE(in.take_string(s, held, SIZE_MAX));
      return std::string(s);
    };
    while (in.take_byte(type) && type != 0xff) {
      if (type == 0xfa) {
        string();
        string();
      } else if (type == 0xfe) {
        EXPECT_TRUE(in.take_length(database));
      } else if (type == 0xfb) {
        EXPECT_TRUE(in.take_length(n) && in.take_length(n));
      } else {
        EXPECT_EQ(type, rdb::kString);
        names[{database, string()}]++;
        string();
      }
    }
    EXPECT_EQ(type, 0xff);
    EXPECT_TRUE(in.take_raw(crc));
    EXPECT_EQ(crc, rdb::crc64(0, std::string_view(file).substr(0, file.size() - 8)));
    EXPECT_TRUE(in.rest.empty());
    return names;
  }
  std::vector<std::string> names(size_t count) {
    std::vector<std::string> out;
    for (size_t i = 0; i < count; i++) out.push_back(cat("key", i));
    return out;
  }
  // Of one stripe, so many that it is walked in several steps.
  std::vector<std::string> names_of_a_stripe(size_t count) {
    std::vector<std::string> out;
    for (size_t i = 0; out.size() < count; i++) {
      const std::string name = cat("key", i);
      if (stripe_of(session->ns->hash(name)) == 7) out.push_back(name);
    }
    return out;
  }
  void set_all(const std::vector<std::string>& keys, Session& s) {
    for (auto& key : keys) EXPECT_EQ(answer(s, {"SET", key, std::string(300, 'v')}).text(), "+OK");
  }
};

TEST_F(ExportTest, WhatStaysIsInItOnceWhereverASwapPutsIt) {
  const auto keys = names(2000);
  const auto other = new_session();
  set_all(keys, *other);
  wish_file();
  BareReply reply;
  int sends = 0;
  reply.before_send = [&] {
    sends++;
    if (sends > 2) {
      EXPECT_EQ(answer(*other, {"SWAPDB", "0", "5"}).text(), "+OK");
    }
    EXPECT_EQ(answer(*other, {"SET", cat("new", sends), "x"}).text(), "+OK");
    return true;
  };
  EXPECT_EQ(sync(reply, *session), "");
  EXPECT_GT(sends, 5);
  auto found = names_in(reply.sent);
  for (auto& key : keys) EXPECT_EQ((found[{0, key}]), 1) << key;
  for (auto& [name, count] : found) EXPECT_LE(count, 1) << name.second;
}

// Redis refuses a file that has a key twice.
TEST_F(ExportTest, ANameIsInItOnceThoughItsStripeWasEmptiedAndFilledAgain) {
  const auto keys = names_of_a_stripe(1500);
  const auto other = new_session();
  for (const bool flushes : {false, true}) {
    set_all(keys, *other);
    session = new_session();
    wish_file();
    BareReply reply;
    int sends = 0;
    reply.before_send = [&] {
      if (++sends != 3) return true;
      if (flushes) {
        EXPECT_EQ(answer(*other, {"FLUSHDB"}).text(), "+OK");
      } else {
        for (auto& key : keys) EXPECT_EQ(answer(*other, {"DEL", key}).text(), ":1");
      }
      // Few: what the walk comes to next spans what it has passed.
      set_all({keys.begin(), keys.begin() + 50}, *other);
      return true;
    };
    EXPECT_EQ(sync(reply, *session), "");
    EXPECT_GT(sends, 3);
    for (auto& [name, count] : names_in(reply.sent)) EXPECT_EQ(count, 1) << name.second;
  }
}

TEST_F(ExportTest, ItEndsWithItsClient) {
  set_all(names(2000), *session);
  wish_file();
  BareReply reply;
  int sends = 0;
  reply.before_send = [&] { return ++sends < 4; };
  EXPECT_EQ(sync(reply, *session), "");
  EXPECT_EQ(sends, 4);
  EXPECT_TRUE(session->close_after_reply);
}

TEST_F(ExportTest, WhoMayNotReadAllGetsNone) {
  wish_file();
  const auto as = [this](const std::string& statements) {
    session->principal = principal_with(statements);
    BareReply reply;
    return sync(reply, *session);
  };
  const std::string syncs = allow("resp:replconf resp:sync", "db15");
  const std::string rules = allow("resp:replconf resp:sync", "");
  EXPECT_EQ(as(allow("s3:GetObject", "*")),
            "-NOPERM this user has no permissions to run the 'sync' command");
  EXPECT_EQ(as(cat(allow("s3:GetObject", "*"), ",", syncs)),
            "-NOPERM this user has no permissions to run the 'sync' command");
  const std::string denied = cat(rules, ",", deny("s3:GetObject", "db1/secret"));
  EXPECT_EQ(as(denied),
            "-NOPERM this user has no permissions to access one of the keys used as arguments");
  EXPECT_EQ(as(cat(rules, ",", allow("s3:GetObject", "*"))), "");
}

}  // namespace
}  // namespace cairn::kv
