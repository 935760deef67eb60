// A sequence of items, each with a weight, as a B+-tree that counts: which item stands at a rank,
// at which rank an item stands, insertion and removal anywhere, each in O(log n). Lists keep blocks
// of elements in it (a block weighs as many as it has), sorted sets pointers to their members (each
// weighs one), ordered by who inserts.
//
// Copies: copying a tree takes O(1). Nodes are shared and counted; who changes a tree copies those
// that are shared first, on the way from the root down. So a copy is a snapshot, which may be read
// without the lock of the tree that it was taken from.
//
// Memory: with items of 8 bytes a leaf takes 528 bytes for 64 of them; leaves are full where items
// were added at an end, and 70 % full where they came in any order: 8.3 to 12 bytes an item, inner
// nodes included.
//
// Threads: as any value: a tree belongs to who holds its lock. Two trees that share nodes may be
// used by two threads at once, provided that copies of an Item may be.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace cairn::kv {

// `Weigh` gives the weight of an item, at least 1; what an item weighs changes by change() alone.
template <class Item, class Weigh>
class CountedTree {
  struct Node;
  struct Leaf;
  struct Inner;
  static constexpr size_t kDepthMax = 16;  // two neighbours have more than 8 children together

 public:
  // A place in the sequence: an item, or the end. Good until the tree changes.
  class Cursor {
   public:
    Cursor() = default;
    Cursor(const Cursor& from) { *this = from; }
    Cursor& operator=(const Cursor& from) {  // most trees are far from the greatest depth
      if (this == &from) return *this;
      root_ = from.root_;
      leaf_ = from.leaf_;
      at_ = from.at_;
      depth_ = from.depth_;
      std::copy_n(from.path_.begin(), depth_, path_.begin());
      return *this;
    }
    explicit operator bool() const { return leaf_ != nullptr && at_ < leaf_->count; }
    const Item& operator*() const { return leaf_->items[at_]; }
    const Item* operator->() const { return &leaf_->items[at_]; }
    void next() {
      if (++at_ < leaf_->count) return;
      size_t level = depth_;
      while (level > 0 && path_[level - 1].at + 1 == path_[level - 1].node->count) level--;
      if (level == 0) return;  // the end: behind the last item of the last leaf
      path_[level - 1].at++;
      go_down(level, false);
    }
    // Not at the first item.
    void prev() {
      if (at_ > 0) return void(at_--);
      size_t level = depth_;
      while (path_[level - 1].at == 0) level--;
      path_[level - 1].at--;
      go_down(level, true);
    }
    bool is_first() const {
      if (at_ != 0) return false;
      for (size_t i = 0; i < depth_; i++) {
        if (path_[i].at != 0) return false;
      }
      return true;
    }

   private:
    friend class CountedTree;
    struct Step {
      const Inner* node;
      size_t at;
    };
    // From the child that path_[level - 1] points to, to a leaf: its first item, or its last.
    void go_down(size_t level, bool to_last) {
      const Node* node = level == 0 ? root_ : path_[level - 1].node->children[path_[level - 1].at];
      for (; level < depth_; level++) {
        const auto* inner = static_cast<const Inner*>(node);
        path_[level] = {inner, to_last ? inner->count - size_t{1} : 0};
        node = inner->children[path_[level].at];
      }
      leaf_ = static_cast<const Leaf*>(node);
      at_ = to_last ? leaf_->count - size_t{1} : 0;
    }

    const Node* root_ = nullptr;
    const Leaf* leaf_ = nullptr;  // null: the tree is empty
    size_t at_ = 0;
    size_t depth_ = 0;
    std::array<Step, kDepthMax> path_;
  };

