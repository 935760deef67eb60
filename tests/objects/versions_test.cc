// Listings of versions, page by page, against a model; and what versions are called.
#include "objects/versions.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "core/base/text.h"
#include "tests/core/fault_fixture.h"

namespace cairn::objects {
namespace {

TEST(VersionId, LeadsBackToTheVersionAndOthersToNone) {
  std::set<std::string> ids;
  for (uint64_t number : {uint64_t{0}, uint64_t{1}, uint64_t{1'700'000'000'000'000}, UINT64_MAX}) {
    const std::string id = version_id({number, false, false});
    EXPECT_EQ(id.size(), 32u);
    EXPECT_EQ(parse_version_id(id)->number, number);
    EXPECT_TRUE(ids.insert(id).second);
  }
  EXPECT_EQ(version_id({7, true, false}), "null");
  EXPECT_TRUE(parse_version_id("null")->null);
  for (const std::string none :
       {"", "nil", "0123456789abcdef0123456789abcdef", "UIORUnfndfhnw89493jJFJ0123456789", "zz"}) {
    EXPECT_FALSE(parse_version_id(none)) << none;
  }
}

struct ListVersionsTest : FaultTest {
  std::unique_ptr<Store> store;
  NamespacePtr ns;
  struct One {
    std::string id;
    bool marker, latest;
    bool operator==(const One&) const = default;
  };
  std::map<std::string, std::vector<One>> model;  // the newest first

  void SetUp() override {
    store = make();
    auto status = run(store->open());
    ASSERT_TRUE(status && status->ok());
    ASSERT_TRUE(store->create_bucket("bucket").ok());
    ns = store->find_namespace("bucket");
  }
  void TearDown() override {
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
  uint64_t pick(uint64_t n) { return rng() % n; }
  void note(const std::string& key, const std::string& id, bool marker) {
    auto& all = model[key];
    const std::string is = id.empty() ? "null" : id;
    if (is == "null") std::erase_if(all, [](auto& one) { return one.id == "null"; });
    if (!all.empty()) all.front().latest = false;
    all.insert(all.begin(), {is, marker, true});
  }
  awaitable<Status> put(std::string key) {
    Upload upload(*store, 0);
    const ObjectMeta meta;
    Status added = co_await upload.append(as_bytes(std::string_view("bytes")));
    if (!added.ok()) co_return added;
    const Conditions none;
    auto done = objects::put(*store, *ns, key, upload, meta, 0, none);
    if (done.ok()) note(key, done->version_id, false);
    co_return done.status();
  }
  void remove(const std::string& key) {
    auto done = objects::remove(*store, *ns, key);
    ASSERT_TRUE(done.ok());
    EXPECT_TRUE(done->marker);
    note(key, done->version_id, true);
  }
  // All pages: "KEY ID", or "GROUP/".
  std::vector<std::string> listed(VersionQuery query) {
    std::vector<std::string> all;
    for (;;) {
      auto page = run(list_versions(*store, ns, query));
      EXPECT_TRUE(page && page->ok());
      for (auto& item : (*page)->items) {
        if (item.is_prefix) {
          all.push_back(item.key);
          continue;
        }
        all.push_back(cat(item.key, " ", version_id(item.version), item.latest ? " latest" : "",
                          item.version.marker ? " marker" : ""));
        EXPECT_EQ(item.etag.empty(), item.version.marker);
      }
      EXPECT_LE((*page)->items.size(), query.limit);
      if (!(*page)->truncated) return all;
      const VersionItem& last = (*page)->items.back();
      query.after = last.key;
      query.after_id = last.is_prefix ? "" : version_id(last.version);
    }
  }
  std::vector<std::string> expected(const std::string& prefix, const std::string& delimiter) {
    std::vector<std::string> all;
    for (auto& [key, versions] : model) {
      if (!key.starts_with(prefix)) continue;
      const size_t at = delimiter.empty() ? key.npos : key.find(delimiter, prefix.size());
      if (at != key.npos) {
        const std::string group = key.substr(0, at + delimiter.size());
        if (all.empty() || all.back() != group) all.push_back(group);
        continue;
      }
      for (auto& one : versions) {
        all.push_back(
            cat(key, " ", one.id, one.latest ? " latest" : "", one.marker ? " marker" : ""));
      }
    }
    return all;
  }
};

TEST_F(ListVersionsTest, HasAllPageByPage) {
  const std::vector<std::string> keys{"a", "a/1",   "a/2", "a/2/x", std::string("a\0b", 3),
                                      "b", "b/1/y", "c",   "\xff",  "\xff\xff"};
  for (int i = 0; i < 300; i++) {
    const std::string& key = keys[pick(keys.size())];
    if (i == 20 || (i > 20 && pick(25) == 0)) {
      ASSERT_TRUE(store->set_versioning(*ns, pick(3) != 0).ok());
    }
    if (i > 20 && pick(4) == 0) {
      remove(key);
    } else {
      ASSERT_TRUE(run(put(key))->ok());
    }
    if (i % 20 != 0) continue;
    for (const std::string prefix : {"", "a", "a/", "b", "\xff", "nothing"}) {
      for (const std::string delimiter : {"", "/", "1"}) {
        const auto all = expected(prefix, delimiter);
        for (size_t limit : {size_t{1}, size_t{3}, size_t{1000}}) {
          VersionQuery query;
          query.prefix = prefix;
          query.delimiter = delimiter;
          query.limit = limit;
          EXPECT_EQ(listed(query), all) << prefix << " " << delimiter << " " << limit;
        }
      }
    }
    if (HasFailure()) return;
  }
}

TEST_F(ListVersionsTest, OneThatIsRemovedIsGoneAndTheNextIsLatest) {
  ASSERT_TRUE(store->set_versioning(*ns, true).ok());
  for (int i = 0; i < 10; i++) ASSERT_TRUE(run(put("k"))->ok());
  remove("k");
  while (!model["k"].empty()) {
    auto& all = model["k"];
    const size_t at = pick(all.size());
    Conditions which;
    which.version = parse_version_id(all[at].id);
    auto removed = objects::remove(*store, *ns, "k", which);
    ASSERT_TRUE(removed.ok());
    EXPECT_EQ(removed->marker, all[at].marker);
    all.erase(all.begin() + static_cast<ptrdiff_t>(at));
    if (!all.empty()) all.front().latest = true;
    EXPECT_EQ(listed({}), expected("", ""));
    EXPECT_EQ(stat(*store, *ns, "k").ok(), !all.empty() && !all.front().marker);
  }
  EXPECT_TRUE(store->drop_bucket("bucket").ok());
}

TEST_F(ListVersionsTest, MarkersAndMissingVersionsAreToldApart) {
  ASSERT_TRUE(store->set_versioning(*ns, true).ok());
  ASSERT_TRUE(run(put("k"))->ok());
  remove("k");
  const std::string marker = model["k"][0].id, one = model["k"][1].id;
  const Status current = stat(*store, *ns, "k").status();
  EXPECT_TRUE(absl::IsNotFound(current));
  EXPECT_EQ(marker_found(current)->version_id, marker);
  EXPECT_EQ(stat(*store, *ns, "k", parse_version_id(one))->version_id, one);
  const Status of_marker = stat(*store, *ns, "k", parse_version_id(marker)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(of_marker));
  EXPECT_EQ(marker_found(of_marker)->version_id, marker);
  const Status none = stat(*store, *ns, "k", Version{1, false, false}).status();
  EXPECT_TRUE(absl::IsNotFound(none) && is_no_such_version(none) && !marker_found(none));
  EXPECT_FALSE(marker_found(stat(*store, *ns, "other").status()));
}

}  // namespace
}  // namespace cairn::objects
