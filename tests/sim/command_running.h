// What runs in one life: a store over the simulated volume, the engine, and the connections.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "tests/sim/command_life.h"

namespace cairn::sim {

struct CommandWorld::Life {
  Life(Disk& disk, Rng& rng, const Faults& faults, const StoreOptions& options, int64_t now_ms)
      : scheduler(context, rng), clock(scheduler), volume(disk, scheduler, rng, faults) {
    scheduler.set_now_ms(now_ms);
    store = std::make_unique<Store>(volume, clock, pool, executors, options);
  }

  asio::io_context context{1};
  Scheduler scheduler;
  SimClock clock;
  SimVolume volume;
  ChunkPool pool;
  // Twice, so that recovery reads segments in any order.
  const std::vector<Executor> executors{2, Executor(context.get_executor())};
  Users users{"root", "password", true};
  net::Guests guests;
  kv::Bell bell{context.get_executor()};
  std::unique_ptr<Store> store;
  std::unique_ptr<kv::Server> server;
  std::vector<std::unique_ptr<kv::Engine>> engines;
  std::vector<Client> clients;  // all that there were

  static const kv::Table& table() {
    static const kv::Table table;
    return table;
  }

  void start_engine(bool always, std::function<void(std::string_view)> report) {
    server = std::make_unique<kv::Server>(*store, users);
    server->auth_required = false;
    server->shutdown = [] {};
    server->report = std::move(report);
    server->durability = always ? Durability::kAlways : Durability::kEverySec;
    engines.push_back(std::make_unique<kv::Engine>(*server, table(), engines));
  }

  // Coroutines that were cut off go before what they point to. Who reads a value in extents then is
  // never woken, and never destroyed.
  void end() {
    for (int i = 0; i < 50; i++) {
      for (Client& c : clients) {
        if (c.session != nullptr) c.session->unblock_all();
        c.wire->drop();
      }
      scheduler.clear();
      store->drop_waiters();
      context.restart();
      context.poll();
    }
    clients.clear();
    engines.clear();
    server.reset();
    store.reset();
  }
};

}  // namespace cairn::sim
