"""What the Redis door says of itself and its clients is true."""
import socket
import unittest

import redis

from harness import Case, command, wait_until


class ClientList(Case):
    def setUp(self):
        self.r = self.server.redis()
        self.addCleanup(self.r.close)

    def client(self):
        """A raw client, and what CLIENT LIST says of it."""
        s, number = self.raw_client()
        return s, lambda field: next(int(c[field]) for c in self.r.client_list() if c["id"] == number)

    def test_it_tells_what_was_sent_and_no_command_used_up(self):
        s, says = self.client()
        self.assertTrue(wait_until(lambda: says("qbuf") == 0))
        half = b"*2\r\n$3\r\nGET\r\n$50000\r\n" + b"x" * 30000
        s.sendall(half)
        self.assertTrue(wait_until(lambda: says("qbuf") == len(half)))
        self.assertGreater(says("qbuf-free"), 0)
        self.assertGreaterEqual(says("tot-mem"), says("qbuf") + says("qbuf-free"))
        s.sendall(b"x" * 20000 + b"\r\n")
        self.assertEqual(s.recv(100), b"$-1\r\n")
        self.assertTrue(wait_until(lambda: says("qbuf") == 0))

    def test_it_tells_what_the_client_itself_sent(self):
        me = self.r.client_info()
        self.assertEqual(int(me["qbuf"]), len(command(b"CLIENT", b"INFO")))

    def test_it_tells_what_waits_in_a_transaction(self):
        s, says = self.client()
        s.sendall(command(b"MULTI") + command(b"SET", b"k", b"v" * 10000))
        self.assertTrue(wait_until(lambda: says("multi-mem") > 10000))
        s.sendall(command(b"DISCARD"))
        self.assertTrue(wait_until(lambda: says("multi-mem") == 0))

    def test_it_tells_what_is_not_read(self):
        self.r.set("large", b"v" * 60000)
        s, says = self.client()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.assertEqual(says("omem"), 0)
        s.sendall(command(b"GET", b"large") * 500)
        self.assertTrue(wait_until(lambda: says("obl") >= 60000))
        self.assertGreaterEqual(says("omem"), says("obl"))
        self.assertEqual(says("rbs"), says("omem"))
        self.assertGreaterEqual(says("tot-mem"), says("omem"))


class Settings(Case):
    def test_the_log_is_on_and_cannot_be_switched_off(self):
        r = self.server.redis()
        self.addCleanup(r.close)
        self.assertEqual(r.config_get("appendonly"), {"appendonly": "yes"})
        self.assertTrue(r.config_set("appendonly", "yes"))
        with self.assertRaisesRegex(redis.ResponseError, "'appendonly'.*cannot be switched off"):
            r.config_set("appendonly", "no")


if __name__ == "__main__":
    unittest.main()
