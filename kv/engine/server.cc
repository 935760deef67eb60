#include "kv/engine/server.h"

#include <utility>

#include "core/store/known_users.h"

namespace cairn::kv {

bool Server::default_is_let_in() const {
  const auto acl = users.default_acl();
  if (!acl || acl->as_started) return !auth_required && (!acl || acl->on);
  return acl->on && acl->nopass;
}

std::optional<std::string> Server::started_password() const {
  if (!auth_required) return "";
  MutexLock lock(texts_mutex_);
  return password_;
}

bool Server::is_default_password(std::string_view password) const {
  if (const auto acl = users.default_acl()) {
    if (!acl->on) return false;
    if (is_acl_password(*acl, password)) return true;
    if (!acl->as_started) return false;
  }
  if (!auth_required) return true;
  MutexLock lock(texts_mutex_);
  return password_ ? equal_in_constant_time(password, *password_) : users.check_default(password);
}

std::string Server::default_password() const {
  if (!auth_required) return {};
  MutexLock lock(texts_mutex_);
  return password_.value_or(std::string(kRootsPassword));
}

void Server::set_default_password(std::string_view password) {
  MutexLock lock(texts_mutex_);
  password_ = password == kRootsPassword ? std::nullopt : std::optional<std::string>(password);
  auth_required = !password.empty();
}

void Server::recheck() {
  for (const auto& session : sessions.all()) {
    if (!session->recheck) continue;
    {
      MutexLock lock(session->mutex);
      const auto& who = session->listed_principal;
      if (who == nullptr || who->may_all()) continue;
    }
    session->recheck();
  }
}

std::string Server::save_points() const {
  MutexLock lock(texts_mutex_);
  return save_points_;
}

void Server::set_save_points(std::string_view text) {
  MutexLock lock(texts_mutex_);
  save_points_ = text;
}

std::vector<double> Server::percentiles() const {
  MutexLock lock(texts_mutex_);
  return percentiles_;
}

void Server::set_percentiles(std::vector<double> percents) {
  MutexLock lock(texts_mutex_);
  percentiles_ = std::move(percents);
}

CountedElsewhere Server::count_elsewhere() const {
  return {store.expired_count(), store.expiry_ns(), store.memory().stats().evicted,
          sessions.sent_away(), store.freed_count()};
}

CountedElsewhere Server::counted_elsewhere() const {
  MutexLock lock(counted_mutex_);
  const CountedElsewhere now = count_elsewhere(), &before = counted_before_;
  return {now.expired_keys - before.expired_keys, now.expiry_ns - before.expiry_ns,
          now.evicted_keys - before.evicted_keys, now.evicted_clients - before.evicted_clients,
          now.freed - before.freed};
}

void Server::reset_stats() {
  stats.reset();
  MutexLock lock(counted_mutex_);
  counted_before_ = count_elsewhere();
}

}  // namespace cairn::kv
