// Large values between a socket and their extents, so that a client that stands still, or reads a
// little now and then, keeps no chunk of the pool from others (core/extents/chunk_pool.h).
//
// Threads: the connection's.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "core/extents/blob_reader.h"
#include "core/extents/blob_writer.h"
#include "gateway/net/net.h"

namespace cairn::net {

// Sends `bytes`, which blob.next() gave just now, without keeping their chunk from others while the
// peer does not read: it may be called back, and then the blob gives the rest again. `sent(n)` is
// called with what went. False: the peer is gone.
template <class Stream, class Sent>
awaitable<bool> send_part(Stream& stream, ByteSource& blob, Bytes bytes, Sent sent) {
  const Executor executor = stream.executor();
  std::vector<std::byte> piece;  // what TLS encrypts has to stay where it is
  while (!bytes.empty()) {
    size_t went;
    if constexpr (Stream::kTls) {
      constexpr size_t kPieceBytes = 64 << 10;
      const Bytes first = bytes.first(std::min(bytes.size(), kPieceBytes));
      piece.assign(first.begin(), first.end());
      went = piece.size();
      bytes = bytes.subspan(went);
      blob.offer(bytes.size(), executor);
      const bool good = co_await stream.write({piece.data(), piece.size()});
      if (!good) co_return false;
    } else {
      const ssize_t n = stream.try_write(bytes);
      if (n < 0) co_return false;
      went = static_cast<size_t>(n);
      bytes = bytes.subspan(went);
      if (!bytes.empty()) {
        blob.offer(bytes.size(), executor);
        co_await stream.writable();
      }
    }
    sent(went);
    if (!blob.keep()) break;
  }
  co_return true;
}

// The same with all that is left of a blob. False also when the bytes are not what was written;
// their length is announced, so the connection ends.
template <class Stream, class Sent>
awaitable<bool> send_blob(Stream& stream, ByteSource& blob, Sent sent) {
  while (blob.left() > 0) {
    auto bytes = co_await blob.next();
    if (!bytes.ok()) co_return false;
    const bool good = co_await send_part(stream, blob, *bytes, sent);
    if (!good) co_return false;
  }
  co_return true;
}

// Some bytes of the stream go into `upload`, a BlobWriter or what has its prepare(), commit() and
// rest(); at most `most`. How many left the stream; 0: the peer is gone, or `status` says what went
// wrong with the upload. Chunks are not kept from others meanwhile.
template <class Stream, class Upload>
awaitable<size_t> receive_into(Stream& stream, Upload& upload, uint64_t most, Status& status) {
  if constexpr (Stream::kTls) {
    std::array<std::byte, 16 << 10> piece;  // a TLS record's worth
    const size_t n =
        co_await stream.read_some({piece.data(), std::min<uint64_t>(most, piece.size())});
    status = co_await upload.append({piece.data(), n});
    co_return n;
  } else {
    for (;;) {
      auto room = co_await upload.prepare();
      status = room.status();
      if (!status.ok()) co_return 0;
      const ssize_t n = stream.try_read(room->first(std::min<uint64_t>(room->size(), most)));
      if (n > 0) upload.commit(static_cast<size_t>(n));
      if (n >= 0) co_return static_cast<size_t>(n);
      upload.rest();
      co_await stream.readable();
    }
  }
}

}  // namespace cairn::net
