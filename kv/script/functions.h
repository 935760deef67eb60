// Libraries of functions: what FUNCTION LOAD brings and FCALL calls. They are records of the store,
// in the namespace of the system, each under its name; every engine compiles them for itself when
// it is first asked after they have changed. What a function keeps in memory between its calls is
// that engine's own.
//
// Threads: any.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/engine/command.h"
#include "kv/engine/server.h"

namespace cairn::kv {

struct LibraryFunction {
  std::string name;
  std::optional<std::string> description;
  uint32_t flags = 0;
  int callback = 0;  // in the registry of the state that loads it, if it is kept there
};

struct Library {
  std::string name;
  std::string source;
  std::vector<LibraryFunction> functions;
  bool keep = false;      // the callbacks
  bool accepted = false;  // it was loaded before
  int64_t deadline_ns = 0;
  int64_t took_ns = 0;      // to say what functions it has
  uint64_t kept_bytes = 0;  // in memory, from then on
  // Why the store has it and nobody can use it: it can be listed, dumped and deleted.
  std::string broken;
};
using LibraryPtr = std::shared_ptr<const Library>;

class Functions final : public Server::Part {
 public:
  static constexpr uint64_t kBytesMax = 4 << 20;        // of all sources
  static constexpr int64_t kLoadNsMax = 1'000'000'000;  // each thread loads all of them in one go
  static constexpr uint64_t kKeptPart = 2;  // of a script's memory they keep at most half
  static constexpr std::string_view kPrefix =
      "function/";  // of their names in the system's namespace

  struct Set {
    uint64_t version = 1;
    std::map<std::string, LibraryPtr, std::less<>> libraries;
    uint64_t bytes = 0, kept_bytes = 0;
    size_t functions = 0;
  };
  static Functions& of(Server& server);

  std::shared_ptr<const Set> set() const {
    MutexLock lock(mutex_);
    return set_;
  }
  void replace(std::map<std::string, LibraryPtr, std::less<>> libraries) {
    auto next = std::make_shared<Set>();
    for (auto& [name, library] : libraries) {
      next->bytes += library->source.size();
      next->kept_bytes += library->kept_bytes;
      next->functions += library->functions.size();
    }
    next->libraries = std::move(libraries);
    MutexLock lock(mutex_);
    next->version = set_->version + 1;
    set_ = std::move(next);
  }
  Counts counts() const override {
    const auto now = set();
    return {now->libraries.size(), now->functions, now->bytes, now->kept_bytes};
  }
  // Whether those that the store had at its start are among them.
  bool loaded() const { return loaded_.load(std::memory_order_acquire); }
  void set_loaded(std::map<std::string, LibraryPtr, std::less<>> libraries) {
    replace(std::move(libraries));
    loaded_.store(true, std::memory_order_release);
  }
  Mutex changing;  // whoever changes them has it

 private:
  std::atomic<bool> loaded_{false};
  mutable Mutex mutex_;
  std::shared_ptr<const Set> set_ ABSL_GUARDED_BY(mutex_) = std::make_shared<Set>();
};

// All that there are. Null: the command answered why not, or begins again (Context::again).
std::shared_ptr<const Functions::Set> known_libraries(Context& c);

}  // namespace cairn::kv
