// Answers in RESP2 or RESP3, gathered in one buffer; blobs and series keep their place in it and
// are streamed when it is sent. Threads: one connection's.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/extents/blob_reader.h"
#include "kv/engine/outbox.h"
#include "kv/engine/reply.h"

namespace cairn::resp {

class Output final : public kv::Reply {
 public:
  // `outbox`: of the same client, if anything may be pushed to it.
  explicit Output(const int& version, kv::Outbox* outbox = nullptr)
      : version_(version), outbox_(outbox) {}

  struct Stream {
    size_t at;                         // its bytes go before this position of the text
    std::unique_ptr<BlobReader> blob;  // one of them
    std::unique_ptr<kv::Series> series;
    size_t bytes;  // that the reader takes: a value may be of many pieces
  };
  const std::string& text() const { return text_; }
  std::vector<Stream>& streams() { return streams_; }
  bool empty() const { return text_.empty() && streams_.empty() && !overflowed_; }
  Mark mark() const override { return {text_.size(), streams_.size(), due_, errors_}; }
  void cut(const Mark& mark) override {
    text_.resize(std::min(mark.text, text_.size()));  // less is there once it overflowed
    while (streams_.size() > mark.streams) {
      stream_bytes_ -= streams_.back().bytes;
      streams_.pop_back();
    }
    due_ = mark.due;
    errors_ = mark.errors;
  }
  // Takes back the answers since the mark, but not what came beside them.
  void cut_answers(const Mark& mark);
  // The command is over: nothing that came beside its answer will be looked for.
  void end_command() { beside_.clear(); }
  void pushed_first() override;
  void clear() {
    text_.clear();
    beside_.clear();
    streams_.clear();
    stream_bytes_ = 0;
    if (text_.capacity() > kKeptMax) text_.shrink_to_fit();
  }
  size_t capacity() const { return text_.capacity() + stream_bytes_; }

  using SendBare = std::function<awaitable<bool>(std::string_view, Lsn)>;
  void on_send_bare(SendBare send) { send_bare_ = std::move(send); }
  awaitable<bool> send_bare(std::string_view bytes, Lsn rests_on) override {
    return send_bare_(bytes, rests_on);
  }

  // Past so many bytes nothing more is gathered, and what was is dropped: the client is to be sent
  // away.
  void set_limit(uint64_t bytes) { limit_ = bytes; }
  bool overflowed() const override { return overflowed_; }

 private:
  static constexpr size_t kKeptMax = 512 << 10;
  void write_simple(std::string_view text) override;
  void write_error(std::string_view text) override;
  void write_integer(int64_t value) override;
  void write_real(double value) override;
  void write_decimal(std::string_view digits) override;
  void write_boolean(bool value) override;
  void write_bulk(std::string_view bytes) override;
  void write_verbatim(std::string_view text) override { write_verbatim_as("txt", text); }
  void write_verbatim_as(std::string_view format, std::string_view text) override;
  void write_big_number(std::string_view digits) override;
  void write_stream(std::unique_ptr<BlobReader> blob) override;
  void write_series(std::unique_ptr<kv::Series> values) override;
  void write_null() override;
  void write_null_array() override;
  void write_array(size_t count) override;
  void write_map(size_t pairs) override;
  void write_set(size_t count) override;
  void write_notice(std::string_view what, std::optional<std::string_view> name,
                    size_t count) override;
  void write_attribute(size_t pairs) override { header('|', pairs); }
  void write_push(size_t count) override { header('>', count); }

  void header(char type, size_t count);
  void overflow();
  char push_byte() const { return version_ < 3 ? '*' : '>'; }
  void note_beside(size_t begin);
  const int& version_;
  kv::Outbox* const outbox_;
  SendBare send_bare_;  // constant once its client is there
  uint64_t limit_ = UINT64_MAX;
  bool overflowed_ = false;
  std::string text_;
  std::vector<std::pair<size_t, size_t>> beside_;  // from, to: of this command, no answers
  std::vector<Stream> streams_;
  size_t stream_bytes_ = 0;
};

}  // namespace cairn::resp
