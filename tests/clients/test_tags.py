"""Tags of objects and buckets, with boto3 and awscli."""
import json
import os
import random
import string
import subprocess
import unittest
import urllib.parse

from botocore.exceptions import ClientError

from harness import PASSWORD, USER, Case, wait_until
from test_http import Calls

LETTERS = string.ascii_letters + string.digits + " +-=._:/@" + "\u00e9\u4e2d\u0663\u2160\u00a0\U00010400"


def some_text(rng, most, least=0):
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(least, most)))


def some_tags(rng, most):
    return {some_text(rng, 20, 1): some_text(rng, 20) for _ in range(rng.randint(0, most))}


def tag_set(tags):
    return {"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]}


def tags_of(answer):
    return {t["Key"]: t["Value"] for t in answer["TagSet"]}


def header(tags):
    return urllib.parse.urlencode(tags)


def document(tags):
    return ("<Tagging><TagSet>%s</TagSet></Tagging>" % "".join(
        "<Tag><Key>%s</Key><Value>%s</Value></Tag>" % t for t in tags)).encode()


# What is refused: tags as pairs, of what, code, message, fields.
SYSTEM = {"object": "Your TagKey cannot be prefixed with aws:", "bucket": "System tags cannot be added/updated by requester"}
BAD_NAME, BAD_VALUE = "The TagKey you have provided is invalid", "The TagValue you have provided is invalid"
REFUSED = [([("a", "1"), ("a", "2")], "InvalidTag", "Cannot provide multiple Tags with the same key", {"TagKey": "a"}),
           ([("", "v")], "InvalidTag", BAD_NAME, {"TagKey": ""}),
           ([("k" * 129, "v")], "InvalidTag", BAD_NAME, {"TagKey": "k" * 129}),
           ([("\U00010400" * 65, "v")], "InvalidTag", BAD_NAME, {"TagKey": "\U00010400" * 65}),
           ([("k", "v" * 257)], "InvalidTag", BAD_VALUE, {"TagKey": "k", "TagValue": "v" * 257})]
REFUSED += [([("k%s" % c, "v")], "InvalidTag", BAD_NAME, {"TagKey": "k%s" % c}) for c in ",;?!*#%()\t\u0345\U0001f600\u20ac"]
REFUSED += [([("k", "v%s" % c)], "InvalidTag", BAD_VALUE, {"TagKey": "k", "TagValue": "v%s" % c}) for c in ",;?!*#%()\t\u0345\U0001f600\u20ac"]


class Tags(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()
        cls.s3.create_bucket(Bucket="bucket")

    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        error = e.exception.response["Error"]
        return e.exception.response["ResponseMetadata"]["HTTPStatusCode"], error

    def code(self, call, **kwargs):
        status, error = self.refused(call, **kwargs)
        return error["Code"], status

    # ---- of objects ----

    def check_object(self, key, model):
        s3 = self.s3
        if model is None:
            self.assertEqual(self.code(s3.get_object_tagging, Bucket="bucket", Key=key), ("NoSuchKey", 404))
            return
        body, tags, seen = model
        self.assertEqual(tags_of(s3.get_object_tagging(Bucket="bucket", Key=key)), tags)
        head, got = s3.head_object(Bucket="bucket", Key=key), s3.get_object(Bucket="bucket", Key=key)
        self.assertEqual(got["Body"].read(), body)
        for answer in (head, got):
            self.assertEqual(answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-tagging-count"),
                             str(len(tags)) if tags else None)
            if seen is not None:
                self.assertEqual((answer["ETag"], answer["LastModified"], answer["Metadata"]), seen)

    def seen(self, key):
        head = self.s3.head_object(Bucket="bucket", Key=key)
        return head["ETag"], head["LastModified"], head["Metadata"]

    def test_tags_are_as_they_were_given_last_and_change_nothing_else(self):
        """Generated: writes of all kinds, changes of tags, Redis beside, and kills; against a model."""
        rng = random.Random(5)
        redis = self.server.redis()
        redis.select(0)
        keys = ["k%d" % i for i in range(4)]
        model = dict.fromkeys(keys)
        for step in range(300):
            key, s3 = rng.choice(keys), self.s3
            body = os.urandom(rng.choice([0, 1, 900, 70000, 300000]))
            tags = some_tags(rng, 10)
            what = rng.randrange(9)
            if what == 0:
                s3.put_object(Bucket="bucket", Key=key, Body=body, Tagging=header(tags), Metadata={"a": "b"})
                model[key] = body, tags, self.seen(key)
            elif what == 1:
                s3.put_object(Bucket="bucket", Key=key, Body=body)
                model[key] = body, {}, self.seen(key)
            elif what == 2:
                upload = s3.create_multipart_upload(Bucket="bucket", Key=key, Tagging=header(tags))["UploadId"]
                part = s3.upload_part(Bucket="bucket", Key=key, UploadId=upload, PartNumber=1, Body=body)
                s3.complete_multipart_upload(Bucket="bucket", Key=key, UploadId=upload,
                                             MultipartUpload={"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]})
                model[key] = body, tags, self.seen(key)
            elif what == 3 and model[key] is not None:
                s3.delete_object(Bucket="bucket", Key=key)
                model[key] = None
            elif what == 4 and model[key] is not None:
                other = rng.choice([k for k in keys if k != key])
                kept = rng.random() < 0.5
                s3.copy_object(Bucket="bucket", Key=other, CopySource="bucket/" + key, MetadataDirective=rng.choice(["COPY", "REPLACE"]),
                               **({"TaggingDirective": "COPY"} if kept else {"TaggingDirective": "REPLACE", "Tagging": header(tags)}))
                model[other] = model[key][0], model[key][1] if kept else tags, self.seen(other)
            elif what == 5 and rng.random() < 0.2:
                self.server.restart()
                self.__class__.s3 = self.server.s3()
            elif model[key] is not None:
                before = model[key]
                if rng.random() < 0.2:
                    answer, tags = s3.delete_object_tagging(Bucket="bucket", Key=key), {}
                    self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
                else:
                    answer = s3.put_object_tagging(Bucket="bucket", Key=key, Tagging=tag_set(tags))
                    self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 200)
                model[key] = before[0], tags, before[2]
            for name in keys if step % 50 == 0 else [key]:
                self.check_object(name, model[name])

    def test_a_value_of_the_redis_door_has_tags_and_keeps_its_etag_and_its_time(self):
        redis, s3 = self.server.redis(), self.s3
        redis.set("plain", "value", ex=1000)
        head = lambda: {k: v for k, v in s3.head_object(Bucket="db0", Key="plain")["ResponseMetadata"]["HTTPHeaders"].items()
                        if k in ("etag", "last-modified", "content-length", "x-cairn-expires-ms", "x-amz-tagging-count")}
        before = head()
        now = redis.time()[0]
        wait_until(lambda: redis.time()[0] > now + 1)  # another time than that of the value
        s3.put_object_tagging(Bucket="db0", Key="plain", Tagging=tag_set({"color": "red"}))
        self.assertEqual(head(), dict(before, **{"x-amz-tagging-count": "1"}))
        redis.rename("plain", "renamed")
        self.assertEqual(tags_of(s3.get_object_tagging(Bucket="db0", Key="renamed")), {"color": "red"})
        redis.persist("renamed")
        redis.copy("renamed", "copied")
        self.assertEqual(tags_of(s3.get_object_tagging(Bucket="db0", Key="copied")), {"color": "red"})
        redis.set("renamed", "other")  # another value
        self.assertEqual(tags_of(s3.get_object_tagging(Bucket="db0", Key="renamed")), {})
        s3.delete_object_tagging(Bucket="db0", Key="renamed")
        self.assertEqual(redis.get("renamed"), b"other")
        redis.rpush("list", "a")
        self.assertEqual(self.code(s3.put_object_tagging, Bucket="db0", Key="list", Tagging=tag_set({"a": "b"})), ("InvalidRequest", 400))

    def test_what_is_no_tag_is_refused_by_name(self):
        s3 = self.server.s3(parameter_validation=False)  # boto3 would not send an empty name
        self.s3.put_object(Bucket="bucket", Key="strict", Body=b"x", Tagging="old=1")
        self.s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set({"old": "1"}))
        for what, call in (("object", lambda t: self.refused(s3.put_object_tagging, Bucket="bucket", Key="strict", Tagging=t)),
                           ("bucket", lambda t: self.refused(s3.put_bucket_tagging, Bucket="bucket", Tagging=t))):
            for tags, code, message, fields in REFUSED + [([(n, "v")], "InvalidTag", SYSTEM[what], {"TagKey": n}) for n in ("aws:a", "AWS:a")]:
                status, error = call({"TagSet": [{"Key": k, "Value": v} for k, v in tags]})
                got = {k: v or "" for k, v in error.items() if k.startswith("Tag")}
                self.assertEqual((status, error["Code"], error["Message"], got), (400, code, message, fields), (what, tags))
            most = {"object": 10, "bucket": 50}[what]
            status, error = call(tag_set({"k%d" % i: "" for i in range(most + 1)}))
            self.assertEqual((status, error["Code"]), (400, "BadRequest"))
        self.assertEqual(tags_of(self.s3.get_object_tagging(Bucket="bucket", Key="strict")), {"old": "1"})
        self.assertEqual(tags_of(self.s3.get_bucket_tagging(Bucket="bucket")), {"old": "1"})
        most = {"k" * 127 + chr(65 + i): "v" * 256 for i in range(10)}
        self.s3.put_object_tagging(Bucket="bucket", Key="strict", Tagging=tag_set(most))
        self.assertEqual(tags_of(self.s3.get_object_tagging(Bucket="bucket", Key="strict")), most)
        most = {"k%d" % i: "\u4e2d" * 256 for i in range(50)}
        self.s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set(most))
        self.assertEqual(tags_of(self.s3.get_bucket_tagging(Bucket="bucket")), most)

    def test_a_header_of_tags_is_the_query_of_a_url(self):
        put = lambda text: self.s3.put_object(Bucket="bucket", Key="header", Body=b"x", Tagging=text)
        for text, tags in (("a=b", {"a": "b"}), ("a=", {"a": ""}), ("a", {"a": ""}), ("a=b=c&d+e=f%20g", {"a": "b=c", "d e": "f g"}),
                           ("%E4%B8%AD=%2B", {"\u4e2d": "+"}), ("", {}), ("a=b&", {"a": "b"})):
            put(text)
            self.assertEqual(tags_of(self.s3.get_object_tagging(Bucket="bucket", Key="header")), tags, text)
        for text, code in (("a=b&a=c", "InvalidArgument"), ("a=%zz", "InvalidArgument"), ("=b", "InvalidTag"), ("a=%FF", "InvalidTag"),
                           ("aws:a=b", "InvalidTag"), ("a=b;c", "InvalidTag"), ("&".join("k%d=" % i for i in range(11)), "BadRequest")):
            self.assertEqual(self.code(put, text=text), (code, 400), text)
        status, error = self.refused(put, text="a=b&a=c")
        self.assertEqual((error["ArgumentName"], error["ArgumentValue"]), ("x-amz-tagging", "a=b&a=c"))
        copy = lambda **k: self.s3.copy_object(Bucket="bucket", Key="header2", CopySource="bucket/header", **k)
        self.assertEqual(self.code(copy, Tagging="a=b"), ("InvalidArgument", 400))  # it would be overlooked
        self.assertEqual(self.code(copy, TaggingDirective="NEITHER"), ("InvalidArgument", 400))

    # ---- of buckets ----

    def test_tags_of_a_bucket_survive_and_go_with_it(self):
        s3, rng = self.s3, random.Random(6)
        s3.create_bucket(Bucket="tagged")
        self.assertEqual(self.code(s3.get_bucket_tagging, Bucket="tagged"), ("NoSuchTagSet", 404))
        for name in ("tagged", "db3"):
            for _ in range(5):
                tags = dict(some_tags(rng, 49), one="1")
                s3.put_bucket_tagging(Bucket=name, Tagging=tag_set(tags))
                self.assertEqual(tags_of(s3.get_bucket_tagging(Bucket=name)), tags)
            self.server.restart()
            self.__class__.s3 = s3 = self.server.s3()
            self.assertEqual(tags_of(s3.get_bucket_tagging(Bucket=name)), tags)
        answer = s3.delete_bucket_tagging(Bucket="db3")
        self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.server.restart()
        self.__class__.s3 = s3 = self.server.s3()
        self.assertEqual(self.code(s3.get_bucket_tagging, Bucket="db3"), ("NoSuchTagSet", 404))
        status, error = self.refused(s3.get_bucket_tagging, Bucket="db3")
        self.assertEqual((error["BucketName"], error["Message"]), ("db3", "The TagSet does not exist"))
        s3.delete_bucket(Bucket="tagged")
        s3.create_bucket(Bucket="tagged")
        self.assertEqual(self.code(s3.get_bucket_tagging, Bucket="tagged"), ("NoSuchTagSet", 404))
        s3.put_bucket_tagging(Bucket="tagged", Tagging=tag_set({"a": "b"}))
        s3.put_bucket_tagging(Bucket="tagged", Tagging=tag_set({}))
        self.assertEqual(self.code(s3.get_bucket_tagging, Bucket="tagged"), ("NoSuchTagSet", 404))
        self.assertEqual(self.code(s3.get_bucket_tagging, Bucket="nowhere"), ("NoSuchBucket", 404))

    def test_awscli_tags_and_copies_large_objects(self):
        env = dict(os.environ, AWS_ACCESS_KEY_ID=USER, AWS_SECRET_ACCESS_KEY=PASSWORD, AWS_DEFAULT_REGION="us-east-1")
        path = os.path.join(self.server.directory, "large")
        with open(path, "wb") as f:
            f.write(os.urandom(20 << 20))

        def aws(*args):
            done = subprocess.run(["/usr/bin/aws", "--endpoint-url=http://127.0.0.1:%d" % self.server.http, *args], env=env, capture_output=True,
                                  text=True)
            self.assertEqual(done.returncode, 0, (args, done.stderr[-500:]))
            return done.stdout
        aws("s3", "cp", path, "s3://bucket/large")
        aws("s3api", "put-object-tagging", "--bucket", "bucket", "--key", "large", "--tagging", json.dumps(tag_set({"a": "b"})))
        aws("s3", "cp", "s3://bucket/large", "s3://bucket/large2")  # which asks for its tags, since it copies in parts
        self.assertEqual(tags_of(json.loads(aws("s3api", "get-object-tagging", "--bucket", "bucket", "--key", "large2"))), {"a": "b"})
        aws("s3", "cp", "s3://bucket/large2", path + "2")
        self.assertEqual(open(path, "rb").read(), open(path + "2", "rb").read())


class Documents(Calls):
    """What SDKs would not send."""

    def test_a_document_that_is_none_changes_nothing(self):
        self.s3.put_object(Bucket="bucket", Key="doc", Body=b"x", Tagging="old=1")
        self.s3.put_bucket_tagging(Bucket="bucket", Tagging=tag_set({"old": "1"}))
        for path in ("/bucket", "/bucket/doc"):
            for body, code in ((b"", "MissingRequestBodyError"), (b"<Tagging></Tagging>", "MalformedXML"), (b"<Tagging><TagSet>", "MalformedXML"),
                               (b"<Tags><TagSet/></Tags>", "MalformedXML"), (b"<Tagging><TagSet/><TagSet/></Tagging>", "MalformedXML"),
                               (b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>", "MalformedXML"),
                               (b"<Tagging><TagSet><Tag><Value>a</Value></Tag></TagSet></Tagging>", "MalformedXML"),
                               (b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value><Odd/></Tag></TagSet></Tagging>", "MalformedXML"),
                               (b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key><Value>b</Value></Tag></TagSet></Tagging>", "MalformedXML")):
                self.assertEqual(self.code(self.call("PUT", path, "tagging", {}, body)), (400, code), (path, body))
            self.assertEqual(self.code(self.call("PUT", path, "tagging", {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, document([("a", "b")]))),
                             (400, "BadDigest"))
        self.assertEqual(tags_of(self.s3.get_object_tagging(Bucket="bucket", Key="doc")), {"old": "1"})
        self.assertEqual(tags_of(self.s3.get_bucket_tagging(Bucket="bucket")), {"old": "1"})
        self.assertEqual(self.call("PUT", "/bucket/doc", "tagging", {}, document([("a b", " c ")]))[0], 200)
        self.assertEqual(tags_of(self.s3.get_object_tagging(Bucket="bucket", Key="doc")), {"a b": " c "})
        self.assertEqual(self.code(self.call("PUT", "/bucket/nothing", "tagging", {}, document([("a", "b")]))), (404, "NoSuchKey"))


if __name__ == "__main__":
    unittest.main()
