// The stream type: entries by ID, in the order of their IDs, and consumer groups that read them.
//
// Entries lie in packed blocks (stream_block.h), these in a tree that counts (counted_tree.h): a
// copy of the tree is the stream as it was, for answers that are made in parts.
//
// Unlike other types a stream may be empty, and is there still.
//
// An operation, each item of which says what holds afterwards:
//   operation = item*
//     1 block              these entries are there (stream_block.h)
//     2 id                 all entries up to this one are gone
//     3 id                 this entry is gone
//     4 id added id        the last ID, how many were added (modulo 2^64), the largest that was
//                          deleted
//     5 name               the items that follow are about this group; if it is not there and is
//                          not made, they say nothing
//     6 id read            it is there; the ID delivered last, entries read (0: not known, else
//                          one more, modulo 2^64)
//     7                    it is gone
//     8 name seen active   this consumer is there, with these times; the pending entries that
//                          follow are its
//     9 name               this consumer is gone, and what was pending with it
//    10 since times ids    these are pending with the consumer since then, delivered so often
//    11 ids                these are not pending any more
//   id = ms seq, varints; name = varint of its bytes, bytes
//   seen, active, since = varint, milliseconds; active is one more, or 0: never
//   ids = n, then each as milliseconds after the one before, and what it is after that one's number
//         if these are 0, else its number
//
// Threads: as core/index/collection.h.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/index/collection.h"
#include "kv/types/counted_tree.h"
#include "kv/types/snapshot.h"
#include "kv/types/stream_block.h"
#include "kv/types/stream_group.h"

namespace cairn::kv {

class Stream final : public Collection {
 public:
  explicit Stream(uint64_t seed);
  ~Stream() override;
  static std::unique_ptr<Collection> make(uint64_t seed) { return std::make_unique<Stream>(seed); }

  struct State {
    StreamId last;  // that was given out; entries have it or smaller ones
    uint64_t added = 0;
    StreamId max_deleted;
    bool operator==(const State&) const = default;
  };

  // ---- operations to pass to Transaction::operate; each adds an item ----
  static void add_entry(std::string& operation, const StreamEntry& entry);
  // Of fields and values in turn.
  static void add_entry(std::string& operation, StreamId id,
                        std::span<const std::string_view> words);
  static void add_trim(std::string& operation, StreamId to);
  static void add_delete(std::string& operation, StreamId id);
  static void add_state(std::string& operation, const State& state);
  static void add_group_name(std::string& operation, std::string_view name);
  static void add_group(std::string& operation, StreamId last, int64_t entries_read);
  static void add_group_gone(std::string& operation);
  static void add_consumer(std::string& operation, std::string_view name, int64_t seen_ms,
                           int64_t active_ms);
  static void add_consumer_gone(std::string& operation, std::string_view name);
  static void add_pending(std::string& operation, int64_t since_ms, uint64_t times,
                          std::span<const StreamId> ids);
  static void add_acknowledged(std::string& operation, std::span<const StreamId> ids);

  bool apply(std::string_view operation) override;
  void inverse(std::string_view operation, std::vector<std::string>& undo) const override;
  bool empty() const override { return false; }
  uint64_t memory_bytes() const override;
  uint64_t image_bytes() const override;
  uint64_t save(uint64_t cursor, uint64_t bytes, std::string& operation) const override;
  bool free_some() override;

  std::string_view encoding() const { return "stream"; }

  // ---- entries ----
  struct Weigh {
    uint64_t operator()(const StreamBlock::Ref& block) const { return block->count(); }
  };
  using Tree = CountedTree<StreamBlock::Ref, Weigh>;

