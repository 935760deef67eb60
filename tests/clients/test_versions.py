"""Versions of objects, with boto3 and redis-py together."""
import os
import random
import time
import unittest

from botocore.exceptions import ClientError

from harness import Case, Server

PART = 5 << 20


class Versions(Case):
    # Values leave memory, and come back for who keeps them.
    server_args = dict(args=["--memory=%d" % (8 << 20)])

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = cls.server.s3()

    def bucket(self, name, status="Enabled"):
        self.s3.create_bucket(Bucket=name)
        if status:
            self.versioning(name, status)
        return name

    def versioning(self, name, status):
        self.s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": status})

    def entered(self, name):
        """A client whose every connection is in this bucket: a pipeline has one of its own."""
        def enter(connection):
            connection.on_connect()
            connection.send_command("SELECT", name)
            connection.read_response()
        return self.server.redis(redis_connect_func=enter)

    def refused(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response

    def code(self, call, **kwargs):
        response = self.refused(call, **kwargs)
        return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]

    def listed(self, bucket, **kwargs):
        """(key, id, whether it is latest, whether it is a marker), page by page."""
        found = []
        while True:
            page = self.s3.list_object_versions(Bucket=bucket, **kwargs)
            here = [(v["Key"], v["VersionId"], v["IsLatest"], False, v["LastModified"]) for v in page.get("Versions", [])]
            here += [(v["Key"], v["VersionId"], v["IsLatest"], True, v["LastModified"]) for v in page.get("DeleteMarkers", [])]
            found += here
            if not page["IsTruncated"]:
                return [v[:4] for v in found]
            kwargs["KeyMarker"] = page["NextKeyMarker"]
            kwargs["VersionIdMarker"] = page["NextVersionIdMarker"]

    def bytes_of(self, bucket, key, version=None):
        which = {"VersionId": version} if version else {}
        return self.s3.get_object(Bucket=bucket, Key=key, **which)["Body"].read()

    # ---- of buckets ----

    def test_versioning_is_as_it_was_set_last(self):
        bucket = self.bucket("settings", None)
        self.assertNotIn("Status", self.s3.get_bucket_versioning(Bucket=bucket))
        for status in ("Enabled", "Suspended", "Suspended", "Enabled"):
            self.versioning(bucket, status)
            self.assertEqual(self.s3.get_bucket_versioning(Bucket=bucket)["Status"], status)
        self.server.restart()
        type(self).s3 = self.server.s3()
        self.assertEqual(self.s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled")
        put = self.s3.put_bucket_versioning
        self.assertEqual(self.code(put, Bucket=bucket, VersioningConfiguration={}),
                         ("IllegalVersioningConfigurationException", 400))
        self.assertEqual(self.code(put, Bucket=bucket, VersioningConfiguration={"Status": "Off"}), ("MalformedXML", 400))
        self.assertEqual(self.code(put, Bucket=bucket, VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"}),
                         ("NotImplemented", 501))

    def test_a_bucket_with_versions_is_not_dropped(self):
        bucket = self.bucket("full")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"one")
        self.s3.delete_object(Bucket=bucket, Key="k")
        self.assertNotIn("Contents", self.s3.list_objects_v2(Bucket=bucket))
        self.assertEqual(self.code(self.s3.delete_bucket, Bucket=bucket), ("BucketNotEmpty", 409))
        names = [{"Key": key, "VersionId": version} for key, version, _, _ in self.listed(bucket)]
        self.assertEqual(len(names), 2)
        gone = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": names})
        self.assertEqual(sorted(d["VersionId"] for d in gone["Deleted"]), sorted(n["VersionId"] for n in names))
        self.assertEqual([d["DeleteMarkerVersionId"] for d in gone["Deleted"] if d.get("DeleteMarker")], [names[1]["VersionId"]])
        self.s3.delete_bucket(Bucket=bucket)

    # ---- of objects ----

    def test_each_write_makes_one_and_all_can_be_read(self):
        bucket = self.bucket("objects", None)
        s3, model = self.s3, []  # (id, bytes), the newest first
        s3.put_object(Bucket=bucket, Key="k", Body=b"before")
        self.assertNotIn("VersionId", s3.get_object(Bucket=bucket, Key="k"))
        model.insert(0, ("null", b"before"))
        self.versioning(bucket, "Enabled")
        for size in (0, 5, 900, 70000, 300000):
            body = os.urandom(size)
            model.insert(0, (s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"], body))
        copied = s3.copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": model[2][0]})
        self.assertEqual(copied["CopySourceVersionId"], model[2][0])
        model.insert(0, (copied["VersionId"], model[2][1]))
        upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        body = os.urandom(PART)
        part = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=body)
        done = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload,
                                            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        model.insert(0, (done["VersionId"], body))
        for restarted in (False, True):
            self.assertEqual([v for _, v, _, _ in self.listed(bucket)], [v for v, _ in model])
            for version, body in model:
                got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
                self.assertEqual((got["VersionId"], got["Body"].read()), (version, body))
                head = s3.head_object(Bucket=bucket, Key="k", VersionId=version)
                self.assertEqual((head["VersionId"], head["ContentLength"]), (version, len(body)))
            self.assertEqual(self.bytes_of(bucket, "k"), model[0][1])
            if not restarted:
                self.server.restart()
                s3 = type(self).s3 = self.server.s3()
        while model:  # the newest goes, and the next is current
            self.assertEqual(s3.delete_object(Bucket=bucket, Key="k", VersionId=model[0][0])["VersionId"], model[0][0])
            model.pop(0)
            if model:
                self.assertEqual(self.bytes_of(bucket, "k"), model[0][1])
        self.assertEqual(self.code(s3.get_object, Bucket=bucket, Key="k"), ("NoSuchKey", 404))

    def test_delete_markers(self):
        bucket, s3 = self.bucket("markers"), self.s3
        one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
        gone = s3.delete_object(Bucket=bucket, Key="k")
        self.assertTrue(gone["DeleteMarker"])
        marker = gone["VersionId"]
        response = self.refused(s3.get_object, Bucket=bucket, Key="k")
        headers = response["ResponseMetadata"]["HTTPHeaders"]
        self.assertEqual(response["Error"]["Code"], "NoSuchKey")
        self.assertEqual((headers["x-amz-delete-marker"], headers["x-amz-version-id"]), ("true", marker))
        for call in (s3.get_object, s3.head_object):
            response = self.refused(call, Bucket=bucket, Key="k", VersionId=marker)
            headers = response["ResponseMetadata"]["HTTPHeaders"]
            self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 405)
            self.assertEqual((headers["x-amz-delete-marker"], headers["allow"]), ("true", "DELETE"))
        self.assertEqual(self.listed(bucket), [("k", one, False, False), ("k", marker, True, True)])
        again = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
        self.assertNotEqual(again, marker)
        for version in (again, marker):
            gone = s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
            self.assertTrue(gone["DeleteMarker"])
            self.assertEqual(gone["VersionId"], version)
        self.assertEqual(self.bytes_of(bucket, "k"), b"one")
        self.assertTrue(s3.delete_object(Bucket=bucket, Key="never")["DeleteMarker"])
        copy = {"Bucket": bucket, "Key": "k", "VersionId": s3.delete_object(Bucket=bucket, Key="k")["VersionId"]}
        self.assertEqual(self.code(s3.copy_object, Bucket=bucket, Key="c", CopySource=copy), ("InvalidRequest", 400))

    def test_what_is_no_version(self):
        bucket, s3 = self.bucket("none"), self.s3
        s3.put_object(Bucket=bucket, Key="k", Body=b"one")
        other = s3.put_object(Bucket=bucket, Key="other", Body=b"one")["VersionId"]
        for version in ("null", other, "UIORUnfndfhnw89493jJFJ0123456789"):
            self.assertEqual(self.code(s3.get_object, Bucket=bucket, Key="k", VersionId=version), ("NoSuchVersion", 404))
            self.assertEqual(self.code(s3.get_object_tagging, Bucket=bucket, Key="k", VersionId=version), ("NoSuchVersion", 404))
            s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
        for call in (s3.get_object, s3.delete_object):
            self.assertEqual(self.code(call, Bucket=bucket, Key="k", VersionId="odd"), ("InvalidArgument", 400))
        self.assertEqual(self.bytes_of(bucket, "k"), b"one")

    def test_suspended_the_null_version_is_replaced(self):
        bucket, s3 = self.bucket("suspended"), self.s3
        one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
        self.versioning(bucket, "Suspended")
        for body in (b"two", b"three"):
            self.assertEqual(s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"], "null")
        self.assertEqual(self.listed(bucket), [("k", "null", True, False), ("k", one, False, False)])
        gone = s3.delete_object(Bucket=bucket, Key="k")
        self.assertEqual((gone["DeleteMarker"], gone["VersionId"]), (True, "null"))
        self.assertEqual(self.listed(bucket), [("k", one, False, False), ("k", "null", True, True)])
        self.versioning(bucket, "Enabled")
        two = s3.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
        self.assertEqual([v for _, v, _, m in self.listed(bucket) if not m], [two, one])
        s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
        self.assertEqual(self.listed(bucket), [("k", two, True, False), ("k", one, False, False)])

    def test_tags_are_of_a_version(self):
        bucket, s3 = self.bucket("tagged"), self.s3
        ids = [s3.put_object(Bucket=bucket, Key="k", Body=b"%d" % i, Tagging="n=%d" % i)["VersionId"] for i in range(3)]
        tags = lambda **which: {t["Key"]: t["Value"] for t in s3.get_object_tagging(Bucket=bucket, Key="k", **which)["TagSet"]}
        set_to = lambda value, **which: s3.put_object_tagging(
            Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "n", "Value": value}]}, **which)
        self.assertEqual([tags(VersionId=v) for v in ids], [{"n": "0"}, {"n": "1"}, {"n": "2"}])
        self.assertEqual(set_to("first", VersionId=ids[0])["VersionId"], ids[0])
        self.assertEqual(set_to("last")["VersionId"], ids[2])
        self.assertEqual([tags(VersionId=v) for v in ids], [{"n": "first"}, {"n": "1"}, {"n": "last"}])
        self.assertEqual([v for _, v, _, _ in self.listed(bucket)], ids[::-1])

    def test_listings_have_prefixes_delimiters_and_pages(self):
        bucket, s3 = self.bucket("listed"), self.s3
        keys = ["a", "a/1", "a/2", "b/1", "b/1/x", "c", "d e", "d\u00e9"]
        ids = {k: [s3.put_object(Bucket=bucket, Key=k, Body=b"")["VersionId"] for _ in range(3)][::-1] for k in keys}
        wanted = [(k, v) for k in sorted(keys) for v in ids[k]]
        for size in (1, 2, 5, 1000):
            self.assertEqual([v[:2] for v in self.listed(bucket, MaxKeys=size)], wanted)
            self.assertEqual([v[:2] for v in self.listed(bucket, MaxKeys=size, Prefix="a/")],
                             [w for w in wanted if w[0].startswith("a/")])
        page = s3.list_object_versions(Bucket=bucket, Delimiter="/")
        self.assertEqual([p["Prefix"] for p in page["CommonPrefixes"]], ["a/", "b/"])
        self.assertEqual({v["Key"] for v in page["Versions"]}, {"a", "c", "d e", "d\u00e9"})
        calls = s3.list_object_versions
        self.assertEqual(self.code(calls, Bucket=bucket, VersionIdMarker=ids["a"][0]), ("InvalidArgument", 400))
        self.assertEqual(self.code(calls, Bucket=bucket, KeyMarker="a", VersionIdMarker="odd"), ("InvalidArgument", 400))

    # ---- of the Redis door ----

    def test_each_transaction_of_redis_makes_one(self):
        bucket, s3 = self.bucket("redis"), self.s3
        redis = self.entered(bucket)
        redis.set("k", "one")
        redis.append("k", "+")
        self.assertEqual(self.ordered(bucket, "k"), [b"one+", b"one"])
        with redis.pipeline(transaction=True) as pipe:
            pipe.set("k", "x").delete("k").set("k", "two")
            pipe.execute()
        redis.eval("redis.call('SET', KEYS[1], 'a') redis.call('SET', KEYS[1], 'three')", 1, "k")
        self.assertEqual(self.ordered(bucket, "k"), [b"three", b"two", b"one+", b"one"])
        redis.delete("k")
        self.assertEqual(redis.delete("k"), 0)
        self.assertEqual(self.ordered(bucket, "k"), [None, b"three", b"two", b"one+", b"one"])
        redis.set("k", "four", px=200)
        while redis.exists("k"):
            time.sleep(0.05)
        time.sleep(0.3)
        self.assertEqual(self.ordered(bucket, "k")[:3], [None, b"four", None])
        redis.set("from", "moved")
        redis.rename("from", "to")
        self.assertEqual(self.ordered(bucket, "from"), [None, b"moved"])
        self.assertEqual(self.ordered(bucket, "to"), [b"moved"])
        self.assertEqual(sorted(redis.keys()), [b"to"])
        redis.expire("to", 1000)
        self.assertEqual(self.ordered(bucket, "to"), [b"moved", b"moved"])
        for call in (lambda: redis.hset("h", "f", "v"), lambda: redis.lpush("l", "v"), lambda: redis.sadd("s", "v")):
            with self.assertRaisesRegex(Exception, "keeps versions"):
                call()
        self.assertEqual(redis.dbsize(), 1)
        # It would take all versions, for good; DEL makes markers.
        for status in ("Enabled", "Suspended"):
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
            for call in (redis.flushdb, lambda: redis.eval("return redis.call('FLUSHDB')", 0)):
                with self.assertRaisesRegex(Exception, "keeps versions"):
                    call()
        self.assertEqual(self.ordered(bucket, "to"), [b"moved", b"moved"])

    def all_of(self, bucket, key):
        page = self.s3.list_object_versions(Bucket=bucket, Prefix=key)
        self.assertFalse(page["IsTruncated"])
        return [v for v in page.get("Versions", []) + page.get("DeleteMarkers", []) if v["Key"] == key]

    def ordered(self, bucket, key):
        """The bytes of all versions, the newest first; None: a delete marker. One after the other."""
        found, after = [], None
        while True:
            more = {"KeyMarker": key, "VersionIdMarker": after} if after else {}
            page = self.s3.list_object_versions(Bucket=bucket, Prefix=key, MaxKeys=1, **more)
            versions, markers = page.get("Versions", []), page.get("DeleteMarkers", [])
            for v in versions + markers:
                if v["Key"] != key:
                    return found
                found.append(self.bytes_of(bucket, key, v["VersionId"]) if versions else None)
            if not page["IsTruncated"]:
                return found
            after = page["NextVersionIdMarker"]

    def test_what_is_on_disk_is_kept_too(self):
        """More than fits into memory; each value is replaced, and what was there can be read."""
        bucket, s3 = self.bucket("cold"), self.s3
        redis = self.entered(bucket)
        count = 400
        first = {"k%d" % i: os.urandom(40000) for i in range(count)}
        for key, value in first.items():
            redis.set(key, value)
        for i, key in enumerate(first):
            if i % 3 == 0:
                redis.set(key, "second")
            elif i % 3 == 1:
                s3.put_object(Bucket=bucket, Key=key, Body=b"second")
            else:
                redis.delete(key)
        rng = random.Random(3)
        for key in rng.sample(list(first), 40):
            newest, oldest = self.ordered(bucket, key)
            self.assertEqual(oldest, first[key])
            self.assertIn(newest, (b"second", None))


if __name__ == "__main__":
    unittest.main()
