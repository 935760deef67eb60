// A word above the extent threshold goes from the socket into extents while it arrives and is
// never held whole in memory; its command sees a reference.
//
// Threads: one connection's.
#pragma once

#include "gateway/net/blob_stream.h"
#include "gateway/resp/pipeline.h"

namespace cairn::resp {

// Takes the word that the pipeline came to out of its input first, then out of the stream, and its
// CRLF. False: the peer is gone. A word that is none is answered, and ends the conversation: `next`
// is kEnd. `came(bytes)` is called with what came from the stream.
template <class Stream, class Came>
awaitable<bool> take_streamed_word(Stream& stream, Pipeline& pipeline, ExtentStore& extents,
                                   Pipeline::Next& next, Came came) {
  Input& input = pipeline.input();
  uint64_t left = pipeline.word_bytes();
  BlobWriter writer(extents, left);
  const size_t head = pipeline.word_offset();  // what is before stays in the input
  const size_t there = std::min<uint64_t>(left, input.size() - head);
  Status status = co_await writer.append(as_bytes(input.pending().substr(head, there)));
  input.cut(head, there);
  left -= there;
  while (left > 0) {
    size_t n;
    if (status.ok()) {
      n = co_await net::receive_into(stream, writer, left, status);
      if (n == 0 && !status.ok()) continue;
    } else {  // the word is read to its end all the same, so that the answer finds its place
      std::byte sink[16 << 10];
      n = co_await stream.read_some({sink, std::min<uint64_t>(sizeof(sink), left)});
    }
    if (n == 0) co_return false;
    left -= n;
    came(n);
  }
  while (input.size() - head < 2) {
    const size_t n = co_await stream.read_some(input.room());
    if (n == 0) co_return false;
    input.added(n);
  }
  if (input.pending().substr(head, 2) != "\r\n") {
    next = pipeline.fail("ERR Protocol error: invalid bulk length");
    co_return true;
  }
  input.cut(head, 2);
  if (status.ok()) {
    pipeline.word_taken(co_await writer.finish());
  } else {
    pipeline.word_taken(status);
  }
  co_return true;
}

}  // namespace cairn::resp
