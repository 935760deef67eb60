// Lines that the gateway writes through spdlog go where the store's go, in the same form.
#pragma once

#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <mutex>

#include "core/base/report.h"

namespace cairn {

class ReportSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit ReportSink(const Reporter& reporter) : reporter_(reporter) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const Severity severity = message.level >= spdlog::level::err    ? Severity::kError
                              : message.level == spdlog::level::warn ? Severity::kWarning
                              : message.level == spdlog::level::info ? Severity::kInfo
                                                                     : Severity::kDebug;
    reporter_.write(severity, "cairnd", {message.payload.data(), message.payload.size()});
  }
  void flush_() override {}

  const Reporter& reporter_;
};

inline void log_through(const Reporter& reporter) {
  auto logger = std::make_shared<spdlog::logger>("cairnd", std::make_shared<ReportSink>(reporter));
  logger->set_level(spdlog::level::debug);  // the reporter leaves out what is not wanted
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace cairn
