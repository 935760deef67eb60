// What fuzz targets share: laws that hold in every build, and bodies and coroutines without a loop.
#pragma once

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "core/base/types.h"
#include "gateway/http/message.h"

namespace cairn::fuzz {

// A law that the input broke: ends the process, so that libFuzzer keeps the input.
inline void law(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken law: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Takes numbers off the front of an input.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(text_of(data, size)) {}
  uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto b = static_cast<uint8_t>(rest_[0]);
    rest_.remove_prefix(1);
    return b;
  }
  // So many bytes, little-endian.
  uint32_t number(int bytes) {
    uint32_t n = 0;
    for (int i = 0; i < bytes; i++) n |= uint32_t{byte()} << (8 * i);
    return n;
  }
  std::string_view rest() const { return rest_; }
  std::string_view take(size_t n) {
    const std::string_view part = rest_.substr(0, n);
    rest_.remove_prefix(part.size());
    return part;
  }

 private:
  std::string_view rest_;
};

// A body that comes in pieces of `step` bytes.
class TextBody final : public http::Body {
 public:
  TextBody(std::string_view text, size_t step) : rest_(text), step_(std::max<size_t>(1, step)) {}
  awaitable<StatusOr<size_t>> read(MutableBytes into) override {
    const size_t n = std::min({into.size(), rest_.size(), step_});
    std::copy_n(rest_.data(), n, reinterpret_cast<char*>(into.data()));
    rest_.remove_prefix(n);
    co_return n;
  }
  awaitable<Status> ready() override { co_return absl::OkStatus(); }

 private:
  std::string_view rest_;
  const size_t step_;
};

// Runs a coroutine that waits for nothing outside of itself.
template <class T>
T run(awaitable<T> work) {
  static asio::io_context context(1);
  context.restart();
  std::optional<T> result;
  asio::co_spawn(context, std::move(work), [&](std::exception_ptr error, T value) {
    law(error == nullptr, "no exception leaves a coroutine");
    result.emplace(std::move(value));
  });
  context.run();
  law(result.has_value(), "the coroutine ends");
  return std::move(*result);
}

}  // namespace cairn::fuzz
