#include "core/store/key_ring.h"

#include <algorithm>
#include <cstring>

#include "core/base/text.h"
#include "core/store/fields.h"
#include "core/store/keyspace.h"
#include "core/store/transaction.h"

namespace cairn {

namespace {

constexpr char kFormat = 1;
// On disk: never renumber.
enum Tag : uint8_t {
  kCreated = 1,
  kDescription = 2,
  kState = 3,
  kPurpose = 4,
  kVersion = 5,
  kGivenUp = 6,  // u8 1: a repair went on without it, since the master key does not open it
};
constexpr char kEnabled = 1, kDisabled = 2;

std::string_view bytes_of(const int64_t& n) {
  return {reinterpret_cast<const char*>(&n), sizeof(n)};
}

// The master key opens all of it; and what it seals.
bool opens(const KeyRing::Key& key) {
  return std::all_of(key.versions.begin(), key.versions.end(), [](auto& v) { return !!v.key; });
}
bool seals(const KeyRing::KeyPtr& key) { return key != nullptr && key->versions.back().key; }

// One that does not open was given up: without that, no store is served.
std::string encode(const KeyRing::Key& key) {
  std::string out(1, kFormat);
  add_field(out, kCreated, bytes_of(key.created_ms));
  if (!key.description.empty()) add_field(out, kDescription, key.description);
  const char state = key.enabled ? kEnabled : kDisabled;
  add_field(out, kState, {&state, 1});
  const char purpose = static_cast<char>(key.purpose);
  if (key.purpose != KeyRing::Purpose::kNamed) add_field(out, kPurpose, {&purpose, 1});
  for (const KeyRing::Version& v : key.versions) {
    add_field(out, kVersion, cat(bytes_of(v.created_ms), v.sealed));
  }
  if (!opens(key)) add_field(out, kGivenUp, "\1");
  return out;
}

bool take_number(std::string_view bytes, int64_t& to) {
  if (bytes.size() < sizeof(to)) return false;
  std::memcpy(&to, bytes.data(), sizeof(to));
  return true;
}

// False: it cannot be read.
bool decode(std::string_view in, KeyRing::Key& key, bool& given_up) {
  if (in.empty() || in[0] != kFormat) return false;
  in.remove_prefix(1);
  while (!in.empty()) {
    const auto field = take_field(in);
    if (!field) return false;
    const std::string_view bytes = field->bytes;
    switch (field->tag) {
      case kCreated:
        if (bytes.size() != sizeof(int64_t) || !take_number(bytes, key.created_ms)) return false;
        break;
      case kDescription:
        key.description = bytes;
        break;
      case kState:
        if (bytes.size() != 1 || (bytes[0] != kEnabled && bytes[0] != kDisabled)) return false;
        key.enabled = bytes[0] == kEnabled;
        break;
      case kPurpose:
        if (bytes.size() != 1 || (bytes[0] != 1 && bytes[0] != 2)) return false;
        key.purpose = static_cast<KeyRing::Purpose>(bytes[0]);
        break;
      case kVersion: {
        KeyRing::Version v;
        if (!take_number(bytes, v.created_ms)) return false;
        v.sealed = bytes.substr(sizeof(int64_t));
        key.versions.push_back(std::move(v));
        break;
      }
      case kGivenUp:
        given_up = true;
        break;
      default:
        return false;  // of a later version's making: what it asks for is not known
    }
  }
  return !key.versions.empty();
}

std::string seal_name(const KeyRing::Key& key, size_t version) {
  return cat("kms:", key.id, ":", version);
}

// As RFC 9562 has it, version 4.
std::string new_id() {
  unsigned char raw[16];
  fill_random(raw, sizeof(raw));
  raw[6] = static_cast<unsigned char>((raw[6] & 0x0f) | 0x40);
  raw[8] = static_cast<unsigned char>((raw[8] & 0x3f) | 0x80);
  std::string id;
  for (size_t i = 0; i < sizeof(raw); i++) {
    if (i == 4 || i == 6 || i == 8 || i == 10) id.push_back('-');
    id.push_back("0123456789abcdef"[raw[i] >> 4]);
    id.push_back("0123456789abcdef"[raw[i] & 15]);
  }
  return id;
}

Status not_loaded() { return absl::UnavailableError("the key ring is not open"); }
Status no_key(std::string_view id) {
  return absl::NotFoundError(cat("Key '", id, "' does not exist"));
}
Status closed_key(std::string_view id) {
  return absl::UnavailableError(
      cat("Key ", id, " is unavailable: it is sealed under another master key."));
}

StatusOr<Lsn> put_record(Keyspace& keyspace, const KeyRing::Key& key) {
  if (Status s = keyspace.check_write(true); !s.ok()) return s;
  const std::string name = cat(kRingPrefix, key.id), contents = encode(key);
  Namespace& system = keyspace.system();
  const KeyHash hash = system.hash(name);
  RecordView r;
  r.ns = system.id;
  r.key = name;
  r.meta = contents;
  StripeLocks lock(keyspace, hash);
  Transaction txn(keyspace, &lock, Shape::kOne);
  if (Status s = txn.put(system, hash, r); !s.ok()) return s;
  return txn.commit();
}

// Of two for one purpose it is the one that seals, and of those the newer one.
void choose(KeyRing::KeyPtr& standard, const KeyRing::KeyPtr& key) {
  const bool better = seals(key) && (!seals(standard) || key->created_ms > standard->created_ms);
  if (better) standard = key;
}

}  // namespace

Status KeyRing::load(const MasterKey& master, bool repair, const Report& report) {
  auto table = std::make_shared<Table>();
  Namespace& system = keyspace_.system();
  std::vector<std::string> names;
  {
    MutexLock lock(system.order_mutex);
    for (auto it = system.order.lower_bound(kRingPrefix);
         it != system.order.end() && (*it)->key().starts_with(kRingPrefix); ++it) {
      names.emplace_back((*it)->key());
    }
  }
  Now now(keyspace_.clock());
  std::vector<KeyPtr> closed, open_again;
  size_t given_up_count = 0;
  for (const std::string& name : names) {
    const KeyHash hash = system.hash(name);
    const StripeLocks lock(keyspace_, hash);
    const Entry* e = keyspace_.find(system, name, hash, now);
    if (e == nullptr) continue;
    auto key = std::make_shared<Key>();
    key->id = name.substr(kRingPrefix.size());
    bool given_up = false;
    if (!decode(e->meta(), *key, given_up)) {
      if (report) {
        report(Severity::kError, "encryption",
               cat("the record ", name,
                   " cannot be read: it is kept, and objects that are encrypted with that key "
                   "cannot be read either"));
      }
      continue;
    }
    for (size_t i = 0; i < key->versions.size(); i++) {
      Version& v = key->versions[i];
      if (const auto opened = master.open(v.sealed, seal_name(*key, i))) {
        v.key = MasterKey::of(*opened);
      }
    }
    if (!opens(*key)) {
      given_up ? static_cast<void>(given_up_count++) : closed.push_back(key);
    } else if (given_up) {
      open_again.push_back(key);
    }
    table->put(key);
    choose(table->standard[static_cast<size_t>(key->purpose)], key);
  }
  master_ = master;
  loaded_ = std::move(table);
  const auto say = [&](Severity severity, size_t count, std::string_view more) {
    if (report) {
      report(severity, "encryption",
             cat(count, " encryption keys are sealed under another master key than this", more,
                 ": objects that they encrypt cannot be read"));
    }
  };
  if (!closed.empty() && !repair) {
    return absl::FailedPreconditionError(
        cat(closed.size(),
            " encryption keys are sealed under another master key than this: give the one that "
            "they were made under (CAIRN_MASTER_KEY, CAIRN_MASTER_KEY_FILE, or the file master-key "
            "of the data directory, from the backup), or start once with --repair: objects that "
            "they encrypt cannot be read then"));
  }
  if (given_up_count > 0) say(Severity::kWarning, given_up_count, ", and were given up");
  if (!closed.empty()) say(Severity::kError, closed.size(), "");
  // From now on a start goes on without these, and not without those that open again.
  for (const auto& list : {closed, open_again}) {
    for (const KeyPtr& key : list) {
      if (const auto put = put_record(keyspace_, *key); !put.ok() && report) {
        report(Severity::kWarning, "encryption",
               cat("it is not kept that the key ", key->id,
                   opens(*key) ? " opens again: " : " was given up: ", put.status().message()));
      }
    }
  }
  return absl::OkStatus();
}

void KeyRing::begin() {
  MutexLock lock(table_mutex_);
  table_ = std::move(loaded_);
}

StatusOr<KeyRing::KeyPtr> KeyRing::find(std::string_view id) const {
  const auto table = this->table();
  if (table == nullptr) return not_loaded();
  const auto it = table->keys.find(id);
  if (it == table->keys.end()) return no_key(id);
  return it->second;
}

std::vector<KeyRing::KeyPtr> KeyRing::list() const {
  std::vector<KeyPtr> keys;
  if (const auto table = this->table()) {
    for (auto& [id, key] : table->keys) keys.push_back(key);
  }
  return keys;
}

StatusOr<KeyRing::Sealed> KeyRing::seal(std::string_view key_id, std::string_view text,
                                        std::string_view of) const {
  const auto key = find(key_id);
  if (!key.ok()) return key.status();
  if (!(*key)->enabled) return absl::FailedPreconditionError(cat("Key ", key_id, " is disabled."));
  const Version& newest = (*key)->versions.back();
  if (!newest.key) return closed_key(key_id);
  return Sealed{(*key)->id, static_cast<uint32_t>((*key)->versions.size() - 1),
                newest.key->seal(text, of)};
}

StatusOr<std::string> KeyRing::open(const Sealed& sealed, std::string_view of) const {
  const auto key = find(sealed.key_id);
  if (!key.ok()) return key.status();
  if (!(*key)->enabled) {
    return absl::FailedPreconditionError(cat("Key ", sealed.key_id, " is disabled."));
  }
  const auto& versions = (*key)->versions;
  if (sealed.version >= versions.size()) return absl::DataLossError("the encryption key is lost");
  if (!versions[sealed.version].key) return closed_key(sealed.key_id);
  auto text = versions[sealed.version].key->open(sealed.bytes, of);
  if (!text) return absl::DataLossError("the key of the data cannot be opened");
  return *std::move(text);
}

KeyRing::Version KeyRing::make_version(const Key& key) const {
  const MasterKey made = MasterKey::random();
  return {keyspace_.now_ms(), master_.seal(made.bytes(), seal_name(key, key.versions.size())),
          made};
}

StatusOr<KeyRing::Changed> KeyRing::write(Key key) {
  const auto before = table();
  if (before == nullptr) return not_loaded();
  const auto lsn = put_record(keyspace_, key);
  if (!lsn.ok()) return lsn.status();
  // Whoever seals with it appends what he sealed behind this record.
  auto next = std::make_shared<Table>(*before);
  auto made = std::make_shared<const Key>(std::move(key));
  next->put(made);
  choose(next->standard[static_cast<size_t>(made->purpose)], made);
  MutexLock lock(table_mutex_);
  table_ = std::move(next);
  return Changed{std::move(made), *lsn};
}

StatusOr<KeyRing::Changed> KeyRing::create(std::string_view description, Purpose purpose) {
  const auto before = table();
  if (before != nullptr && before->keys.size() >= kKeysMax) {
    return absl::ResourceExhaustedError("there are too many keys");
  }
  Key key;
  key.id = new_id();
  key.description = description;
  key.created_ms = keyspace_.now_ms();
  key.purpose = purpose;
  key.versions.push_back(make_version(key));
  return write(std::move(key));
}

StatusOr<KeyRing::Changed> KeyRing::create(std::string_view description) {
  MutexLock lock(changing_);
  return create(description, Purpose::kNamed);
}

StatusOr<KeyRing::KeyPtr> KeyRing::standard(Purpose purpose) {
  const auto known = [&]() -> KeyPtr {
    const auto table = this->table();
    return table == nullptr ? nullptr : table->standard[static_cast<size_t>(purpose)];
  };
  if (KeyPtr key = known(); seals(key)) return key;
  MutexLock lock(changing_);
  if (KeyPtr key = known(); seals(key)) return key;
  auto made = create(
      purpose == Purpose::kS3 ? "Default key of SSE-S3" : "Default key that protects my S3 objects",
      purpose);
  if (!made.ok()) return made.status();
  return made->key;
}

StatusOr<KeyRing::Changed> KeyRing::change(std::string_view id,
                                           absl::FunctionRef<Status(Key&)> edit) {
  MutexLock lock(changing_);
  const auto found = find(id);
  if (!found.ok()) return found.status();
  Key key = **found;
  if (Status s = edit(key); !s.ok()) return s;
  return write(std::move(key));
}

StatusOr<KeyRing::Changed> KeyRing::rotate(std::string_view id) {
  const auto edit = [this](Key& key) -> Status {
    if (!key.enabled) return absl::FailedPreconditionError(cat("Key ", key.id, " is disabled."));
    if (!key.versions.back().key) return closed_key(key.id);
    if (key.versions.size() >= kVersionsMax) {
      return absl::ResourceExhaustedError("the key was rotated too often");
    }
    key.versions.push_back(make_version(key));
    return absl::OkStatus();
  };
  return change(id, edit);
}

StatusOr<KeyRing::Changed> KeyRing::enable(std::string_view id, bool enabled) {
  const auto edit = [enabled](Key& key) {
    key.enabled = enabled;
    return absl::OkStatus();
  };
  return change(id, edit);
}

StatusOr<KeyRing::Changed> KeyRing::describe(std::string_view id, std::string_view description) {
  const auto edit = [description](Key& key) {
    key.description = description;
    return absl::OkStatus();
  };
  return change(id, edit);
}

}  // namespace cairn
