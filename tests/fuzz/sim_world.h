// A simulated world for targets that read a disk: one thread, no real time, files that the target
// fills as it likes.
#pragma once

#include <absl/functional/function_ref.h>

#include <boost/asio/co_spawn.hpp>
#include <memory>
#include <optional>
#include <string>

#include "tests/fuzz/fuzz.h"
#include "tests/sim/sim_volume.h"

namespace cairn::fuzz {

struct SimWorld {
  sim::Disk disk;
  sim::Rng rng{3};
  asio::io_context context{1};
  sim::Scheduler scheduler{context, rng};
  sim::SimClock clock{scheduler};
  sim::SimVolume volume{disk, scheduler, rng};

  // The file holds these bytes, durably.
  void put_file(FileId file, std::string_view bytes) {
    auto made = std::make_shared<sim::Disk::File>();
    made->view.assign(as_bytes(bytes).begin(), as_bytes(bytes).end());
    made->durable = made->view;
    made->allocate(0, bytes.size(), true);
    made->linked = true;
    disk.files[file] = std::move(made);
  }

  // `meanwhile` is called again and again until it ends.
  template <class T>
  T run(
      awaitable<T> work, absl::FunctionRef<void()> meanwhile = [] {}) {
    std::optional<T> result;
    asio::co_spawn(context, std::move(work), [&](std::exception_ptr error, T value) {
      law(error == nullptr, "no exception leaves a coroutine");
      result.emplace(std::move(value));
    });
    scheduler.run_until([&] {
      meanwhile();
      return result.has_value();
    });
    law(result.has_value(), "the coroutine ends");
    return std::move(*result);
  }
};

}  // namespace cairn::fuzz