  CountedTree() = default;
  ~CountedTree() { release(root_, depth_); }
  CountedTree(const CountedTree& from)
      : root_(from.root_), depth_(from.depth_), leaves_(from.leaves_), inners_(from.inners_) {
    if (root_ != nullptr) root_->references.fetch_add(1, std::memory_order_relaxed);
  }
  CountedTree(CountedTree&& from) noexcept { swap(from); }
  CountedTree& operator=(CountedTree from) noexcept {
    swap(from);
    return *this;
  }
  void swap(CountedTree& other) noexcept {
    std::swap(root_, other.root_);
    std::swap(depth_, other.depth_);
    std::swap(leaves_, other.leaves_);
    std::swap(inners_, other.inners_);
    std::swap(copied_bytes_, other.copied_bytes_);
  }

  bool empty() const { return root_ == nullptr; }
  uint64_t size() const { return root_ == nullptr ? 0 : weight_of(root_, depth_); }  // all weights
  uint64_t bytes() const { return leaves_ * sizeof(Leaf) + inners_ * sizeof(Inner); }
  // Bytes of the nodes that changes had to copy since this was asked last: so much more memory do
  // the copies that were taken of it hold.
  uint64_t take_copied_bytes() { return std::exchange(copied_bytes_, 0); }

  Cursor first() const { return end_of(false); }
  Cursor last() const { return end_of(true); }
  // What these point at, without a path; not of an empty tree.
  const Item& front() const { return first_item(root_, depth_); }
  const Item& back() const {
    const Node* node = root_;
    for (size_t depth = depth_; depth > 0; depth--) {
      node = static_cast<const Inner*>(node)->children[node->count - 1];
    }
    return static_cast<const Leaf*>(node)->items[node->count - 1];
  }
  Cursor end() const {
    Cursor c = last();
    if (root_ != nullptr) c.at_++;
    return c;
  }
  // The item that covers a rank, and where in it; the end for one that is too large.
  Cursor at_rank(uint64_t rank, uint64_t& within) const {
    if (rank >= size()) return end();
    Cursor c = root();
    const Node* node = root_;
    for (size_t level = 0; level < depth_; level++) {
      const auto* inner = static_cast<const Inner*>(node);
      size_t i = 0;
      while (rank >= inner->weights[i]) rank -= inner->weights[i++];
      c.path_[level] = {inner, i};
      node = inner->children[i];
    }
    c.leaf_ = static_cast<const Leaf*>(node);
    for (uint64_t w; rank >= (w = Weigh()(c.leaf_->items[c.at_])); c.at_++) rank -= w;
    within = rank;
    return c;
  }
  // The first item for which `before` does not hold, and its rank: all the weights before it. The
  // items for which it holds stand before all others.
  template <class Before>
  Cursor first_not(Before before, uint64_t& rank) const {
    rank = 0;
    Cursor c = root();
    if (root_ == nullptr) return c;
    const Node* node = root_;
    for (size_t level = 0; level < depth_; level++) {
      const auto* inner = static_cast<const Inner*>(node);
      // In the last child whose first item is before it, or right behind that one.
      size_t low = 0, high = inner->count - size_t{1};
      while (low < high) {
        const size_t middle = (low + high + 1) / 2;
        if (before(first_item(inner->children[middle], depth_ - level - 1))) {
          low = middle;
        } else {
          high = middle - 1;
        }
      }
      for (size_t i = 0; i < low; i++) rank += inner->weights[i];
      c.path_[level] = {inner, low};
      node = inner->children[low];
    }
    c.leaf_ = static_cast<const Leaf*>(node);
    size_t low = 0, high = c.leaf_->count;
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (before(c.leaf_->items[middle])) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (size_t i = 0; i < low; i++) rank += Weigh()(c.leaf_->items[i]);
    c.at_ = low;
    if (low == c.leaf_->count) {
      c.at_--;
      c.next();
    }
    return c;
  }
  uint64_t rank_of(const Cursor& c) const {
    uint64_t rank = 0;
    for (size_t level = 0; level < c.depth_; level++) {
      for (size_t i = 0; i < c.path_[level].at; i++) rank += c.path_[level].node->weights[i];
    }
    for (size_t i = 0; c.leaf_ != nullptr && i < c.at_; i++) rank += Weigh()(c.leaf_->items[i]);
    return rank;
  }

