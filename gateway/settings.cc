#include "gateway/settings.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "gateway/config_file.h"
#include "kv/commands/config.h"

namespace cairn {
namespace {

// What CONFIG calls by another name than the flag that says it.
constexpr std::string_view kByFlag[] = {"appendfsync", "loglevel", "maxmemory", "maxmemory-policy"};

bool has_line(std::string_view name) {
  const auto is_it = [name](const auto& p) { return p.name == name; };
  return std::find(std::begin(kByFlag), std::end(kByFlag), name) != std::end(kByFlag) ||
         std::any_of(parameters().begin(), parameters().end(), is_it);
}

// Adds it as a text.
Status add_line(std::vector<Setting>& lines, std::string_view flag, std::string_view text,
                bool is_default, bool is_secret = false) {
  const auto word = toml_string(text);
  if (!word) {
    return absl::FailedPreconditionError(
        cat(flag, " is no UTF-8, of which the file has to be made"));
  }
  lines.push_back({flag, *word, is_default, is_secret});
  return absl::OkStatus();
}

}  // namespace

Settings::Settings(const Options& options, kv::Server& server)
    : options_(options), server_(server) {
  for (const Parameter& p : parameters()) {
    standard_[p.name] = kv::get_parameter(server_, p.name);
  }
}

Status Settings::take() {
  for (const Parameter& p : parameters()) {
    const auto given = options_.parameters.find(p.name);
    if (given == options_.parameters.end()) continue;
    std::string value = given->second;
    if (!p.secret && standard_[p.name].empty() && value == "none") value.clear();
    if (kv::set_parameter(server_, p.name, value)) continue;
    const std::string shown = p.secret ? "what was given" : cat("'", value, "'");
    return absl::InvalidArgumentError(
        cat(options_.named(p.name), ": ", shown, " is not ", p.allowed));
  }
  for (std::string_view name : kv::settings()) {
    begun_[std::string(name)] = kv::get_parameter(server_, name);
  }
  return absl::OkStatus();
}

Status Settings::rewrite() {
  for (std::string_view name : kv::settings()) {
    if (has_line(name) || kv::get_parameter(server_, name) == begun_.find(name)->second) continue;
    return absl::FailedPreconditionError(
        cat(name, " is not what it was at the start, and is no line of the file"));
  }
  const Options plain;
  const std::string fsync = kv::get_parameter(server_, "appendfsync");
  const std::string level = kv::get_parameter(server_, "loglevel");
  const uint64_t memory = server_.store.memory_bytes();
  if (memory != 0 && memory < kMemoryMin) {
    return absl::FailedPreconditionError(
        cat("maxmemory is ", memory, ", and a server starts with ", kMemoryMin, " at least"));
  }
  std::vector<Setting> lines;
  Status status = add_line(lines, "memory", cat(memory), memory == plain.memory_bytes);
  status.Update(add_line(lines, "maxmemory-policy", kv::get_parameter(server_, "maxmemory-policy"),
                         server_.store.memory().policy() == plain.policy));
  status.Update(add_line(lines, "durability", fsync == "no" ? "off" : fsync,
                         server_.durability == plain.durability));
  const std::string_view said = level == "verbose" ? level : name_of(server_.log_level());
  status.Update(add_line(lines, "log-level", said, server_.log_level() == plain.log_level));
  for (const Parameter& p : parameters()) {
    const std::string value = kv::get_parameter(server_, p.name);
    const bool is_none = value.empty() && !p.secret;
    status.Update(add_line(lines, p.name, is_none ? "none" : value,
                           value == standard_.find(p.name)->second, p.secret));
  }
  if (!status.ok()) return status;
  return rewrite_config_file(options_.config_file, lines);
}

}  // namespace cairn
