// The words of ACL SETUSER, and an ACL as text: as Redis 7 takes and prints them.
//
// Threads: as each says.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/store/user_records.h"
#include "kv/engine/acl.h"
#include "kv/engine/engine.h"

namespace cairn::kv {

// A user's ACL that is being changed. One thread's.
class AclDraft {
 public:
  // `open`: of nobody known yet, who may hear all channels (acl-pubsub-default).
  AclDraft(const Table& table, bool open) : table_(table), open_(open) { reset(); }
  // False: the text of the record cannot be read.
  bool take(const AclRecord& record);
  // How the user "default" is before ACL has said something of him.
  static AclRecord untouched_default();

  // One rule, a selector in brackets included. Empty, or why it is refused, in Redis's words.
  // What was changed before the refusal stays changed: the draft is to be given up.
  std::string_view set(std::string_view rule);
  // Whether it says something of passwords.
  static bool is_about_passwords(std::string_view rule);

  AclRecord record() const;
  const Acl& acl() const { return acl_; }
  const AclRecord& user() const { return user_; }  // but for its rules
  // What the start's password is, of the user "default" (AclRecord::as_started); empty: any.
  void set_started_password(std::string password) { started_ = std::move(password); }

 private:
  void reset();
  std::string_view set_selector(AclSelector& s, std::string_view rule);
  std::string_view add_key_pattern(AclSelector& s, std::string_view rule);
  std::string_view set_command(AclSelector& s, std::string_view rule);
  std::string_view add_selector(std::string_view words);
  void add_hash(std::string hash);
  bool remove_hash(std::string_view hash);
  void forget_started();
  bool set_category(AclSelector& s, std::string_view category, bool on) const;
  void set_row(AclSelector& s, const Row& row, bool on) const;
  void note_rule(AclSelector& s, char sign, const std::string& name) const;

  const Table& table_;
  const bool open_;
  AclRecord user_;
  std::optional<std::string> started_;
  Acl acl_;
};

// Joins words from one that begins with '(' to one that ends with ')'. Nothing, with the word that
// begins what is not closed, where that is so.
std::optional<std::vector<std::string>> join_selectors(const std::vector<std::string_view>& words,
                                                       std::string_view& open);

// As ACL LIST prints them.
std::string keys_text(const AclSelector& s);
std::string channels_text(const AclSelector& s);  // "&*", "&a &b", or nothing
std::string rules_text(const Acl& acl);
std::string line_of(std::string_view user, const AclRecord& record);

// For Users::compile_acl_by(). Any thread.
std::shared_ptr<const CommandRights> compile_acl(const Table& table, std::string_view rules);

// What the file of Server::acl_file says is all that ACL says of users from now on; nothing is
// changed where a line of it is refused.
StatusOr<Lsn> load_acl_file(Server& server, const Table& table);

// Of ACL CAT. All categories, as Redis orders them.
std::span<const std::string_view> acl_categories();

std::string acl_hash(std::string_view password);

}  // namespace cairn::kv
