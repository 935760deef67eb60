// What the clients of the simulation of commands do; see command_world.h.
#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <iterator>

#include "core/base/text.h"
#include "kv/types/rdb_format.h"
#include "kv/types/rdb_write.h"
#include "kv/types/stream.h"
#include "tests/sim/command_life.h"
#include "tests/sim/command_running.h"
#include "tests/sim/replies.h"

namespace cairn::sim {

// ---- what a choice of words rests on ----

Entry* CommandWorld::find(const std::string& key) const {
  const Namespace& ns = *choosing_->ns;
  return ns.index->find(key, ns.hash(key));
}

// Mostly one that is there, or that a group has pending.
std::string CommandWorld::some_stream_id(const std::string& key) {
  const auto text = [](kv::StreamId id) { return cat(id.ms, "-", id.seq); };
  const Entry* e = find(key);
  const bool is_stream = e != nullptr && e->type() == ValueType::kStream && !e->is_cold();
  if (!is_stream || pick(10) == 0) return cat(1 + pick(3), "-", pick(3));
  const auto& s = static_cast<const kv::Stream&>(*e->collection());
  if (!s.groups().empty() && pick(2) == 0) {
    auto group = s.groups().begin();
    std::advance(group, pick(s.groups().size()));
    const auto& pending = group->second->pending();
    if (!pending.empty()) {
      auto it = pending.begin();
      std::advance(it, pick(pending.size()));
      return text(it->first);
    }
  }
  return s.size() == 0 ? text(s.state().last) : text(s.id_at(pick(s.size())));
}

std::string CommandWorld::dump(const Namespace& ns, const std::string& key) const {
  const Entry* e = ns.index->find(key, ns.hash(key));
  const int64_t now_ms = now_running_->store->now_ms();
  if (e == nullptr || e->is_cold() || e->expired(now_ms)) return {};
  std::string out;
  uint16_t version = kv::rdb::kVersionPlain;
  if (const Collection* c = e->collection()) {
    version = kv::rdb::add_value(out, e->type(), *c, now_ms);
  } else {
    kv::rdb::add_text(out, e->is_blob() ? blob_bytes(e->value()) : std::string(e->value()));
  }
  const uint64_t crc = kv::rdb::crc64(0, out);
  return out + kv::rdb::footer(version, crc);
}

Commands::Surroundings CommandWorld::surroundings() {
  return {[this] { return now_running_->store->now_ms(); },
          [this](const std::string& key) { return some_stream_id(key); },
          [this](const std::string& key) { return dump(*choosing_->ns, key); }};
}

// ---- connections ----

CommandWorld::Client CommandWorld::connect() {
  Life& life = *now_running_;
  const Executor executor = life.context.get_executor();
  Client c;
  c.wire = std::make_shared<Wire>();
  c.session = std::make_shared<kv::Session>(*life.store, life.server->sessions.next_id(), "here:1",
                                            "here:2");
  c.session->principal = life.users.default_user();
  auto connection = std::make_shared<Connection>(SimStream(c.wire, executor), *life.server,
                                                 *life.engines.front(), life.guests, c.session);
  connection->offer_to(c.session, executor, *life.engines.front(), life.bell);
  life.server->sessions.add(c.session);
  life.clients.push_back(c);
  asio::co_spawn(life.context, serve(std::move(connection), c.session), [](std::exception_ptr) {});
  return c;
}

// As the door does it.
awaitable<void> CommandWorld::serve(std::shared_ptr<Connection> connection,
                                    std::shared_ptr<kv::Session> session) {
  co_await connection->run();
  connection->stream().abort();
  session->outbox.close();
  if (!over_) now_running_->server->sessions.remove(session->id);
}

awaitable<std::string> CommandWorld::answers(Client& client, size_t values) {
  Wire& wire = *client.wire;
  size_t at = 0;
  for (size_t have = 0;;) {
    std::string_view rest = std::string_view(wire.to_client).substr(at);
    while (have < values && take_value(rest)) {
      have++;
      at = wire.to_client.size() - rest.size();
    }
    if (have == values) break;
    if (wire.ended) co_return "";
    co_await suspend<>([&wire](Resume<> resume) { wire.client = std::move(resume); });
  }
  if (at != wire.to_client.size()) wrong("a client got more than answers to what it sent");
  co_return std::exchange(wire.to_client, {});
}

// ---- what they do ----

awaitable<void> CommandWorld::client(uint64_t steps) {
  Store& store = *now_running_->store;
  Client me = connect();
  for (uint64_t i = 0; i < steps; i++) {
    choosing_ = me.session.get();
    const Batch batch = commands_.some();
    const bool on = co_await send_and_wait(me, batch);
    if (!store.log().status().ok()) break;
    if (!on) me = connect();
    if (pick(8) == 0) co_await store.clock().sleep_ms(static_cast<int64_t>(pick(60)));
  }
  me.wire->hung_up = true;
  me.wire->wake_server();
}

// The newest change, by anybody, of what a client is about to read.
Lsn CommandWorld::newest_change(const Client& client, const Batch& batch) const {
  Lsn newest;
  if (batch.commands.size() != 1 || batch.commands[0].keys.size() != 1) return newest;
  const auto* row = Life::table().find(std::string_view(batch.commands[0].words[0]));
  if (row == nullptr || (row->flags & kv::kReadOnly) == 0) return newest;
  const auto it = newest_.find({client.session->ns->id.value(), batch.commands[0].keys[0]});
  return it == newest_.end() ? newest : it->second;
}

// False: the connection has ended.
awaitable<bool> CommandWorld::send_and_wait(Client& client, const Batch& batch) {
  Life& life = *now_running_;
  if (verbose_) {
    for (const Command& c : batch.commands) {
      std::string text;
      for (auto& word : c.words) append(text, " ", word.substr(0, 40));
      say(cat(life.scheduler.now_ms(), " client ", client.session->id, ":", text));
    }
  }
  seen.batches++;
  seen.commands += batch.commands.size();
  const Told before = told_[client.session->id];
  const Lsn rests_on = newest_change(client, batch);
  client.wire->to_server += batch.text();
  client.wire->wake_server();
  if (pick(60) == 0) {  // and does not wait
    if (pick(2) == 0) co_await life.scheduler.pause();
    seen.hung_up++;
    client.wire->hung_up = true;
    if (client.wire->when_hung_up) client.wire->when_hung_up();
    client.wire->wake_server();
    co_return false;
  }
  const std::string text = co_await answers(client, batch.commands.size());
  if (text.empty()) {
    if (life.store->log().status().ok()) wrong("a connection ended by itself");
    co_return false;
  }
  check_answers(client, batch, before, rests_on, text);
  if (pick(4) == 0) co_await life.scheduler.pause();
  co_return true;
}

void CommandWorld::check_answers(Client& client, const Batch& batch, const Told& before,
                                 Lsn rests_on, std::string_view text) {
  Store& store = *now_running_->store;
  std::vector<std::string> all;
  while (!text.empty()) {
    const std::string_view from = text;
    (void)take_value(text);
    all.emplace_back(from.substr(0, from.size() - text.size()));
  }
  const Told& told = told_[client.session->id];
  const uint64_t commits = told.commits - before.commits;
  count(batch, all, commits);
  // Who waits in a group is a consumer of it from then on, as in Redis.
  const auto waits_in_group = [](const Command& c) {
    return c.words[0] == "XREADGROUP" &&
           std::find(c.words.begin(), c.words.end(), "BLOCK") != c.words.end();
  };
  const auto more = std::count_if(batch.commands.begin(), batch.commands.end(), waits_in_group);
  if (commits > batch.units + static_cast<uint64_t>(more)) {
    std::string what;
    for (const Command& c : batch.commands) append(what, c.words[0], " ");
    wrong(cat("client ", client.session->id, " committed ", commits, " times for ", what));
  }
  const bool waited = batch.all_durable && all.back().starts_with("*2\r\n:1\r\n");
  if (!always_ && !waited) return;
  // Instead of what they would promise.
  if (all.back().starts_with("-MISCONF the log failed")) return;
  const auto must_be_durable = [&](Lsn lsn, const char* what) {
    if (!lsn.valid()) return;
    if (!store.log().is_durable(lsn)) {
      wrong(cat("client ", client.session->id, " was answered before ", what, ", LSN ", lsn.value(),
                ", was durable"));
    }
    acked_ = std::max(acked_, lsn);
    seen.acknowledged++;
  };
  must_be_durable(told.newest, "what it changed");
  if (!always_ || all.back().starts_with("-")) return;
  must_be_durable(rests_on, "what the answer rests on");
  seen.rested += rests_on.valid();
}

void CommandWorld::count(const Batch& batch, const std::vector<std::string>& answers,
                         uint64_t commits) {
  for (const std::string& answer : answers) {
    if (!answer.starts_with("-")) continue;
    seen.errors++;
    seen.full += answer.starts_with("-MISCONF") || answer.starts_with("-OOM");
    if (verbose_) say(cat("  ", answer.substr(0, answer.find('\r'))));
  }
  const Command& first = batch.commands.front();
  const std::string& name = first.words[0];
  seen.transactions += batch.commands.back().words[0] == "EXEC";
  seen.scripts += name == "EVAL" || name == "FCALL";
  if (batch.commands.size() != 1) return;
  const std::vector<std::string_view> words(first.words.begin(), first.words.end());
  const kv::Row* row = Life::table().find(words);
  if (row == nullptr) wrong(cat("there is no command ", name));
  seen.waits += (row->flags & kv::kBlocking) != 0;
  const size_t place = Life::table().index_of(*row);
  if (commits == 1 && place < CommandsSeen::kRowsMax) seen.effects[place]++;
}

std::string rows_without_effect(const CommandsSeen& seen) {
  // There is no other server; and libraries are committed by nobody's name.
  constexpr std::string_view kElsewhere[] = {"migrate", "function|delete", "function|flush",
                                             "function|load", "function|restore"};
  static const kv::Table table;
  std::string out;
  for (const kv::Row& row : table.rows()) {
    const bool writes = (row.flags & kv::kWrite) != 0 && row.run != nullptr;
    const size_t place = table.index_of(row);
    if (!writes || place >= CommandsSeen::kRowsMax || seen.effects[place] > 0) continue;
    if (std::find(std::begin(kElsewhere), std::end(kElsewhere), row.name) == std::end(kElsewhere)) {
      append(out, row.name, " ");
    }
  }
  return out;
}

}  // namespace cairn::sim
