#include "core/store/compactor.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "core/base/plant.h"
#include "core/store/keyspace.h"

namespace cairn {

namespace {
constexpr int64_t kLookMs = 200;
constexpr int64_t kBarrenMs = 10'000;  // after a pass that failed or moved nothing
constexpr int64_t kRestPart = 20;      // a pass is followed by so many times its own time of rest
}  // namespace

awaitable<void> Compactor::run() {
  Clock& clock = keyspace_.clock();
  for (int64_t next_ms = 0, looked_ms = 0; !keyspace_.stopping_;) {
    co_await keyspace_.rest(kLookMs);
    const int64_t now_ms = clock.now_ms();
    if (now_ms < looked_ms) next_ms = 0;  // the clock was set back
    looked_ms = now_ms;
    if (now_ms < next_ms || keyspace_.log().full() || !keyspace_.log().status().ok()) continue;
    files_ = keyspace_.extents().sparse_files();
    if (files_.empty()) continue;
    const int64_t begin_ms = clock.now_ms();
    const uint64_t moved = blobs_moved_;
    Status done = co_await compact();
    for (auto& [from, to] : copies_) keyspace_.extents().unref({0, {{to.file, to.page, 0, 1}}});
    copies_.clear();
    const int64_t took_ms = clock.now_ms() - begin_ms;
    next_ms =
        clock.now_ms() + (done.ok() && blobs_moved_ > moved ? kRestPart * took_ms : kBarrenMs);
  }
}

bool Compactor::concerns(std::string_view blob) const {
  for (size_t at = sizeof(uint64_t); at < blob.size(); at += sizeof(Piece)) {
    Piece p;
    std::memcpy(&p, blob.data() + at, sizeof(p));
    if (std::binary_search(files_.begin(), files_.end(), p.file)) return true;
  }
  return false;
}

awaitable<Status> Compactor::compact() {
  auto executor = co_await asio::this_coro::executor;
  for (auto& ns : keyspace_.spaces()) {
    for (size_t s = 0; s < kStripes && ns->size() > 0; s++) {
      for (KeyHash from = KeyHash{s} << (64 - kStripeBits);;) {
        std::vector<std::string> keys;
        (void)co_await keyspace_.busy().until_idle(KeyHash{s} << (64 - kStripeBits),
                                                   Busy::Patience::kEndless);
        {
          StripeLocks lock(keyspace_, KeyHash{s} << (64 - kStripeBits));
          if (ns->dropped) break;
          from = ns->index->walk(s, from, [&](const Entry* e) {
            if (e->is_blob() && concerns(e->value())) keys.emplace_back(e->key());
          });
        }
        for (std::string& key : keys) {
          Status moved = co_await move(ns, std::move(key));
          // One that cannot be read keeps its file, and nothing else from being moved.
          if (!moved.ok() && !absl::IsDataLoss(moved)) co_return moved;
          if (keyspace_.stopping_) co_return absl::CancelledError("the store closes");
        }
        if (from == 0) break;
        co_await asio::post(executor, asio::use_awaitable);
      }
      if (s % 64 == 63) co_await asio::post(executor, asio::use_awaitable);
    }
    if (keyspace_.stopping_) co_return absl::CancelledError("the store closes");
  }
  Log& log = keyspace_.log();  // what was moved out goes once that is durable
  co_return co_await log.wait_durable(Lsn(log.tail().value() - 1));
}

awaitable<Status> Compactor::move(std::shared_ptr<Namespace> ns, std::string key) {
  const KeyHash hash = ns->hash(key);
  ExtentStore& extents = keyspace_.extents();
  BlobRef old;
  Lsn lsn;
  (void)co_await keyspace_.busy().until_idle(hash, Busy::Patience::kEndless);
  {
    StripeLocks lock(keyspace_, hash);
    const Entry* e = ns->index->find(key, hash);
    if (e == nullptr || !e->is_blob() || ns->dropped) co_return absl::OkStatus();
    old = *BlobRef::decode(e->value());
    lsn = e->lsn();
    extents.ref(old);
  }
  Status status;
  BlobRef blob = old;
  for (Piece& p : blob.pieces) {
    if (!std::binary_search(files_.begin(), files_.end(), p.file)) continue;
    const ExtentStore::Place place{p.file, p.header_page};
    auto copy = copies_.find(place);
    if (copy == copies_.end()) {
      auto made = co_await extents.copy(place);
      status = made.status();
      if (!status.ok()) break;
      copy = copies_.emplace(place, *made).first;
      bytes_copied_ += extents.bytes_of(*made);
    }
    p.file = copy->second.file;
    p.header_page = copy->second.page;
  }
  (void)co_await keyspace_.busy().until_idle(hash, Busy::Patience::kEndless);
  if (status.ok()) {
    StripeLocks lock(keyspace_, hash);
    Entry* e = ns->index->find(key, hash);
    if (e != nullptr && e->lsn() == lsn && !ns->dropped) {
      status = keyspace_.move_blob(*ns, hash, e, blob);
      if (status.ok()) blobs_moved_++;
    }
  }
  extents.unref(old);
  co_return status;
}

}  // namespace cairn
