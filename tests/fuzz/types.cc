// Operations and images of each type (core/index/collection.h): what is none is refused without
// harm; what is one can be taken back exactly, may come twice, and is in the image, and in its
// parts, while others change what they are parts of.
//
//   input = u8 type  step*
//   step  = u8 what: a number of items, of an operation that this type makes; or, from 200 on, how
//           the one before is spoiled; from 230 on, u8 length, bytes that are one; from 245 on, the
//           beginning of a rewriting in parts; from 250 on, others begin to read
//   item  = as the type needs them, below
#include <array>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream.h"
#include "kv/types/type.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/image.h"

namespace cairn::fuzz {
namespace {

constexpr size_t kStepsMax = 60;
constexpr std::array kTypes = {ValueType::kHash, ValueType::kList, ValueType::kSet,
                               ValueType::kSortedSet, ValueType::kStream};

std::unique_ptr<Collection> make(ValueType type) { return kv::type_of(type).collection.make(7); }

std::string text(Input& in) {
  const unsigned n = in.byte();
  if (n < 100) return cat("m", n % 20);
  if (n < 160) return cat(static_cast<int64_t>(n - 130) * (n % 7 == 0 ? 1'000'000'007 : 1));
  if (n < 190) return std::string(in.take(n % 8));
  return std::string(n < 250 ? (n - 189) * 10 : 5000, static_cast<char>('a' + n % 26));
}

// ---- operations that the types make ----

void add(Input& in, const kv::Hash&, unsigned items, std::string& op) {
  const unsigned kind = in.byte() % 4;
  for (unsigned i = 0; i < items; i++) {
    const std::string field = text(in);
    const int64_t until = in.byte() % 4 == 0 ? 0 : 1000 + in.byte();
    if (kind == 0) kv::Hash::add_set(op, field, text(in));
    if (kind == 1) kv::Hash::add_delete(op, field);
    if (kind == 2) kv::Hash::add_set_until(op, field, text(in), until);
    if (kind == 3) kv::Hash::add_until(op, field, until);
  }
}

void add(Input& in, const kv::List& list, unsigned items, std::string& op) {
  const unsigned kind = list.size() < 3 ? 0 : in.byte() % 8;
  const uint64_t index = list.size() < 3 ? 0 : 1 + in.number(2) % (list.size() - 2);
  if (kind == 3) return list.add_erase(index, std::min<uint64_t>(items, list.size() - index), op);
  if (kind == 4) return list.add_set(index, text(in), op);
  if (kind == 5) return list.add_insert(index, text(in), op);
  if (kind == 6) {
    std::vector<uint64_t> places;
    for (uint64_t i = index; places.size() < items && i < list.size(); i += 1 + in.byte() % 5) {
      places.push_back(i);
    }
    return list.add_remove(places, op);
  }
  if (kind == 7) return list.add_rotate(in.byte() % 2 == 0, in.byte() % 2 == 0, op);
  std::vector<std::string> elements(items);
  for (auto& e : elements) e = text(in);
  const std::vector<std::string_view> views(elements.begin(), elements.end());
  kv::List::add_push(list.size() == 0 ? nullptr : &list, in.byte() % 2 == 0, views, op);
}

void add(Input& in, const kv::Set&, unsigned items, std::string& op) {
  const bool gone = in.byte() % 3 == 0;
  for (unsigned i = 0; i < items; i++) {
    if (gone) kv::Set::add_gone(op, text(in));
    if (!gone) kv::Set::add_there(op, text(in));
  }
}

void add(Input& in, const kv::SortedSet& set, unsigned items, std::string& op) {
  const unsigned kind = in.byte() % 5;
  if (kind == 0 && set.size() > 1) {
    const uint64_t first = in.number(2) % set.size();
    const uint64_t last = std::min<uint64_t>(set.size() - 1, first + items);
    op = kv::SortedSet::range_gone(set.at(first), set.at(last));
    return;
  }
  for (unsigned i = 0; i < items; i++) {
    if (kind == 1) kv::SortedSet::add_gone(op, text(in));
    const auto eighths = static_cast<int8_t>(in.byte());
    if (kind != 1) kv::SortedSet::add_score(op, {eighths / 8.0, text(in)});
  }
}

void add(Input& in, const kv::Stream& s, unsigned items, std::string& op) {
  const auto some_id = [&]() -> kv::StreamId {
    const unsigned n = in.byte();
    if (s.size() > 0 && n < 200) return s.id_at(n % s.size());
    return {n, in.byte() % 3U};
  };
  const std::string group = cat("g", in.byte() % 3), consumer = cat("c", in.byte() % 3);
  kv::StreamId last = s.state().last;
  for (unsigned i = 0; i < items; i++) {
    // What makes a group or takes it away is an operation of its own: one that also said something
    // of it before would say more the second time.
    unsigned kind = in.byte() % 16;
    if (items > 1 && kind >= 3 && kind <= 5) kind = 8;
    if (kind >= 8) {
      last = {last.ms + in.byte() % 3, last.seq + 1};
      const std::string value = text(in), field = cat("f", in.byte() % 3);
      const std::array<std::string_view, 2> words{field, value};
      kv::Stream::add_entry(op, last, words);
    }
    if (kind == 0) kv::Stream::add_trim(op, some_id());
    if (kind == 1) kv::Stream::add_delete(op, some_id());
    if (kind == 2) kv::Stream::add_state(op, {last, in.byte(), some_id()});
    if (kind < 3 || kind >= 8) continue;
    kv::Stream::add_group_name(op, group);
    if (kind == 3) kv::Stream::add_group(op, some_id(), in.byte() - 1);
    if (kind == 4) kv::Stream::add_group_gone(op);
    if (kind == 5) kv::Stream::add_consumer_gone(op, consumer);
    const std::array<kv::StreamId, 2> ids{some_id(), some_id()};
    if (kind == 6) kv::Stream::add_acknowledged(op, ids);
    if (kind != 7) continue;
    kv::Stream::add_consumer(op, consumer, in.byte(), in.byte() - 1);
    kv::Stream::add_pending(op, in.byte(), in.byte(), std::span(ids).first(1 + in.byte() % 2));
  }
}

std::string operation(Input& in, ValueType type, const Collection& c, unsigned items) {
  std::string op;
  switch (type) {
    case ValueType::kHash:
      add(in, static_cast<const kv::Hash&>(c), items, op);
      break;
    case ValueType::kList:
      add(in, static_cast<const kv::List&>(c), items, op);
      break;
    case ValueType::kSet:
      add(in, static_cast<const kv::Set&>(c), items, op);
      break;
    case ValueType::kSortedSet:
      add(in, static_cast<const kv::SortedSet&>(c), items, op);
      break;
    default:
      add(in, static_cast<const kv::Stream&>(c), items, op);
  }
  return op;
}

void spoil(Input& in, unsigned how, std::string& op) {
  if (op.empty()) return;
  const size_t at = in.number(2) % op.size();
  if (how % 3 == 0) op[at] = static_cast<char>(in.byte());
  if (how % 3 == 1) op.resize(at);
  if (how % 3 == 2) op.insert(at, 1 + in.byte() % 8, static_cast<char>(in.byte()));
}

// ---- the laws ----

struct World {
  explicit World(ValueType type) : type(type), value(make(type)) {}

  sim::Image image(const Collection& c) const { return sim::image_of(type, c); }
  std::unique_ptr<Collection> copy() const {
    auto made = make(type);
    law(made->apply(value->image()), "an image is an operation");
    law(image(*made) == image(*value), "an image makes what it is of");
    return made;
  }

  // `made`: by what the type offers, and not spoiled.
  void take(const std::string& op, bool made) {
    const auto beside = copy();
    const sim::Image before = image(*value);
    const uint64_t held = value->memory_bytes();
    if (!value->apply(op)) {  // broken bytes: whoever meets them in a log gives the value up
      (void)value->memory_bytes();
      value = copy_of(*beside);
      broken++;
      parts.clear();
      cursor = 0;
      begun = ended = false;
      return;
    }
    law(value->memory_bytes() <= held + 64 * op.size() + (1 << 16), "no more than came");
    check_inside();
    std::vector<std::string> undo;
    beside->inverse(op, undo);
    law(beside->apply(op), "what is an operation once is one again");
    const sim::Image after = image(*value);
    law(image(*beside) == after, "of the same it makes the same");
    law(!made || beside->apply(op), "and twice");
    if (made) law(image(*beside) == after, "twice is as once");
    for (auto& step : undo) law(beside->apply(step), "an inverse is made of operations");
    law(image(*beside) == before, "an inverse is exact");
    if (begun) {
      parts.push_back(op);
      step();
    }
    lapse();
  }

  // A rewriting in parts, between which it changes.
  void begin(unsigned bytes) {
    if (begun) return;
    begun = true;
    part_bytes = 1 + bytes;
    step();
  }
  void step() {
    if (ended) return;
    std::string op;
    cursor = value->save(cursor, part_bytes, op);
    parts.push_back(op);
    ended = cursor == 0;
  }
  void finish() {
    while (begun && !ended) step();
    if (!begun) return;
    const auto made = make(type);
    for (auto& part : parts) law(made->apply(part), "a part is an operation");
    law(image(*made) == image(*value), "parts, and what came between them, make all of it");
  }

  void lapse() {
    const int64_t now = value->next_due();
    if (type != ValueType::kHash || now == INT64_MAX || value->gone_at() <= now) return;
    std::string op;
    const size_t n = value->expire(now, 2, op);
    law(n > 0 && n <= 2, "what is due can be taken out");
    law(value->apply(op), "by an operation");
    if (begun) parts.push_back(op);
    check_inside();
  }

  // Somebody reads it as it is now, while it changes.
  void read() {
    if (type == ValueType::kStream) {
      const auto& s = static_cast<const kv::Stream&>(*value);
      readers.push_back({entries_of(s.tree()), s.snapshot(), {}});
    } else if (type == ValueType::kSortedSet) {
      kv::SortedSet::View view(static_cast<const kv::SortedSet&>(*value));
      std::string text = items_of(view);
      readers.push_back({std::move(text), std::nullopt, std::move(view)});
    }
  }
  static std::string entries_of(const kv::Stream::Tree& tree) {
    std::string out;
    kv::Stream::Walk walk(tree, kv::kStreamIdMin, kv::kStreamIdMax);
    for (kv::StreamEntry e; walk.next(e);) {
      append(out, e.id.ms, "-", e.id.seq, " ", e.names, " ", e.values, "\n");
    }
    return out;
  }
  static std::string items_of(const kv::SortedSet::View& view) {
    std::string out;
    (void)view.for_each(0, view.size(), false, [&](const kv::SortedSet::Item& item) {
      append(out, static_cast<int64_t>(item.score * 8), " ", item.member, "\n");
    });
    return out;
  }
  void check_readers() const {
    for (const Reader& r : readers) {
      std::string now;
      if (r.stream) r.stream->read([&](const kv::Stream::Tree& tree) { now = entries_of(tree); });
      if (r.set) now = items_of(*r.set);
      law(now == r.text, "what is being read stays as it was");
    }
  }

  void check_inside() const {
    const std::string damage = sim::inner_damage(type, *value);
    if (!damage.empty()) std::fprintf(stderr, "%s\n", damage.c_str());
    law(damage.empty(), "a value is sound inside");
  }
  std::unique_ptr<Collection> copy_of(const Collection& c) const {
    auto made = make(type);
    law(made->apply(c.image()), "an image is an operation");
    return made;
  }

  const ValueType type;
  std::unique_ptr<Collection> value;
  std::vector<std::string> parts;
  uint64_t cursor = 0, part_bytes = 1;
  bool begun = false, ended = false;
  int broken = 0;
  struct Reader {
    std::string text;  // what it reads
    std::optional<kv::Snapshot<kv::Stream::Tree>> stream;
    std::optional<kv::SortedSet::View> set;
  };
  std::vector<Reader> readers;
};

}  // namespace
}  // namespace cairn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn::fuzz;
  Input in(data, size);
  World world(kTypes[in.byte() % kTypes.size()]);
  std::string op;
  for (size_t i = 0; i < kStepsMax && !in.rest().empty(); i++) {
    const unsigned what = in.byte();
    if (what >= 250) {
      world.read();
      continue;
    }
    if (what >= 245) {
      world.begin(in.byte());
      continue;
    }
    if (what >= 230) {
      op = std::string(in.take(in.byte()));
    } else if (what >= 200) {
      spoil(in, what, op);
    } else {
      op = operation(in, world.type, *world.value, 1 + what % (what < 190 ? 8 : 200));
    }
    world.take(op, what < 200);
  }
  world.finish();
  world.check_readers();
  world.readers.clear();
  while (world.value->free_some()) {
  }
  return 0;
}
