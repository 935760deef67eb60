// cairn: the command-line client. Paths are BUCKET/KEY, where a database is a bucket too; `cp`
// tells the store from files by cairn:// before them.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "tools/cairn/command.h"

namespace cairn::cli {
namespace {

namespace fs = std::filesystem;

v1::Key path_or_exit(const std::string& path, bool with_key) {
  v1::Key key;
  if (!parse_path(path, key) || (with_key && key.key().empty())) {
    std::fprintf(stderr, "cairn: '%s' is not BUCKET/%s\n", path.c_str(), with_key ? "KEY" : "");
    std::exit(kUsage);
  }
  return key;
}
v1::Key key_or_exit(const std::string& path) { return path_or_exit(path, true); }

int get(const Common& o, const std::string& path) {
  Client client(o.target);
  v1::GetRequest request;
  *request.mutable_key() = key_or_exit(path);
  v1::GetResponse response;
  auto c = client.context();
  grpc::Status status = client.kv->Get(c.get(), request, &response);
  if (status.error_code() == grpc::OUT_OF_RANGE) {
    std::fprintf(stderr, "cairn: %s: too large for get; use: cairn cat %s\n", path.c_str(),
                 path.c_str());
    return exit_of(status);
  }
  if (!status.ok()) return fail(o, status, path);
  if (o.json) {
    print_json(response);
  } else {
    std::fwrite(response.value().value().data(), 1, response.value().value().size(), stdout);
    if (::isatty(STDOUT_FILENO)) std::printf("\n");
  }
  return kOk;
}

int put(const Common& o, const std::string& path, const std::string& value, int64_t ttl_ms,
        bool only_new) {
  Client client(o.target);
  v1::PutRequest request;
  *request.mutable_key() = key_or_exit(path);
  request.set_value(value);
  request.set_ttl_ms(ttl_ms);
  if (only_new) request.mutable_condition()->set_exists(false);
  v1::PutResponse response;
  auto c = client.context();
  grpc::Status status = client.kv->Put(c.get(), request, &response);
  if (!status.ok()) return fail(o, status, path);
  if (o.json) print_json(response);
  return kOk;
}

int del(const Common& o, const std::vector<std::string>& paths) {
  Client client(o.target);
  int rc = kOk;
  for (auto& path : paths) {
    v1::DeleteRequest request;
    *request.mutable_key() = key_or_exit(path);
    v1::DeleteResponse response;
    auto c = client.context();
    grpc::Status status = client.kv->Delete(c.get(), request, &response);
    if (!status.ok()) return fail(o, status, path);
    if (o.json) print_json(response);
    if (!response.deleted()) {
      std::fprintf(stderr, "cairn: %s: no such key\n", path.c_str());
      rc = kNotFound;
    }
  }
  return rc;
}

int ls(const Common& o, const std::string& path, bool recursive) {
  Client client(o.target);
  if (path.empty()) {
    auto c = client.context();
    v1::ListBucketsResponse response;
    grpc::Status status = client.objects->ListBuckets(c.get(), {}, &response);
    if (!status.ok()) return fail(o, status, "ls");
    if (o.json) {
      print_json(response);
    } else {
      for (auto& b : response.buckets()) {
        std::printf("%12lu keys  %s\n", static_cast<unsigned long>(b.keys()), b.name().c_str());
      }
    }
    return kOk;
  }
  v1::Key key = path_or_exit(path, false);
  grpc::Status status =
      client.list(key.namespace_(), key.key(), recursive ? "" : "/",
                  [&](const v1::ObjectInfo& info, bool prefix) {
                    if (o.json) {
                      print_json(info);
                    } else if (prefix) {
                      std::printf("%14s  %s\n", "PRE", info.key().key().c_str());
                    } else {
                      std::printf("%14lu  %s\n", static_cast<unsigned long>(info.size_bytes()),
                                  info.key().key().c_str());
                    }
                  });
  return status.ok() ? kOk : fail(o, status, path);
}

int stat(const Common& o, const std::string& path) {
  Client client(o.target);
  v1::StatRequest request;
  *request.mutable_key() = key_or_exit(path);
  v1::StatResponse response;
  auto c = client.context();
  grpc::Status status = client.objects->Stat(c.get(), request, &response);
  if (!status.ok()) return fail(o, status, path);
  if (o.json) {
    print_json(response.info());
    return kOk;
  }
  auto& i = response.info();
  const std::string expires = i.expires_at_ms() == 0 ? "never" : iso_time(i.expires_at_ms());
  std::printf("key      %s/%s\nsize     %lu\nversion  %lu\netag     %s\nmodified %s\nexpires  %s\n",
              i.key().namespace_().c_str(), i.key().key().c_str(),
              static_cast<unsigned long>(i.size_bytes()), static_cast<unsigned long>(i.version()),
              i.etag().c_str(), iso_time(i.modified_at_ms()).c_str(), expires.c_str());
  if (!i.metadata().content_type().empty()) {
    std::printf("type     %s\n", i.metadata().content_type().c_str());
  }
  for (auto& [k, v] : i.metadata().user()) std::printf("meta     %s: %s\n", k.c_str(), v.c_str());
  return kOk;
}

int info(const Common& o) {
  Client client(o.target);
  v1::InfoResponse i;
  v1::StatsResponse s;
  auto c1 = client.context(), c2 = client.context();
  grpc::Status status = client.admin->Info(c1.get(), {}, &i);
  if (status.ok()) status = client.admin->Stats(c2.get(), {}, &s);
  if (!status.ok()) return fail(o, status, "info");
  if (o.json) {
    print_json(i);
    print_json(s);
    return kOk;
  }
  std::printf("cairn %s  store %s  epoch %u  up %ld s  threads %u  storage %s  durability %s%s\n",
              i.version().c_str(), i.store_id().c_str(), i.epoch(),
              static_cast<long>(i.uptime_ms() / 1000), i.threads(), i.storage_engine().c_str(),
              i.durability().c_str(), s.read_only() ? "  READ-ONLY" : "");
  std::printf("memory %lu bytes  extents %lu in %lu files, %lu bytes  log written %lu bytes\n",
              static_cast<unsigned long>(s.memory_used_bytes()),
              static_cast<unsigned long>(s.extents()), static_cast<unsigned long>(s.extent_files()),
              static_cast<unsigned long>(s.extent_bytes()),
              static_cast<unsigned long>(s.log_bytes_written()));
  for (auto& n : s.namespaces()) {
    std::printf("%12lu keys  %s\n", static_cast<unsigned long>(n.keys()), n.name().c_str());
  }
  return kOk;
}

// ---- cp ----

// One line on standard error: done, rate, time left. Quiet when that is no terminal.
class Bar {
 public:
  explicit Bar(uint64_t total) : total_(total), shown_(::isatty(STDERR_FILENO)) {}
  void add(uint64_t bytes) {
    uint64_t done = done_.fetch_add(bytes) + bytes;
    if (!shown_) return;
    std::lock_guard lock(mutex_);
    auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(100) && done < total_) return;
    last_ = now;
    double seconds = std::chrono::duration<double>(now - start_).count();
    double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
    double left = rate > 0 && total_ > done ? static_cast<double>(total_ - done) / rate : 0;
    std::fprintf(
        stderr, "\r%5.1f %%  %8.1f MiB  %7.1f MiB/s  %4.0f s left ",
        total_ > 0 ? 100.0 * static_cast<double>(done) / static_cast<double>(total_) : 100.0,
        static_cast<double>(done) / 1048576, rate / 1048576, left);
  }
  ~Bar() {
    if (shown_) std::fprintf(stderr, "\n");
  }

