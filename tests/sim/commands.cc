#include "tests/sim/commands.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "core/base/text.h"
#include "kv/script/function_dump.h"

namespace cairn::sim {

namespace {

// A form is words, and among them
//   [a|b]   one of these forms
//   {a}     one or several times this form; #{a} with their number before it
//   @S      a key of a kind (kKinds), @K of any, @A of any, but the same one wherever it stands
//   @name   a word by chance (special())
constexpr std::string_view kChanges[] = {
    // strings
    "SET @S @v [|EX @sec|PX @ms|KEEPTTL|NX|XX|XX GET|GET|EXAT @at|PXAT @atms|PX @ms NX]",
    "SET @S @v",
    "SETNX @S @v",
    "SETEX @S @sec @v",
    "PSETEX @S @ms @v",
    "GETSET @S @v",
    "GETDEL @S",
    "GETEX @S [PERSIST|PX @ms|EX @sec|EXAT @at|PXAT @atms|]",
    "MSET {@S @v}",
    "MSETNX {@S @v}",
    "MSETEX #{@S @v} [NX|XX|] [EX @sec|PX @ms|KEEPTTL|]",
    "APPEND @S @v",
    "SETRANGE @S @n @v",
    "SETRANGE @S @off end",
    "INCR @I",
    "DECR @I",
    "INCRBY @I @i",
    "DECRBY @I @i",
    "INCRBYFLOAT @I @d",
    "INCREX @I [BYINT @i|BYFLOAT @d|] [UBOUND 1000 SATURATE|LBOUND -1000|] [EX @sec|PERSIST|]",
    "DELEX @S [|IFEQ @v|IFNE @v]",
    "SET @S @v IFDNE 0000000000000000",
    "SET @S same",
    "DELIFEQ @S same",
    "SETBIT @B @off @bit",
    "BITOP [AND|OR|XOR] @B @B @B",
    "BITOP NOT @B @B",
    "BITFIELD @B SET u8 @off @n INCRBY i16 #@n @i",
    "PFADD @P {@m}",
    "PFMERGE @P @P @P",
    "PFDEBUG TODENSE @P",
    // hashes
    "HSET @H {@f @e}",
    "HSET @H {@f @e}",
    "HMSET @H {@f @e}",
    "HSETNX @H @f @e",
    "HDEL @H {@f}",
    "HINCRBY @H @fi @i",
    "HINCRBYFLOAT @H @fi @d",
    "HEXPIRE @H @sec [NX|XX|GT|LT|] FIELDS #{@f}",
    "HPEXPIRE @H @ms FIELDS #{@f}",
    "HEXPIREAT @H @at FIELDS #{@f}",
    "HPEXPIREAT @H @atms FIELDS #{@f}",
    "HPERSIST @H FIELDS #{@f}",
    "HGETDEL @H FIELDS #{@f}",
    "HGETEX @H [EX @sec|PX @ms|PERSIST|] FIELDS #{@f}",
    "HSETEX @H [FNX|FXX|] [EX @sec|PX @ms|KEEPTTL|] FIELDS #{@f @e}",
    // lists
    "LPUSH @L {@e}",
    "RPUSH @L {@e}",
    "RPUSH @L {@e}",
    "LPUSHX @L {@e}",
    "RPUSHX @L {@e}",
    "LPOP @L [@N|]",
    "RPOP @L [@N|]",
    "LMPOP 2 @L @L [LEFT|RIGHT] [COUNT @N|]",
    "LMOVE @L @L [LEFT|RIGHT] [LEFT|RIGHT]",
    "RPOPLPUSH @L @L",
    "LSET @L @r @e",
    "LTRIM @L @bit -@N",
    "LREM @L @r @e",
    "LINSERT @L [BEFORE|AFTER] @e @e",
    "BLPOP @L @L @wait",
    "BRPOP @L @wait",
    "BLMOVE @L @L [LEFT|RIGHT] [LEFT|RIGHT] @wait",
    "BRPOPLPUSH @L @L @wait",
    "BLMPOP @wait 2 @L @L [LEFT|RIGHT] COUNT @N",
    // sets
    "SADD @T {@m}",
    "SADD @T {@m}",
    "SREM @T {@m}",
    "SMOVE @T @T @m",
    "SPOP @T [@N|]",
    "SINTERSTORE @T @T @T",
    "SUNIONSTORE @T @T @T",
    "SDIFFSTORE @T @T @T",
    // sorted sets
    "ZADD @Z {@d @m}",
    "ZADD @Z [NX|XX|XX GT|LT] [CH|] {@d @m}",
    "ZADD @Z INCR @d @m",
    "ZINCRBY @Z @d @m",
    "ZREM @Z {@m}",
    "ZPOPMIN @Z [@N|]",
    "ZPOPMAX @Z [@N|]",
    "ZMPOP 2 @Z @Z [MIN|MAX] [COUNT @N|]",
    "ZRANGESTORE @Z @Z @r @r [REV|]",
    "ZRANGESTORE @Z @Z @sc @sc BYSCORE [LIMIT 0 @N|]",
    "ZREMRANGEBYRANK @Z @r @r",
    "ZREMRANGEBYSCORE @Z @sc @sc",
    "ZREMRANGEBYLEX @Z @lex @lex",
    "ZUNIONSTORE @Z 2 @Z [@Z|@T] [WEIGHTS 2 3|] [AGGREGATE MAX|AGGREGATE MIN|]",
    "ZINTERSTORE @Z 2 @Z [@Z|@T] [WEIGHTS 2 3|] [AGGREGATE MAX|]",
    "ZDIFFSTORE @Z 2 @Z @Z",
    "BZPOPMIN @Z @Z @wait",
    "BZPOPMAX @Z @wait",
    "BZMPOP @wait 2 @Z @Z [MIN|MAX] COUNT @N",
    "GEOADD @G {@lon @lat @m}",
    "GEOSEARCHSTORE @G @G FROMLONLAT @lon @lat BYRADIUS 6000 km [STOREDIST|]",
    "GEORADIUS @G @lon @lat 6000 km STORE @G",
    "GEORADIUSBYMEMBER @G @m 8000 km STOREDIST @Z",
    "SORT [@L|@T|@Z] ALPHA [LIMIT 0 @N|] [DESC|] STORE @L",
    // streams
    "XADD @X [NOMKSTREAM|] [MAXLEN = 10|MAXLEN ~ 20|MINID = @id||] * {@f @e}",
    "XADD @X * {@f @e}",
    "XADD @X @new {@f @e}",
    "XDEL @X {@id}",
    "XADD @X MAXLEN = 10 [DELREF|ACKED] * {@f @e}",
    "XDELEX @X [KEEPREF|DELREF|ACKED|] IDS #{@id}",
    "XACKDEL @X @g [KEEPREF|DELREF|ACKED|] IDS #{@id}",
    "XTRIM @X [MAXLEN = 5|MAXLEN ~ 10|MINID @id]",
    "XSETID @X @later [ENTRIESADDED 1000 MAXDELETEDID 0-1|]",
    "XGROUP CREATE @X @g [$|0|@id] [MKSTREAM|] [ENTRIESREAD @n|]",
    "XGROUP CREATECONSUMER @X @g @c",
    "XGROUP DELCONSUMER @X @g @c",
    "XGROUP DESTROY @X @g",
    "XGROUP SETID @X @g [$|0|@id]",
    "XACK @X @g {@id}",
    "XREADGROUP GROUP @g @c [COUNT @N|] [BLOCK @ms|] [NOACK|] STREAMS @X >",
    "XREADGROUP GROUP @g @c COUNT @N STREAMS @X @X > >",
    "XREADGROUP GROUP @g @c STREAMS @X [0|@id]",
    "XCLAIM @X @g @c 0 {@id} [JUSTID|FORCE|RETRYCOUNT 3|TIME @atms|]",
    "XAUTOCLAIM @X @g @c 0 [0|@id] [COUNT @N|] [JUSTID|]",
    // keys
    "DEL {@K}",
    "UNLINK {@K}",
    "RENAME @A @A",
    "RENAMENX @A @A",
    "COPY @A @A [DB @db|] [REPLACE|]",
    "COPY @A @A REPLACE",
    "MOVE @K @db",
    "SWAPDB @db @db",
    "EXPIRE @K @sec [NX|XX|GT|LT|]",
    "PEXPIRE @K @ms",
    "EXPIREAT @K @at",
    "PEXPIREAT @K @atms",
    "PERSIST @K",
};

// These spoil what is there: seldom.
constexpr std::string_view kSeldom[] = {
    "FLUSHDB [SYNC|ASYNC|]", "FLUSHDB", "FLUSHALL", "FUNCTION DELETE lib@bit", "FUNCTION FLUSH",
};

// Of one key, and nothing else: what they answer rests on its newest change.
constexpr std::string_view kReads[] = {
    "GET @S",
    "STRLEN @S",
    "GETRANGE @S 0 @n",
    "BITCOUNT @B",
    "PFCOUNT @P",
    "HGETALL @H",
    "HMGET @H {@f}",
    "HPTTL @H FIELDS #{@f}",
    "LRANGE @L 0 -1",
    "LLEN @L",
    "LPOS @L @e",
    "SMEMBERS @T",
    "SRANDMEMBER @T @N",
    "ZRANGE @Z 0 -1 WITHSCORES",
    "ZRANK @Z @m",
    "GEOPOS @G {@m}",
    "XRANGE @X - +",
    "XREAD STREAMS @X 0",
    "XPENDING @X @g",
    "XINFO STREAM @X FULL",
    "EXISTS @K",
    "TYPE @K",
    "PTTL @K",
    "OBJECT ENCODING @K",
    "DUMP @K",
};

constexpr std::string_view kKinds = "SIBPHLTZGX";
constexpr uint64_t kOfAKind = 8, kLargeFrom = 6;  // keys of each kind; the last ones are large

constexpr std::string_view kRunner =
    "local i = 1 while i <= #ARGV do local n = tonumber(ARGV[i]) "
    "redis.pcall(unpack(ARGV, i + 1, i + n)) i = i + n + 1 end ";

// Where the bracket that opens at `at` closes.
size_t closing(std::string_view form, size_t at) {
  int depth = 0;
  for (size_t i = at; i < form.size(); i++) {
    if (form[i] == '[' || form[i] == '{') depth++;
    if (form[i] == ']' || form[i] == '}') depth--;
    if (depth == 0) return i;
  }
  std::fprintf(stderr, "the form \"%.*s\" does not close\n", static_cast<int>(form.size()),
               form.data());
  std::abort();
}

std::vector<std::string_view> choices(std::string_view form) {
  std::vector<std::string_view> out;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < form.size(); i++) {
    if (form[i] == '[' || form[i] == '{') depth++;
    if (form[i] == ']' || form[i] == '}') depth--;
    if (depth != 0 || form[i] != '|') continue;
    out.push_back(form.substr(begin, i - begin));
    begin = i + 1;
  }
  out.push_back(form.substr(begin));
  return out;
}

}  // namespace

