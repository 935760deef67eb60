// A store with a bucket that keeps versions.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/fault_fixture.h"

namespace cairn {

struct VersionsTest : FaultTest {
  std::unique_ptr<Store> store;
  NamespacePtr ns;

  void open() {
    store = make();
    auto status = run(store->open());
    ASSERT_TRUE(status && status->ok()) << *status;
    ns = store->find_namespace("bucket");
  }
  void open_new(bool enabled = true) {
    open();
    ASSERT_TRUE(store->create_bucket("bucket").ok());
    ns = store->find_namespace("bucket");
    if (enabled) {
      ASSERT_TRUE(store->set_versioning(*ns, true).ok());
    }
  }
  void reopen() {
    ASSERT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
    open();
  }
  void TearDown() override {
    if (store == nullptr) return;
    EXPECT_TRUE(run(store->close())->ok());
    take_apart(std::move(store));
  }
  RecordView record(const std::string& key, const std::string& value, int64_t expire_ms = 0) {
    RecordView r;
    r.ns = ns->id;
    r.key = key;
    r.value = value;
    r.expire_ms = expire_ms;
    if (expire_ms != 0) r.flags |= kRecordHasExpiry;
    return r;
  }
  template <class Fn>
  Status change(const std::string& key, Fn fn) {
    const KeyHash hash = ns->hash(key);
    StripeLocks lock(*store, hash);
    Transaction t(*store, &lock, Shape::kOne);
    Status done = fn(t, hash);
    return done.ok() ? t.commit().status() : done;
  }
  Status put(const std::string& key, const std::string& value, int64_t expire_ms = 0) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      return t.put(*ns, hash, record(key, value, expire_ms));
    });
  }
  Status remove(const std::string& key) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      Entry* e = t.find(*ns, key, hash);
      return e == nullptr ? absl::NotFoundError("") : t.remove(*ns, hash, e);
    });
  }
  Status take(const std::string& key, const Version& version) {
    return change(key, [&](Transaction& t, KeyHash hash) {
      return t.remove_version(*ns, hash, key, version).status();
    });
  }
  Status suspend(bool suspended) { return store->set_versioning(*ns, !suspended).status(); }
  // "two, one": the newest first; a marker is "-", and the null version in brackets. What is
  // current comes with a star.
  std::vector<Version> numbers;
  std::string versions(const std::string& key) {
    std::vector<std::pair<Version, std::string>> all;
    const auto add = [&](Namespace& in, const Entry* e, const char* mark) {
      const Version v = store->version_of(in, e);
      const std::string text = v.marker ? "-" : std::string(e->is_cold() ? "cold" : e->value());
      all.emplace_back(v, (v.null ? "[" + text + "]" : text) + mark);
      EXPECT_TRUE(mark[0] == '*' || !e->has_expiry());
    };
    const KeyHash hash = ns->hash(key);
    StripeLocks lock(*store, hash);
    if (const Entry* e = ns->index->find(key, hash)) add(*ns, e, "*");
    if (Namespace* others = ns->versions()) {
      MutexLock order(others->order_mutex);
      for (const Entry* e : others->order) {
        if (key_of_version(e->key()) == key) add(*others, e, "");
      }
    }
    std::sort(all.begin(), all.end(),
              [](auto& a, auto& b) { return a.first.number > b.first.number; });
    std::string text;
    numbers.clear();
    for (auto& [v, one] : all) {
      text += (text.empty() ? "" : ", ") + one;
      numbers.push_back(v);
    }
    return text;
  }
};

}  // namespace cairn
