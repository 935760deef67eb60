#include "tools/cairn/command.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <ctime>

namespace cairn::cli {

int fail(const Common& o, const grpc::Status& status, const std::string& what) {
  if (status.error_code() == grpc::UNAUTHENTICATED) {
    std::fprintf(stderr, "cairn: password refused (from %s)\n", o.target.password_from.c_str());
  } else if (is_file_error(status)) {
    std::fprintf(stderr, "cairn: %s\n", status.error_message().c_str());
  } else {
    std::fprintf(stderr, "cairn: %s: %s\n", what.c_str(), status.error_message().c_str());
  }
  return exit_of(status);
}

std::string iso_time(int64_t ms) {
  const time_t seconds = static_cast<time_t>(ms / 1000);
  tm parts{};
  char text[32] = "";
  if (::gmtime_r(&seconds, &parts) == nullptr ||
      std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts) == 0) {
    return std::to_string(ms);
  }
  const std::string fraction = std::to_string(1000 + ms % 1000);
  return std::string(text) + "." + fraction.substr(1) + "Z (" + std::to_string(ms) + " ms)";
}

void print_json(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  (void)google::protobuf::util::MessageToJsonString(message, &text, options);
  std::printf("%s\n", text.c_str());
}

}  // namespace cairn::cli