struct Commands::Chosen {
  char kind = 0;  // of @A
  bool large = false;
  std::string key;  // the first
};

std::string Batch::text() const {
  std::string out;
  for (const Command& c : commands) {
    append(out, "*", c.words.size(), "\r\n");
    for (auto& word : c.words) append(out, "$", word.size(), "\r\n", word, "\r\n");
  }
  return out;
}

// ---- words ----

std::string Commands::value() {
  const uint64_t size = pick(20) == 0  ? (7 << 10) + pick(30 << 10)
                        : pick(8) == 0 ? pick(2000)
                                       : pick(60);
  std::string s = cat("v", next_value_++, ":");
  for (uint64_t x = next_value_; s.size() < size; x = x * 6364136223846793005ULL + 1) {
    s.append(reinterpret_cast<const char*>(&x), sizeof(x));
  }
  return s;
}

std::string Commands::key_of(std::string_view kind, Chosen& chosen) {
  char k = kind[0];
  if (k == 'K' || pick(40) == 0) {
    k = kKinds[pick(kKinds.size())];
  } else if (k == 'A') {
    if (chosen.kind == 0) chosen.kind = kKinds[pick(kKinds.size())];
    k = chosen.kind;
  }
  const uint64_t n = pick(kOfAKind);
  std::string key = cat(k, n);
  if (chosen.key.empty()) {
    chosen.key = key;
    chosen.large = n >= kLargeFrom;
  }
  return key;
}

