"""Requests of web pages of other origins: rules of buckets, preflights, and what answers say."""
import http.client
import itertools
import random
import re
import unittest
import urllib.parse

from botocore.exceptions import ClientError

from harness import PASSWORD, USER
from test_http import Calls

VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
NOT_ALLOWED = ("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
               "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.")
RULE = {"AllowedOrigins": ["https://localhost:4200"], "AllowedMethods": ["GET", "PUT"], "MaxAgeSeconds": 3000, "AllowedHeaders": ["*"]}


def matches(pattern, text, fold=False):
    if fold:
        pattern, text = pattern.lower(), text.lower()
    return re.fullmatch(".*".join(re.escape(p) for p in pattern.split("*")), text, re.S) is not None


def expected(rules, origin, method, headers):
    """What a browser is told, by the rules as S3 documents them; None: nothing."""
    asked = [h.strip().lower() for h in (headers or "").split(",") if h.strip()]
    for rule in rules:
        own = [o for o in rule["AllowedOrigins"] if matches(o, origin)]
        if not own or method not in rule["AllowedMethods"]:
            continue
        if not all(any(matches(p, h, True) for p in rule.get("AllowedHeaders", [])) for h in asked):
            continue
        said = {"access-control-allow-origin": "*" if own[0] == "*" else origin,
                "access-control-allow-methods": ", ".join(rule["AllowedMethods"])}
        if own[0] != "*":
            said["access-control-allow-credentials"] = "true"
        if asked:
            said["access-control-allow-headers"] = ", ".join(asked)
        if rule.get("ExposeHeaders"):
            said["access-control-expose-headers"] = ", ".join(rule["ExposeHeaders"])
        if "MaxAgeSeconds" in rule:
            said["access-control-max-age"] = str(rule["MaxAgeSeconds"])
        return said
    return None


def said(answer):
    return {k.lower(): v for k, v in answer[2].items() if k.lower().startswith("access-control-")}


