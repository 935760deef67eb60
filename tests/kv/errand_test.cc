// Commands that other doors run.
#include "kv/engine/errand.h"

#include "tests/kv/engine_fixture.h"

namespace cairn::kv {
namespace {

// It named keys by copies that were gone before anybody looked: a collection whose key has a long
// name was not brought back from disk.
TEST_F(EngineTest, AnErrandNamesItsKeysByTheWordsThatItHas) {
  const std::string key(100, 'k');
  Command command(*store);
  for (const std::string& word : {std::string("HGET"), key, std::string("field")}) {
    command.words().add_copy(word);
  }
  command.find_row(table);
  command.enter(*engines.front(), store->database(0).shared_from_this());
  std::vector<KeyHash> hashes;
  Faults::Keys values;
  command.add_keys(hashes, values);
  ASSERT_EQ(values.size(), 1u);
  EXPECT_EQ(values[0].second.data(), command.words()[1].data());
  EXPECT_EQ(values[0].second, key);
}

}  // namespace
}  // namespace cairn::kv
