// Streams on threads: what they say is what one call says, in whatever company, and whoever leaves.
#include "objects/hashers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <random>
#include <string>
#include <thread>

#include "core/base/text.h"

namespace cairn::objects {
namespace {

// A piece that counts who keeps it, and is overwritten when nobody does.
struct Kept {
  std::shared_ptr<std::string> bytes;
  static Kept make(std::string text, std::atomic<int>& alive) {
    alive++;
    return {{new std::string(std::move(text)), [&alive](std::string* gone) {
               gone->assign(gone->size(), '!');
               delete gone;
               alive--;
             }}};
  }
};

std::string random_text(std::mt19937_64& rng, size_t n) {
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(rng());
  return text;
}

// Feeds a message in pieces that it forgets at once; checks what comes of it, or leaves before.
awaitable<void> feed(Hashers& hashers, uint64_t seed, std::atomic<int>& alive) {
  std::mt19937_64 rng(seed);
  auto stream = std::make_shared<HashStream>(&hashers);
  const auto kind = rng() % 4;
  if (kind != 1) stream->add(Algorithm::kMd5);
  if (kind != 2) stream->add(Algorithm::kSha256);
  if (kind == 3) stream->add(Algorithm::kCrc64nvme);
  const bool leaves = rng() % 5 == 0;
  std::string whole;
  for (size_t pieces = rng() % 8; pieces > 0; pieces--) {
    const Kept piece =
        Kept::make(random_text(rng, rng() % (size_t{1} << (10 + rng() % 10))), alive);
    whole += *piece.bytes;
    Bytes rest = as_bytes(*piece.bytes);
    while (!rest.empty()) {  // as a socket fills a chunk
      const size_t n = std::min<size_t>(rest.size(), 1 + rng() % (64 << 10));
      stream->update(rest.first(n), piece.bytes);
      rest = rest.subspan(n);
      if (rng() % 4 == 0) co_await stream->below(rng() % (256 << 10));
    }
  }
  if (leaves) {
    stream->abandon();
    co_return;
  }
  co_await stream->below(0);
  EXPECT_EQ(stream->waiting_bytes(), 0u);
  for (const Algorithm a : {Algorithm::kMd5, Algorithm::kSha256, Algorithm::kCrc64nvme}) {
    const std::string made = stream->digest(a);
    if (made.empty()) continue;
    EXPECT_EQ(hex(made), hex(digest_of(a, whole))) << name_of(a);
  }
  EXPECT_FALSE(stream->digest(kind == 1 ? Algorithm::kSha256 : Algorithm::kMd5).empty());
  stream->abandon();
}

TEST(Hashers, StreamsInAnyCompanySayWhatEachSaysAlone) {
  std::atomic<int> alive = 0;
  for (const BlockHasher& hasher : BlockHasher::choices()) {
    for (const size_t threads : {1, 3}) {
      Hashers hashers(threads, hasher);
      std::vector<std::thread> loops;
      for (uint64_t loop = 0; loop < 2; loop++) {
        loops.emplace_back([&, loop] {
          asio::io_context context;
          for (uint64_t i = 0; i < 24; i++) {
            spawn(context.get_executor(), "feeding", feed(hashers, 100 * loop + i, alive));
          }
          context.run();
        });
      }
      for (std::thread& loop : loops) loop.join();
    }
  }
  EXPECT_EQ(alive, 0);  // nobody keeps what was hashed, or what nobody wants
}

TEST(Hashers, AStreamWithoutThreadsHashesAtOnce) {
  HashStream stream(nullptr);
  stream.add(Algorithm::kMd5);
  std::string text(100'000, 'x');
  stream.update(as_bytes(text), std::make_shared<int>());
  EXPECT_EQ(stream.waiting_bytes(), 0u);
  EXPECT_EQ(hex(stream.digest(Algorithm::kMd5)), hex(digest_of(Algorithm::kMd5, text)));
}

// The threads end although there is work left, and nobody waits for them.
TEST(Hashers, EndWithStreamsThatAreNotDone) {
  std::atomic<int> alive = 0;
  {
    std::vector<std::shared_ptr<HashStream>> streams;
    {
      Hashers hashers(1);
      for (int i = 0; i < 20; i++) {
        streams.push_back(std::make_shared<HashStream>(&hashers));
        streams.back()->add(Algorithm::kMd5);
        const Kept piece = Kept::make(std::string(1 << 20, 'y'), alive);
        streams.back()->update(as_bytes(*piece.bytes), piece.bytes);
      }
    }
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace cairn::objects