class Cors(Calls):
    def plain(self, method, path, headers=None, body=None):
        """A request that nobody signed."""
        self.connection.request(method, path, body, headers or {})
        r = self.connection.getresponse()
        return r.status, r.read(), r.headers

    def preflight(self, path, origin, method, headers=None):
        h = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
        return self.plain("OPTIONS", path, {k: v for k, v in h.items() if v is not None})

    def set(self, *rules, bucket="bucket"):
        self.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})

    def error(self, answer):
        found = re.findall(rb"<(Code|Message|Method|ResourceType)>([^<]*)<", answer[1])
        return (answer[0],) + tuple(v.decode() for _, v in found)

    # ---- the document ----

    def test_rules_are_answered_as_they_were_set_and_survive(self):
        self.s3.create_bucket(Bucket="kept")
        with self.assertRaises(ClientError) as e:
            self.s3.get_bucket_cors(Bucket="kept")
        error = e.exception.response["Error"]
        self.assertEqual((error["Code"], error["Message"], error["BucketName"]),
                         ("NoSuchCORSConfiguration", "The CORS configuration does not exist", "kept"))
        self.assertEqual(self.s3.delete_bucket_cors(Bucket="kept")["ResponseMetadata"]["HTTPStatusCode"], 204)
        rules = [{"ID": "one", "AllowedHeaders": ["x-AMZ-*", "range"], "AllowedMethods": ["GET", "PUT", "HEAD", "POST", "DELETE"],
                  "AllowedOrigins": ["https://test.com", "http://test.com:80", "http://*.a.b", ""], "ExposeHeaders": ["ETag", "x-amz-meta-a"],
                  "MaxAgeSeconds": 0}, {"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
        self.set(*rules, bucket="kept")
        self.assertEqual(self.s3.get_bucket_cors(Bucket="kept")["CORSRules"], rules)
        self.server.restart()
        self.__class__.s3 = self.server.s3()
        self.__class__.connection = http.client.HTTPConnection("127.0.0.1", self.server.http, timeout=30)
        self.assertEqual(self.s3.get_bucket_cors(Bucket="kept")["CORSRules"], rules)
        many = [{"ID": "i" * 255, "AllowedMethods": ["GET"], "AllowedOrigins": ["https://%d.example.org" % i]} for i in range(100)]
        self.set(*many, bucket="kept")
        self.assertEqual(self.s3.get_bucket_cors(Bucket="kept")["CORSRules"], many)
        self.s3.delete_bucket_cors(Bucket="kept")
        with self.assertRaises(ClientError):
            self.s3.get_bucket_cors(Bucket="kept")

    def test_what_is_no_rule_is_refused(self):
        origin, method = "<AllowedOrigin>http://a</AllowedOrigin>", "<AllowedMethod>GET</AllowedMethod>"
        rule = lambda inner: "<CORSConfiguration><CORSRule>%s</CORSRule></CORSConfiguration>" % inner
        self.set(RULE)
        for body, code, message in (
                ("", "MissingRequestBodyError", None), ("<CORSConfiguration/>", "MalformedXML", None), (rule(""), "MalformedXML", None),
                (rule(origin), "MalformedXML", None), (rule(method), "MalformedXML", None), ("<CORSConfiguration>", "MalformedXML", None),
                (rule(origin + method + "<Odd/>"), "MalformedXML", None), (rule(origin + method + "<ID>%s</ID>" % ("i" * 256)), "MalformedXML", None),
                (rule(origin + method + "<ID>a</ID><ID>b</ID>"), "MalformedXML", None),
                (rule(origin + method + "<MaxAgeSeconds>-1</MaxAgeSeconds>"), "MalformedXML", None),
                (rule(origin + method + "<MaxAgeSeconds>soon</MaxAgeSeconds>"), "MalformedXML", None),
                (rule(origin + method + "<ExposeHeader>a&#10;b: c</ExposeHeader>"), "MalformedXML", None),
                ("<CORSConfiguration>%s</CORSConfiguration>" % (("<CORSRule>%s</CORSRule>" % (origin + method)) * 101), "MalformedXML", None),
                (rule(origin + "<AllowedMethod>MYMETHOD</AllowedMethod>"), "InvalidRequest",
                 "Found unsupported HTTP method in CORS config. Unsupported method is MYMETHOD"),
                (rule(origin + "<AllowedMethod>OPTIONS</AllowedMethod>"), "InvalidRequest",
                 "Found unsupported HTTP method in CORS config. Unsupported method is OPTIONS"),
                (rule(origin + "<AllowedMethod/>"), "InvalidRequest", "Found unsupported HTTP method in CORS config. Unsupported method is "),
                (rule(method + "<AllowedOrigin>*a*</AllowedOrigin>"), "InvalidRequest", 'AllowedOrigin "*a*" can not have more than one wildcard.'),
                (rule(origin + method + "<AllowedHeader>*a*</AllowedHeader>"), "InvalidRequest",
                 'AllowedHeader "*a*" can not have more than one wildcard.'),
                (rule(origin + method + "<ExposeHeader>x-*</ExposeHeader>"), "InvalidRequest",
                 'ExposeHeader "x-*" contains wildcard. We currently do not support wildcard for ExposeHeader.')):
            answer = self.call("PUT", "/bucket", "cors", {}, body.encode())
            self.assertEqual(self.code(answer), (400, code), body)
            if message is not None:
                self.assertIn(message, answer[1].decode().replace("&quot;", '"'), body)
        self.assertEqual(self.s3.get_bucket_cors(Bucket="bucket")["CORSRules"], [RULE])

    # ---- preflights ----

    def test_a_preflight_is_answered_as_s3_does(self):
        self.s3.create_bucket(Bucket="without")
        ask = lambda path, **h: self.error(self.plain("OPTIONS", path, {k.replace("_", "-"): v for k, v in h.items()}))
        no_origin = (400, "BadRequest", "Insufficient information. Origin request header needed.")
        for path in ("/without/key", "/nowhere", "/bucket/key", "/"):
            self.assertEqual(ask(path), no_origin)
        method = {"Access_Control_Request_Method": "PUT"}
        off = "CORSResponse: CORS is not enabled for this bucket."
        self.assertEqual(ask("/without/key", Origin="http://a", **method), (403, "AccessForbidden", off, "PUT", "BUCKET"))
        self.assertEqual(ask("/without", Origin="http://a"), (403, "AccessForbidden", off, "OPTIONS", "BUCKET"))
        self.assertEqual(ask("/nowhere", Origin="http://a"), (403, "AccessForbidden", "CORSResponse: Bucket not found", "OPTIONS", "BUCKET"))
        self.set(RULE)
        answer = self.preflight("/bucket/key", "https://localhost:4200", "PUT")
        self.assertEqual((answer[0], answer[1], answer[2]["Vary"], answer[2]["Content-Length"]), (200, b"", VARY, "0"))
        self.assertEqual(said(answer), {"access-control-allow-credentials": "true", "access-control-allow-methods": "GET, PUT",
                                        "access-control-allow-origin": "https://localhost:4200", "access-control-max-age": "3000"})
        self.assertEqual(self.error(self.preflight("/bucket/key", "http://localhost:4200", "PUT")),
                         (403, "AccessForbidden", NOT_ALLOWED, "PUT", "OBJECT"))
        self.assertEqual(self.error(self.preflight("/bucket", "https://localhost:4200/", "GET")),
                         (403, "AccessForbidden", NOT_ALLOWED, "GET", "BUCKET"))
        self.assertEqual(ask("/bucket/key", Origin="https://localhost:4200"),
                         (400, "BadRequest", "Invalid Access-Control-Request-Method: null"))
        self.set(dict(RULE, AllowedHeaders=["x-amz-expected-bucket-owner", "x-AMZ-server-SIDE-encryption"]))
        for asked in ("x-AMZ-expected-BUCKET-owner, x-amz-server-side-encryption", "x-amz-expected-bucket-owner,x-amz-server-side-encryption"):
            answer = self.preflight("/bucket/key", "https://localhost:4200", "GET", asked)
            self.assertEqual(said(answer)["access-control-allow-headers"], "x-amz-expected-bucket-owner, x-amz-server-side-encryption")
        self.assertEqual(self.preflight("/bucket/key", "https://localhost:4200", "GET", "x-amz-request-payer")[0], 403)
        # A signature is not looked at, and in virtual-host style the host names the bucket.
        url = urllib.parse.urlparse(self.s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"}))
        h = {"Origin": "https://localhost:4200", "Access-Control-Request-Method": "GET"}
        self.assertEqual(self.plain("OPTIONS", "/bucket/key?" + url.query[:-5], h)[0], 200)
        self.assertEqual(self.plain("OPTIONS", "/key", dict(h, Host="bucket.localhost"))[0], 200)

    def test_what_holds_is_what_the_rules_say(self):
        """Generated rules and requests, preflights and actual ones, against the rules read in another way."""
        rng = random.Random(7)
        words = ["a", "b", "http://", "x-amz-", "ab", ".c", ""]
        text = lambda: "".join(rng.choice(words) for _ in range(rng.randint(1, 3)))

        def pattern():
            t, at = text(), rng.randint(0, 4)
            return t[:at] + "*" + t[at:] if rng.random() < 0.5 else t
        methods = ["GET", "PUT", "POST", "DELETE", "HEAD"]
        self.s3.put_object(Bucket="bucket", Key="key", Body=b"x")
        held = 0
        for _ in range(40):
            rules = []
            for _ in range(rng.randint(1, 4)):
                rule = {"AllowedOrigins": [pattern() for _ in range(rng.randint(1, 3))],
                        "AllowedMethods": rng.sample(methods, rng.randint(1, 5))}
                for name, make, most in (("AllowedHeaders", pattern, 3), ("ExposeHeaders", lambda: "x" + text().replace("/", "").replace(":", ""), 2)):
                    texts = [make() for _ in range(rng.randint(0, most))]
                    if texts:
                        rule[name] = texts
                if rng.random() < 0.5:
                    rule["MaxAgeSeconds"] = rng.randint(0, 10000)
                rules.append(rule)
            self.set(*rules)
            for _ in range(15):
                origin, method = text(), rng.choice(methods + ["PATCH"])
                headers = rng.choice([None, ", ".join(filter(None, (text() for _ in range(rng.randint(1, 3)))))])
                want = expected(rules, origin, method, headers)
                answer = self.preflight("/bucket/key", origin, method, headers)
                self.assertEqual((answer[0], said(answer)), (200 if want else 403, want or {}), (rules, origin, method, headers))
                held += want is not None
                actual = {"Origin": origin}
                if rng.random() < 0.5:  # else the method is that of the request
                    actual["Access-Control-Request-Method"] = method
                if headers is not None and rng.random() < 0.5:
                    actual["Access-Control-Request-Headers"] = headers
                want = expected(rules, origin, actual.get("Access-Control-Request-Method", "GET"), actual.get("Access-Control-Request-Headers"))
                answer = self.call("GET", "/bucket/key", "", actual)
                self.assertEqual((answer[:2], said(answer), answer[2]["Vary"]), ((200, b"x"), want or {}, VARY))
        self.assertGreater(held, 50)

    # ---- actual requests ----

    def test_answers_of_all_kinds_tell_the_browser(self):
        origin = {"Origin": "https://localhost:4200"}
        self.set(dict(RULE, AllowedMethods=["GET", "PUT", "HEAD", "DELETE", "POST"], ExposeHeaders=["ETag"]))
        want = {"access-control-allow-credentials": "true", "access-control-allow-methods": "GET, PUT, HEAD, DELETE, POST",
                "access-control-allow-origin": "https://localhost:4200", "access-control-max-age": "3000",
                "access-control-expose-headers": "ETag"}
        etag = self.s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 200000)["ETag"]
        for status, method, path, query, headers, kwargs in (
                (200, "GET", "/bucket/key", "", {}, {}), (206, "GET", "/bucket/key", "", {"Range": "bytes=1-2"}, {}),
                (304, "GET", "/bucket/key", "", {"If-None-Match": etag}, {}), (412, "GET", "/bucket/key", "", {"If-Match": '"a"'}, {}),
                (416, "GET", "/bucket/key", "", {"Range": "bytes=300000-"}, {}), (404, "GET", "/bucket/none", "", {}, {}),
                (403, "GET", "/bucket/key", "", {}, {"secret": "wrong-password"}), (200, "HEAD", "/bucket/key", "", {}, {}),
                (200, "PUT", "/bucket/put", "", {}, {"body": b"y"}), (204, "DELETE", "/bucket/put", "", {}, {}),
                (200, "GET", "/bucket", "list-type=2", {}, {}), (501, "GET", "/bucket", "inventory", {}, {}),
                (200, "PUT", "/bucket/copy", "", {"x-amz-copy-source": "bucket/key"}, {})):
            answer = self.call(method, path, query, {**headers, **origin}, **kwargs)
            self.assertEqual((answer[0], said(answer), answer[2].get_all("Vary")), (status, want, [VARY]), (method, path, query, headers))
        self.assertEqual(self.code(self.plain("GET", "/bucket/key", origin)), (403, "AccessDenied"))
        self.assertEqual(said(self.plain("GET", "/bucket/key", origin)), want)
        url = urllib.parse.urlparse(self.s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "key"}))
        answer = self.plain("GET", url.path + "?" + url.query, origin)
        self.assertEqual((answer[0], len(answer[1]), said(answer)), (200, 200000, want))
        # Without an origin, or one that no rule knows, nothing is said but that it depends.
        for headers in ({}, {"Origin": "https://else"}):
            answer = self.call("GET", "/bucket/key", "", headers)
            self.assertEqual((answer[0], said(answer), answer[2]["Vary"]), (200, {}, VARY))
        self.s3.create_bucket(Bucket="silent")
        answer = self.call("GET", "/silent", "", origin)
        self.assertEqual((answer[0], said(answer), answer[2]["Vary"]), (200, {}, None))


if __name__ == "__main__":
    unittest.main()
