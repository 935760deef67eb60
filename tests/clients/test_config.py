"""The configuration file, CONFIG REWRITE and options of the start."""
import os
import shutil
import tempfile
import unittest

import redis

from harness import PASSWORD, USER, Server, wait_until

MIB = 1 << 20


class Configuration(unittest.TestCase):
    def test_config_rewrite_keeps_what_was_set(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "c.toml")
            with open(path, "w") as f:
                f.write('# mine\nthreads = 1\nmemory = "64mb" # a little\n')
            server = Server(args=["--config=" + path])
            self.addCleanup(server.remove)
            want = {"maxmemory": str(80 * MIB), "maxmemory-policy": "allkeys-lru", "appendfsync": "always",
                    "maxclients": "123", "timeout": "77", "maxmemory-clients": "10%",
                    "client-output-buffer-limit": "normal 0 0 0 slave 0 0 0 pubsub 1048576 0 0", "slowlog-max-len": "7",
                    "notify-keyspace-events": "AKE", "notify-keyspace-stream": "g", "busy-reply-threshold": "700",
                    "latency-tracking-info-percentiles": "50 99", "loglevel": "warning"}
            r = server.redis()
            for name, value in want.items():
                r.config_set(name, value)
            self.assertTrue(r.config_rewrite())
            r.close()
            text = open(path).read()
            self.assertTrue(text.startswith("# mine\nthreads = 1\n"), text)
            self.assertEqual(text.count("memory ="), 1)
            self.assertEqual(server.stop(), 0)
            server.start()
            r = server.redis()
            self.assertEqual({name: r.config_get(name)[name] for name in want}, want)
            # What is off again is said to be.
            r.config_set("notify-keyspace-events", "")
            self.assertTrue(r.config_rewrite())
            self.assertIn('notify-keyspace-events = "none"', open(path).read())
            self.assertEqual(server.stop(), 0)
            server.start()
            r.close()
            r = server.redis()
            self.assertEqual(r.config_get("notify-keyspace-events")["notify-keyspace-events"], "")
            r.close()
        server = Server()
        self.addCleanup(server.remove)
        with self.assertRaisesRegex(redis.ResponseError, "without a config file"):
            server.redis().config_rewrite()

    def with_file(self, text="threads = 1\n", args=(), **kwargs):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        self.path = os.path.join(directory, "c.toml")
        with open(self.path, "w") as f:
            f.write(text)
        server = Server(args=["--config=" + self.path] + list(args), **kwargs)
        self.addCleanup(server.remove)
        return server

    def again(self, server):
        self.assertEqual(server.stop(), 0)
        server.start()

    def test_all_that_can_be_set_is_rewritten(self):
        """tcp-keepalive and others were as before after a restart, though REWRITE had answered OK."""
        server = self.with_file()
        r = server.redis()
        set_at_once = {"tcp-keepalive": "60", "tracking-table-max-keys": "77", "maxmemory": str(200 * MIB), "acl-pubsub-default": "allchannels"}
        before, same, changed = r.config_get("*"), set(), {}
        for name, value in before.items():
            tries = [set_at_once[name]] if name in set_at_once else []
            tries += {"yes": ["no"], "no": ["yes"]}.get(value, [])
            if value.isdigit():
                tries += [str(int(value) + 1), str(int(value) - 1), str(int(value) + (100 << 20))]
            tries += ["volatile-ttl", "verbose", "always", "900 1", "Elg", "lg", "10%", "normal 1mb 512kb 7", "50 75", "another # \\ \" password", "-1"]
            for new in tries:
                if new == value:
                    continue
                try:
                    r.config_set(name, new)
                except redis.ResponseError as e:
                    same.add((name, str(e).split(" - ")[-1]))
                    continue
                if r.config_get(name)[name] != value:
                    changed[name] = r.config_get(name)[name]
                    break
        self.assertEqual(set_at_once, {name: changed[name] for name in set_at_once})
        for name, why in same:  # what did not change says that it cannot
            if name not in changed and name != "hz":  # which takes less than it is, and stays
                self.assertRegex(why, "^it is '.*' here: |immutable|cannot be switched off|^argument must be 'yes' or 'no'$", name)
        want = r.config_get("*")
        self.assertTrue(r.config_rewrite())
        r.close()
        self.again(server)
        r = redis.Redis(port=server.resp, password=want["requirepass"])
        self.addCleanup(r.close)
        ports = "port", "tls-port"
        self.assertEqual({n: v for n, v in r.config_get("*").items() if n not in ports}, {n: v for n, v in want.items() if n not in ports})
        self.assertTrue(r.config_rewrite())  # and that is a file that says the same
        print("%d settings" % len(changed))

    def test_a_password_in_the_file_is_its_owners_alone(self):
        """After CONFIG SET requirepass nothing at all could be rewritten."""
        for text in ("secret", "none", "a \"b\" 'c' # d, [e] \\n \t \n é \u2028 \U0001f600", " ", "x" * 5000):
            server = self.with_file(credentials=False)
            os.chmod(self.path, 0o644)
            r = redis.Redis(port=server.resp)
            r.config_set("timeout", "1000")
            self.assertTrue(r.config_rewrite())
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o644)
            r.config_set("requirepass", text)
            self.assertTrue(r.config_rewrite())
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o600)
            r.close()
            self.again(server)
            with self.assertRaisesRegex(redis.AuthenticationError, "Authentication required"):
                redis.Redis(port=server.resp).ping()
            r = redis.Redis(port=server.resp, password=text)
            self.assertEqual(r.config_get("requirepass"), {"requirepass": text})
            r.config_set("requirepass", "")
            self.assertTrue(r.config_rewrite())
            r.close()
            self.again(server)
            r = redis.Redis(port=server.resp)
            self.assertTrue(r.ping())
            # What no such file can hold is said.
            r.config_set("requirepass", b"\xff")
            with self.assertRaisesRegex(redis.ResponseError, "requirepass is no UTF-8"):
                r.config_rewrite()
            r.close()

    def test_a_password_in_the_file_beside_root(self):
        """It is of the user default alone: root's goes on, and is in no file."""
        server = self.with_file('requirepass = "of-default"\n')
        redis.Redis(port=server.resp, password="of-default").ping()
        redis.Redis(port=server.resp, username=USER, password=PASSWORD).ping()
        with self.assertRaisesRegex(redis.ResponseError, "WRONGPASS"):
            redis.Redis(port=server.resp, password=PASSWORD).ping()
        server.s3().list_buckets()
        r = redis.Redis(port=server.resp, password="of-default")
        self.addCleanup(r.close)
        r.config_set("requirepass", "(root's)")
        self.assertTrue(r.config_rewrite())
        self.assertNotIn(PASSWORD, open(self.path).read())
        self.again(server)
        redis.Redis(port=server.resp, password=PASSWORD).ping()

    def test_a_save_point_is_kept_without_durability_too(self):
        """It was told back and did nothing: with --durability=off nothing was synced before the end."""
        server = self.with_file(args=["--durability=off"])
        r = server.redis()
        self.addCleanup(r.close)
        r.config_set("save", "900 1")
        self.assertEqual(r.config_get("appendfsync"), {"appendfsync": "no"})
        r.set("k", "v")
        def is_durable():
            info = r.info("persistence")
            return info["log_durable_lsn"] >= info["log_tail_lsn"]
        self.assertTrue(wait_until(is_durable))


if __name__ == "__main__":
    unittest.main()
