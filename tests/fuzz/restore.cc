// Bodies of DUMP payloads, with the version and the checksum that they need to be believed: RESTORE
// makes a value of them or says why not, and what it makes goes through DUMP and RESTORE again as
// the same. Long ones are read in turns, here from 1 KiB on.
//
//   input = body
#include "kv/types/rdb_format.h"
#include "tests/fuzz/kv_world.h"

namespace cairn::fuzz {
namespace {

std::string payload_of(std::string_view body) {
  std::string out(body);
  out.append(kv::rdb::footer(kv::rdb::kVersionMax, kv::rdb::crc64(0, body)));
  return out;
}

std::string ask(KvWorld& world, kv::Session& session, const std::vector<std::string>& words) {
  resp::Output output(session.resp);
  world.answer(session, words, output);
  std::string text = world.sent(output, session.resp);
  std::string_view rest = text;
  law(take_value(rest) && rest.empty(), "one answer, whole");
  return text;
}

// The bytes of a bulk string.
std::string bytes_of(std::string_view answer) {
  law(answer[0] == '$', "DUMP answers bytes");
  const size_t begin = answer.find("\r\n") + 2;
  return std::string(answer.substr(begin, answer.size() - begin - 2));
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  KvWorld world;
  const auto session = world.new_session();
  const std::string made =
      ask(world, *session, {"RESTORE", "k", "0", payload_of(text_of(data, size))});
  law(made == "+OK\r\n" || made[0] == '-', "a value, or a refusal");
  if (ask(world, *session, {"EXISTS", "k"}) != ":1\r\n") return 0;
  law(made[0] == '+', "what was refused is not there");
  const std::string first = bytes_of(ask(world, *session, {"DUMP", "k"}));
  law(ask(world, *session, {"RESTORE", "again", "0", first}) == "+OK\r\n",
      "what DUMP says can be restored");
  law(ask(world, *session, {"TYPE", "again"}) == ask(world, *session, {"TYPE", "k"}),
      "as the type that it was");
  const std::string second = bytes_of(ask(world, *session, {"DUMP", "again"}));
  law(second.size() == first.size(), "and as long as it was");
  return 0;
}
