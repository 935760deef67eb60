// What is always the same here. Who asks for just that has it; another value is refused with the
// reason.
#include "kv/commands/config.h"

namespace cairn::kv {
namespace {

constexpr std::string_view kOneLog = "the log is the database, and there is no other file of it";
constexpr std::string_view kNoReplicas = "there are no replicas";
constexpr std::string_view kFreed = "values are freed step by step, and nobody waits for it";
constexpr std::string_view kDue = "keys expire when they are due, by time and not in cycles";
constexpr std::string_view kNoDefrag = "entries are moved together where memory is short";
constexpr std::string_view kAlone = "there is no other node of a cluster";
constexpr std::string_view kClock = "what is warm and cold is not sampled";
constexpr std::string_view kProcess = "the process is another's matter: a service manager's";
constexpr std::string_view kUnbound = "no thread is bound to a processor";
constexpr std::string_view kTitle = "the process keeps the title that it was started with";
constexpr std::string_view kStandardError = "what there is to say goes to standard error";
constexpr std::string_view kCrash = "what is left of a crash is the system's matter";
constexpr std::string_view kEnds =
    "all that was written is synced before the end, whoever asks for it";
constexpr std::string_view kTls = "clients show a password, and no certificate";
constexpr std::string_view kTlsChoice = "what TLS agrees on is OpenSSL's choice, from TLS 1.2 on";
constexpr std::string_view kNoSuchDoor = "there is no such door";

// By name.
constexpr FixedParameter kFixed[] = {
    {"active-defrag-cycle-max", "25", kNoDefrag},
    {"active-defrag-cycle-min", "1", kNoDefrag},
    {"active-defrag-ignore-bytes", "104857600", kNoDefrag},
    {"active-defrag-max-scan-fields", "1000", kNoDefrag},
    {"active-defrag-threshold-lower", "10", kNoDefrag},
    {"active-defrag-threshold-upper", "100", kNoDefrag},
    {"active-expire-effort", "1", kDue},
    {"activedefrag", "no", kNoDefrag},
    {"activerehashing", "yes", "tables grow and shrink by themselves"},
    {"always-show-logo", "no", "there is no logo"},
    {"aof-disable-auto-gc", "no", kOneLog},
    {"aof-load-truncated", "yes", "a torn end of the log is cut, damage is not"},
    {"aof-rewrite-incremental-fsync", "yes", kOneLog},
    {"aof-timestamp-enabled", "no", kOneLog},
    {"aof-use-rdb-preamble", "no", kOneLog},
    {"aof_rewrite_cpulist", "", kUnbound},
    {"appenddirname", "", kOneLog},
    {"appendfilename", "", kOneLog},
    {"auto-aof-rewrite-min-size", "0", "the log is cleaned by --space-amplification"},
    {"auto-aof-rewrite-percentage", "0", "the log is cleaned by --space-amplification"},
    {"bgsave_cpulist", "", kUnbound},
    {"bind-source-addr", "", "the system chooses the address to go out by"},
    {"bio_cpulist", "", kUnbound},
    {"client-query-buffer-limit", "1073741824", "see maxmemory-clients"},
    {"cluster-allow-pubsubshard-when-down", "yes", kAlone},
    {"cluster-allow-reads-when-down", "no", kAlone},
    {"cluster-allow-replica-migration", "yes", kAlone},
    {"cluster-announce-bus-port", "0", kAlone},
    {"cluster-announce-hostname", "", kAlone},
    {"cluster-config-file", "", kAlone},
    {"cluster-link-sendbuf-limit", "0", kAlone},
    {"cluster-migration-barrier", "1", kAlone},
    {"cluster-node-timeout", "15000", kAlone},
    {"cluster-port", "0", kAlone},
    {"cluster-preferred-endpoint-type", "ip", kAlone},
    {"cluster-replica-no-failover", "no", kAlone},
    {"cluster-replica-validity-factor", "10", kAlone},
    {"cluster-require-full-coverage", "yes", kAlone},
    {"cluster-slave-no-failover", "no", kAlone},
    {"cluster-slave-validity-factor", "10", kAlone},
    {"crash-log-enabled", "no", kCrash},
    {"crash-memcheck-enabled", "no", kCrash},
    {"daemonize", "no", kProcess},
    {"dbfilename", "", kOneLog},
    {"disable-thp", "yes", "large pages cost more than they gain"},
    {"dynamic-hz", "no", kDue},
    {"enable-module-command", "no", "there are no modules"},
    {"enable-protected-configs", "yes", "who may run CONFIG SET may set all that can be set"},
    {"ignore-warnings", "", "warnings keep nobody from the start"},
    {"io-threads-do-reads", "yes", "each thread reads what its clients send"},
    {"jemalloc-bg-thread", "no", "the allocator is mimalloc"},
    {"lazyfree-lazy-eviction", "yes", kFreed},
    {"lazyfree-lazy-expire", "yes", kFreed},
    {"lazyfree-lazy-server-del", "yes", kFreed},
    {"lazyfree-lazy-user-del", "yes", kFreed},
    {"lazyfree-lazy-user-flush", "yes", kFreed},
    {"lfu-decay-time", "1", kClock},
    {"lfu-log-factor", "10", kClock},
    {"list-compress-depth", "0", "lists are not compressed"},
    {"logfile", "", kStandardError},
    {"masterauth", "", kNoReplicas},
    {"masteruser", "", kNoReplicas},
    {"maxmemory-eviction-tenacity", "10", kClock},
    {"maxmemory-samples", "5", kClock},
    {"min-replicas-max-lag", "10", kNoReplicas},
    {"min-replicas-to-write", "0", kNoReplicas},
    {"min-slaves-max-lag", "10", kNoReplicas},
    {"min-slaves-to-write", "0", kNoReplicas},
    {"no-appendfsync-on-rewrite", "no", "the cleaner keeps nobody from a sync"},
    {"oom-score-adj", "no", kProcess},
    {"oom-score-adj-values", "0 200 800", kProcess},
    {"pidfile", "", kProcess},
    {"proc-title-template", "", kTitle},
    {"propagation-error-behavior", "ignore", kNoReplicas},
    {"protected-mode", "yes", "whoever comes from another machine needs the password"},
    {"rdb-del-sync-files", "no", kNoReplicas},
    {"rdb-save-incremental-fsync", "yes", kOneLog},
    {"rdbchecksum", "yes", "every record has a checksum"},
    {"rdbcompression", "no", kOneLog},
    {"repl-backlog-size", "0", kNoReplicas},
    {"repl-backlog-ttl", "3600", kNoReplicas},
    {"repl-disable-tcp-nodelay", "no", kNoReplicas},
    {"repl-diskless-load", "disabled", kNoReplicas},
    {"repl-diskless-sync", "yes", kNoReplicas},
    {"repl-diskless-sync-delay", "5", kNoReplicas},
    {"repl-diskless-sync-max-replicas", "0", kNoReplicas},
    {"repl-ping-replica-period", "10", kNoReplicas},
    {"repl-ping-slave-period", "10", kNoReplicas},
    {"repl-timeout", "60", kNoReplicas},
    {"replica-announce-ip", "", kNoReplicas},
    {"replica-announce-port", "0", kNoReplicas},
    {"replica-announced", "yes", kNoReplicas},
    {"replica-ignore-disk-write-errors", "no", kNoReplicas},
    {"replica-ignore-maxmemory", "yes", kNoReplicas},
    {"replica-lazy-flush", "no", kNoReplicas},
    {"replica-priority", "100", kNoReplicas},
    {"replica-serve-stale-data", "yes", kNoReplicas},
    {"replicaof", "", kNoReplicas},
    {"sanitize-dump-payload", "yes", "RESTORE looks at all that it is given"},
    {"server_cpulist", "", kUnbound},
    {"set-proc-title", "no", kTitle},
    {"shutdown-on-sigint", "default", kEnds},
    {"shutdown-on-sigterm", "default", kEnds},
    {"shutdown-timeout", "10", kNoReplicas},
    {"slave-announce-ip", "", kNoReplicas},
    {"slave-announce-port", "0", kNoReplicas},
    {"slave-ignore-maxmemory", "yes", kNoReplicas},
    {"slave-lazy-flush", "no", kNoReplicas},
    {"slave-priority", "100", kNoReplicas},
    {"slave-serve-stale-data", "yes", kNoReplicas},
    {"slaveof", "", kNoReplicas},
    {"socket-mark-id", "0", "sockets bear no mark"},
    {"stop-writes-on-bgsave-error", "yes", "a log that failed takes no more writes"},
    {"supervised", "no", kProcess},
    {"syslog-enabled", "no", kStandardError},
    {"syslog-facility", "local0", kStandardError},
    {"syslog-ident", "redis", kStandardError},
    {"tcp-backlog", "1024", "so many may wait to be accepted, as far as the system allows"},
    {"tls-auth-clients", "no", kTls},
    {"tls-ca-cert-dir", "", kTls},
    {"tls-ca-cert-file", "", kTls},
    {"tls-ciphers", "", kTlsChoice},
    {"tls-ciphersuites", "", kTlsChoice},
    {"tls-client-cert-file", "", kTls},
    {"tls-client-key-file", "", kTls},
    {"tls-client-key-file-pass", "", kTls},
    {"tls-cluster", "no", kAlone},
    {"tls-dh-params-file", "", kTlsChoice},
    {"tls-key-file-pass", "", "a key with a pass phrase is not read"},
    {"tls-prefer-server-ciphers", "no", kTlsChoice},
    {"tls-protocols", "TLSv1.2 TLSv1.3", kTlsChoice},
    {"tls-replication", "no", kNoReplicas},
    {"tls-session-cache-size", "20480", kTlsChoice},
    {"tls-session-cache-timeout", "7200", kTlsChoice},
    {"tls-session-caching", "yes", kTlsChoice},
    {"unixsocket", "", kNoSuchDoor},
    {"unixsocketperm", "0", kNoSuchDoor},
};

}  // namespace

std::span<const FixedParameter> fixed_parameters() { return kFixed; }

}  // namespace cairn::kv
