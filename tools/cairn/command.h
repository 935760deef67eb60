// What the commands of the tool share.
//
// Threads: the main one's.
#pragma once

#include <google/protobuf/message.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "tools/cairn/client.h"

namespace cairn::cli {

struct Common {
  Target target;
  bool json = false;
};

// Says what failed, and gives the exit code.
int fail(const Common& o, const grpc::Status& status, const std::string& what);
// Milliseconds since 1970 as people read them, in UTC.
std::string iso_time(int64_t ms);
void print_json(const google::protobuf::Message& message);

// What a command has when it runs: `ready` looks up the credentials, `rc` is the exit code.
struct Running {
  Common& common;
  std::function<void()> ready;
  int& rc;
};
// user, group, policy, key.
void add_user_commands(CLI::App& app, const Running& running);

}  // namespace cairn::cli
