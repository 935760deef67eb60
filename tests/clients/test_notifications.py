"""Events of buckets and databases, from the log to whoever is told: webhooks (signed, retried, resumed after a crash,
slow and dead ones), a stream and a channel of the store itself, listeners over HTTP, and gRPC's Watch."""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import resource
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

import boto3
import grpc
import redis
from botocore.exceptions import ClientError

from harness import PASSWORD, PATIENCE, USER, Case, Disk, Server, wait_until
from test_forms import BOUNDARY, multipart
from test_s3 import signed

SECRET = "whsec_" + base64.b64encode(b"a secret of webhooks").decode()
CREATED, REMOVED = ["s3:ObjectCreated:*"], ["s3:ObjectRemoved:*"]


class Receiver:
    """An HTTP server that keeps what it is sent; `answer(number)` is the status of a request, in its own time."""

    def __init__(self, port=0, tls=None):
        self.requests = []
        self.lock = threading.Lock()
        self.answer = lambda number: 200
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with outer.lock:
                    outer.requests.append((self.path, dict(self.headers), body))
                    number = len(outer.requests)
                status = outer.answer(number)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, request, address):
                pass

        self.server = Quiet(("127.0.0.1", port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def taken(self):
        with self.lock:
            return list(self.requests)

    def records(self):
        return [r for _, _, body in self.taken() for r in json.loads(body)["Records"]]

    def keys(self):
        return [urllib.parse.unquote_plus(r["s3"]["object"]["key"]) for r in self.records()]


def wait(check):
    assert wait_until(check), "it did not come to that"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def configuration(target, events, prefix=None, suffix=None, **more):
    rules = [{"Name": n, "Value": v} for n, v in (("prefix", prefix), ("suffix", suffix)) if v is not None]
    c = {"QueueArn": "arn:cairn:sqs::%s" % target, "Events": events}
    if rules:
        c["Filter"] = {"Key": {"FilterRules": rules}}
    c.update(more)
    return c


def tell(s3, bucket, *configurations):
    s3.put_bucket_notification_configuration(Bucket=bucket,
                                             NotificationConfiguration={"QueueConfigurations": list(configurations)})


def metrics(server):
    c = http.client.HTTPConnection("127.0.0.1", server.http, timeout=PATIENCE)
    c.request("GET", "/-/metrics", headers={"Authorization": "Bearer " + PASSWORD})
    lines = c.getresponse().read().decode().splitlines()
    c.close()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


class Listening:
    """ListenNotification, as MinIO's clients ask for it."""

    def __init__(self, server, bucket, events=("s3:ObjectCreated:*", "s3:ObjectRemoved:*"), key=(USER, PASSWORD), **params):
        path = "/" + bucket
        pairs = [("events", e) for e in events] + [(k.replace("_", "-"), v) for k, v in params.items()]
        quote = lambda t: urllib.parse.quote(str(t), safe="-_.~")
        query = "&".join(sorted("%s=%s" % (quote(k), quote(v)) for k, v in pairs))
        headers = signed("GET", server.http, path, query, access_key=key[0], secret=key[1])[0]
        self.s = socket.create_connection(("127.0.0.1", server.http), timeout=PATIENCE)
        head = "GET %s?%s HTTP/1.1\r\n" % (path, query) + "".join("%s: %s\r\n" % h for h in headers.items())
        self.s.sendall(head.encode() + b"\r\n")
        self.file = self.s.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        while (line := self.file.readline().strip()):
            name, value = line.decode().split(": ", 1)
            self.headers[name.lower()] = value
        self.text = b""

    def part(self):
        """The next chunk; none: it ended."""
        size = int(self.file.readline(), 16)
        part = self.file.read(size)
        self.file.readline()
        return part

    def line(self):
        while b"\n" not in self.text:
            part = self.part()
            assert part, "it ended"
            self.text += part
        line, self.text = self.text.split(b"\n", 1)
        return json.loads(line)

    def record(self):
        while not (records := self.line()["Records"]):
            pass
        return records[0]

    def close(self):
        self.file.close()
        self.s.close()


class Configuration(Case):
    """PutBucketNotificationConfiguration and its GET."""
    server_args = dict(args=["--webhook=one http://127.0.0.1:9/", "--webhook=two http://127.0.0.1:9/",
                             "--event-stream=three 0 events", "--event-channel=four news"])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="bucket")

    def get(self):
        answer = self.s3.get_bucket_notification_configuration(Bucket="bucket")
        answer.pop("ResponseMetadata")
        return answer

    def test_what_is_put_is_read_back_and_survives_a_crash(self):
        self.assertEqual(self.get(), {})
        put = {"QueueConfigurations": [
            {"Id": "first", "QueueArn": "arn:cairn:sqs::one:webhook", "Events": ["s3:ObjectCreated:*"],
             "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "a/<&>\u00e9"}, {"Name": "Suffix", "Value": ".jpg"}]}}},
            {"Id": "second", "QueueArn": "arn:cairn:sqs::three:redis", "Events": ["s3:ObjectRemoved:Delete",
                                                                                  "s3:LifecycleExpiration:*"]}],
            "TopicConfigurations": [{"Id": "third", "TopicArn": "arn:cairn:sns::four:redis", "Events": ["s3:ObjectCreated:Put"],
                                     "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "b/"}]}}}]}
        self.s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration=put)
        self.assertEqual(self.get(), put)
        self.server.restart()
        type(self).s3 = self.server.s3()
        self.assertEqual(self.get(), put)
        self.s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration={})
        self.assertEqual(self.get(), {})

    def test_who_gives_no_id_gets_one(self):
        tell(self.s3, "bucket", configuration("one:webhook", CREATED))
        self.assertTrue(self.get()["QueueConfigurations"][0]["Id"])
        tell(self.s3, "bucket")

    def refused(self, code, *configurations, **others):
        with self.assertRaises(ClientError) as e:
            self.s3.put_bucket_notification_configuration(
                Bucket="bucket", NotificationConfiguration=dict(others, QueueConfigurations=list(configurations)))
        self.assertEqual(e.exception.response["Error"]["Code"], code)
        self.assertEqual(self.get(), {}, "something was kept")
        return e.exception.response["Error"]["Message"]

    def test_what_cannot_be_is_refused_whole(self):
        good = configuration("one:webhook", REMOVED, Id="good")
        bad = "InvalidArgument"
        self.assertIn("arn:cairn:sqs::none:webhook", self.refused(bad, good, configuration("none:webhook", CREATED)))
        self.refused(bad, configuration("one:redis", CREATED))
        self.refused(bad, dict(configuration("", CREATED), QueueArn="arn:aws:sqs:us-east-1:1:queue"))
        self.refused(bad, dict(configuration("", CREATED), QueueArn="queue"))
        self.refused(bad, configuration("one:webhook", ["s3:ObjectCreated:Puts"]))
        for event in ("s3:ReducedRedundancyLostObject", "s3:ObjectRestore:*", "s3:ObjectAccessed:*", "s3:Replication:*"):
            self.assertIn(event, self.refused("NotImplemented", good, configuration("two:webhook", [event])))
        self.refused(bad, configuration("one:webhook", CREATED), configuration("two:webhook", ["s3:ObjectCreated:Put"]))
        self.refused(bad, configuration("one:webhook", CREATED, prefix="a"), configuration("two:webhook", CREATED, prefix="ab"))
        self.refused(bad, configuration("one:webhook", CREATED, Id="x"), configuration("two:webhook", REMOVED, Id="x"))
        self.refused(bad, configuration("one:webhook", CREATED, prefix="a" * 1025))
        twice = configuration("one:webhook", CREATED)
        twice["Filter"] = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "a"}, {"Name": "prefix", "Value": "b"}]}}
        self.refused(bad, twice)
        self.refused("NotImplemented", good, LambdaFunctionConfigurations=[
            {"LambdaFunctionArn": "arn:aws:lambda:us-east-1:1:function:f", "Events": CREATED}])
        self.refused("NotImplemented", good, EventBridgeConfiguration={})
        self.refused(bad, TopicConfigurations=[{"TopicArn": "arn:cairn:sqs::one:webhook", "Events": CREATED}])

    def test_no_such_bucket(self):
        for call in (lambda: tell(self.s3, "absent", configuration("one:webhook", CREATED)),
                     lambda: self.s3.get_bucket_notification_configuration(Bucket="absent")):
            with self.assertRaises(ClientError) as e:
                call()
            self.assertEqual(e.exception.response["Error"]["Code"], "NoSuchBucket")

    def test_options_that_name_no_target_do_not_start(self):
        for option in ("--webhook=x", "--webhook=x ftp://a/", "--webhook-secret=x s", "--event-stream=x 16 k",
                       "--event-channel=x", "--webhook=a/b http://x/", "--events-backlog=x"):
            with tempfile.TemporaryDirectory() as d:
                p = subprocess.run([self.server.process.args[0], "--data=" + d, "--resp=127.0.0.1:0", "--http=127.0.0.1:0",
                                    "--grpc=127.0.0.1:0", option], capture_output=True, timeout=PATIENCE)
                self.assertEqual(p.returncode, 2, option)
                self.assertIn(option.split("=")[0].encode(), p.stderr)

    def test_targets_may_be_in_the_configuration_file(self):
        receiver = Receiver()
        self.addCleanup(receiver.close)
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as f:
            f.write('webhook = ["a http://127.0.0.1:%d/x", "b http://127.0.0.1:%d/y"]\nwebhook-secret = ["a s p"]\n'
                    % (receiver.port, receiver.port))
            f.flush()
            server = Server(args=["--config=" + f.name])
            self.addCleanup(server.remove)
            s3 = server.s3()
            s3.create_bucket(Bucket="bucket")
            tell(s3, "bucket", configuration("a:webhook", CREATED, prefix="a"), configuration("b:webhook", CREATED, prefix="b"))
            for key in ("a", "b", "c"):
                s3.put_object(Bucket="bucket", Key=key)
            wait(lambda: len(receiver.taken()) == 2)
            self.assertEqual(sorted((path, "Webhook-Signature" in {n.title() for n in headers})
                                    for path, headers, _ in receiver.taken()), [("/x", True), ("/y", False)])


