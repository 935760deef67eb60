"""What a golden store holds; see make_golden.py."""
import hashlib


def content(size):
    block = hashlib.sha256(b"golden").digest()
    return (block * (size // 32 + 1))[:size]


def write_first(server):
    r, s3 = server.redis(), server.s3()
    r.mset({"string:%d" % i: "value %d" % i for i in range(500)})
    r.set("kilobytes", content(20000))
    r.set("blob", content(300000))
    r.set("volatile", "x", ex=4000000000)
    r.hset("hash", mapping={"field %d" % i: "value %d" % i for i in range(20)})
    r.hset("large", mapping={"field %d" % i: "value %d" % i for i in range(5000)})
    r.set("gone", "1")
    s3.create_bucket(Bucket="golden")
    s3.put_object(Bucket="golden", Key="small", Body=b"object", ContentType="text/plain", Metadata={"a": "b"})
    s3.put_object(Bucket="golden", Key="big", Body=content(1 << 20))
    r.close()


def write_second(server):
    r = server.redis()
    r.config_set("appendfsync", "always")
    r.delete("gone")
    r.set("string:7", "another value")
    r.hset("large", "field 9", "another value")
    r.hdel("large", "field 10")
    r.hdel("hash", "field 1")
    r.append("kilobytes", "!")
    r.set("new", "1")
    r.close()


def check(test, server):
    r, s3 = server.redis(), server.s3()
    expected = {"string:%d" % i: b"value %d" % i for i in range(500)}
    expected["string:7"] = b"another value"
    for key, value in expected.items():
        test.assertEqual(r.get(key), value)
    test.assertEqual(r.get("kilobytes"), content(20000) + b"!")
    test.assertEqual(r.get("blob"), content(300000))
    test.assertGreater(r.ttl("volatile"), 1000000000)
    fields = {b"field %d" % i: b"value %d" % i for i in range(20) if i != 1}
    test.assertEqual(r.hgetall("hash"), fields)
    fields = {b"field %d" % i: b"value %d" % i for i in range(5000) if i != 10}
    fields[b"field 9"] = b"another value"
    test.assertEqual(r.hgetall("large"), fields)
    test.assertEqual((r.get("gone"), r.get("new")), (None, b"1"))
    test.assertEqual(r.dbsize(), 506)
    small = s3.get_object(Bucket="golden", Key="small")
    test.assertEqual((small["Body"].read(), small["ContentType"], small["Metadata"]), (b"object", "text/plain", {"a": "b"}))
    test.assertEqual(s3.get_object(Bucket="golden", Key="big")["Body"].read(), content(1 << 20))
    test.assertEqual([o["Key"] for o in s3.list_objects_v2(Bucket="golden")["Contents"]], ["big", "small"])
    r.close()
