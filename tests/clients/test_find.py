"""Objects by what they carry: GET BUCKET?find= and gRPC's Objects.Find, held against the same asked in Python."""
import random
import unittest
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET

import grpc

import test_users
from harness import PASSWORD, USER, Case
from test_s3 import signed

NS = {"s": "http://s3.amazonaws.com/doc/2006-03-01/"}


class Find(Case):
    client, iam, user, rpc = (getattr(test_users.Users, name) for name in ("client", "iam", "user", "rpc"))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="found")
        rng = random.Random(4)
        cls.objects = {}
        for n in range(150):
            key = "%s/%03d" % (rng.choice(["a", "b", "\u00e4"]), n)
            tags = {k: rng.choice("xyz") for k in ("kind", "a b") if rng.random() < 0.6}
            meta = {k: rng.choice(["ann", "bob"]) for k in ("owner",) if rng.random() < 0.5}
            kind = rng.choice(["image/png", "image/gif", "text/plain"])
            body = b"x" * rng.randrange(2000)
            cls.s3.put_object(Bucket="found", Key=key, Body=body, ContentType=kind, Metadata=meta,
                              Tagging=urllib.parse.urlencode(tags))
            cls.objects[key] = (len(body), kind, tags, meta)
        cls.server.redis().execute_command("HSET", "hash", "f", "v")

    def ask(self, expression, bucket="found", who=(USER, PASSWORD), **params):
        query = "&".join("%s=%s" % (k, urllib.parse.quote(str(v), safe="-_.~")) for k, v in sorted({"find": expression, **params}.items()))
        sent, *_ = signed("GET", self.server.http, "/" + bucket, query, access_key=who[0], secret=who[1])
        try:
            with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%d/%s?%s" % (self.server.http, bucket, query), headers=sent),
                                        timeout=60) as answer:
                return answer.status, ET.fromstring(answer.read())
        except urllib.error.HTTPError as e:
            return e.code, ET.fromstring(e.read()).findtext("Code")

    def keys(self, expression, **params):
        found, token = [], None
        for _ in range(1000):
            status, root = self.ask(expression, **params, **({"continuation-token": token} if token else {}))
            self.assertEqual(status, 200, root)
            page = [c.findtext("s:Key", None, NS) for c in root.findall("s:Contents", NS)]
            self.assertLessEqual(len(page), int(params.get("max-keys", 1000)))
            found += page
            token = root.findtext("s:NextContinuationToken", None, NS)
            self.assertEqual(root.findtext("s:IsTruncated", None, NS), "true" if token else "false")
            if not token:
                return found
        self.fail("it does not end")

    CASES = [
        ("size > 1000", lambda k, o: o[0] > 1000),
        ("tag:kind = x", lambda k, o: o[2].get("kind") == "x"),
        ("tag:kind != x", lambda k, o: o[2].get("kind") != "x"),
        ("tag:'a b' exists and not size < 500", lambda k, o: "a b" in o[2] and o[0] >= 500),
        ("meta:owner ^= a or content-type = 'image/gif'", lambda k, o: o[3].get("owner", "").startswith("a") or o[1] == "image/gif"),
        ("key ^= b/ and (tag:kind = y or tag:kind = z)", lambda k, o: k.startswith("b/") and o[2].get("kind") in ("y", "z")),
        ("key >= '\u00e4'", lambda k, o: k.encode() >= "\u00e4".encode()),
        ("modified < 2020-01-01", lambda k, o: False),
        ("modified >= 2020-01-01 and size = 0", lambda k, o: o[0] == 0),
    ]

    def test_what_is_found(self):
        for expression, holds in self.CASES:
            want = sorted((k for k, o in self.objects.items() if holds(k, o)), key=lambda k: k.encode())
            self.assertEqual(self.keys(expression), want, expression)
            self.assertEqual(self.keys(expression, **{"max-keys": 7}), want, expression)
            self.assertEqual(self.keys(expression, prefix="a/"), [k for k in want if k.startswith("a/")], expression)

    def test_over_grpc(self):
        g = self.server.grpc_stubs()
        for expression, holds in self.CASES:
            want = sorted((k for k, o in self.objects.items() if holds(k, o)), key=lambda k: k.encode())
            found, token = [], b""
            while True:
                page = g.objects.Find(g.objects_pb.FindRequest(namespace="found", expression=expression, page_size=13, page_token=token),
                                      metadata=g.metadata)
                found += [o.key.key.decode() for o in page.objects]
                token = page.next_page_token
                if not token:
                    break
            self.assertEqual(found, want, expression)
        for request in (dict(expression="size ="), dict(expression="size = 1", page_size=1001)):
            with self.assertRaises(grpc.RpcError) as e:
                g.objects.Find(g.objects_pb.FindRequest(namespace="found", **request), metadata=g.metadata)
            self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)

    def test_databases_and_what_expired(self):
        r = self.server.redis()
        r.set("s", "123")
        self.assertEqual(self.keys("size >= 0", bucket="db0"), ["s"])
        r.pexpire("s", 1)
        while r.exists("s"):
            pass
        self.assertEqual(self.keys("size >= 0", bucket="db0"), [])

    def test_who_may(self):
        self.assertEqual(self.ask("size > 0", who=self.user("finds-nothing", ("Allow", "s3:GetObject", "*"))), (403, "AccessDenied"))
        lists = ("Allow", "s3:ListBucket", "arn:aws:s3:::found")
        lister = self.user("lister", lists)
        self.assertEqual(len(self.keys("key ^= a/", who=lister)), sum(k.startswith("a/") for k in self.objects))
        # What a listing would not tell is not found either.
        self.assertEqual(self.keys("tag:kind exists", who=lister), [])
        self.assertEqual(self.keys("not meta:owner exists", who=lister), [])
        reader = self.user("reader", lists, ("Allow", "s3:GetObjectTagging", "arn:aws:s3:::found/a/*"))
        self.assertEqual(self.keys("tag:kind = x", who=reader),
                         sorted(k for k, o in self.objects.items() if o[2].get("kind") == "x" and k.startswith("a/")))

    def test_what_is_none(self):
        for expression in ("", "size", "(" * 100, "key = 'a", "x = 1", "key = " + "a" * 4200):
            self.assertEqual(self.ask(expression), (400, "InvalidArgument"), expression)
        for params in ({"continuation-token": "x"}, {"continuation-token": "abc"}, {"max-keys": 0}, {"max-keys": "x"}):
            self.assertEqual(self.ask("size > 0", **params), (400, "InvalidArgument"), params)
        self.assertEqual(self.ask("size > 0", bucket="nowhere"), (404, "NoSuchBucket"))


if __name__ == "__main__":
    unittest.main()