class Webhooks(unittest.TestCase):
    def start(self, *more, port=None, secret=True, **kwargs):
        self.receiver = Receiver()
        self.addCleanup(self.receiver.close)
        args = ["--webhook=hook http://127.0.0.1:%d/take?it=1" % (port or self.receiver.port)]
        args += ["--webhook-secret=hook " + SECRET] if secret else []
        self.server = Server(args=args + list(more), **kwargs)
        self.addCleanup(self.server.remove)
        self.s3 = self.server.s3()
        self.s3.create_bucket(Bucket="bucket")

    def test_each_kind_of_change_is_told_in_order_and_signed(self):
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED + REMOVED, Id="rule"))
        put = self.s3.put_object(Bucket="bucket", Key="a b/\u00e9", Body=b"12345", ContentType="text/plain")
        self.s3.copy_object(Bucket="bucket", Key="copy", CopySource="bucket/a b/\u00e9")
        upload = self.s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
        part = self.s3.upload_part(Bucket="bucket", Key="parts", UploadId=upload, PartNumber=1, Body=b"x" * 100)
        self.s3.complete_multipart_upload(Bucket="bucket", Key="parts", UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.s3.delete_object(Bucket="bucket", Key="copy")
        self.s3.delete_object(Bucket="bucket", Key="never there")
        self.s3.delete_objects(Bucket="bucket", Delete={"Objects": [{"Key": "parts"}, {"Key": "a b/\u00e9"}]})
        wait(lambda: len(self.receiver.taken()) >= 6)
        records = self.receiver.records()
        self.assertEqual([(r["eventName"], r["s3"]["object"]["key"]) for r in records], [
            ("ObjectCreated:Put", "a+b/%C3%A9"), ("ObjectCreated:Copy", "copy"),
            ("ObjectCreated:CompleteMultipartUpload", "parts"), ("ObjectRemoved:Delete", "copy"),
            ("ObjectRemoved:Delete", "parts"), ("ObjectRemoved:Delete", "a+b/%C3%A9")])
        first = records[0]
        self.assertEqual(first["s3"]["object"]["size"], 5)
        self.assertEqual('"%s"' % first["s3"]["object"]["eTag"], put["ETag"])
        self.assertEqual(first["s3"]["bucket"], {"name": "bucket", "arn": "arn:aws:s3:::bucket",
                                                 "ownerIdentity": {"principalId": USER}})
        self.assertEqual((first["s3"]["configurationId"], first["awsRegion"], first["eventSource"]), ("rule", "us-east-1", "aws:s3"))
        sequencers = [r["s3"]["object"]["sequencer"] for r in records]
        self.assertEqual(sequencers, sorted(set(sequencers)))
        ids = set()
        for path, headers, body in self.receiver.taken():
            headers = {k.lower(): v for k, v in headers.items()}
            self.assertEqual(path, "/take?it=1")
            self.assertEqual(headers["content-type"], "application/json")
            self.assertEqual(headers["host"], "127.0.0.1:%d" % self.receiver.port)
            text = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
            mac = hmac.new(b"a secret of webhooks", text, hashlib.sha256).digest()
            self.assertEqual(headers["webhook-signature"], "v1," + base64.b64encode(mac).decode())
            ids.add(headers["webhook-id"])
            message = json.loads(body)
            self.assertEqual(message["EventName"], "s3:" + message["Records"][0]["eventName"])
        self.assertEqual(json.loads(self.receiver.taken()[0][2])["Key"], "bucket/a b/\u00e9")
        self.assertEqual(len(ids), 6)

    def test_other_doors_and_expiry_are_told_too(self):
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED + ["s3:LifecycleExpiration:*"]))
        r = self.server.redis()
        grpc_door = self.server.grpc_stubs()
        grpc_door.kv.Put(grpc_door.kv_pb.PutRequest(key=grpc_door.key("bucket", b"by grpc"), value=b"1", ttl_ms=50),
                         metadata=grpc_door.metadata)
        wait(lambda: len(self.receiver.records()) >= 2)
        self.assertEqual([r["eventName"] for r in self.receiver.records()], ["ObjectCreated:Put", "LifecycleExpiration:Delete"])
        r.set("not of a bucket", 1)
        self.s3.put_object(Bucket="bucket", Key="last")
        wait(lambda: len(self.receiver.records()) >= 3)
        self.assertEqual(self.receiver.keys(), ["by grpc", "by grpc", "last"])

    def test_versions_and_tags_are_told_by_their_names(self):
        self.start()
        s3 = self.s3
        tell(s3, "bucket", configuration("hook:webhook", CREATED + REMOVED + ["s3:ObjectTagging:*"]))
        s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        one, two = (s3.put_object(Bucket="bucket", Key="key", Body=b)["VersionId"] for b in (b"1", b"22"))
        marker = s3.delete_object(Bucket="bucket", Key="key")["VersionId"]
        s3.put_object_tagging(Bucket="bucket", Key="key", VersionId=two, Tagging=tags)
        s3.delete_object_tagging(Bucket="bucket", Key="key", VersionId=two)
        s3.delete_object(Bucket="bucket", Key="key", VersionId=marker)  # which makes `two` current again
        s3.delete_object(Bucket="bucket", Key="key", VersionId=two)  # and `one`
        s3.put_object_tagging(Bucket="bucket", Key="key", Tagging=tags)
        s3.delete_object(Bucket="bucket", Key="key", VersionId=one)
        s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Suspended"})
        s3.put_object(Bucket="bucket", Key="key", Body=b"null")
        s3.delete_object(Bucket="bucket", Key="key")
        wait(lambda: len(self.receiver.records()) >= 11)
        self.assertEqual([(r["eventName"], r["s3"]["object"].get("versionId"), r["s3"]["object"].get("size")) for r in self.receiver.records()], [
            ("ObjectCreated:Put", one, 1), ("ObjectCreated:Put", two, 2), ("ObjectRemoved:DeleteMarkerCreated", marker, None),
            ("ObjectTagging:Put", two, 2), ("ObjectTagging:Delete", two, 2), ("ObjectRemoved:Delete", marker, None),
            ("ObjectRemoved:Delete", two, None), ("ObjectTagging:Put", one, 1), ("ObjectRemoved:Delete", one, None),
            ("ObjectCreated:Put", "null", 4), ("ObjectRemoved:DeleteMarkerCreated", "null", None)])

    def test_a_form_is_a_post(self):
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", ["s3:ObjectCreated:Post"]))
        self.s3.put_object(Bucket="bucket", Key="put")
        form = self.s3.generate_presigned_post("bucket", "posted")
        c = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=PATIENCE)
        c.request("POST", "/bucket", multipart(form["fields"].items(), b"data"), {"Content-Type": "multipart/form-data; boundary=" + BOUNDARY})
        self.assertEqual(c.getresponse().status, 204)
        c.close()
        wait(lambda: self.receiver.records())
        self.assertEqual([(r["eventName"], r["s3"]["object"]["key"]) for r in self.receiver.records()], [("ObjectCreated:Post", "posted")])

    def test_rules_route_by_prefix_and_suffix_and_hold_from_their_answer_on(self):
        self.start("--webhook=other http://127.0.0.1:1/")
        self.s3.put_object(Bucket="bucket", Key="a/before.jpg")
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED, prefix="a/", suffix=".jpg"))
        for key in ("a/1.jpg", "a/1.png", "b/1.jpg", "a/.jpg", "a/2.jpg"):
            self.s3.put_object(Bucket="bucket", Key=key)
        wait(lambda: len(self.receiver.taken()) == 3)
        self.assertEqual(self.receiver.keys(), ["a/1.jpg", "a/.jpg", "a/2.jpg"])
        tell(self.s3, "bucket")
        self.s3.put_object(Bucket="bucket", Key="a/unwanted.jpg")
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED, prefix="c"))
        self.s3.put_object(Bucket="bucket", Key="c")
        wait(lambda: "c" in self.receiver.keys())
        self.assertEqual(self.receiver.keys()[3:], ["c"])

    def test_what_is_not_taken_is_sent_again_until_it_is(self):
        self.start()
        self.receiver.answer = lambda number: (500, 503, 302, 200)[min(number, 4) - 1]
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        for i in range(3):
            self.s3.put_object(Bucket="bucket", Key="%d" % i)
        wait(lambda: len(self.receiver.taken()) >= 6)
        self.assertEqual(self.receiver.keys(), ["0", "0", "0", "0", "1", "2"])
        ids = [{k.lower(): v for k, v in h.items()}["webhook-id"] for _, h, _ in self.receiver.taken()]
        self.assertEqual(len(set(ids[:4])), 1)
        wait(lambda: metrics(self.server)['cairn_events_sent_total{target="hook"}'] == 3)
        self.assertEqual(metrics(self.server)['cairn_events_failures_total{target="hook"}'], 3)

    def test_a_message_that_it_calls_wrong_does_not_hold_the_others(self):
        self.start()
        self.receiver.answer = lambda number: 400 if b"wrong" in self.receiver.taken()[number - 1][2] else 200
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        for key in ("1", "wrong", "2"):
            self.s3.put_object(Bucket="bucket", Key=key)
        wait(lambda: "2" in self.receiver.keys())
        self.assertEqual(metrics(self.server)['cairn_events_refused_total{target="hook"}'], 1)

    def test_it_may_come_later_and_go(self):
        """Nobody listens when the events are made, nor when the server is started again."""
        port = free_port()
        self.start(port=port)
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        keys = ["%d" % i for i in range(20)]
        for key in keys[:10]:
            self.s3.put_object(Bucket="bucket", Key=key)
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        for key in keys[10:]:
            self.server.s3().put_object(Bucket="bucket", Key=key)
        late = Receiver(port)
        self.addCleanup(late.close)
        wait(lambda: len(late.taken()) >= 20)
        self.assertEqual(late.keys(), keys)

    def test_after_kill_nothing_is_missing_and_order_holds(self):
        """At least once: what was acknowledged is told, whenever the server dies; and each key's newest is told last."""
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        acknowledged = []
        for life in range(4):
            s3, stop = self.server.s3(), threading.Event()

            def write():
                while not stop.is_set():
                    key = "%05d" % len(acknowledged)
                    try:
                        s3.put_object(Bucket="bucket", Key=key)
                    except Exception:
                        return
                    acknowledged.append(key)
            thread = threading.Thread(target=write)
            count = len(acknowledged) + 60
            thread.start()
            wait(lambda: len(acknowledged) > count)
            self.server.kill()
            stop.set()
            thread.join()
            self.server.start()
        wait(lambda: set(acknowledged) <= set(self.receiver.keys()))
        # Told again were stretches that had been told shortly before, in their order.
        first = list(dict.fromkeys(self.receiver.keys()))
        self.assertEqual(first, sorted(first))
        self.assertLess(len(self.receiver.keys()), 3 * len(acknowledged))

    def test_a_slow_one_holds_nobody_else(self):
        quick = Receiver()
        self.addCleanup(quick.close)
        self.start("--webhook=quick http://127.0.0.1:%d/" % quick.port)
        gate = threading.Event()
        self.addCleanup(gate.set)

        def slow(number):
            gate.wait(PATIENCE)
            return 200
        self.receiver.answer = slow
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED, prefix="slow"),
             configuration("quick:webhook", CREATED, prefix="quick"))
        self.s3.put_object(Bucket="bucket", Key="slow")
        for i in range(50):
            self.s3.put_object(Bucket="bucket", Key="quick%d" % i)
        wait(lambda: len(quick.taken()) == 50)
        gate.set()
        wait(lambda: "slow" in self.receiver.keys())

    def test_a_dead_one_does_not_keep_the_log_for_ever(self):
        port = free_port()
        self.start("--events-backlog=96mb", port=port)
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="lost")
        body = os.urandom(60 << 10)
        r = self.server.redis()
        for i in range(8000):  # 480 MB of log, nearly all of it dead
            r.set("filler%d" % (i % 50), body)
        wait(lambda: metrics(self.server)["cairn_log_size_bytes"] < 400 << 20)
        late = Receiver(port)
        self.addCleanup(late.close)
        self.s3.put_object(Bucket="bucket", Key="last")
        wait(lambda: "last" in late.keys())
        self.assertGreater(metrics(self.server)['cairn_events_lost_bytes_total{target="hook"}'], 0)
        self.assertIn(b"was not told of", open(self.server.log.name, "rb").read())

    def test_on_a_full_disk_a_dead_one_keeps_nothing(self):
        disk, port = Disk(260), free_port()
        self.addCleanup(disk.remove)
        self.start(port=port, directory=disk.directory, before=disk.before)
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="lost")
        r = self.server.redis(socket_timeout=120)
        body = os.urandom(30000)

        def put(i):
            try:
                return r.set("filler%d" % (i % 100), body)
            except redis.exceptions.ResponseError as e:
                self.assertIn("disk is full", str(e))
        for i in range(20000):  # 600 MB of log, of which 3 live
            wait(lambda: put(i))
        late = Receiver(port)
        self.addCleanup(late.close)
        wait(lambda: self.s3.put_object(Bucket="bucket", Key="last"))
        wait(lambda: "last" in late.keys())
        self.assertGreater(metrics(self.server)['cairn_events_lost_bytes_total{target="hook"}'], 0)

    def test_a_target_that_no_option_names_for_a_while_goes_on_where_it_was(self):
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="1")
        wait(lambda: self.receiver.keys() == ["1"])
        args, self.server.args = self.server.args, []
        self.assertEqual(self.server.stop(), 0)
        self.server.start()
        self.assertIn(b"which no option names", open(self.server.log.name, "rb").read())
        s3 = self.server.s3()
        s3.put_object(Bucket="bucket", Key="2")
        self.assertEqual(self.server.stop(), 0)
        self.server.args = args
        self.server.start()
        self.server.s3().put_object(Bucket="bucket", Key="3")
        wait(lambda: self.receiver.keys() == ["1", "2", "3"])

    def test_one_that_never_ends_its_answer_is_left(self):
        """It drips, and another sends for ever; neither holds a target for longer than one step."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.start(port=listener.getsockname()[1])
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="key")
        heads = [b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 10000, b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 100_000,
                 b"nonsense\r\n\r\n", b""]
        for head in heads:
            peer, _ = listener.accept()
            peer.settimeout(PATIENCE)
            peer.recv(1 << 16)
            try:
                peer.sendall(head)
                if head:
                    while peer.recv(1 << 16):
                        pass
            except ConnectionError:
                pass
            peer.close()
            if b"Content-Length" in head:  # it said that it had it
                wait(lambda: metrics(self.server)['cairn_events_sent_total{target="hook"}'] == 1)
                self.s3.put_object(Bucket="bucket", Key="another")

    def test_several_in_one_request_if_asked(self):
        self.start("--webhook-records=10")
        gate = threading.Event()
        self.addCleanup(gate.set)
        self.receiver.answer = lambda number: 200 if gate.wait(PATIENCE) else 500
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        threads = [threading.Thread(target=lambda i=i: self.server.s3().put_object(Bucket="bucket", Key="%d" % i)) for i in range(30)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        gate.set()
        wait(lambda: len(self.receiver.records()) >= 30)
        self.assertEqual(sorted(self.receiver.keys(), key=int), ["%d" % i for i in range(30)])
        for _, _, body in self.receiver.taken():
            message = json.loads(body)
            self.assertEqual("EventName" in message, len(message["Records"]) == 1)

    def test_https_is_checked(self):
        with tempfile.TemporaryDirectory() as d:
            cert, key = os.path.join(d, "cert.pem"), os.path.join(d, "key.pem")
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert],
                           check=True, capture_output=True)
            secure = Receiver(tls=(cert, key))
            self.addCleanup(secure.close)
            self.start("--webhook=good https://localhost:%d/" % secure.port, "--webhook-ca=" + cert)
            tell(self.s3, "bucket", configuration("good:webhook", CREATED))
            for key in ("1", "2"):
                self.s3.put_object(Bucket="bucket", Key=key)
            wait(lambda: secure.keys() == ["1", "2"])
            # Whom nobody vouches for gets nothing.
            self.start("--webhook=bad https://localhost:%d/" % secure.port)
            tell(self.s3, "bucket", configuration("bad:webhook", CREATED))
            self.s3.put_object(Bucket="bucket", Key="secret")
            wait(lambda: metrics(self.server)['cairn_events_failures_total{target="bad"}'] > 0)
            self.assertNotIn("secret", secure.keys())

    def test_a_bucket_that_goes_ends_its_rules(self):
        self.start()
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="1")
        wait(lambda: self.receiver.keys() == ["1"])
        self.s3.delete_object(Bucket="bucket", Key="1")
        self.s3.delete_bucket(Bucket="bucket")
        wait(lambda: metrics(self.server)['cairn_events_behind_bytes{target="hook"}'] == 0)
        self.s3.create_bucket(Bucket="bucket")
        self.s3.put_object(Bucket="bucket", Key="2")
        tell(self.s3, "bucket", configuration("hook:webhook", CREATED))
        self.s3.put_object(Bucket="bucket", Key="3")
        wait(lambda: "3" in self.receiver.keys())
        self.assertEqual(self.receiver.keys(), ["1", "3"])


class Redis(unittest.TestCase):
    def setUp(self):
        self.server = Server(args=["--event-stream=s 2 my events", "--event-channel=c news"])
        self.addCleanup(self.server.remove)
        self.s3 = self.server.s3()
        self.s3.create_bucket(Bucket="bucket")

    def test_a_stream_has_each_event_once_whatever_happens(self):
        tell(self.s3, "bucket", configuration("s:redis", CREATED))
        count = 0
        for life in range(3):
            s3 = self.server.s3()
            for _ in range(30):
                s3.put_object(Bucket="bucket", Key="%d" % count)
                count += 1
            self.server.restart()
        r = self.server.redis(db=2)
        wait(lambda: r.xlen("my events") >= count)
        entries = [fields for _, fields in r.xrange("my events")]
        self.assertEqual([f[b"key"] for f in entries], [b"bucket/%d" % i for i in range(count)])
        self.assertEqual({f[b"event"] for f in entries}, {b"s3:ObjectCreated:Put"})
        self.assertEqual(json.loads(entries[7][b"json"])["Records"][0]["s3"]["object"]["key"], "7")

    def test_who_waits_for_the_stream_is_woken(self):
        tell(self.s3, "bucket", configuration("s:redis", CREATED))
        r = self.server.redis(db=2)
        answers = []
        thread = threading.Thread(target=lambda: answers.append(r.xread({"my events": "$"}, block=PATIENCE * 1000)))
        thread.start()
        wait(lambda: self.server.redis().info("clients")["blocked_clients"] == 1)
        self.s3.put_object(Bucket="bucket", Key="key")
        thread.join()
        self.assertEqual(answers[0][0][1][0][1][b"key"], b"bucket/key")

    def test_a_stream_key_that_holds_something_else_is_waited_for(self):
        r = self.server.redis(db=2)
        r.set("my events", "a string")
        tell(self.s3, "bucket", configuration("s:redis", CREATED))
        self.s3.put_object(Bucket="bucket", Key="key")
        wait(lambda: metrics(self.server)['cairn_events_failures_total{target="s"}'] > 0)
        r.delete("my events")
        wait(lambda: r.xlen("my events") == 1)

    def test_a_channel_is_told_who_listens(self):
        self.s3.put_bucket_notification_configuration(Bucket="bucket", NotificationConfiguration={
            "TopicConfigurations": [{"TopicArn": "arn:cairn:sns::c:redis", "Events": CREATED}]})
        pubsub = self.server.redis().pubsub()
        pubsub.subscribe("news")
        self.assertEqual(pubsub.get_message(timeout=PATIENCE)["type"], "subscribe")
        self.s3.put_object(Bucket="bucket", Key="key")
        message = json.loads(pubsub.get_message(timeout=PATIENCE)["data"])
        self.assertEqual((message["EventName"], message["Key"]), ("s3:ObjectCreated:Put", "bucket/key"))


class Listeners(Case):
    server_args = dict(args=["--events-history=1gb"])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="bucket")
        cls.s3.create_bucket(Bucket="other")

    def listen(self, *args, **kwargs):
        listening = Listening(self.server, *args, **kwargs)
        self.addCleanup(listening.close)
        return listening

    def test_a_bucket_is_listened_to(self):
        l = self.listen("bucket", prefix="l/", suffix=".txt")
        self.assertEqual((l.status, l.headers["content-type"]), (200, "text/event-stream"))
        for bucket, key in (("bucket", "l/1.txt"), ("bucket", "l/2.png"), ("other", "l/3.txt"), ("bucket", "l/4.txt")):
            self.s3.put_object(Bucket=bucket, Key=key)
        self.s3.delete_object(Bucket="bucket", Key="l/1.txt")
        self.assertEqual([(r["eventName"], r["s3"]["object"]["key"]) for r in (l.record(), l.record(), l.record())],
                         [("s3:ObjectCreated:Put", "l/1.txt"), ("s3:ObjectCreated:Put", "l/4.txt"),
                          ("s3:ObjectRemoved:Delete", "l/1.txt")])

    def test_all_buckets_are_listened_to(self):
        l = self.listen("", prefix="all")
        self.s3.put_object(Bucket="other", Key="all")
        self.s3.put_object(Bucket="bucket", Key="all")
        self.assertEqual([l.record()["s3"]["bucket"]["name"] for _ in range(2)], ["other", "bucket"])

    def test_signs_of_life(self):
        l = self.listen("bucket", prefix="quiet", ping=1)
        self.assertEqual(l.line(), {"Records": []})
        self.assertEqual(l.line(), {"Records": []})

    def test_one_goes_on_where_another_stopped(self):
        l = self.listen("bucket", prefix="resume")
        for i in range(5):
            self.s3.put_object(Bucket="bucket", Key="resume%d" % i)
        sequencers = [l.record()["s3"]["object"]["sequencer"] for _ in range(5)]
        l.close()
        again = self.listen("bucket", prefix="resume", x_cairn_after=sequencers[1])
        self.assertEqual([again.record()["s3"]["object"]["key"] for _ in range(3)], ["resume2", "resume3", "resume4"])
        self.server.restart()
        type(self).s3 = self.server.s3()
        again = self.listen("bucket", prefix="resume", x_cairn_after=sequencers[3])
        self.assertEqual(again.record()["s3"]["object"]["key"], "resume4")

    def test_what_is_wrong_is_refused(self):
        for params, status in ((dict(events=("s3:Nonsense",)), 400), (dict(ping=0), 400), (dict(x_cairn_after="1"), 400),
                               (dict(x_cairn_after="00FFFFFFFFFFFFFF"), 400)):
            self.assertEqual(self.listen("bucket", **params).status, status)
        self.assertEqual(self.listen("absent").status, 404)

    def test_a_stop_ends_them(self):
        server = Server()
        self.addCleanup(server.remove)
        server.s3().create_bucket(Bucket="bucket")
        listening = Listening(server, "bucket")
        self.addCleanup(listening.close)
        self.assertEqual(server.stop(), 0)

    def test_a_thousand_listen(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 4096:
            self.skipTest("too few descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
        all_of_them = [self.listen("bucket", prefix="many") for _ in range(1000)]
        keys = ["many%d" % i for i in range(10)]
        for key in keys:
            self.s3.put_object(Bucket="bucket", Key=key)
        for l in all_of_them:
            self.assertEqual([l.record()["s3"]["object"]["key"] for _ in keys], keys)
            l.close()


class Rights(Case):
    """Who is told of what: listening takes the right to list, and a watch also that to read each key."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        for bucket in ("bucket", "other"):
            cls.s3.create_bucket(Bucket=bucket)

    def user(self, name, *statements):
        """His access key."""
        iam = boto3.session.Session().client("iam", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=USER,
                                             aws_secret_access_key=PASSWORD, region_name="us-east-1")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [
            dict(zip(("Effect", "Action", "Resource", "Condition"), s)) for s in statements]}))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        self.iam = iam
        return made["AccessKeyId"], made["SecretAccessKey"]

    def listen(self, *args, **kwargs):
        listening = Listening(self.server, *args, **kwargs)
        self.addCleanup(listening.close)
        return listening

    def test_who_may_list_a_bucket_may_listen_to_it(self):
        key = self.user("lister", ("Allow", "s3:ListBucket", "arn:aws:s3:::bucket"), ("Allow", "s3:ListAllMyBuckets", "*"))
        self.assertEqual(self.listen("other", key=key).status, 403)
        one, every = self.listen("bucket", key=key), self.listen("", key=key)
        for bucket in ("other", "bucket"):
            self.s3.put_object(Bucket=bucket, Key="key")
        for l in (one, every):
            self.assertEqual((l.status, l.record()["s3"]["bucket"]["name"]), (200, "bucket"))
        self.iam.delete_user_policy(UserName="lister", PolicyName="own")
        for l in (one, every):  # cut off, not ended
            with self.assertRaises((AssertionError, ValueError, ConnectionError)):
                while True:
                    l.line()

    def test_a_prefix_that_he_may_list_is_all_that_he_listens_to(self):
        home = {"StringLike": {"s3:prefix": "home/*"}}
        key = self.user("homely", ("Allow", "s3:ListBucket", "arn:aws:s3:::bucket", home))
        self.assertEqual(self.listen("bucket", key=key).status, 403)
        self.assertEqual(self.listen("bucket", key=key, prefix="work/").status, 403)
        self.assertEqual(self.listen("", key=key, prefix="home/").status, 403)
        l = self.listen("bucket", key=key, prefix="home/")
        for name in ("work/a", "home/a"):
            self.s3.put_object(Bucket="bucket", Key=name)
        self.assertEqual(l.record()["s3"]["object"]["key"], "home/a")

    def test_rules_are_for_who_may_set_them(self):
        key = self.user("reader", ("Allow", ["s3:ListBucket", "s3:GetBucketNotification"], "arn:aws:s3:::bucket"))
        s3 = boto3.session.Session().client("s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key[0],
                                            aws_secret_access_key=key[1], region_name="us-east-1")
        self.assertEqual(s3.get_bucket_notification_configuration(Bucket="bucket").keys(), {"ResponseMetadata"})
        with self.assertRaises(ClientError) as e:
            tell(s3, "bucket")
        self.assertEqual(e.exception.response["Error"]["Code"], "AccessDenied")

    def test_a_watch_tells_of_what_its_caller_may_read(self):
        key = self.user("watcher", ("Allow", "s3:ListBucket", ["arn:aws:s3:::bucket"]),
                        ("Allow", "s3:GetObject", ["arn:aws:s3:::bucket/a/*", "arn:aws:s3:::other/*"]))
        door = self.server.grpc_stubs()
        login = (("authorization", "Basic " + base64.b64encode(("%s:%s" % key).encode()).decode()),)

        def watch(**kwargs):
            call = door.events.Watch(door.events_pb.WatchRequest(**kwargs), metadata=login, timeout=PATIENCE)
            self.addCleanup(call.cancel)
            return call
        for bucket in ("bucket", "other"):
            for name in ("a/0", "b/0"):
                self.s3.put_object(Bucket=bucket, Key=name)
        calls = [watch(namespace="bucket", snapshot=True), watch(all_namespaces=True)]
        found = []
        while True:
            message = next(calls[0])
            found += [e.key.key for e in message.events]
            if message.snapshot_ends:
                break
        self.assertEqual(found, [b"a/0"])
        calls[1].initial_metadata()
        for bucket in ("other", "bucket"):
            for name in ("b/1", "a/1"):
                self.s3.put_object(Bucket=bucket, Key=name)
        for call in calls:
            while not (events := next(call).events):
                pass
            self.assertEqual([(e.key.namespace, e.key.key) for e in events], [("bucket", b"a/1")])
        self.iam.delete_access_key(UserName="watcher", AccessKeyId=key[0])
        for call in calls + [watch(namespace="other")]:
            with self.assertRaises(grpc.RpcError) as e:
                while True:
                    next(call)
            self.assertIn(e.exception.code(), (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED))


