#include "kv/session.h"

#include "core/text.h"

namespace cairn::kv {

std::string namespace_name(std::string_view word) {
  return parse_int<uint32_t>(word) ? cat("db", word) : std::string(word);
}

Session::Session(Store& store, uint64_t id, std::string address, std::string local_address)
    : ns(store.find_namespace("db0")),
      id(id),
      address(std::move(address)),
      local_address(std::move(local_address)),
      created_ms(store.now_ms()) {
  last_active_ms = created_ms;
  publish("NULL");
}

void Session::leave_multi() {
  in_multi = multi_failed = false;
  queue.clear();
  queued_bytes = 0;
  watched.clear();
}

void Session::publish(std::string_view command) {
  MutexLock lock(mutex);
  last_command = command;
  listed_ns = ns->name;
  listed_user = user;
  listed_resp = resp;
  listed_multi = in_multi ? static_cast<int>(queue.size()) : -1;
}

std::string Session::describe(int64_t now_ms) {
  MutexLock lock(mutex);
  std::string_view db = listed_ns;
  if (db.substr(0, 2) == "db" && parse_int<int>(db.substr(2))) db.remove_prefix(2);
  return cat("id=", id, " addr=", address, " laddr=", local_address, " fd=", id, " name=", name,
             " age=", (now_ms - created_ms) / 1000,
             " idle=", (now_ms - last_active_ms.load()) / 1000,
             " flags=", listed_multi >= 0 ? "x" : "N", " db=", db,
             " sub=0 psub=0 ssub=0 multi=", listed_multi,
             " qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0",
             " events=r cmd=", last_command, " user=", listed_user, " redir=-1 resp=", listed_resp,
             " lib-name=", lib_name, " lib-ver=", lib_version);
}

void Sessions::add(std::shared_ptr<Session> session) {
  MutexLock lock(mutex_);
  uint64_t id = session->id;
  by_id_[id] = std::move(session);
}

void Sessions::remove(uint64_t id) {
  MutexLock lock(mutex_);
  by_id_.erase(id);
}

std::vector<std::shared_ptr<Session>> Sessions::all() const {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Session>> out;
  for (auto& [id, s] : by_id_) out.push_back(s);
  return out;
}

size_t Sessions::size() const {
  MutexLock lock(mutex_);
  return by_id_.size();
}

}  // namespace cairn::kv
