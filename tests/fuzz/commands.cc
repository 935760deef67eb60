// Command arguments: every row of the command table with any words answers exactly one value, in
// the protocol of its client, whatever its keys hold; also inside a transaction, and for two
// clients in turn.
//
//   input   = u8 what there is (bits)  command*
//   command = u16 row  u8 words beside its name, and in the upper bit whose it is  word*
//   word    = u8 below 192: one of a list, or of the names of keys where a key stands; else
//             u8 - 192 bytes (255: u16 length) that follow
#include "tests/fuzz/kv_world.h"

namespace cairn::fuzz {
namespace {

constexpr size_t kCommandsMax = 24, kWordsMax = 12;

constexpr std::string_view kKeys[] = {"text", "number", "hash", "table", "cold",
                                      "blob", "gone",   "none", ""};

constexpr std::string_view kWords[] = {"0",
                                       "1",
                                       "-1",
                                       "2",
                                       "10",
                                       "16",
                                       "1000000",
                                       "4294967296",
                                       "9223372036854775807",
                                       "-9223372036854775808",
                                       "9223372036854775808",
                                       "1.5",
                                       "-0.0",
                                       "inf",
                                       "nan",
                                       "1e300",
                                       "x",
                                       "",
                                       "*",
                                       "[a-z]*",
                                       "k?y",
                                       "NX",
                                       "XX",
                                       "GT",
                                       "LT",
                                       "GET",
                                       "EX",
                                       "PX",
                                       "EXAT",
                                       "PXAT",
                                       "KEEPTTL",
                                       "PERSIST",
                                       "WITHVALUES",
                                       "NOVALUES",
                                       "MATCH",
                                       "COUNT",
                                       "TYPE",
                                       "string",
                                       "hash",
                                       "BIT",
                                       "BYTE",
                                       "LEN",
                                       "IDX",
                                       "MINMATCHLEN",
                                       "WITHMATCHLEN",
                                       "AND",
                                       "OR",
                                       "XOR",
                                       "NOT",
                                       "u8",
                                       "i8",
                                       "u63",
                                       "i64",
                                       "#1",
                                       "#0",
                                       "SET",
                                       "INCRBY",
                                       "OVERFLOW",
                                       "WRAP",
                                       "SAT",
                                       "FAIL",
                                       "DB",
                                       "REPLACE",
                                       "SYNC",
                                       "ASYNC",
                                       "ON",
                                       "OFF",
                                       "SKIP",
                                       "YES",
                                       "NO",
                                       "default",
                                       "root",
                                       "password",
                                       "SETNAME",
                                       "AUTH",
                                       "3",
                                       "FIELDS",
                                       "ID",
                                       "ADDR",
                                       "LADDR",
                                       "USER",
                                       "SKIPME",
                                       "TIMEOUT",
                                       "ERROR",
                                       "LIB-NAME",
                                       "LIB-VER",
                                       "maxmemory",
                                       "maxmemory-policy",
                                       "allkeys-lru",
                                       "noeviction",
                                       "appendfsync",
                                       "always",
                                       "everysec",
                                       "proto-max-bulk-len",
                                       "maxclients",
                                       "timeout",
                                       "client-output-buffer-limit",
                                       "save",
                                       "client-query-buffer-limit",
                                       "normal 0 0 0",
                                       "1mb",
                                       "photos",
                                       "FILTERBY",
                                       "MODULE",
                                       "ACLCAT",
                                       "PATTERN",
                                       "all",
                                       "everything",
                                       "keyspace",
                                       "NOSAVE",
                                       "NOW",
                                       "FORCE",
                                       "ABORT",
                                       "text",
                                       "number",
                                       "table",
                                       "none",
                                       "field",
                                       "f1",
                                       "5000000000",
                                       "33",
                                       "32",
                                       "512",
                                       "536870911",
                                       "4294967295",
                                       "FNX",
                                       "FXX",
                                       "9999999999"};

struct Word {
  std::string text;
  std::optional<unsigned> listed;  // its number, where a key's name may take its place
};

Word word(Input& input) {
  const unsigned first = input.byte();
  if (first < 192) return {std::string(kWords[first % std::size(kWords)]), first};
  return {std::string(input.take(first == 255 ? input.number(2) : first - 192)), std::nullopt};
}

std::vector<std::string> command(Input& input, const kv::Row& row, size_t words) {
  std::vector<std::string> out;
  const size_t bar = row.name.find('|');
  out.emplace_back(row.name.substr(0, bar));
  if (bar != row.name.npos) out.emplace_back(row.name.substr(bar + 1));
  std::vector<std::optional<unsigned>> listed(out.size());
  while (words-- > 0) {
    Word next = word(input);
    out.push_back(std::move(next.text));
    listed.push_back(next.listed);
  }
  std::vector<size_t> keys;
  kv::for_each_key(row.keys, out, [&](size_t i, auto&, auto) { keys.push_back(i); });
  for (size_t i : keys) {
    if (listed[i]) out[i] = kKeys[*listed[i] % std::size(kKeys)];
  }
  return out;
}

void prepare(KvWorld& world, unsigned what) {
  auto session = world.new_session();
  const auto run = [&](const std::vector<std::string>& words) { world.answer(*session, words); };
  if (what & 1) run({"SET", "text", "hello world"});
  if (what & 1) run({"SET", "number", "17"});
  if (what & 2) run({"HSET", "hash", "1", "2", "field", "x", "f1", "1.5"});
  if (what & 4) {
    std::vector<std::string> words{"HSET", "table"};
    for (int i = 0; i < 20; i++) words.insert(words.end(), {cat(i), std::string(900, 'v')});
    run(words);
  }
  if (what & 8) run({"SETRANGE", "blob", "3000", "end"});
  if (what & 16) run({"SET", "gone", "x", "PX", "1"});
  if (what & 16) world.pass_ms(5);
  if (what & 32) law(world.store->create_bucket("photos").ok(), "a bucket is made");
  if (what & 128) {  // of which one is due later, and one now
    run({"HSETEX", "hash", "EXAT", "9999999999", "FIELDS", "2", "f1", "1", "field", "x"});
    run({"HSETEX", "table", "EXAT", "9999999999", "FIELDS", "1", "f1", std::string(900, 'v')});
    run({"HSETEX", "hash", "PX", "3", "FIELDS", "1", "1", "2"});
    world.pass_ms(5);
  }
  if (what & 64) run({"SET", "cold", std::string(1000, 'c')});
  if (what & 64) world.make_cold("cold");
}

void check_one_answer(KvWorld& world, kv::Session& session, const kv::Row& row,
                      const std::vector<std::string>& words) {
  const bool was_ended = session.close_after_reply;
  resp::Output output(session.resp);
  world.answer(session, words, output);
  const std::string text = world.sent(output, session.resp);
  std::string_view rest = text;
  // SHUTDOWN is answered by the end of the connection, or by an error.
  if (row.name == "shutdown" && !was_ended && session.close_after_reply && text.empty()) return;
  const bool whole = take_value(rest);
  // What becomes of each channel is told by itself.
  const bool tells = (row.flags & kv::kPubsub) != 0 && (row.flags & kv::kListener) != 0;
  while (tells && take_value(rest)) {
  }
  if (!whole || !rest.empty()) {
    for (auto& w : words) std::fprintf(stderr, "\"%s\" ", w.substr(0, 100).c_str());
    std::fprintf(stderr, "-> %s\n", text.substr(0, 300).c_str());
  }
  law(whole && rest.empty(), "a command has exactly one answer");
}

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  Input input(data, size);
  KvWorld world;
  prepare(world, input.byte());
  const auto rows = KvWorld::table().rows();
  std::shared_ptr<cairn::kv::Session> sessions[2] = {world.new_session(), world.new_session()};
  for (size_t n = 0; n < kCommandsMax && !input.rest().empty(); n++) {
    const cairn::kv::Row& row = rows[input.number(2) % rows.size()];
    const unsigned shape = input.byte();
    auto& session = sessions[shape >> 7];
    if (row.name == "migrate") continue;  // there is no other server
    const auto words = command(input, row, (shape & 127) % (kWordsMax + 1));
    check_one_answer(world, *session, row, words);
    if (session->close_after_reply) session = world.new_session();
  }
  for (auto& session : sessions) session.reset();
  return 0;
}