 private:
  const uint64_t total_;
  const bool shown_;
  std::atomic<uint64_t> done_{0};
  std::mutex mutex_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), last_{};
};

struct Transfer {
  std::string file;
  v1::Key key;
  uint64_t size = 0;
};

int run_transfers(const Common& o, Client& client, const std::vector<Transfer>& all, bool up,
                  unsigned parallel) {
  uint64_t total = 0;
  for (auto& t : all) total += t.size;
  Bar bar(total);
  std::atomic<size_t> next{0};
  std::mutex mutex;
  int rc = kOk;
  auto work = [&] {
    for (size_t i; (i = next++) < all.size();) {
      auto progress = [&](uint64_t n) { bar.add(n); };
      grpc::Status status = up ? client.upload(all[i].key, all[i].file, progress)
                               : client.download(all[i].key, all[i].file, progress);
      if (status.ok()) continue;
      std::lock_guard lock(mutex);
      rc = fail(o, status, all[i].key.namespace_() + "/" + all[i].key.key());
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < parallel && i < all.size(); i++) threads.emplace_back(work);
  for (auto& t : threads) t.join();
  return rc;
}

// All files below a directory. False: some of what is there cannot be copied, and was named.
bool files_below(const fs::path& directory, const v1::Key& base, std::vector<Transfer>& all) {
  bool whole = true;
  const auto leave_out = [&](const fs::path& path, const std::string& why) {
    std::fprintf(stderr, "cairn: left out %s: %s\n", path.c_str(), why.c_str());
    whole = false;
  };
  std::vector<fs::path> open{directory};
  while (!open.empty()) {
    const fs::path at = std::move(open.back());
    open.pop_back();
    std::error_code ec;
    fs::directory_iterator it(at, ec);
    for (; !ec && it != fs::directory_iterator(); it.increment(ec)) {
      const fs::path& path = it->path();
      std::error_code of_entry;
      const fs::file_status status = it->status(of_entry);
      if (of_entry && status.type() != fs::file_type::not_found) {
        leave_out(path, of_entry.message());
      } else if (fs::is_directory(status) && !it->is_symlink(of_entry)) {
        open.push_back(path);
      } else if (fs::is_regular_file(status)) {
        const uint64_t size = it->file_size(of_entry);
        Transfer t{path.string(), base, of_entry ? 0 : size};
        t.key.set_key(base.key() + path.lexically_relative(directory).generic_string());
        all.push_back(std::move(t));
      } else {
        leave_out(path, "neither a file nor a directory");
      }
    }
    if (ec) leave_out(at, ec.message());
  }
  return whole;
}

// A key is not a path: where one would not be the name of its file, or not of it alone, it is
// refused, or it would lead out of the target or overwrite what another key left there. Asked in
// the order of the keys.
class FileNames {
 public:
  bool take(const std::string& name) {
    const fs::path path(name);
    if (name.empty() || name.find('\0') != name.npos || path.is_absolute() ||
        !path.has_filename() || path.lexically_normal().native() != name || name == "." ||
        *path.begin() == "..") {
      return false;
    }
    for (fs::path above = path.parent_path(); !above.empty(); above = above.parent_path()) {
      if (taken_.count(above.native()) > 0) return false;  // a file, and cannot be a directory too
    }
    return taken_.insert(name).second;
  }

 private:
  std::set<std::string> taken_;
};

int cp(const Common& o, const std::string& from, const std::string& to, bool recursive,
       unsigned parallel) {
  Client client(o.target);
  const bool from_store = is_store_path(from), to_store = is_store_path(to);
  std::vector<Transfer> all;
  std::error_code ec;
  if (from_store && to_store) {
    v1::CopyRequest request;
    *request.mutable_from() = key_or_exit(from);
    *request.mutable_to() = key_or_exit(to);
    v1::CopyResponse response;
    auto c = client.context();
    grpc::Status status = client.objects->Copy(c.get(), request, &response);
    return status.ok() ? kOk : fail(o, status, from);
  }
  if (!from_store && !to_store) {
    std::fprintf(stderr, "cairn: one side of cp begins with cairn://\n");
    return kUsage;
  }
  if (to_store) {
    v1::Key base = path_or_exit(to, false);
    bool whole = true;
    if (fs::is_directory(from, ec)) {
      if (!recursive) {
        std::fprintf(stderr, "cairn: %s is a directory; use --recursive\n", from.c_str());
        return kUsage;
      }
      if (!base.key().empty() && base.key().back() != '/') base.set_key(base.key() + "/");
      whole = files_below(from, base, all);
    } else {
      Transfer t{from, base, from == "-" ? 0 : fs::file_size(from, ec)};
      if (base.key().empty() || base.key().back() == '/') {
        t.key.set_key(base.key() + fs::path(from).filename().string());
      }
      all.push_back(std::move(t));
    }
    const int rc = run_transfers(o, client, all, true, parallel);
    return rc == kOk && !whole ? kFailed : rc;
  }
  v1::Key base = path_or_exit(from, false);
  if (recursive) {
    std::string prefix = base.key();
    if (!prefix.empty() && prefix.back() != '/') prefix += '/';
    bool refused = false;
    FileNames names;
    grpc::Status status =
        client.list(base.namespace_(), prefix, "", [&](const v1::ObjectInfo& i, bool) {
          const std::string name = i.key().key().substr(prefix.size());
          if (!names.take(name)) {
            std::fprintf(stderr, "cairn: left out %s: not the name of a file of its own\n",
                         i.key().key().c_str());
            refused = true;
            return;
          }
          all.push_back({(fs::path(to) / name).string(), i.key(), i.size_bytes()});
        });
    if (!status.ok()) return fail(o, status, from);
    for (auto& t : all) fs::create_directories(fs::path(t.file).parent_path(), ec);
    int rc = run_transfers(o, client, all, false, parallel);
    return rc == kOk && refused ? kUsage : rc;
  }
  v1::StatRequest request;
  *request.mutable_key() = key_or_exit(from);
  v1::StatResponse response;
  auto c = client.context();
  grpc::Status status = client.objects->Stat(c.get(), request, &response);
  if (!status.ok()) return fail(o, status, from);
  std::string file = to;
  if (to != "-" && fs::is_directory(to, ec)) {
    file = (fs::path(to) / fs::path(base.key()).filename()).string();
  }
  all.push_back({file, base, response.info().size_bytes()});
  return run_transfers(o, client, all, false, 1);
}

// ---- bench ----

int bench(const Common& o, uint64_t count, size_t size, unsigned parallel, const std::string& ns) {
  Client client(o.target);
  std::string value(size, 'x');
  for (bool writing : {true, false}) {
    std::vector<std::vector<double>> micros(parallel);
    std::atomic<uint64_t> next{0};
    std::atomic<bool> failed{false};
    auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < parallel; t++) {
      threads.emplace_back([&, t] {
        for (uint64_t i; !failed && (i = next++) < count;) {
          auto start = std::chrono::steady_clock::now();
          auto c = client.context();
          grpc::Status status;
          std::string key = "bench:" + std::to_string(i);
          if (writing) {
            v1::PutRequest q;
            v1::PutResponse a;
            q.mutable_key()->set_namespace_(ns);
            q.mutable_key()->set_key(key);
            q.set_value(value);
            status = client.kv->Put(c.get(), q, &a);
          } else {
            v1::GetRequest q;
            v1::GetResponse a;
            q.mutable_key()->set_namespace_(ns);
            q.mutable_key()->set_key(key);
            status = client.kv->Get(c.get(), q, &a);
          }
          if (!status.ok() && !failed.exchange(true)) fail(o, status, "bench");
          micros[t].push_back(
              std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
                  .count());
        }
      });
    }
    for (auto& t : threads) t.join();
    if (failed) return kFailed;
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::vector<double> all;
    for (auto& m : micros) all.insert(all.end(), m.begin(), m.end());
    if (all.empty()) return kUsage;
    std::sort(all.begin(), all.end());
    double p50 = all[all.size() / 2], p99 = all[all.size() * 99 / 100];
    std::printf(o.json ? "{\"op\":\"%s\",\"ops_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f}\n"
                       : "%s  %.0f ops/s  p50 %.0f us  p99 %.0f us\n",
                writing ? "put" : "get", static_cast<double>(all.size()) / seconds, p50, p99);
  }
  return kOk;
}

