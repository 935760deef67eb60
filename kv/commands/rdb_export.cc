#include "kv/commands/rdb_export.h"

#include <absl/cleanup/cleanup.h>

#include <algorithm>
#include <random>
#include <string>

#include "core/base/text.h"
#include "core/extents/blob_reader.h"
#include "core/store/plaintext.h"
#include "kv/commands/dump.h"
#include "kv/commands/key_walk.h"
#include "kv/commands/turns.h"
#include "kv/engine/engine.h"
#include "kv/engine/session.h"
#include "kv/types/rdb_format.h"

namespace cairn::kv {

namespace {

enum Opcode : uint8_t {
  kLibrary = 0xf5,
  kAux = 0xfa,
  kSizes = 0xfb,
  kExpiryMs = 0xfc,
  kDatabase = 0xfe,
  kEnd = 0xff,
};

constexpr size_t kSliceBytes = 64 << 10;

std::string made_mark() {
  std::random_device random;
  std::string mark;
  for (int i = 0; i < 5; i++) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    const uint32_t word = random();
    for (int shift = 0; shift < 32; shift += 4) mark += kDigits[word >> shift & 15];
  }
  return mark;
}

class Export {
 public:
  explicit Export(Context& c) : c_(c) {}

  // False: it did not come to its end.
  awaitable<bool> run(const RdbContents& contents) {
    const std::string mark = made_mark();
    const bool begun = co_await c_.reply.send_bare(cat("$EOF:", mark, "\r\n"), c_.seen());
    if (!begun) co_return false;
    begin(contents);
    const auto held = held_by_databases(c_);
    for (uint32_t i = 0; contents.keys && i < held.size(); i++) {
      const bool added = co_await add_database(i, held[i]);
      if (!added) co_return false;
    }
    out_.push_back(static_cast<char>(kEnd));
    const bool sent = co_await send();
    if (!sent) co_return false;
    std::string end;
    rdb::add_raw(end, crc_);
    co_return co_await c_.reply.send_bare(end + mark, c_.seen());
  }
  uint64_t left_out() const { return left_out_; }  // keys that no key of the store opens

 private:
  struct Later {
    std::string key;
    bool is_cold;
  };

  void begin(const RdbContents& contents) {
    out_ = "REDIS0010";
    const auto add_aux = [this](std::string_view name, std::string_view value) {
      out_.push_back(static_cast<char>(kAux));
      rdb::add_string(out_, name);
      rdb::add_string(out_, value);
    };
    add_aux("redis-ver", kRedisVersion);
    add_aux("redis-bits", "64");
    add_aux("ctime", cat(c_.store.now_ms() / 1000));
    add_aux("used-mem", cat(c_.store.used_bytes()));
    add_aux("aof-base", "0");
    for (std::string_view source : contents.libraries) {
      out_.push_back(static_cast<char>(kLibrary));
      rdb::add_length(out_, source.size());
      out_.append(source);
    }
  }

  // Before the first key of a database.
  void begin_database(uint32_t number, const Namespace& ns) {
    const auto keys = static_cast<uint64_t>(std::max<int64_t>(ns.committed_size(), 0));
    const auto expire = static_cast<uint64_t>(std::max<int64_t>(ns.volatile_keys.load(), 0));
    out_.push_back(static_cast<char>(kDatabase));
    rdb::add_length(out_, number);
    out_.push_back(static_cast<char>(kSizes));
    rdb::add_length(out_, keys);
    rdb::add_length(out_, std::min(expire, keys));
  }

  awaitable<bool> add_database(uint32_t number, NamespaceId held) {
    HeldWalk walk(c_, held);
    bool begun = false;
    constexpr uint64_t kTurnKeys = 1000;
    for (uint64_t looked = 0; !walk.at_end();) {
      if (c_.given_up()) co_return false;
      later_.clear();
      looked++;
      const bool stepped = walk.step([&](const Namespace& ns, const Entry* e) {
        looked++;
        if (!std::exchange(begun, true)) begin_database(number, ns);
        if (!add_at_once(e)) later_.push_back({std::string(e->key()), e->is_cold()});
      });
      if (!stepped) {  // a script has it, for as long as it takes
        (void)co_await c_.store.busy().until_idle(walk.place(), Busy::Patience::kEndless);
        continue;
      }
      const bool added = co_await add_later(walk, held);
      if (!added) co_return false;
      if (out_.size() >= kSliceBytes) {
        const bool sent = co_await send();
        if (!sent) co_return false;
      } else if (looked < kTurnKeys) {
        continue;
      }
      looked = 0;
      co_await between_turns(c_);
    }
    c_.saw_all(walk.holder());
    co_return true;
  }

  void add_head(int64_t expire_ms, char type, std::string_view key) {
    if (expire_ms != 0) {
      out_.push_back(static_cast<char>(kExpiryMs));
      rdb::add_raw(out_, expire_ms);
    }
    out_.push_back(type);
    rdb::add_string(out_, key);
  }
  // `body` has the type before it.
  void add(int64_t expire_ms, std::string_view key, std::string_view body) {
    add_head(expire_ms, body[0], key);
    out_.append(body.substr(1));
  }