std::string Commands::special(char what, Chosen& chosen) {
  switch (what) {
    case 's': {  // a bound of scores
      const uint64_t kind = pick(6);
      return kind == 0 ? "-inf" : kind == 1 ? "+inf" : cat(kind == 2 ? "(" : "", pick(125));
    }
    case 'l': {  // of members
      const uint64_t kind = pick(4);
      return kind == 0 ? "-" : kind == 1 ? "+" : cat(kind == 2 ? "[m" : "(m", pick(15));
    }
    case 'i':
      return around_.some_stream_id(chosen.key);
    default:
      return {};
  }
}

void Commands::add_word(std::string_view word, Chosen& chosen, Command& out) {
  const size_t at = word.find('@');
  if (at == word.npos) {
    out.words.emplace_back(word);
    return;
  }
  const std::string before(word.substr(0, at));
  const std::string_view name = word.substr(at + 1);
  const auto add = [&](const std::string& text) { out.words.push_back(before + text); };
  const int64_t now = around_.now_ms();
  const auto soon = [&](uint64_t n) { return static_cast<int64_t>(1 + pick(n)); };
  if (name.size() == 1 && name[0] >= 'A' && name[0] <= 'Z' && name[0] != 'N') {
    out.keys.push_back(key_of(name, chosen));
    add(out.keys.back());
  } else if (name == "v") {
    add(value());
  } else if (name == "e") {
    add(pick(3) == 0 ? cat("e", pick(8)) : value().substr(0, chosen.large ? 400 : 60));
  } else if (name == "f") {
    add(cat("f", pick(chosen.large ? 200 : 12)));
  } else if (name == "fi") {
    add(cat("n", pick(5)));
  } else if (name == "m") {
    const uint64_t n = pick(chosen.large ? 300 : 15);
    add(pick(3) == 0 ? cat(n * n) : cat("m", n));
  } else if (name == "n" || name == "bit") {
    add(number(name == "n" ? 10 : 2));
  } else if (name == "N") {
    add(cat(1 + pick(5)));
  } else if (name == "i") {
    add(cat(static_cast<int64_t>(pick(200)) - 100));
  } else if (name == "r") {
    add(cat(static_cast<int64_t>(pick(13)) - 6));
  } else if (name == "d") {
    const auto eighths = static_cast<int64_t>(pick(1000)) - 200;
    add(cat(eighths / 8, ".", 125 * (std::abs(eighths) % 8)));
  } else if (name == "off") {
    add(number(chosen.large ? 40'000 : 800));
  } else if (name == "sc" || name == "lex" || name == "id") {
    add(special(name[0], chosen));
  } else if (name == "ms") {
    add(cat(soon(3000)));
  } else if (name == "sec") {
    add(cat(soon(4)));
  } else if (name == "at") {
    add(cat(now / 1000 + soon(4)));
  } else if (name == "atms") {
    add(cat(now + soon(3000)));
  } else if (name == "wait") {
    add(cat("0.", 1 + pick(9)));
  } else if (name == "g" || name == "c" || name == "db") {
    add(cat(name == "db" ? "" : name, pick(3)));
  } else if (name == "lon") {
    add(cat(static_cast<int64_t>(pick(360)) - 180));
  } else if (name == "lat") {
    add(cat(static_cast<int64_t>(pick(160)) - 80));
  } else if (name == "new") {
    add(cat(now, "-*"));
  } else if (name == "later") {
    add(cat(now + soon(5), "-0"));
  } else {
    std::fprintf(stderr, "no word is called @%s\n", std::string(name).c_str());
    std::abort();
  }
}

void Commands::expand(std::string_view form, Chosen& chosen, Command& out) {
  for (size_t i = 0; i < form.size();) {
    if (form[i] == ' ') {
      i++;
    } else if (form[i] == '[') {
      const size_t end = closing(form, i);
      const auto all = choices(form.substr(i + 1, end - i - 1));
      expand(all[pick(all.size())], chosen, out);
      i = end + 1;
    } else if (form[i] == '{' || form.substr(i, 2) == "#{") {
      const size_t begin = form.find('{', i), end = closing(form, begin);
      const uint64_t n = 1 + pick(chosen.large ? 40 : 4);
      if (form[i] == '#') out.words.push_back(cat(n));
      for (uint64_t k = 0; k < n; k++) {
        expand(form.substr(begin + 1, end - begin - 1), chosen, out);
      }
      i = end + 1;
    } else {
      const size_t end = std::min(form.find(' ', i), form.size());
      add_word(form.substr(i, end - i), chosen, out);
      i = end;
    }
  }
}

// ---- commands ----

Command Commands::of_form(std::string_view form) {
  Command out;
  Chosen chosen;
  expand(form, chosen, out);
  return out;
}

Command Commands::change() {
  const uint64_t what = pick(200);
  if (what == 0 && pick(4) == 0) return of_form(kSeldom[pick(std::size(kSeldom))]);
  if (what <= 3) return transferred();
  return of_form(kChanges[pick(std::size(kChanges))]);
}

Command Commands::read() { return of_form(kReads[pick(std::size(kReads))]); }

Command Commands::transferred() {
  for (int i = 0; i < 10; i++) {
    Command c = of_form("RESTORE @A @A");
    const std::string bytes = around_.dump(c.keys[1]);
    if (bytes.empty()) continue;
    if (pick(4) == 0) c.words[0] = "RESTORE-ASKING";
    c.keys.pop_back();
    c.words = {c.words[0], c.keys[0], pick(3) == 0 ? cat(1 + pick(3000)) : "0", bytes, "REPLACE"};
    return c;
  }
  return of_form("SET @S @v");
}

// Commands that happen together, as the words of a script.
Command Commands::script() {
  const uint64_t kind = pick(4);
  Command out;
  std::string end = pick(8) == 0 ? "return redis.error_reply('ERR asked for')" : "return #ARGV";
  if (kind == 0) {
    out.words = {"FCALL", cat("run", pick(2))};
  } else {
    out.words = {"EVAL", cat(kRunner, end)};
  }
  std::vector<std::string> rest;
  for (uint64_t n = 1 + pick(5); n > 0; n--) {
    Command inner = pick(5) == 0 ? read() : change();
    rest.push_back(cat(inner.words.size()));
    std::move(inner.words.begin(), inner.words.end(), std::back_inserter(rest));
    std::move(inner.keys.begin(), inner.keys.end(), std::back_inserter(out.keys));
  }
  const bool declared = pick(4) != 0;
  out.words.push_back(cat(declared ? out.keys.size() : 0));
  if (declared) out.words.insert(out.words.end(), out.keys.begin(), out.keys.end());
  std::move(rest.begin(), rest.end(), std::back_inserter(out.words));
  return out;
}

Command Commands::library() {
  const uint64_t n = pick(2);
  const std::string source =
      cat("#!lua name=lib", n, "\nredis.register_function('run", n, "', function(KEYS, ARGV) ",
          kRunner, "return ", pick(1000), " end)");
  Command c;
  if (pick(4) == 0) {
    c.words = {"FUNCTION", "RESTORE", kv::dump_libraries({source}),
               pick(2) == 0 ? "FLUSH" : "REPLACE"};
  } else {
    c.words = {"FUNCTION", "LOAD", "REPLACE", source};
  }
  return c;
}

std::vector<Command> Commands::several() {
  std::vector<Command> out;
  for (uint64_t n = 1 + pick(6); n > 0; n--) out.push_back(pick(4) == 0 ? read() : change());
  return out;
}

Batch Commands::some() {
  Batch batch;
  const uint64_t what = pick(100);
  if (what < 56) {
    batch.commands.push_back(pick(4) == 0 ? read() : change());
    batch.units = 1;
  } else if (what < 72) {
    batch.commands = several();
    batch.units = batch.commands.size();
  } else if (what < 84) {
    if (pick(3) == 0) {
      batch.commands.push_back(of_form("WATCH {@K}"));
      if (pick(3) == 0) {
        batch.commands.push_back(change());
        batch.units++;
      }
    }
    batch.commands.push_back({{"MULTI"}, {}});
    for (Command& c : several()) batch.commands.push_back(std::move(c));
    batch.commands.push_back({{pick(8) == 0 ? "DISCARD" : "EXEC"}, {}});
    batch.units++;
  } else if (what < 95) {
    batch.commands.push_back(script());
    batch.units = 1;
  } else if (what < 97) {
    batch.commands.push_back(library());
    batch.units = 1;
  } else if (what < 99) {
    batch.commands.push_back({{"SELECT", pick(4) == 0 ? "photos" : number(3)}, {}});
  } else {
    batch.commands.push_back({{"WAITAOF", "1", "0", "0"}, {}});
    batch.all_durable = true;
  }
  return batch;
}

}  // namespace cairn::sim