// From a file that the user `chose`, or from the environment, or from the file that lies where a
// server makes it. One that lies there beside root-configured is of the time before somebody chose
// a password.
void load_credentials(Target& target, const std::string& file, bool chose) {
  if (!chose) {
    if (const char* user = std::getenv("CAIRN_ROOT_USER")) target.user = user;
    if (const char* password = std::getenv("CAIRN_ROOT_PASSWORD")) target.password = password;
    target.password_from = "CAIRN_ROOT_PASSWORD";
    if (!target.password.empty()) return;
  }
  std::error_code ec;
  if (!chose && fs::exists(fs::path(file).parent_path() / "root-configured", ec)) {
    std::fprintf(stderr,
                 "cairn: no password: the store was started with CAIRN_ROOT_PASSWORD set; set it "
                 "here too, or --credentials\n");
    std::exit(kDenied);
  }
  std::ifstream in(file);
  std::string line;
  if (!std::getline(in, line) || line.find(':') == line.npos) {
    std::fprintf(stderr, "cairn: no password: set CAIRN_ROOT_PASSWORD or --credentials (%s %s)\n",
                 file.c_str(), in.is_open() ? "does not hold USER:PASSWORD" : "cannot be read");
    std::exit(kDenied);
  }
  target.user = line.substr(0, line.find(':'));
  target.password = line.substr(line.find(':') + 1);
  target.password_from = file;
}

