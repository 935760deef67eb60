// ACL's rules: what is accepted is printed so that it is read again, and says the same.
#include "kv/commands/acl_rules.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace cairn;
  using fuzz::law;
  fuzz::Input input(data, size);
  static const kv::Table table;
  kv::AclDraft draft(table, input.byte() % 2 == 1);
  const std::string_view text = input.rest();
  std::string_view open;
  const auto rules = kv::join_selectors(words_of(text), open);
  if (!rules) {
    law(!open.empty(), "what is not closed is named");
    return 0;
  }
  for (const std::string& rule : *rules) {
    if (!draft.set(rule).empty()) return 0;
  }
  const AclRecord record = draft.record();
  kv::AclDraft again(table, false);
  law(again.take(record), "what is printed is read");
  const AclRecord twice = again.record();
  law(twice.rules == record.rules && twice.on == record.on && twice.hashes == record.hashes,
      "and says the same");
  const auto& a = draft.acl().selectors;
  const auto& b = again.acl().selectors;
  law(a.size() == b.size(), "with as many selectors");
  for (size_t i = 0; i < a.size(); i++) {
    for (size_t row = 0; row < table.rows().size(); row++) {
      law(a[i].has(row) == b[i].has(row), "that allow the same commands");
    }
    law(a[i].first_words == b[i].first_words && a[i].all_keys == b[i].all_keys &&
            a[i].all_channels == b[i].all_channels && a[i].channels == b[i].channels &&
            a[i].keys.size() == b[i].keys.size(),
        "keys and channels");
  }
  return 0;
}
