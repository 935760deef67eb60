#include "tests/sim/image.h"

#include <algorithm>

#include "core/base/text.h"
#include "kv/types/hash.h"
#include "kv/types/list.h"
#include "kv/types/set.h"
#include "kv/types/sorted_set.h"
#include "kv/types/stream.h"
#include "kv/types/type.h"

namespace cairn::sim {

namespace {

void add(std::string& out, std::string_view text) {
  append(out, text.size(), ":");
  out.append(text);
}

// Printable, whatever it holds.
std::string shown(std::string_view bytes, size_t most) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes.substr(0, most)) {
    const auto byte = static_cast<uint8_t>(c);
    if (byte >= 32 && byte < 127) {
      out.push_back(c);
    } else {
      append(out, "\\x", kDigits[byte >> 4], kDigits[byte & 15]);
    }
  }
  return out;
}

std::string text_of(kv::StreamId id) { return cat(id.ms, "-", id.seq, ","); }

std::string bytes_of(const kv::Stream& s) {
  std::string out;
  const auto& state = s.state();
  append(out, text_of(state.last), state.added, ",", text_of(state.max_deleted));
  kv::Stream::Walk walk(s.tree(), kv::kStreamIdMin, kv::kStreamIdMax);
  for (kv::StreamEntry e; walk.next(e);) {
    out += text_of(e.id);
    e.for_each([&](auto field, auto value) {
      add(out, field);
      add(out, value);
    });
  }
  for (auto& [name, g] : s.groups()) {
    out += "group ";
    add(out, name);
    append(out, text_of(g->last()), g->entries_read());
    for (auto& [n, c] : g->consumers()) {
      add(out, n);
      append(out, c->active_ms, ",");
    }
    for (auto& [id, p] : g->pending()) {
      out += text_of(id);
      add(out, p.consumer->name);
      append(out, p.since_ms, ",", p.times, ",");
    }
  }
  return out;
}

std::string damage_of(const kv::List& list) {
  std::vector<std::string> all;
  list.walk(0, list.size(), [&](std::string_view element) {
    all.emplace_back(element);
    return true;
  });
  if (all.size() != list.size()) return "a list counts wrongly";
  if (all.empty()) return {};
  auto expected = all.rbegin();
  list.walk_back(list.size() - 1, list.size(), [&](std::string_view element) {
    return expected != all.rend() && element == *expected++;
  });
  if (expected != all.rend()) return "a list is another one backwards";
  for (size_t i = 0; i < all.size(); i += 1 + all.size() / 16) {
    if (list.at(i) != all[i]) return "a list does not find its elements by index";
  }
  return {};
}

std::string damage_of(const kv::SortedSet& set) {
  uint64_t rank = 0;
  std::string found;
  std::optional<kv::SortedSet::Item> last;
  std::string last_member;
  set.for_each([&](const kv::SortedSet::Item& item) {
    const auto place = set.place_of(item.member);
    if (!place || place->rank != rank || place->score != item.score) {
      found = "a sorted set does not find its members";
    }
    if (last && (item.score < last->score ||
                 (item.score == last->score && item.member <= std::string_view(last_member)))) {
      found = "a sorted set is out of order";
    }
    last_member = item.member;
    last = {item.score, last_member};
    rank++;
  });
  if (rank != set.size()) return "a sorted set counts wrongly";
  return found;
}

std::string damage_of(const kv::Set& set) {
  uint64_t count = 0;
  bool all = true;
  set.for_each([&](std::string_view member) {
    all &= set.contains(member);
    count++;
  });
  if (count != set.size()) return "a set counts wrongly";
  return all ? "" : "a set does not find its members";
}

std::string damage_of(const kv::Hash& hash) {
  uint64_t count = 0;
  bool all = true;
  int64_t next = INT64_MAX, gone = 0;
  hash.for_each_item(kv::Hash::kNoTime, [&](const kv::Hash::Item& item) {
    const auto found = hash.find(item.field, kv::Hash::kNoTime);
    all &= found && found->value == item.value && found->until_ms == item.until_ms;
    const int64_t until = item.until_ms == kv::Hash::kForEver ? INT64_MAX : item.until_ms;
    next = std::min(next, until);
    gone = std::max(gone, until);
    count++;
  });
  if (count != hash.size(kv::Hash::kNoTime)) return "a hash counts wrongly";
  if (count > 0 && (hash.next_due() != next || hash.gone_at() != gone)) {
    return "a hash does not know its times";
  }
  return all ? "" : "a hash does not find its fields";
}

