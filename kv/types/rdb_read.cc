#include "kv/types/rdb_read.h"

#include <cmath>
#include <cstdlib>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"

namespace cairn::kv::rdb {

namespace {

// A score as text: what strtod takes, and nothing behind it.
bool parse_score(std::string_view text, double& score) {
  const std::string copy(text);
  char* end;
  score = std::strtod(copy.c_str(), &end);
  return !copy.empty() && end == copy.c_str() + copy.size() && !std::isnan(score);
}

// Of the oldest form: a length of one byte, or what is no number.
bool take_old_score(Source& in, double& score) {
  constexpr uint8_t kNan = 253, kInf = 254, kMinusInf = 255;
  uint8_t n;
  std::string_view text;
  if (!in.take_byte(n)) return false;
  if (n == kNan) return in.fail();
  if (n == kInf || n == kMinusInf) {
    score = n == kInf ? HUGE_VAL : -HUGE_VAL;
    return true;
  }
  if (!in.take_bytes(n, text)) return false;
  return parse_score(text, score) || in.fail();
}

}  // namespace

std::optional<PlainString> plain_string(std::string_view body) {
  Source in{body};
  uint8_t type;
  uint64_t n;
  if (!in.take_byte(type) || type != kString || !in.take_length(n)) return std::nullopt;
  return PlainString{body.size() - in.rest.size(), n};
}

uint64_t Reader::held_bytes() const {
  constexpr uint64_t kPendingBytes = 48;
  return packed_.bytes() + held_.capacity() + other_held_.capacity() + list_.capacity() +
         stream_.names.capacity() + stream_.values.capacity() +
         stream_.pending.size() * kPendingBytes;
}

Reader::Got Reader::read(std::string_view& in, bool last, uint64_t bytes, std::string& operation) {
  while (stage_ != Stage::kDone) {
    if (operation.size() >= bytes) return Got::kFull;
    Source source{in};
    if (step(source, operation)) {
      in = source.rest;
      continue;
    }
    if (source.bad) return source.too_long ? Got::kTooLong : Got::kBad;
    return last ? Got::kBad : Got::kNeedsMore;
  }
  return in.empty() ? Got::kWhole : Got::kBad;
}

// One step. False: it changed nothing, since there is too little, or the body is bad.
bool Reader::step(Source& in, std::string& operation) {
  uint8_t type;
  std::string_view text;
  switch (stage_) {
    case Stage::kType:
      return in.take_byte(type) && enter(in, type);
    case Stage::kFirst:
      if (!in.take_raw(first_ms_)) return false;
      if (first_ms_ < 0) return in.fail();
      stage_ = rdb_type_ == kHashTimes ? Stage::kCount : Stage::kPacked;
      return true;
    case Stage::kCount:
      if (!in.take_length(left_)) return false;
      stage_ = value_type_ == ValueType::kStream ? Stage::kNodes : Stage::kItems;
      return true;
    case Stage::kItems:
      if (left_ == 0) return finish(in, operation);
      if (rdb_type_ == kListQuicklist || rdb_type_ == kListQuicklist2) return node(in, operation);
      if (!item(in, operation)) return false;
      left_--;
      return true;
    case Stage::kPacked: {
      const bool zipmap = rdb_type_ == kHashZipmap, intset = rdb_type_ == kSetIntset;
      const bool ziplist =
          rdb_type_ == kListZiplist || rdb_type_ == kZsetZiplist || rdb_type_ == kHashZiplist;
      return open_packed(in, zipmap    ? Packed::Form::kZipmap
                             : intset  ? Packed::Form::kIntset
                             : ziplist ? Packed::Form::kZiplist
                                       : Packed::Form::kListpack);
    }
    case Stage::kPackedItems:
      return packed_item(in, operation);
    case Stage::kText:
      if (!in.take_string(text, held_, item_bytes_max_)) return false;
      operation.append(text);
      stage_ = Stage::kDone;
      return true;
    default:
      return stream_step(in, operation);
  }
}

bool Reader::enter(Source& in, uint8_t type) {
  rdb_type_ = type;
  switch (type) {
    case kString:
      stage_ = Stage::kText;
      return true;
    case kList:
    case kListQuicklist:
    case kListQuicklist2:
      value_type_ = ValueType::kList;
      stage_ = Stage::kCount;
      return true;
    case kSet:
      value_type_ = ValueType::kSet;
      stage_ = Stage::kCount;
      return true;
    case kZset:
    case kZset2:
      value_type_ = ValueType::kSortedSet;
      stage_ = Stage::kCount;
      return true;
    case kHash:
    case kHashTimesEarly:
      value_type_ = ValueType::kHash;
      stage_ = Stage::kCount;
      return true;
    case kStream:
    case kStream2:
    case kStream3:
      value_type_ = ValueType::kStream;
      stage_ = Stage::kCount;
      return true;
    case kHashTimes:
    case kHashListpackTimes:
      value_type_ = ValueType::kHash;
      stage_ = Stage::kFirst;
      return true;
    case kListZiplist:
      value_type_ = ValueType::kList;
      stage_ = Stage::kPacked;
      return true;
    case kSetIntset:
    case kSetListpack:
      value_type_ = ValueType::kSet;
      stage_ = Stage::kPacked;
      return true;
    case kZsetZiplist:
    case kZsetListpack:
      value_type_ = ValueType::kSortedSet;
      stage_ = Stage::kPacked;
      return true;
    case kHashZipmap:
    case kHashZiplist:
    case kHashListpack:
    case kHashListpackTimesEarly:
      value_type_ = ValueType::kHash;
      stage_ = Stage::kPacked;
      return true;
    default:  // a module's, or unknown
      return in.fail();
  }
}

bool Reader::finish(Source& in, std::string& operation) {
  if (value_type_ == ValueType::kList) flush_list(operation);
  if (members_ == 0 && skipped_ == 0) return in.fail();  // nothing is no value
  stage_ = Stage::kDone;
  return true;
}

// ---- what the types take ----

bool Reader::add_field(Source& in, std::string_view field, std::string_view value, int64_t until_ms,
                       std::string& operation) {
  constexpr int64_t kUntilMax = 0x0000fffffffffffe;  // Redis's
  if (until_ms < 0 || until_ms > kUntilMax) return in.fail();
  if (until_ms != 0 && until_ms <= now_ms_) {
    skipped_++;
    return true;
  }
  members_++;
  if (is_timed()) {
    Hash::add_set_until(operation, field, value, until_ms);
  } else {
    Hash::add_set(operation, field, value);
  }
  return true;
}

bool Reader::add_scored(Source& in, std::string_view member, double score, std::string& operation) {
  if (std::isnan(score)) return in.fail();
  members_++;
  SortedSet::add_score(operation, {score, member});
  return true;
}

bool Reader::add_element(Source& in, std::string_view element, std::string& operation) {
  const size_t more = packed_bytes(element.size());
  if (element.size() > item_bytes_max_) return in.too_long = true, in.fail();
  if (!list_.empty() && list_.size() + more > BlockRef::kPackedMax) flush_list(operation);
  pack(list_, element);
  list_count_++;
  members_++;
  return true;
}

void Reader::flush_list(std::string& operation) {
  if (list_count_ == 0) return;
  list_next_ = List::add_block(list_next_, list_count_, list_, operation);
  list_.clear();
  list_count_ = 0;
}

// ---- items that stand one by one ----

bool Reader::item(Source& in, std::string& operation) {
  std::string_view first, second;
  const auto text = [&](std::string_view& s, std::string& held) {
    return in.take_string(s, held, item_bytes_max_);
  };
  double score;
  uint64_t until = 0;
  switch (rdb_type_) {
    case kList:
      return text(first, held_) && add_element(in, first, operation);
    case kSet:
      if (!text(first, held_)) return false;
      members_++;
      Set::add_there(operation, first);
      return true;
    case kZset:
      return text(first, held_) && take_old_score(in, score) &&
             add_scored(in, first, score, operation);
    case kZset2:
      return text(first, held_) && in.take_raw(score) && add_scored(in, first, score, operation);
    default:
      if (is_timed() && !in.take_length(until)) return false;
      if (until > INT64_MAX) return in.fail();
      if (rdb_type_ == kHashTimes && until != 0) {
        until += static_cast<uint64_t>(first_ms_) - 1;
        if (until > INT64_MAX) return in.fail();
      }
      return text(first, held_) && text(second, other_held_) &&
             add_field(in, first, second, static_cast<int64_t>(until), operation);
  }
}

bool Reader::node(Source& in, std::string& operation) {
  constexpr uint64_t kPlain = 1, kPackedNode = 2;
  uint64_t container = kPackedNode;
  if (rdb_type_ == kListQuicklist2 && !in.take_length(container)) return false;
  if (container == kPlain) {
    std::string_view element;
    if (!in.take_string(element, held_, item_bytes_max_)) return false;
    if (element.empty()) return in.fail();
    left_--;
    return add_element(in, element, operation);
  }
  if (container != kPackedNode) return in.fail();
  const bool old = rdb_type_ == kListQuicklist;
  if (!open_packed(in, old ? Packed::Form::kZiplist : Packed::Form::kListpack)) return false;
  left_--;
  return true;
}

// ---- packed forms ----

bool Reader::open_packed(Source& in, Packed::Form form) {
  std::string_view bytes;
  if (!in.take_string(bytes, held_, item_bytes_max_)) return false;
  const bool is_held = bytes.data() == held_.data() && !held_.empty();
  if (!packed_.open(form, is_held ? std::move(held_) : std::string(bytes))) return in.fail();
  held_ = std::string();
  stage_ = Stage::kPackedItems;
  return true;
}

bool Reader::packed_item(Source& in, std::string& operation) {
  Packed::Element e;
  if (!packed_.next(e)) {
    if (packed_.broken()) return in.fail();
    packed_.clear();
    stage_ = Stage::kItems;  // a list may have more
    return true;
  }
  if (value_type_ == ValueType::kList) return add_element(in, e.text, operation);
  if (value_type_ == ValueType::kSet) {
    members_++;
    Set::add_there(operation, e.text);
    return true;
  }
  held_ = e.text;
  if (!packed_.next(e)) return in.fail();
  if (value_type_ == ValueType::kSortedSet) {
    double score = 0;
    if (e.number) {
      score = static_cast<double>(*e.number);
    } else if (!parse_score(e.text, score)) {
      return in.fail();
    }
    return add_scored(in, held_, score, operation);
  }
  int64_t until_ms = 0;
  if (is_timed()) {
    other_held_ = e.text;
    if (!packed_.number(until_ms)) return in.fail();
    return add_field(in, held_, other_held_, until_ms, operation);
  }
  return add_field(in, held_, e.text, until_ms, operation);
}

}  // namespace cairn::kv::rdb
