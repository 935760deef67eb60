// The command engine over a simulated store, without a wire: a test runs commands one by one and
// sees each answer as text. One thread; what waits is driven until it is done.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "kv/engine/engine.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "tests/sim/sim_volume.h"

namespace cairn::kv {

// An answer as a list of values; an aggregate stands before its members, with their number.
class RecordedReply : public Reply {
 public:
  struct Value {
    std::string text;
    size_t members = 0;
  };
  std::vector<Value> values;

  // How many whole values there are; npos if the last one lacks something.
  size_t count() const {
    size_t n = 0;
    for (size_t at = 0; at < values.size(); n++) {
      for (size_t due = 1; due > 0; due--, at++) {
        if (at >= values.size()) return std::string::npos;
        due += values[at].members;
      }
    }
    return n;
  }
  std::string text() const {
    std::string out;
    for (auto& v : values) append(out, out.empty() ? "" : " ", v.text);
    return out;
  }

  // Makes the values of series, which must wait until the command has given its locks back.
  void drain() {
    for (; !series_.empty(); series_.pop_back()) {
      auto& [at, series] = series_.back();
      RecordedReply made;
      while (series->next(made)) {
      }
      values.insert(values.begin() + static_cast<ptrdiff_t>(at), made.values.begin(),
                    made.values.end());
    }
  }

  Mark mark() const override { return {values.size(), series_.size(), due_, errors_}; }
  void cut(const Mark& mark) override {
    values.resize(mark.text);
    series_.resize(mark.streams);
    due_ = mark.due;
    errors_ = mark.errors;
  }

 private:
  void add(std::string text, size_t members = 0) { values.push_back({std::move(text), members}); }
  void write_simple(std::string_view text) override { add(cat("+", text)); }
  void write_error(std::string_view text) override { add(cat("-", text)); }
  void write_integer(int64_t value) override { add(cat(":", value)); }
  void write_real(double value) override { add(std::to_string(value)); }
  void write_boolean(bool value) override { add(value ? "true" : "false"); }
  void write_bulk(std::string_view bytes) override { add(std::string(bytes)); }
  void write_verbatim(std::string_view text) override { add(std::string(text)); }
  void write_stream(std::unique_ptr<BlobReader> blob) override { add(cat("blob", blob->left())); }
  void write_notice(std::string_view what, std::optional<std::string_view> name,
                    size_t count) override {
    add(cat("[", what, " ", name ? *name : "null", " ", count, "]"));
  }
  void write_series(std::unique_ptr<Series> series) override {
    series_.emplace_back(values.size(), std::move(series));
  }
  void write_null() override { add("null"); }
  void write_null_array() override { add("null"); }
  void write_array(size_t count) override { add(cat("*", count), count); }
  void write_map(size_t pairs) override { add(cat("%", pairs), 2 * pairs); }
  void write_set(size_t count) override { add(cat("~", count), count); }

  std::vector<std::pair<size_t, std::unique_ptr<Series>>> series_;  // each before this value
};

struct EngineTest : testing::Test {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};
  ChunkPool pool;
  Users users{"root", "password", true};
  std::unique_ptr<Store> store;
  std::unique_ptr<Server> server;
  const Table table;
  std::vector<std::unique_ptr<Engine>> engines;
  std::shared_ptr<Session> session;
  std::vector<std::string> reports;  // bugs that the engine caught
  bool ends_waits = false;           // of commands that block: nobody else comes

  Status finish(awaitable<Status> work) {
    std::optional<Status> result;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { result = co_await std::move(work); }, asio::detached);
    scheduler.run_until([&] { return result.has_value(); });
    return *result;
  }

  void SetUp() override {
    StoreOptions options;
    options.segment_bytes = 1 << 20;
    options.extent_threshold = 16 << 10;
    options.random_seed = 5;
    options.collections = collection_types();
    store = std::make_unique<Store>(volume, clock, pool,
                                    std::vector<Executor>{context.get_executor()}, options);
    ASSERT_TRUE(finish(store->open()).ok());
    server = std::make_unique<Server>(*store, users);
    server->auth_required = false;
    server->shutdown = [] {};
    server->report = [this](std::string_view text) { reports.emplace_back(text); };
    engines.push_back(std::make_unique<Engine>(*server, table, engines));
    session = new_session();
  }
  void TearDown() override {
    EXPECT_EQ(reports, std::vector<std::string>());
    EXPECT_TRUE(finish(store->close()).ok());
    session.reset();
    store->drop_waiters();
    store.reset();
  }

  std::shared_ptr<Session> new_session() {
    auto s = std::make_shared<Session>(*store, server->sessions.next_id(), "here:1", "here:2");
    s->principal = users.default_user();
    return s;
  }

  RecordedReply answer(Session& s, const std::vector<std::string>& words) {
    Engine& engine = *engines.front();
    RecordedReply reply;
    Request request(*store);
    for (auto& w : words) request.args.add_copy(w);
    engine.prepare(s, request);
    auto outcome = engine.run(s, request, reply);
    if (!outcome.deferred) {
      reply.drain();
      return reply;
    }
    std::optional<Status> done;
    const auto work = [&]() -> awaitable<Status> {
      if (outcome.cold) outcome = co_await engine.run_cold(s, request.args, reply);
      if (outcome.deferred) (void)co_await engine.run_deferred(s, request.args, reply);
      co_return absl::OkStatus();
    };
    asio::co_spawn(
        context, [&]() -> awaitable<void> { done = co_await work(); }, asio::detached);
    scheduler.run_until([&] {
      if (ends_waits && s.blocked) s.unblock(Session::Unblock::kTimeout);
      return done.has_value();
    });
    EXPECT_TRUE(done->ok());
    reply.drain();
    return reply;
  }
  std::string run(const std::vector<std::string>& words) { return answer(*session, words).text(); }

  void pass_ms(int64_t ms) {
    const Status passed = finish([&]() -> awaitable<Status> {
      co_await clock.sleep_ms(ms);
      co_return absl::OkStatus();
    }());
    EXPECT_TRUE(passed.ok());
  }
  // The disk has room for small changes, and none for a transaction that is larger than a segment.
  void make_scarce() {
    constexpr uint64_t kLeftBytes = 7 << 20;
    disk.capacity_bytes = disk.used_bytes() + kLeftBytes;
    pass_ms(10'000);  // until the log looks
  }
  // Sends the values that can go out of memory.
  void make_cold() {
    store->set_memory_bytes(1);
    scheduler.run_until([&] { return store->has_cold(); });
    store->set_memory_bytes(0);
    scheduler.run_until([&] { return !store->memory().overrun(); });
  }
};

}  // namespace cairn::kv
