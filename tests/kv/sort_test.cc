// Laws of SORT: what it finds in other keys, wherever their values are, and who may look there.
#include <gtest/gtest.h>

#include "tests/core/principals.h"
#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

struct SortTest : EngineTest {
  void fill(size_t n) {
    std::vector<std::string> push{"RPUSH", "list"};
    for (size_t i = 0; i < n; i++) {
      push.push_back(cat(i));
      run({"SET", cat("w_", i), cat(n - i)});
      run({"HSET", cat("h_", i), "f", cat("value", i)});
    }
    run(push);
  }
};

TEST_F(SortTest, ValuesThatAreOnDiskAloneAreFetched) {
  fill(30);
  const std::vector<std::string> words{"SORT", "list", "BY", "w_*", "GET", "#", "GET", "h_*->f"};
  const std::string wanted = run(words);
  make_cold();
  EXPECT_EQ(run(words), wanted);
  EXPECT_NE(wanted.find("29 value29 28 value28"), wanted.npos) << wanted;
}

TEST_F(SortTest, ManyElementsAreSortedAsFewAre) {
  constexpr size_t kMany = 1500;
  fill(kMany);
  const std::string some = run({"SORT", "list", "BY", "w_*", "LIMIT", "0", "5", "GET", "#"});
  EXPECT_NE(some.find("1499 1498 1497 1496 1495"), some.npos) << some;
  make_cold();
  EXPECT_EQ(run({"SORT", "list", "BY", "w_*", "LIMIT", "0", "5", "GET", "#"}), some);
  const std::string all = run({"SORT", "list", "BY", "w_*", "GET", "#", "GET", "h_*->f"});
  std::string wanted;
  for (size_t i = kMany; i-- > 0;) append(wanted, " ", i, " value", i);
  EXPECT_EQ(all.substr(all.find(' ')), wanted);
  EXPECT_NE(run({"SORT", "list", "BY", "w_*", "GET", "h_*->f", "STORE", "to"}).find("1500"),
            std::string::npos);
  EXPECT_NE(run({"LRANGE", "to", "-2", "-1"}).find("value1 value0"), std::string::npos);
  EXPECT_NE(run({"LLEN", "to"}).find("1500"), std::string::npos);
}

// SORT_RO let who may read one key read all of them (CVE-2023-41053).
TEST_F(SortTest, OtherKeysAreForThoseWhoMayReadAll) {
  run({"RPUSH", "a:list", "2", "1"});
  run({"SET", "secret", "x"});
  auto s = new_session();
  s->principal = principal_with(allow("s3:*Object", "db0/a:*"));
  const auto as = [&](const std::vector<std::string>& words) { return answer(*s, words).text(); };
  EXPECT_NE(as({"SORT_RO", "a:list"}).find("1 2"), std::string::npos);
  for (const char* name : {"SORT", "SORT_RO"}) {
    EXPECT_NE(as({name, "a:list", "GET", "secre*"}).find("GET option of SORT denied"),
              std::string::npos);
    EXPECT_NE(as({name, "a:list", "BY", "secre*"}).find("BY option of SORT denied"),
              std::string::npos);
    EXPECT_NE(as({name, "secret"}).find("NOPERM"), std::string::npos);
  }
  EXPECT_NE(as({"SORT", "a:list", "STORE", "other"}).find("NOPERM"), std::string::npos);
  EXPECT_NE(as({"SORT", "a:list", "BY", "nosort", "STORE", "a:to"}).find('2'), std::string::npos);
  s.reset();
}

TEST_F(SortTest, InATransactionItSeesWhatTheTransactionDid) {
  run({"RPUSH", "list", "1", "2"});
  run({"MULTI"});
  run({"MSET", "w_1", "5", "w_2", "3"});
  run({"SORT", "list", "BY", "w_*", "GET", "w_*", "GET", "#"});
  const std::string done = run({"EXEC"});
  EXPECT_NE(done.find("3 2 5 1"), done.npos) << done;
}

}  // namespace
}  // namespace cairn::kv
