"""redis-cli in its modes, and redis-benchmark's whole list: what they show of Cairn is what they show of
redis-server."""
import os
import re
import socket
import subprocess
import tempfile
import unittest

import redis

from differ import Client
from harness import PATIENCE, Server
from test_resp import Both, Peer

# Each is a line of shell on both servers, in this order; $CLI is redis-cli with the port.
SAME = r"""
for i in $(seq 2000); do echo "SET k$i v$i"; done | $CLI --pipe
$CLI eval "for i=1,50 do redis.call('HSET','h','f'..i,i) redis.call('RPUSH','l',i) redis.call('XADD','x',i..'-1','a',i) end" 3 h l x
$CLI eval "for i=1,50 do redis.call('SADD','s',i) redis.call('ZADD','z',i/4,i) end return {1,{'two',false},{err='E x'}}" 2 s z
$CLI --scan --pattern 'k1?' | sort
$CLI --scan --count 5 --quoted-pattern 'k20*' | sort
$CLI --eval $SCRIPT k1 , arg
$CLI -c get k1
$CLI --csv hgetall h
$CLI --json hgetall h
$CLI -3 hgetall h
$CLI -3 --json zrange z 0 2 withscores
$CLI -3 --csv debug protocol map
$CLI -3 --csv debug protocol double
$CLI --quoted-json lrange l 0 2
$CLI xrange x - + count 2
echo -n payload | $CLI -x set from-input
printf 'p2' | $CLI -X TAG mset a 1 b TAG
$CLI mget from-input b none
$CLI --no-raw get k1
$CLI -e nosuchcmd; echo "exit code $?"
$CLI -r 3 -i 0.01 incr counter
$CLI -d '|' lrange l 0 3
$CLI --raw -D '##' lrange l 0 1
$CLI --quoted-input set '"\x00\xffa"' v
$CLI -n 3 set a b
redis-cli -u redis://127.0.0.1:$PORT/3 get a
$CLI --verbose ping
$CLI --show-pushes no -3 ping
$CLI --no-auth-warning -a wrong ping
$CLI --user default --pass wrong ping
$CLI --user nosuch --pass x ping
$CLI --user nosuch --pass x --no-auth-warning --json get k1
$CLI --intrinsic-latency 1 | tail -3 | sed 's/[0-9.]\+/N/g'
$CLI --cluster check 127.0.0.1:$PORT
$CLI --cluster info 127.0.0.1:$PORT
$CLI --cluster call 127.0.0.1:$PORT ping
$CLI --cluster import 127.0.0.1:$PORT --cluster-from 127.0.0.1:$PORT --cluster-copy
$CLI --cluster fix 127.0.0.1:$PORT
$CLI --cluster rebalance 127.0.0.1:$PORT
$CLI --cluster reshard 127.0.0.1:$PORT
printf 'multi\nset a 1\nincr a\nlpush a x\nexec\nget a\nselect 3\nget a\nmulti\ndiscard\n' | $CLI
printf 'hello 3\nclient trackinginfo\nhello 2\nreset\nget k1\n' | $CLI | grep -v '^id\|^version\|^[0-9]'
printf 'help @nosuch\nhelp nosuch\n:set hints\nconnect 127.0.0.1 '$PORT'\nping\n' | $CLI
$CLI --bigkeys | sed -n '/summary/,$p' | grep -v string
$CLI --memkeys | sed -n '/summary/,$p' | sed 's/has [1-9][0-9]* bytes/has some bytes/; s/ with .*//; s/string found.*/string found/'
$CLI --memkeys-samples 0 | sed -n '/summary/,$p' | sed 's/has [1-9][0-9]* bytes/has some bytes/; s/ with .*//; s/string found.*/string found/'
$CLI --memkeys --memkeys-samples 3 | sed -n '/Sampled/p'
$CLI --memkeys-samples x | sed -n '/Sampled/p'
""".strip().split("\n")


