// What scripts make of bytes that clients send: texts of JSON, MessagePack and struct, patterns,
// formats, sources of scripts, which run too, and what FUNCTION RESTORE takes. Nothing breaks, each
// has one answer, and what was read is the same when it is written and read again.
//
//   input = u8 what is done with it  u16 size  first word  second word
#include "kv/script/function_dump.h"
#include "tests/fuzz/kv_world.h"

namespace cairn::fuzz {
namespace {

// Each answers 1, or an error where a law is broken; what the libraries refuse is no matter.
// The second time: numbers lose digits, and what is too deep is cut, the first time.
constexpr std::string_view kSame = R"(
local function same(a, b)
  if type(a) ~= type(b) then return false end
  if type(a) ~= 'table' then return a == b or (a ~= a and b ~= b) end
  for k, v in pairs(a) do
    if type(k) == 'table' then return true end
    if not same(v, b[k]) then return false end
  end
  for k in pairs(b) do
    if type(k) == 'table' then return true end
    if a[k] == nil then return false end
  end
  return true
end
)";
constexpr std::string_view kJson = R"(
if #ARGV[2] > 0 then cjson.decode_invalid_numbers(false) cjson.decode_max_depth(#ARGV[2]) end
pcall(cjson.encode, ARGV[1])
local fine, read = pcall(cjson.decode, ARGV[1])
if not fine then return 1 end
local fine, text = pcall(cjson.encode, read)
if not fine then return 1 end
cjson.decode_max_depth(1000)
local once = cjson.decode(text)
if not same(once, cjson.decode(cjson.encode(once))) then return {err = 'JSON'} end
return 1
)";
constexpr std::string_view kMessagePack = R"(
pcall(cmsgpack.unpack_limit, ARGV[1], #ARGV[2], #ARGV[2])
local fine, read = pcall(cmsgpack.unpack_one, ARGV[1])
if not fine or #ARGV[1] == 0 then return 1 end
local values = {cmsgpack.unpack(cmsgpack.pack(select(2, cmsgpack.unpack_one(ARGV[1]))))}
local once = values[1]
if not same(once, (cmsgpack.unpack(cmsgpack.pack(once)))) then return {err = 'MessagePack'} end
return 1
)";
constexpr std::string_view kStruct = R"(
local function last(fine, ...) return fine and select('#', ...) > 0 and select(select('#', ...), ...) end
local at = last(pcall(struct.unpack, ARGV[1], ARGV[2]))
local fine, size = pcall(struct.size, ARGV[1])
if at and fine and at ~= size + 1 then return {err = 'struct'} end
if at and (at < 1 or at > #ARGV[2] + 1) then return {err = 'struct'} end
pcall(struct.pack, ARGV[1], 1, 2.5, ARGV[2], -1, '', 2 ^ 63)
return 1
)";
constexpr std::string_view kPatterns = R"(
local fine, from, to = pcall(string.find, ARGV[1], ARGV[2])
if fine and from and (from < 1 or to > #ARGV[1] or to < from - 1) then return {err = 'find'} end
pcall(string.match, ARGV[1], ARGV[2])
pcall(string.gsub, ARGV[1], ARGV[2], ARGV[1])
pcall(string.gsub, ARGV[1], ARGV[2], {a = 1})
pcall(function() for a, b in string.gmatch(ARGV[1], ARGV[2]) do if #a < 0 then return b end end end)
return 1
)";
constexpr std::string_view kFormat = R"(
pcall(string.format, ARGV[1], ARGV[2], 1, -2.5, ARGV[2], 2 ^ 70)
pcall(string.format, ARGV[1], 1, ARGV[2])
pcall(string.rep, ARGV[1], #ARGV[2])
pcall(tonumber, ARGV[1], #ARGV[2])
pcall(loadstring, ARGV[1], ARGV[2])
return 1
)";

// As at the end of what FUNCTION DUMP answers.
uint64_t checksum(std::string_view bytes) {
  uint64_t crc = 0;
  for (char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1) * 0x95AC9329AC4BC9B5ULL;
  }
  return crc;
}

// Made once: what scripts see of each other is tested elsewhere.
struct World {
  KvWorld kv;
  std::shared_ptr<kv::Session> session = kv.new_session();

  std::string answer(const std::vector<std::string>& words) {
    resp::Output output(session->resp);
    kv.answer(*session, words, output);
    std::string text = kv.sent(output, session->resp);
    std::string_view rest = text;
    law(take_value(rest) && rest.empty(), "a command has exactly one answer");
    return text;
  }
  void script(std::string_view source, const std::string& first, const std::string& second) {
    const std::string text = answer({"EVAL", cat(kSame, source), "0", first, second});
    // The third: it took too long, or too much memory.
    const bool holds = text == ":1\r\n" || text.find("nothing of it was done") != text.npos;
    if (!holds) std::fprintf(stderr, "%s\n", text.substr(0, 300).c_str());
    law(holds, "what was read is written as it was");
  }
  void restore(std::string_view body) {
    bool bad;
    (void)kv::read_libraries(body, bad);
    std::string dump(body);
    for (int shift = 0; shift < 16; shift += 8) dump += static_cast<char>(10 >> shift);
    const uint64_t crc = checksum(dump);
    for (int shift = 0; shift < 64; shift += 8) dump += static_cast<char>(crc >> shift & 0xFF);
    const auto libraries = kv::read_libraries(dump, bad);
    law(libraries.has_value(), "the checksum is Redis's");
    const std::vector<std::string_view> sources(libraries->begin(), libraries->end());
    law(kv::read_libraries(kv::dump_libraries(sources), bad) == libraries, "a dump is read again");
    if (answer({"FUNCTION", "RESTORE", dump, "FLUSH"}) != "+OK\r\n") return;
    const std::string whole = answer({"FUNCTION", "DUMP"});
    const size_t begin = whole.find("\r\n") + 2;
    const std::string again = whole.substr(begin, whole.size() - begin - 2);
    law(answer({"FUNCTION", "RESTORE", again, "FLUSH"}) == "+OK\r\n", "a dump can be restored");
    (void)answer({"FUNCTION", "FLUSH"});
  }
  // A library as it is, and as the body of a function, which is called.
  void library(const std::string& source, const std::string& argument) {
    (void)answer({"FUNCTION", "LOAD", source});
    (void)answer({"FUNCTION", "LIST"});
    (void)answer({"FCALL", argument, "0"});
    const std::string made = cat(
        "#!lua name=made\nredis.register_function('f', function(KEYS, ARGV)\n", source, "\nend)");
    (void)answer({"FUNCTION", "LOAD", "REPLACE", made});
    (void)answer({"FCALL", "f", "1", "key", argument});
    (void)answer({"FCALL_RO", "f", "0", argument});
    (void)answer({"FUNCTION", "FLUSH"});
    (void)answer({"FLUSHALL"});
  }
};

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  static const auto world = std::make_unique<World>();
  Input input(data, size);
  const unsigned what = input.byte();
  const size_t n = input.number(2);
  const std::string first(input.take(n)), second(input.rest());
  switch (what % 8) {
    case 0:
      world->script(kJson, first, second);
      break;
    case 1:
      world->script(kMessagePack, first, second);
      break;
    case 2:
      world->script(kStruct, first, second);
      break;
    case 3:
      world->script(kPatterns, first, second);
      break;
    case 4:
      world->script(kFormat, first, second);
      break;
    case 5:
      (void)world->answer({"SCRIPT", "LOAD", first});
      (void)world->answer({"EVAL", first, "1", "key", second});
      (void)world->answer({"EVAL_RO", first, "0"});
      (void)world->answer({"SCRIPT", "FLUSH"});
      (void)world->answer({"FLUSHALL"});
      break;
    case 6:
      world->restore(first);
      break;
    default:
      world->library(first, second);
  }
  return 0;
}