  // In front of what stands at `c`, of this very tree. All cursors are void afterwards, as after
  // each change.
  void insert(const Cursor& c, Item item) {
    const uint64_t weight = Weigh()(item);
    if (root_ == nullptr) {
      root_ = make_leaf();
      as_leaf(root_)->append(std::move(item));
      return;
    }
    Path path = own(c);
    for (size_t i = 0; i < depth_; i++) path[i].node->weights[path[i].at] += weight;
    Leaf* leaf = path.leaf;
    if (leaf->count < kLeafItems) return leaf->insert(path.at, std::move(item));
    const bool at_end = path.at == leaf->count && is_edge(path, true);
    const bool at_front = path.at == 0 && is_edge(path, false);
    Leaf* right = make_leaf();
    const size_t keep = at_end ? kLeafItems : at_front ? 0 : kLeafItems / 2;
    leaf->move_tail(keep, *right);
    if (path.at < keep || (path.at == keep && !at_end)) {
      leaf->insert(path.at, std::move(item));
    } else {
      right->insert(path.at - keep, std::move(item));
    }
    add_child(path, depth_, leaf, right, leaf_weight(leaf), leaf_weight(right));
  }
  // Takes out the item at `c`.
  Item erase(const Cursor& c) {
    Path path = own(c);
    Leaf* leaf = path.leaf;
    Item item = leaf->take(path.at);
    const uint64_t weight = Weigh()(item);
    for (size_t i = 0; i < depth_; i++) path[i].node->weights[path[i].at] -= weight;
    shrink(path);
    return item;
  }
  // fn(Item&) may change it, and what it weighs, but not its place.
  template <class Fn>
  void change(const Cursor& c, Fn fn) {
    Path path = own(c);
    Item& item = path.leaf->items[path.at];
    const uint64_t before = Weigh()(item);
    fn(item);
    const uint64_t more = Weigh()(item) - before;  // modulo 2^64
    for (size_t i = 0; i < depth_; i++) path[i].node->weights[path[i].at] += more;
  }
  // Drops a part at the end, a leaf or what it shares with others: for one that nobody needs any
  // more. False when nothing is left.
  bool free_some() {
    if (root_ == nullptr) return false;
    if (depth_ > 0 && !is_shared(root_) && drop_last(as_inner(root_), depth_)) return true;
    CountedTree().swap(*this);
    return false;
  }

 private:
  static constexpr size_t kLeafItems = 64, kChildren = 32;

  struct Node {
    std::atomic<uint32_t> references{1};
    uint32_t count = 0;
  };
  struct Leaf : Node {
    using Node::count;
    Item items[kLeafItems];

    void append(Item item) { items[count++] = std::move(item); }
    void insert(size_t at, Item item) {
      for (size_t i = count; i > at; i--) items[i] = std::move(items[i - 1]);
      items[at] = std::move(item);
      count++;
    }
    Item take(size_t at) {
      Item item = std::move(items[at]);
      count--;
      for (size_t i = at; i < count; i++) items[i] = std::move(items[i + 1]);
      items[count] = Item();
      return item;
    }
    void move_tail(size_t from, Leaf& to) {
      for (size_t i = from; i < count; i++) {
        to.append(std::move(items[i]));
        items[i] = Item();
      }
      count = static_cast<uint32_t>(from);
    }
  };
  struct Inner : Node {
    using Node::count;
    Node* children[kChildren];
    uint64_t weights[kChildren];