std::string damage_of(const kv::Stream& s) {
  uint64_t count = 0;
  std::string found;
  kv::Stream::Walk walk(s.tree(), kv::kStreamIdMin, kv::kStreamIdMax);
  kv::StreamId last;
  for (kv::StreamEntry e; walk.next(e); last = e.id) {
    if (count > 0 && e.id <= last) found = "a stream is out of order";
    if (s.rank(e.id) != count || s.id_at(count) != e.id) found = "a stream counts wrongly";
    if (!s.find(e.id)) found = "a stream does not find its entries";
    count++;
  }
  if (count != s.size()) found = "a stream counts wrongly";
  for (auto& [name, g] : s.groups()) {
    size_t pending = 0;
    for (auto& [n, c] : g->consumers()) {
      pending += c->pending.size();
      for (auto& id : c->pending) {
        const auto it = g->pending().find(id);
        if (it == g->pending().end() || it->second.consumer != c.get()) {
          found = "a consumer has what his group does not know of";
        }
      }
    }
    if (pending != g->pending().size()) found = "a group knows of what no consumer has";
  }
  return found;
}

}  // namespace

bool Image::expired(int64_t now_ms) const {
  if (expire_ms != 0 && expire_ms <= now_ms) return true;
  return !parts.empty() && std::all_of(parts.begin(), parts.end(),
                                       [&](const TimedPart& p) { return p.is_due(now_ms); });
}

bool Image::looks_like(const Image& other, int64_t now_ms) const {
  if (type != other.type || expire_ms != other.expire_ms || bytes != other.bytes) return false;
  const auto without_due = [&](std::vector<TimedPart> all) {
    std::erase_if(all, [&](const TimedPart& p) { return p.is_due(now_ms); });
    return all;
  };
  return parts == other.parts || without_due(parts) == without_due(other.parts);
}

std::string Image::describe() const {
  constexpr size_t kShown = 300;
  std::string text = cat(kv::type_of(type).name, " expiring ", expire_ms, " of ", bytes.size(),
                         " bytes and ", parts.size(), " fields: ");
  text += shown(bytes, kShown);
  for (const TimedPart& p : parts) {
    if (text.size() > kShown) break;
    append(text, shown(p.name, 30), "=", shown(p.text, 30), " until ", p.until_ms, " ");
  }
  return text;
}

Image image_of(ValueType type, const Collection& c) {
  Image image{type, 0, {}, {}};
  switch (type) {
    case ValueType::kHash:
      static_cast<const kv::Hash&>(c).for_each_item(
          kv::Hash::kNoTime, [&](const kv::Hash::Item& item) {
            image.parts.push_back({std::string(item.field), std::string(item.value),
                                   item.until_ms == kv::Hash::kForEver ? 0 : item.until_ms});
          });
      std::sort(image.parts.begin(), image.parts.end(),
                [](const TimedPart& a, const TimedPart& b) { return a.name < b.name; });
      break;
    case ValueType::kList: {
      const auto& list = static_cast<const kv::List&>(c);
      list.walk(0, list.size(), [&](std::string_view element) {
        add(image.bytes, element);
        return true;
      });
      break;
    }
    case ValueType::kSet: {
      std::vector<std::string> members;
      static_cast<const kv::Set&>(c).for_each(
          [&](std::string_view member) { members.emplace_back(member); });
      std::sort(members.begin(), members.end());
      for (auto& member : members) add(image.bytes, member);
      break;
    }
    case ValueType::kSortedSet:
      static_cast<const kv::SortedSet&>(c).for_each([&](const kv::SortedSet::Item& item) {
        image.bytes.append(reinterpret_cast<const char*>(&item.score), sizeof(item.score));
        add(image.bytes, item.member);
      });
      break;
    case ValueType::kStream:
      image.bytes = bytes_of(static_cast<const kv::Stream&>(c));
      break;
    case ValueType::kString:
      break;
  }
  return image;
}

std::string inner_damage(ValueType type, const Collection& c) {
  switch (type) {
    case ValueType::kHash:
      return damage_of(static_cast<const kv::Hash&>(c));
    case ValueType::kList:
      return damage_of(static_cast<const kv::List&>(c));
    case ValueType::kSet:
      return damage_of(static_cast<const kv::Set&>(c));
    case ValueType::kSortedSet:
      return damage_of(static_cast<const kv::SortedSet&>(c));
    case ValueType::kStream:
      return damage_of(static_cast<const kv::Stream&>(c));
    case ValueType::kString:
      break;
  }
  return {};
}

}  // namespace cairn::sim