OVER_TLS = r"""
for i in $(seq 500); do echo "SET k$i v$i"; done | $CLI --pipe
$CLI -3 mget k1 k2 none
redis-cli -u $URI --cacert $CERT get k3
redis-cli -p ${URI##*:} --tls --insecure get k3
redis-cli -p ${URI##*:} --tls get k3
redis-cli -p ${URI##*:} --tls --cacert $CERT --sni localhost get k3
$CLI --scan --pattern 'k1?' | sort
head -c 3000000 /dev/zero | $CLI -x set large; $CLI strlen large
printf 'multi\nincr n\nget k1\nexec\nreset\n' | $CLI
$CLI --rdb $FILE 2>&1 | sed 's/[0-9]* bytes$/some bytes/; s/to .*f/to FILE/'; redis-check-rdb $FILE | grep -c OK
$CLI --functions-rdb $FILE 2>&1 | sed 's/[0-9]* bytes$/some bytes/; s/to .*f/to FILE/'; redis-check-rdb $FILE | grep -c OK
$CLI --bigkeys | sed -n '/summary/,$p'
""".strip().split("\n")


class RedisCli(Both):
    def setUp(self):
        self.ask("flushall")
        self.peer.client.flushall()

    def shell(self, port, line):
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
            script.write("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
            script.flush()
            env = dict(os.environ, CLI="redis-cli -p %d" % port, PORT=str(port), SCRIPT=script.name)
            out = subprocess.run(["bash", "-c", line], capture_output=True, timeout=PATIENCE, env=env)
        return (out.returncode, (out.stdout + out.stderr).decode(errors="replace").replace(str(port), "PORT"))

    def on_both(self, line):
        ours, theirs = self.shell(self.server.resp, line), self.shell(self.peer.port, line)
        self.assertEqual(ours, theirs, line)
        return ours[1]

    def first_lines(self, words, count, told=None):
        """Of a mode that does not end; `told` is called once there is something to tell it of."""
        process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", "-p", str(self.server.resp)] + words,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            lines = [process.stdout.readline().decode() for _ in range(count[0])]
            if told:
                told()
            return lines + [process.stdout.readline().decode() for _ in range(count[1])]
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    def ask(self, *words):
        return subprocess.check_output(["redis-cli", "-p", str(self.server.resp), *words]).decode()

    def test_it_shows_the_same(self):
        for line in SAME:
            with self.subTest(line):
                self.assertTrue(self.on_both(line))

    def test_it_listens(self):
        self.assertEqual(self.first_lines(["subscribe", "ch"], (3, 3), lambda: self.ask("publish", "ch", "hello")),
                         ["subscribe\n", "ch\n", "1\n", "message\n", "ch\n", "hello\n"])
        self.assertEqual(self.first_lines(["-3", "psubscribe", "c*"], (3, 4), lambda: self.ask("publish", "ch", "hello")),
                         ["psubscribe\n", "c*\n", "1\n", "pmessage\n", "c*\n", "ch\n", "hello\n"])
        lines = self.first_lines(["monitor"], (1, 1), lambda: self.ask("get", "a b"))
        self.assertEqual(lines[0], "OK\n")
        self.assertRegex(lines[1], r'^\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "get" "a b"\n$')

    def test_it_measures(self):
        numbers = r"^\d+ \d+ [\d.]+ \d+\n$"  # as one sees it who is no terminal
        self.assertRegex(self.first_lines(["--latency-history", "-i", "0.1"], (0, 1))[0], numbers)
        self.assertRegex(self.ask("--latency"), numbers)
        self.assertIn("\x1b[48;5;", self.first_lines(["--latency-dist", "-i", "0.1"], (0, 9))[8])
        self.assertIn("requests", self.first_lines(["--stat", "-i", "0.1"], (2, 1))[1])
        self.assertRegex(self.first_lines(["--lru-test", "100"], (0, 1))[0], r"\d+ Gets/sec \| Hits: \d+")
        self.assertIn("summary", self.shell(self.server.resp, "$CLI config set maxmemory-policy allkeys-lfu; $CLI --hotkeys")[1])

    def test_it_is_told_that_nothing_replicates_here(self):
        code, said = self.shell(self.server.resp, "$CLI --replica")
        self.assertEqual((code, "Cairn does not replicate" in said), (1, True), said)

    def test_it_is_told_that_there_is_no_debugger(self):
        """redis-cli does not hear that SCRIPT DEBUG is refused; what a script that is debugged writes is taken back on
        redis-server, so it does not run here."""
        for mode in ("--ldb", "--ldb-sync-mode"):
            said = self.shell(self.server.resp, "echo \"redis.call('set', KEYS[1], 1)\" > $SCRIPT; echo quit | $CLI %s --eval $SCRIPT written" % mode)[1]
            self.assertIn("ERR there is no debugger of scripts here", said)
            self.assertEqual(self.ask("exists", "written"), "0\n")
        # The next one of a connection runs, and so does the first one that wants none any more.
        write = "EVAL return(redis.call('set','written',1)) 0"
        for lines, runs in ((["SCRIPT DEBUG YES", write], 0), (["SCRIPT DEBUG SYNC", write, write], 1), (["script debug yes", "SCRIPT DEBUG no", write], 1),
                            (["SCRIPT DEBUG YES", "RESET", write], 1), (["SCRIPT DEBUG YES", "SCRIPT DEBUG x", "EVALSHA " + "0" * 40 + " 0", write], 1),
                            (["SCRIPT DEBUG YES", write.replace("EVAL", "EVAL_RO")], 0)):
            self.ask("flushall")
            client = Client(self.server.resp)
            answers = [client.ask(*line.encode().split()) for line in lines]
            client.close()
            refused = sum(a.startswith(b"-ERR there is no debugger") for a in answers)
            self.assertEqual((self.ask("exists", "written"), refused), ("%d\n" % runs, 1 if "no" in lines[1] or lines[1] == "RESET" else 2), lines)

    def test_it_takes_what_there_is(self):
        """More of it in test_rdb.py."""
        for mode in ("--rdb", "--functions-rdb"):
            said = self.on_both("$CLI %s $SCRIPT 2>&1 | sed 's/[0-9]* bytes$/some bytes/; s/to .*lua/to FILE/'; redis-check-rdb $SCRIPT | grep -c OK" % mode)
            self.assertIn("Transfer finished with success", said)

    def test_its_count_goes_on_after_a_kill(self):
        """What it printed was acknowledged."""
        server = Server(args=["--durability=always"], credentials=False)
        self.addCleanup(server.remove)
        process = subprocess.Popen(["redis-cli", "-p", str(server.resp), "-r", "-1", "incr", "n"],
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        printed = [int(process.stdout.readline()) for _ in range(100)]
        server.kill()
        printed += [int(n) for n in re.findall(rb"^\d+$", process.stdout.read(), re.M)]
        process.wait()
        process.stdout.close()
        server.start()
        self.assertEqual(printed, list(range(1, len(printed) + 1)))
        self.assertIn(int(redis.Redis(port=server.resp).get("n")), (len(printed), len(printed) + 1))


class RedisCliOverTls(unittest.TestCase):
    """Both with the same certificate."""

    def test_it_shows_the_same(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.check_call(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                                   "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert], stderr=subprocess.DEVNULL)
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            peer = Peer("--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-auth-clients", "no")
            self.addCleanup(peer.stop)
            server = Server(credentials=False, args=["--tls-cert=" + cert, "--tls-key=" + key, "--resp-tls=127.0.0.1:0"])
            self.addCleanup(server.remove)
            for line in OVER_TLS:
                said = []
                for p in (server.ports["resp-tls"], port):
                    env = dict(os.environ, CLI="redis-cli -p %d --tls --cacert %s" % (p, cert), URI="rediss://127.0.0.1:%d" % p, CERT=cert, FILE=os.path.join(d, "f"))
                    out = subprocess.run(["bash", "-c", line], capture_output=True, timeout=PATIENCE, env=env)
                    said.append((out.returncode, (out.stdout + out.stderr).decode(errors="replace").replace(str(p), "PORT")))
                with self.subTest(line):
                    self.assertEqual(said[0], said[1])
                    self.assertTrue(said[0][1])


class RedisBenchmark(Both):
    def test_its_whole_list(self):
        """Each test of its list, and its options: the same lines as of redis-server, without an error."""
        for options in ("-n 1000", "-n 2000 -P 16 -r 100 --threads 2", "-n 100 -c 5 --enable-tracking get a",
                        "-n 100 -r 10 eval \"return redis.call('incr',KEYS[1])\" 1 k__rand_int__", "-n 100 -d 100000 -t set,get"):
            with self.subTest(options):
                shown = []
                for port in (self.server.resp, self.peer.port):
                    out = subprocess.run("redis-benchmark -p %d -q %s" % (port, options), shell=True, capture_output=True, timeout=PATIENCE)
                    self.assertEqual((out.returncode, out.stderr), (0, b""), out.stdout)
                    lines = out.stdout.decode().replace("\r", "\n")
                    shown.append(re.findall(r"^(.*): [\d.]+ requests per second", lines, re.M))
                self.assertEqual(shown[0], shown[1])
                self.assertTrue(shown[0])


if __name__ == "__main__":
    unittest.main()