class Watching(Case):
    server_args = dict(args=["--events-history=1gb"])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="bucket")
        cls.door = cls.server.grpc_stubs()

    def watch(self, **kwargs):
        call = self.door.events.Watch(self.door.events_pb.WatchRequest(**kwargs), metadata=self.door.metadata, timeout=PATIENCE)
        self.addCleanup(call.cancel)
        call.initial_metadata()  # from here on nothing is missed
        return call

    def take(self, call, count):
        """So many events, and the position after them."""
        events = []
        while len(events) < count:
            message = next(call)
            events += message.events
        self.assertEqual(len(events), count)
        return events, message.position

    def kinds(self, events):
        name = self.door.events_pb.WatchEvent.Kind.Name
        return [(name(e.kind), e.key.key.decode()) for e in events]

    def test_keys_of_a_database(self):
        call = self.watch(namespace="db1", prefix=b"w:", with_values=True)
        r = self.server.redis(db=1)
        r.set("w:s", "value")
        r.set("x:s", "value")
        self.server.redis(db=0).set("w:s", "value")
        r.hset("w:h", "f", "v")
        r.hset("w:h", "g", "v")
        r.expire("w:s", 1000)
        r.set("w:big", b"b" * 100_000)
        r.delete("w:s")
        r.set("w:e", "v", px=20)
        events, _ = self.take(call, 8)
        self.assertEqual(self.kinds(events), [
            ("PUT", "w:s"), ("PUT", "w:h"), ("CHANGE", "w:h"), ("EXPIRY", "w:s"), ("PUT", "w:big"), ("REMOVE", "w:s"),
            ("PUT", "w:e"), ("REMOVE", "w:e")])
        self.assertEqual(events[0].value, b"value")
        self.assertEqual(events[1].type, self.door.common.VALUE_TYPE_HASH)
        self.assertGreater(events[3].expires_at_ms, time.time() * 1000)
        self.assertEqual((events[4].size, events[4].HasField("value")), (100_000, False))
        self.assertEqual(events[7].cause, self.door.events_pb.WatchEvent.EXPIRED)
        self.assertEqual([e.version for e in events], sorted(e.version for e in events))
        r.flushdb()
        self.assertEqual(self.kinds(self.take(call, 1)[0]), [("FLUSH", "")])

    def test_transactions_come_whole(self):
        call = self.watch(namespace="db2")
        r = self.server.redis(db=2)
        with r.pipeline(transaction=True) as p:
            for i in range(5):
                p.set("k%d" % i, i)
            p.execute()
        events, _ = self.take(call, 5)
        self.assertEqual([e.ends for e in events], [False] * 4 + [True])

    def test_a_snapshot_and_then_what_changes(self):
        r = self.server.redis(db=3)
        for i in range(2500):
            r.set("k%04d" % i, i)
        r.rpush("list", 1)
        stop = threading.Event()

        def change():
            n = 0
            while not stop.is_set():
                r2.set("k%04d" % (n % 2500), "changed%d" % n)
                n += 1
        r2 = self.server.redis(db=3)
        thread = threading.Thread(target=change)
        thread.start()
        call = self.watch(namespace="db3", snapshot=True, with_values=True)
        state, versions, ended = {}, {}, False

        def apply(message):
            for e in message.events:
                key = e.key.key.decode()
                if e.version >= versions.get(key, 0):
                    state[key], versions[key] = e.value, e.version
        while not ended:
            message = next(call)
            self.assertTrue(all(e.kind == self.door.events_pb.WatchEvent.FOUND for e in message.events) or message.snapshot_ends)
            self.assertEqual(message.position == 0, not message.snapshot_ends)
            apply(message)
            ended = message.snapshot_ends
        self.assertEqual(len(state), 2501)
        time.sleep(0.2)
        stop.set()
        thread.join()
        r.set("end", 1)
        while "end" not in state:
            apply(next(call))
        want = {k.decode(): r.get(k) for k in r.keys("[ke]*")}
        state.pop("list")
        self.assertEqual(state, want)

    def test_it_goes_on_from_a_position_in_another_life(self):
        r = self.server.redis(db=4)
        call = self.watch(namespace="db4")
        r.set("a", 1)
        events, position = self.take(call, 1)
        call.cancel()
        r.set("b", 1)
        self.s3.put_object(Bucket="bucket", Key="wait", Body=b"")  # durable, and all before it
        self.server.restart()
        type(self).s3, type(self).door = self.server.s3(), self.server.grpc_stubs()
        r = self.server.redis(db=4)
        r.set("c", 1)
        call = self.watch(**{"namespace": "db4", "from": position})
        self.assertEqual(self.kinds(self.take(call, 2)[0]), [("PUT", "b"), ("PUT", "c")])
        call = self.watch(**{"namespace": "db4", "from": events[0].version})
        self.assertEqual(self.kinds(self.take(call, 3)[0]), [("PUT", "a"), ("PUT", "b"), ("PUT", "c")])

    def test_all_namespaces(self):
        call = self.watch(all_namespaces=True, prefix=b"all")
        self.server.redis(db=5).set("all1", 1)
        self.s3.create_bucket(Bucket="fresh")
        self.s3.put_object(Bucket="fresh", Key="all2")
        self.s3.copy_object(Bucket="fresh", Key="all3", CopySource="fresh/all2")
        events, _ = self.take(call, 3)
        self.assertEqual([(e.key.namespace, e.key.key) for e in events],
                         [("db5", b"all1"), ("fresh", b"all2"), ("fresh", b"all3")])
        self.assertEqual(events[2].cause, self.door.events_pb.WatchEvent.COPIED)

    def test_of_a_bucket_with_versions_it_tells_what_is_current(self):
        self.s3.create_bucket(Bucket="versions")
        self.s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
        call = self.watch(namespace="versions", with_values=True)
        one, two = (self.s3.put_object(Bucket="versions", Key="key", Body=b)["VersionId"] for b in (b"1", b"2"))
        marker = self.s3.delete_object(Bucket="versions", Key="key")["VersionId"]
        for version in (marker, two, one):
            self.s3.delete_object(Bucket="versions", Key="key", VersionId=version)
        events, _ = self.take(call, 7)
        name = self.door.events_pb.WatchEvent.Kind.Name
        self.assertEqual([(name(e.kind), e.version_id, e.value, e.ends) for e in events], [
            ("PUT", one, b"1", True), ("PUT", two, b"2", True), ("REMOVE", marker, b"", True), ("PUT", two, b"2", True),
            ("REMOVE", two, b"", False), ("PUT", one, b"1", True), ("REMOVE", one, b"", True)])

    def test_the_end_of_a_bucket_ends_it(self):
        self.s3.create_bucket(Bucket="ends")
        call = self.watch(namespace="ends")
        self.s3.delete_bucket(Bucket="ends")
        self.assertEqual(self.kinds(self.take(call, 1)[0])[0][0], "DROP")
        with self.assertRaises(grpc.RpcError) as e:
            next(call)
        self.assertEqual(e.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_a_large_collection_has_its_name(self):
        r = self.server.redis(db=6)
        for i in range(0, 20000, 1000):
            r.hset("large", mapping={"field%d" % j: "v" * 50 for j in range(i, i + 1000)})
        call = self.watch(namespace="db6")
        r.hset("large", "field1", "w")
        self.assertEqual(self.kinds(self.take(call, 1)[0]), [("CHANGE", "large")])
        r.rename("large", "renamed")
        kinds = self.kinds(self.take(call, 2)[0])
        self.assertEqual(sorted(kinds), [("PUT", "renamed"), ("REMOVE", "large")])

    def test_what_is_wrong_is_refused(self):
        for kwargs, code in ((dict(namespace="absent"), grpc.StatusCode.NOT_FOUND),
                             (dict(namespace="db0", all_namespaces=True), grpc.StatusCode.INVALID_ARGUMENT),
                             ({"all_namespaces": True, "snapshot": True}, grpc.StatusCode.INVALID_ARGUMENT),
                             ({"from": 0}, grpc.StatusCode.INVALID_ARGUMENT),
                             ({"from": 1 << 58}, grpc.StatusCode.INVALID_ARGUMENT),
                             ({"from": 1, "snapshot": True}, grpc.StatusCode.INVALID_ARGUMENT)):
            call = self.door.events.Watch(self.door.events_pb.WatchRequest(**kwargs), metadata=self.door.metadata, timeout=PATIENCE)
            with self.assertRaises(grpc.RpcError) as e:
                next(call)
            self.assertEqual(e.exception.code(), code, kwargs)
        with self.assertRaises(grpc.RpcError) as e:
            next(self.door.events.Watch(self.door.events_pb.WatchRequest(), timeout=PATIENCE))
        self.assertEqual(e.exception.code(), grpc.StatusCode.UNAUTHENTICATED)


if __name__ == "__main__":
    unittest.main()