  // Within a step of the walk. False: it takes longer, or the slice is full.
  bool add_at_once(const Entry* e) {
    uint16_t version;
    if (out_.size() >= kSliceBytes || e->is_cold()) return false;
    body_.clear();
    if (!add_body_at_once(body_, e, c_.now_ms(), version)) return false;
    add(e->has_expiry() ? e->expire_ms() : 0, e->key(), body_);
    if (body_.capacity() > kSliceBytes) body_ = {};
    return true;
  }

  awaitable<bool> add_later(const HeldWalk& walk, NamespaceId held) {
    constexpr size_t kAhead = 32;  // that are being read from disk
    size_t fetched = 0;
    for (size_t i = 0; i < later_.size(); i++) {
      for (; fetched < std::min(i + kAhead, later_.size()); fetched++) {
        if (!later_[fetched].is_cold) continue;
        c_.store.faults().start(walk.holder().shared_from_this(), later_[fetched].key);
      }
      Dumped how = Dumped::kMoved;
      while (how == Dumped::kMoved) {
        const PayloadOf what{.ns = walk.holder().shared_from_this(),
                             .key = later_[i].key,
                             .held = held,
                             .bare_strings = true,
                             .opens = true,
                             .patience = Busy::Patience::kEndless};
        how = co_await add_one(what);
      }
      if (how == Dumped::kRefused) co_return false;
      if (how == Dumped::kClosed) left_out_++;
    }
    co_return true;
  }

  awaitable<Dumped> add_one(const PayloadOf& what) {
    HeldPayload value(c_.store);
    const Dumped how = co_await payload_in_turns(c_, what, value);
    if (how != Dumped::kMade) co_return how;
    if (value.blob) co_return co_await send_blob(what.key, value);
    value.text.resize(value.text.size() - rdb::kFooterBytes);
    add(value.expire_ms, what.key, value.text);
    bool sent = true;
    if (out_.size() >= kSliceBytes) sent = co_await send();
    co_return sent ? Dumped::kMade : Dumped::kRefused;
  }

  // Its value, or the payload without its end.
  StatusOr<std::unique_ptr<ByteSource>> bytes_of(const HeldPayload& value) {
    const uint64_t size = value.blob->size - (value.is_bare ? 0 : rdb::kFooterBytes);
    auto stored = std::make_unique<BlobReader>(c_.store.extents(), *value.blob, 0, size);
    if (value.meta.empty()) return stored;
    return plaintext_of(c_.store.keys(), value.meta, std::move(stored));
  }

  // kClosed: nothing was sent, since no key opens it.
  awaitable<Dumped> send_blob(std::string_view key, const HeldPayload& value) {
    const auto executor = co_await asio::this_coro::executor;
    const auto source = bytes_of(value);
    if (!source.ok()) {
      if (absl::IsFailedPrecondition(source.status())) co_return Dumped::kClosed;
      c_.status_error(source.status());
      co_return Dumped::kRefused;
    }
    ByteSource& reader = **source;
    if (value.is_bare) {
      add_head(value.expire_ms, static_cast<char>(rdb::kString), key);
      rdb::add_length(out_, reader.left());
    }
    for (bool first = !value.is_bare; reader.left() > 0; first = false) {
      if (c_.given_up()) co_return Dumped::kRefused;
      const auto bytes = co_await reader.next();
      if (!bytes.ok()) {
        c_.status_error(bytes.status());
        co_return Dumped::kRefused;
      }
      const std::string_view text(reinterpret_cast<const char*>(bytes->data()), bytes->size());
      first ? add(value.expire_ms, key, text) : static_cast<void>(out_.append(text));
      reader.offer(0, executor);  // the client may not read for long
      const bool sent = co_await send();
      if (!sent) co_return Dumped::kRefused;
    }
    co_return Dumped::kMade;
  }

  // What was gathered. False: the client is gone.
  awaitable<bool> send() {
    crc_ = rdb::crc64(crc_, out_);
    const int64_t begun = steady_ns();
    const bool sent = co_await c_.reply.send_bare(out_, c_.seen());
    c_.session.waited_ns += steady_ns() - begun;
    constexpr size_t kKept = 2 << 20;
    if (out_.capacity() > kKept) out_ = {};
    out_.clear();
    co_return sent;
  }

  Context& c_;
  std::string out_, body_;
  uint64_t crc_ = 0;
  std::vector<Later> later_;  // of a step
  uint64_t left_out_ = 0;
};

}  // namespace

awaitable<void> export_rdb(Context& c, const RdbContents& contents) {
  Server& server = c.engine.server();
  c.session.close_after_reply = true;
  c.session.served = true;  // it has nothing to say meanwhile
  const absl::Cleanup over = [&c] { c.session.served = false; };
  Export out(c);
  const bool whole = co_await out.run(contents);
  if (whole && out.left_out() > 0) {
    server.report(cat("the RDB file for ", c.session.address, " lacks ", out.left_out(),
                      " keys whose values are encrypted, and which no key of this store opens"));
  }
  if (whole || c.failure().empty() || c.session.ends()) co_return;
  server.report(cat("the RDB file for ", c.session.address, " was not finished: ", c.failure()));
}

}  // namespace cairn::kv