  uint64_t size() const { return tree_.size(); }
  const State& state() const { return state_; }
  StreamId first_id() const { return tree_.empty() ? kStreamIdMin : (*tree_.first())->first(); }
  StreamId top_id() const { return tree_.empty() ? kStreamIdMin : (*tree_.last())->last(); }
  std::optional<StreamEntry> find(StreamId id) const;
  // How many entries are below this ID; and the ID of the entry that has so many before it.
  uint64_t rank(StreamId id) const;
  StreamId id_at(uint64_t rank) const;
  // Whether the first n entries take more than so many bytes; in about as many steps as these have
  // blocks.
  bool exceeds(uint64_t n, uint64_t bytes) const;
  // What XTRIM with ~ takes away: whole blocks. The last ID of as many blocks at the front as can
  // go so that `keep` entries stay, and all from `keep_from` on (if any), and not more than `most`
  // go (0: any number); 0-0: none. With one that is about to be added (`added_bytes` long; 0-0:
  // none).
  StreamId whole_blocks(uint64_t keep, std::optional<StreamId> keep_from, uint64_t most,
                        StreamId added, size_t added_bytes) const;
  // Redis's radix-tree-keys: how many pieces it lies in.
  uint64_t blocks() const { return blocks_; }

  // Entries from one ID to another, in order or backwards; of a tree that does not change
  // meanwhile.
  class Walk {
   public:
    Walk(const Tree& tree, StreamId from, StreamId to, bool backwards = false);
    // Good until the next call.
    bool next(StreamEntry& entry);

   private:
    void enter();  // the cursor's block

    Tree::Cursor cursor_;
    const StreamId from_, to_;
    const bool backwards_;
    bool ended_ = false;
    std::optional<StreamBlock::Reader> reader_;
    std::vector<uint32_t> places_;  // of the entries to come in the block, when going backwards
  };
  const Tree& tree() const { return tree_; }
  // All of it as it is now, also while others change it, and without its lock.
  Snapshot<Tree> snapshot() const { return snapshots_.take(tree_); }

  // ---- groups ----
  using Groups = absl::btree_map<std::string, std::unique_ptr<StreamGroup>, std::less<>>;
  const StreamGroup* group(std::string_view name) const {
    const auto it = groups_.find(name);
    return it == groups_.end() ? nullptr : it->second.get();
  }
  const Groups& groups() const { return groups_; }
  // Redis's counts, from 7.2 on: what a group that delivered up to this ID has read of all that was
  // ever added, and how many entries it has before it; kUnknown where deletions hide it.
  int64_t estimate_read(StreamId id) const;
  int64_t lag(const StreamGroup& group) const;
  // What a group has read after it delivered these entries, too, beyond `last`.
  int64_t read_after(StreamId last, int64_t read, std::span<const StreamId> ids) const;

 private:
  // Where save() goes on: by ID and name, so that it survives all changes.
  struct Place {
    enum Stage : uint8_t { kEntries, kConsumers, kPending, kEnd } stage = kEntries;
    StreamId id;
    std::string group, consumer;
  };
  struct Saves;
  struct Part;
  class Undo;

  bool apply_items(std::string_view operation);
  static bool apply_group_item(char kind, std::string_view& in, StreamGroup* group,
                               StreamConsumer*& consumer);
  bool has_tombstones_from(StreamId from, StreamId first) const;
  void put_block(const StreamBlock::Ref& block);
  void put(const StreamEntry& entry);
  void remove(StreamId from, StreamId to);  // entries
  void insert(const Tree::Cursor& at, StreamBlock::Ref block);
  void erase(const Tree::Cursor& at);
  template <class Fn>
  void edit(const Tree::Cursor& at, Fn fn);
  static Tree::Cursor first_at_or_above(const Tree& tree, StreamId id, uint64_t& rank);
  bool free_dead(size_t most);
  bool save_entries(Place& place, Part& part) const;
  bool save_groups(Place& place, Part& part) const;
  bool save_group(const StreamGroup& group, Place& place, Part& part) const;

  Tree tree_;
  mutable Snapshots<Tree> snapshots_;
  State state_;
  uint64_t blocks_ = 0;
  uint64_t block_bytes_ = 0;  // that they take
  uint64_t entry_bytes_ = 0;  // of what is in them
  uint64_t kept_bytes_ = 0;   // of blocks that the operation at work left to snapshots
  uint64_t group_bytes_ = 0;  // that the groups take
  uint64_t group_image_bytes_ = 0;
  Groups groups_;
  std::vector<std::unique_ptr<StreamGroup>> dead_;  // freed step by step
  uint64_t dead_bytes_ = 0;
  const uint64_t seed_;
  mutable std::unique_ptr<Saves> saves_;  // those under way
};

}  // namespace cairn::kv