// The bucket of "NAME" or "cairn://NAME".
std::string bucket_or_exit(const std::string& text) {
  v1::Key key;
  if (!parse_path(text, key) || !key.key().empty()) {
    std::fprintf(stderr, "cairn: '%s' is no name of a bucket\n", text.c_str());
    std::exit(kUsage);
  }
  return key.namespace_();
}

}  // namespace
}  // namespace cairn::cli

int main(int argc, char** argv) {
  using namespace cairn::cli;
  Common o;
  CLI::App app{
      "cairn: client of a Cairn store. Exit codes: 0 done, 1 not found, 2 usage, "
      "3 condition not met, 4 denied, 5 failed."};
  app.require_subcommand(1);
  app.set_version_flag("--version", CAIRN_VERSION);
  std::string credentials = "data/root-credentials";
  app.add_option("--server", o.target.server, "HOST:PORT of the gRPC door")
      ->envname("CAIRN_SERVER")
      ->take_last()
      ->capture_default_str();
  auto* file =
      app.add_option("--credentials", credentials,
                     "file with USER:PASSWORD, of any user; without it CAIRN_ROOT_USER and "
                     "CAIRN_ROOT_PASSWORD count if they are set")
          ->capture_default_str();
  app.add_option("--ca", o.target.ca_file, "certificate authority, PEM: connect with TLS")
      ->check(CLI::ExistingFile);
  app.add_flag("--json", o.json, "answers as JSON");
  app.fallthrough();

  std::string path, value, to, ns = "db0";
  std::vector<std::string> paths;
  int64_t ttl_ms = 0;
  bool only_new = false, recursive = false;
  unsigned parallel = 4;
  uint64_t count = 10000;
  size_t size = 64;
  int rc = kOk;
  auto ready = [&] { load_credentials(o.target, credentials, file->count() > 0); };

  const char* a_key = "BUCKET/KEY; a database is a bucket, as db0";
  auto* c = app.add_subcommand("get", "print a value");
  c->add_option("path", path, a_key)->required();
  c->callback([&] { ready(), rc = get(o, path); });
  c = app.add_subcommand("put", "write a value");
  c->add_option("path", path, a_key)->required();
  c->add_option("value", value, "its bytes")->required();
  c->add_option("--ttl-ms", ttl_ms, "milliseconds until it expires; 0: never");
  c->add_flag("--new", only_new, "only if there is none");
  c->callback([&] { ready(), rc = put(o, path, value, ttl_ms, only_new); });
  c = app.add_subcommand("del", "remove values");
  c->add_option("paths", paths, a_key)->required();
  c->callback([&] { ready(), rc = del(o, paths); });
  c = app.add_subcommand("ls", "list buckets, or the keys of one");
  c->add_option("path", path, "BUCKET/, or BUCKET/PREFIX; without: the buckets");
  c->add_flag("-r,--recursive", recursive, "also what lies behind a /");
  c->callback([&] { ready(), rc = ls(o, path, recursive); });
  c = app.add_subcommand("cat", "print a value of any size");
  c->add_option("path", path, a_key)->required();
  c->callback([&] {
    ready();
    Client client(o.target);
    grpc::Status status = client.download(key_or_exit(path), "-", nullptr);
    rc = status.ok() ? kOk : fail(o, status, path);
  });
  c = app.add_subcommand("cp", "copy between files and the store");
  c->add_option("from", path, "FILE, cairn://BUCKET/KEY, or - for standard input")->required();
  c->add_option("to", to, "FILE, cairn://BUCKET/KEY, or - for standard output")->required();
  c->add_flag("-r,--recursive", recursive, "a directory, or all keys that begin so");
  c->add_option("--parallel", parallel, "files at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  c->callback([&] { ready(), rc = cp(o, path, to, recursive, parallel); });
  c = app.add_subcommand("stat", "describe a value");
  c->add_option("path", path, a_key)->required();
  c->callback([&] { ready(), rc = stat(o, path); });
  c = app.add_subcommand("mb", "make a bucket");
  c->add_option("name", path, "BUCKET")->required();
  c->callback([&] {
    ready();
    Client client(o.target);
    cairn::v1::CreateBucketRequest q;
    cairn::v1::CreateBucketResponse a;
    q.set_name(bucket_or_exit(path));
    auto context = client.context();
    grpc::Status status = client.objects->CreateBucket(context.get(), q, &a);
    rc = status.ok() ? kOk : fail(o, status, path);
  });
  c = app.add_subcommand("info", "describe the server");
  c->callback([&] { ready(), rc = info(o); });
  add_user_commands(app, {o, ready, rc});
  c = app.add_subcommand("bench", "put and get many keys, and say how fast");
  c->add_option("-n,--count", count, "keys")->capture_default_str();
  c->add_option("--size", size, "bytes of a value")->capture_default_str();
  c->add_option("-c,--parallel", parallel, "calls at once")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  c->add_option("--bucket,--namespace", ns, "where the keys are written")->capture_default_str();
  c->callback([&] { ready(), rc = bench(o, count, size, parallel, ns); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kOk : kUsage;
  }
  return rc;
}