    void insert(size_t at, Node* child, uint64_t weight) {
      for (size_t i = count; i > at; i--) {
        children[i] = children[i - 1];
        weights[i] = weights[i - 1];
      }
      children[at] = child;
      weights[at] = weight;
      count++;
    }
    void remove(size_t at) {
      count--;
      for (size_t i = at; i < count; i++) {
        children[i] = children[i + 1];
        weights[i] = weights[i + 1];
      }
    }
    void move_tail(size_t from, Inner& to) {
      for (size_t i = from; i < count; i++) to.insert(to.count, children[i], weights[i]);
      count = static_cast<uint32_t>(from);
    }
  };
  // From the root to an item, all of it this tree's own.
  struct Path {
    struct Step {
      Inner* node;
      size_t at;
    };
    std::array<Step, kDepthMax> steps;
    Leaf* leaf;
    size_t at;
    Step& operator[](size_t i) { return steps[i]; }
    const Step& operator[](size_t i) const { return steps[i]; }
  };

  static Leaf* as_leaf(Node* node) { return static_cast<Leaf*>(node); }
  static Inner* as_inner(Node* node) { return static_cast<Inner*>(node); }
  static bool is_shared(const Node* node) {
    return node->references.load(std::memory_order_acquire) > 1;
  }
  Leaf* make_leaf() {
    leaves_++;
    return new Leaf;
  }
  Inner* make_inner() {
    inners_++;
    return new Inner;
  }
  static void release(Node* node, size_t depth) {
    if (node == nullptr || node->references.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    if (depth == 0) {
      delete as_leaf(node);
      return;
    }
    for (size_t i = 0; i < node->count; i++) release(as_inner(node)->children[i], depth - 1);
    delete as_inner(node);
  }
  static uint64_t leaf_weight(const Leaf* leaf) {
    uint64_t sum = 0;
    for (size_t i = 0; i < leaf->count; i++) sum += Weigh()(leaf->items[i]);
    return sum;
  }
  static uint64_t inner_weight(const Inner* inner) {
    uint64_t sum = 0;
    for (size_t i = 0; i < inner->count; i++) sum += inner->weights[i];
    return sum;
  }
  static uint64_t weight_of(const Node* node, size_t depth) {
    return depth == 0 ? leaf_weight(static_cast<const Leaf*>(node))
                      : inner_weight(static_cast<const Inner*>(node));
  }
  static const Item& first_item(const Node* node, size_t depth) {
    for (; depth > 0; depth--) node = static_cast<const Inner*>(node)->children[0];
    return static_cast<const Leaf*>(node)->items[0];
  }
  Cursor root() const {
    Cursor c;
    c.root_ = root_;
    c.depth_ = depth_;
    return c;
  }
  Cursor end_of(bool to_last) const {
    Cursor c = root();
    if (root_ != nullptr) c.go_down(0, to_last);
    return c;
  }

  // The node itself, or a copy of it that is not shared.
  Node* own(Node* node, size_t depth) {
    if (!is_shared(node)) return node;
    Node* made;
    if (depth == 0) {
      Leaf* leaf = new Leaf;
      for (size_t i = 0; i < node->count; i++) leaf->append(as_leaf(node)->items[i]);
      made = leaf;
      copied_bytes_ += sizeof(Leaf);
    } else {
      Inner* inner = new Inner;
      const Inner* from = as_inner(node);
      for (size_t i = 0; i < from->count; i++) {
        from->children[i]->references.fetch_add(1, std::memory_order_relaxed);
        inner->insert(i, from->children[i], from->weights[i]);
      }
      made = inner;
      copied_bytes_ += sizeof(Inner);
    }
    release(node, depth);
    return made;
  }
  Path own(const Cursor& c) {
    assert(c.root_ == root_ && c.depth_ == depth_ && root_ != nullptr);
    Path path;
    root_ = own(root_, depth_);
    Node* node = root_;
    for (size_t level = 0; level < depth_; level++) {
      Inner* inner = as_inner(node);
      const size_t at = c.path_[level].at;
      path[level] = {inner, at};
      inner->children[at] = own(inner->children[at], depth_ - level - 1);
      node = inner->children[at];
    }
    path.leaf = as_leaf(node);
    path.at = c.at_;
    return path;
  }
  // Whether the path leads along the first or the last child all the way.
  bool is_edge(const Path& path, bool last) const {
    for (size_t i = 0; i < depth_; i++) {
      if (path[i].at != (last ? path[i].node->count - size_t{1} : 0)) return false;
    }
    return true;
  }
  // `right` stands behind `left`, which is at path[level - 1] and was split.
  void add_child(Path& path, size_t level, Node* left, Node* right, uint64_t left_weight,
                 uint64_t right_weight) {
    while (level > 0) {
      auto [inner, at] = path[level - 1];
      inner->weights[at] = left_weight;
      if (inner->count < kChildren) return inner->insert(at + 1, right, right_weight);
      // One that grows at an end stays full, as leaves do.
      const bool at_end = at + 1 == inner->count, at_front = at == 0;
      Inner* other = make_inner();
      const size_t keep = at_end ? kChildren - 8 : at_front ? 8 : kChildren / 2;
      inner->move_tail(keep, *other);
      if (at < keep) {
        inner->insert(at + 1, right, right_weight);
      } else {
        other->insert(at + 1 - keep, right, right_weight);
      }
      left = inner;
      right = other;
      left_weight = inner_weight(inner);
      right_weight = inner_weight(other);
      level--;
    }
    Inner* root = make_inner();
    root->insert(0, left, left_weight);
    root->insert(1, right, right_weight);
    root_ = root;
    depth_++;
    assert(depth_ < kDepthMax);
  }
  // After the leaf of the path has lost an item: nodes that are empty go, and those that are nearly
  // so join a neighbour. So two neighbours have more than a quarter of what fits into one.
  void shrink(Path& path) {
    Node* node = path.leaf;
    for (size_t level = depth_; level > 0; level--) {
      Inner* inner = path[level - 1].node;
      const size_t at = path[level - 1].at;
      const size_t depth = depth_ - level;
      const size_t capacity = depth == 0 ? kLeafItems : kChildren;
      const auto can_join = [&](size_t left) {
        return inner->children[left]->count + inner->children[left + 1]->count <= capacity * 3 / 4;
      };
      if (node->count > capacity / 4) break;
      if (node->count == 0) {
        remove_child(inner, at, depth);
      } else if (at > 0 && can_join(at - 1)) {
        join(inner, at - 1, depth);
      } else if (at + 1 < inner->count && can_join(at)) {
        join(inner, at, depth);
      } else {
        break;
      }
      node = inner;
    }
    while (depth_ > 0 && root_->count == 1 && !is_shared(root_)) {
      Inner* old = as_inner(root_);
      root_ = old->children[0];
      depth_--;
      inners_--;
      delete old;
    }
    if (root_->count == 0) CountedTree().swap(*this);
  }
  void remove_child(Inner* inner, size_t at, size_t depth) {
    (depth == 0 ? leaves_ : inners_)--;
    release(inner->children[at], depth);
    inner->remove(at);
  }
  // The last leaf, or what is shared around it. False if the node is empty then.
  static bool drop_last(Inner* inner, size_t depth) {
    Node* last = inner->children[inner->count - 1];
    if (depth > 1 && !is_shared(last) && drop_last(as_inner(last), depth - 1)) return true;
    release(last, depth - 1);
    return --inner->count > 0;
  }
  // The children `left` and the one behind it, whose subtrees are so deep, become one.
  void join(Inner* inner, size_t left, size_t depth) {
    Node* a = inner->children[left] = own(inner->children[left], depth);
    Node* b = inner->children[left + 1] = own(inner->children[left + 1], depth);
    if (depth == 0) {
      as_leaf(b)->move_tail(0, *as_leaf(a));
    } else {
      as_inner(b)->move_tail(0, *as_inner(a));
    }
    inner->weights[left] += inner->weights[left + 1];
    remove_child(inner, left + 1, depth);
  }

  Node* root_ = nullptr;  // null: empty
  size_t depth_ = 0;      // of inner nodes above the leaves
  uint64_t leaves_ = 0, inners_ = 0;
  uint64_t copied_bytes_ = 0;
};

}  // namespace cairn::kv
