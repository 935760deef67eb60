// The command engine over a simulated store, for targets that run commands: each input has a world
// of its own, so that what it breaks is broken by it alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/text.h"
#include "gateway/resp/output.h"
#include "kv/engine/engine.h"
#include "kv/types/hash.h"
#include "kv/types/type.h"
#include "tests/fuzz/sim_world.h"
#include "tests/sim/replies.h"

namespace cairn::fuzz {

struct KvWorld : SimWorld {
  static constexpr uint64_t kExtentThreshold = 1 << 10;

  Users users{"root", "password", true};
  std::unique_ptr<Store> store;
  std::unique_ptr<kv::Server> server;
  std::vector<std::unique_ptr<kv::Engine>> engines;

  explicit KvWorld(uint64_t extent_threshold = kExtentThreshold,
                   uint64_t segment_bytes = 256 << 10) {
    StoreOptions options;
    options.segment_bytes = segment_bytes;
    options.extent_threshold = extent_threshold;
    options.random_seed = 5;
    options.collections = kv::collection_types();
    store = std::make_unique<Store>(volume, clock, pool(),
                                    std::vector<Executor>{context.get_executor()}, options);
    law(run(store->open()).ok(), "an empty store opens");
    server = std::make_unique<kv::Server>(*store, users);
    server->auth_required = false;
    server->shutdown = [] {};
    server->report = [](std::string_view text) {
      std::fprintf(stderr, "%s\n", std::string(text).c_str());
      law(false, "the engine found no bug of a command");
    };
    engines.push_back(std::make_unique<kv::Engine>(*server, table(), engines));
  }
  ~KvWorld() {
    law(run(store->close()).ok(), "the store closes");
    store->drop_waiters();
  }

  kv::Engine& engine() { return *engines.front(); }
  static const kv::Table& table() {
    static const kv::Table table;
    return table;
  }
  static ChunkPool& pool() {
    static ChunkPool pool;
    return pool;
  }

  std::shared_ptr<kv::Session> new_session() {
    auto s = std::make_shared<kv::Session>(*store, server->sessions.next_id(), "here:1", "here:2");
    s->principal = users.default_user();
    return s;
  }

  // Runs one command to its end, whatever it waits for.
  void answer(kv::Session& session, const std::vector<std::string>& words, resp::Output& output) {
    kv::Request request(*store);
    for (auto& w : words) request.args.add_copy(w);
    engine().prepare(session, request);
    auto outcome = engine().run(session, request, output);
    if (outcome.cold) outcome = run(engine().run_cold(session, request.args, output));
    if (!outcome.deferred) return;
    const auto rest = [&]() -> awaitable<bool> {
      (void)co_await engine().run_deferred(session, request.args, output);
      co_return true;
    };
    run(rest(), [&] {  // nobody else comes, for whom it could wait
      if (session.blocked) session.unblock(kv::Session::Unblock::kTimeout);
    });
  }
  void answer(kv::Session& session, const std::vector<std::string>& words) {
    resp::Output ignored(session.resp);
    answer(session, words, ignored);
  }

  void pass_ms(int64_t ms) {
    run([&]() -> awaitable<bool> {
      co_await clock.sleep_ms(ms);
      co_return true;
    }());
  }
  // Sends a value out of memory, with what else lies in its stripe. A search through all stripes
  // took nine tenths of the time of an input.
  void make_cold(std::string_view key) {
    const Lsn newest(store->log().tail().value() - 1);
    law(run(store->log().wait_durable(newest)).ok(), "what was written becomes durable");
    Namespace& ns = store->database(0);
    const KeyHash hash = ns.hash(key);
    StripeLocks lock(*store, hash);
    for (int i = 0; i < 1000 && !ns.index->find(key, hash)->is_cold(); i++) {
      store->memory().shed(ns, stripe_of(hash));
    }
    law(ns.index->find(key, hash)->is_cold(), "a value leaves memory");
  }

  // What a client gets: the output with all that would be streamed in its place.
  std::string sent(resp::Output& output, const int& version) {
    std::string out;
    size_t at = 0;
    for (auto& s : output.streams()) {
      out += std::string_view(output.text()).substr(at, s.at - at);
      at = s.at;
      if (s.blob != nullptr) {
        auto bytes = run(s.blob->read_all(64 << 20));
        law(bytes.ok(), "a value that was answered can be read");
        out += *bytes;
      } else {
        resp::Output piece(version);
        while (s.series->next(piece)) {
        }
        law(!s.series->lost(), "a series is whole");
        out += piece.text();
      }
      s = {};
    }
    out += std::string_view(output.text()).substr(at);
    output.clear();
    return out;
  }
};

using sim::take_value;

}  // namespace cairn::fuzz
