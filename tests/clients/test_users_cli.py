"""cairn user, group, key and policy: managed over the Admin service, honoured at every door."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile

import boto3
import grpc
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import BUILD, PASSWORD, PATIENCE, USER, Case
from test_users import policy

NOT_FOUND, USAGE, CONDITION, DENIED = 1, 2, 3, 4


class CommandLine(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.home)
        s3 = cls.server.s3()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=b"picture")

    def cairn(self, *args, stdin="", code=0, credentials=None):
        env = dict(os.environ, CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=PASSWORD)
        more = ["--credentials=" + credentials] if credentials else []
        done = subprocess.run([os.path.join(BUILD, "cairn"), "--server=127.0.0.1:%d" % self.server.grpc] + more + list(args), env=env,
                              input=stdin, capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def file(self, name, text):
        path = os.path.join(self.home, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def key(self, *args):
        made = self.cairn("key", *args)
        return re.search(r"access key\s+(\S+)", made).group(1), re.search(r"secret key\s+(\S+)", made).group(1)

    def s3(self, key):
        return boto3.session.Session().client(
            "s3", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key[0], aws_secret_access_key=key[1],
            region_name="us-east-1", config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, signature_version="s3v4"))

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response["Error"]["Code"]

    def test_a_user_from_his_making_to_his_end(self):
        cairn = self.cairn
        cairn("user", "create", "ann", "--path", "/staff/")
        cairn("user", "create", "ANN", code=CONDITION)
        cairn("user", "create", "a b", code=USAGE)
        cairn("user", "create", "x", "--path", "staff", code=USAGE)
        self.assertIn("arn:aws:iam::000000000000:user/staff/ann", cairn("user", "list", "--path-prefix", "/staff/"))
        self.assertEqual(cairn("user", "list", "--path-prefix", "/none/"), "")
        cairn("policy", "put", "read-photos", self.file("read.json", policy(("Allow", "s3:GetObject", "arn:aws:s3:::photos/*"))))
        cairn("policy", "put", "broken", "-", stdin="{", code=USAGE)
        cairn("policy", "put", "misspelt", "-", stdin=policy(("Allow", "iam:NoSuch", "*")), code=USAGE)
        self.assertEqual(json.loads(cairn("policy", "get", "read-photos"))["Statement"][0]["Action"], "s3:GetObject")
        cairn("user", "attach", "ann", "read-photos")
        cairn("user", "attach", "ann", "no-such", code=NOT_FOUND)
        cairn("user", "attach", "nobody", "read-photos", code=NOT_FOUND)
        self.assertRegex(cairn("policy", "list"), r"read-photos\s+attached 1 times")
        key = self.key("create", "ann")
        self.assertEqual(self.s3(key).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(self.s3(key).put_object, Bucket="photos", Key="b"), "AccessDenied")
        cairn("user", "password", "ann", stdin="short\n", code=USAGE)
        cairn("user", "password", "ann", stdin="a-long-password\n")
        r = redis.Redis(port=self.server.resp, username="ann", password="a-long-password")
        self.assertTrue(r.ping())
        shown = cairn("user", "show", "ann")
        for text in (key[0], "read-photos", "/staff/ann", "AIDA"):
            self.assertIn(text, shown)
        self.assertNotIn(key[1], shown)
        self.assertEqual(json.loads(cairn("--json", "user", "show", "ann"))["user"]["access_keys"][0]["id"], key[0])
        cairn("user", "delete", "ann", code=CONDITION)
        cairn("policy", "delete", "read-photos", code=CONDITION)
        cairn("user", "detach", "ann", "read-photos")
        self.assertEqual(self.code(self.s3(key).get_object, Bucket="photos", Key="a"), "AccessDenied")
        cairn("user", "password", "ann", "--remove")
        cairn("key", "delete", key[0])
        cairn("user", "delete", "ann")
        cairn("policy", "delete", "read-photos")
        cairn("user", "show", "ann", code=NOT_FOUND)
        with self.assertRaises((redis.AuthenticationError, redis.ConnectionError, redis.ResponseError)):
            redis.Redis(port=self.server.resp, username="ann", password="a-long-password").ping()

    def test_groups(self):
        cairn = self.cairn
        cairn("group", "create", "readers")
        cairn("user", "create", "bob")
        cairn("policy", "put", "of-readers", "-", stdin=policy(("Allow", "s3:GetObject", "*")))
        cairn("group", "attach", "readers", "of-readers")
        key = self.key("create", "bob")
        self.assertEqual(self.code(self.s3(key).get_object, Bucket="photos", Key="a"), "AccessDenied")
        cairn("group", "add", "readers", "bob")
        self.assertEqual(self.s3(key).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        shown = cairn("group", "show", "readers")
        self.assertIn("bob", shown)
        self.assertIn("of-readers", shown)
        self.assertIn("readers", cairn("user", "show", "bob"))
        self.assertIn("readers", cairn("group", "list"))
        cairn("group", "delete", "readers", code=CONDITION)
        cairn("group", "remove", "readers", "bob")
        self.assertEqual(self.code(self.s3(key).get_object, Bucket="photos", Key="a"), "AccessDenied")
        cairn("group", "detach", "readers", "of-readers")
        cairn("group", "delete", "readers")
        cairn("group", "show", "readers", code=NOT_FOUND)

    def test_keys(self):
        cairn = self.cairn
        cairn("user", "create", "carl")
        cairn("policy", "put", "of-carl", "-", stdin=policy(("Allow", "s3:*", "*")))
        cairn("user", "attach", "carl", "of-carl")
        boundary = self.file("boundary.json", policy(("Allow", "s3:GetObject", "*")))
        key = self.key("create", "carl", "--expires", "30d", "--boundary", boundary)
        get = lambda key: self.s3(key).get_object(Bucket="photos", Key="a")["Body"].read()
        self.assertEqual(get(key), b"picture")
        self.assertEqual(self.code(self.s3(key).put_object, Bucket="photos", Key="c"), "AccessDenied")
        listed = cairn("key", "list", "carl")
        self.assertRegex(listed, key[0] + r"\s+active\s+carl\s+until .*bounded")
        self.assertNotIn(key[1], listed)
        self.assertIn("disabled", cairn("key", "disable", key[0]))
        self.assertEqual(self.code(self.s3(key).get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        cairn("key", "enable", key[0])
        self.assertEqual(get(key), b"picture")
        self.assertNotIn("bounded", cairn("key", "boundary", key[0], "--remove"))
        self.s3(key).put_object(Bucket="photos", Key="c")
        self.assertIn("bounded", cairn("key", "boundary", key[0], "-", stdin=policy(("Allow", "s3:GetObject", "*"))))
        self.assertEqual(self.code(self.s3(key).put_object, Bucket="photos", Key="c"), "AccessDenied")
        cairn("key", "boundary", key[0], code=USAGE)
        cairn("key", "expire", key[0], "never")
        cairn("key", "expire", key[0], "2020-01-01T00:00:00Z", code=USAGE)
        cairn("key", "expire", key[0], "soon", code=USAGE)
        # One in the place of another is within the same.
        second = self.key("rotate", key[0], "--grace", "1h")
        self.assertEqual((get(key), get(second)), (b"picture", b"picture"))
        self.assertEqual(self.code(self.s3(second).put_object, Bucket="photos", Key="c"), "AccessDenied")
        third = self.key("rotate", second[0])
        self.assertEqual(get(third), b"picture")
        self.assertEqual(self.code(self.s3(second).get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        cairn("key", "rotate", "AKIANOSUCH", code=NOT_FOUND)
        for one in (key, second, third):
            cairn("key", "delete", one[0])
        self.assertEqual(cairn("key", "list", "carl"), "")

    def test_each_method_takes_its_right(self):
        cairn = self.cairn
        cairn("user", "create", "helper")
        cairn("user", "password", "helper", stdin="helper-password\n")
        as_helper = self.file("helper", "helper:helper-password\n")
        calls = [("CreateUser", ("user", "create", "made")), ("ListUsers", ("user", "list")), ("GetUser", ("user", "show", "helper")),
                 ("ListPolicies", ("policy", "list")), ("CreateAccessKey", ("key", "create", "made")), ("ListAccessKeys", ("key", "list", "made")),
                 ("CreateGroup", ("group", "create", "made")), ("DeleteGroup", ("group", "delete", "made"))]
        for method, command in calls:
            self.assertIn("may not", cairn(*command, code=DENIED, credentials=as_helper), method)
        for method, command in calls:
            # Its own, and that of what IAM calls the same.
            for alone in ("grpc:cairn.v1.Admin/" + method, "iam:" + method):
                cairn("policy", "put", "of-helper", "-", stdin=policy(("Allow", alone, "*")))
                cairn("user", "attach", "helper", "of-helper")
                self.assertIn("may not", cairn(*command, code=DENIED, credentials=as_helper), alone)
            cairn("policy", "put", "of-helper", "-", stdin=policy(("Allow", ["grpc:cairn.v1.Admin/" + method, "iam:" + method], "*")))
            cairn(*command, credentials=as_helper)
            for other, another in calls:
                if other != method:
                    cairn(*another, code=DENIED, credentials=as_helper)
        # A key that is bounded, and one that ends, makes none that is not.
        cairn("policy", "put", "of-helper", "-", stdin=policy(("Allow", "*", "*")))
        key = self.key("create", "helper", "--boundary", self.file("all.json", policy(("Allow", "*", "*"))))
        bounded = self.file("bounded", ":".join(key))
        cairn("user", "list", credentials=bounded)
        for command in (("key", "create", "helper"), ("key", "rotate", key[0]), ("key", "boundary", key[0], "--remove"), ("user", "password", "helper"),
                        ("user", "create", "by-bounded"), ("user", "attach", "helper", "of-helper"), ("user", "delete", "made"), ("group", "create", "g"),
                        ("policy", "put", "of-helper", self.file("all.json", policy(("Allow", "*", "*")))), ("key", "delete", key[0])):
            cairn(*command, stdin="another-password\n", code=DENIED, credentials=bounded)

    ABOUT_THE_SERVER = {"Info", "Stats", "GetQuota", "SetQuota"}

    def refused(self, credentials):
        """Of which methods its caller is refused, whatever the request says."""
        stubs = self.server.grpc_stubs()
        metadata = [("authorization", "Basic " + base64.b64encode(credentials.encode()).decode())]
        out = set()
        for method in stubs.admin_pb.DESCRIPTOR.services_by_name["Admin"].methods:
            try:
                getattr(stubs.admin, method.name)(getattr(stubs.admin_pb, method.input_type.name)(), metadata=metadata, timeout=PATIENCE)
            except grpc.RpcError as e:
                if e.code() == grpc.StatusCode.PERMISSION_DENIED:
                    out.add(method.name)
        return out

    def test_what_policies_say_of_iam_holds_for_the_methods(self):
        """Who may all but IAM, as AWS's PowerUserAccess says it, made himself an administrator here."""
        cairn = self.cairn
        cairn("user", "create", "power")
        cairn("user", "password", "power", stdin="power-password\n")
        as_power = self.file("power", "power:power-password\n")
        every = {m.name for m in self.server.grpc_stubs().admin_pb.DESCRIPTOR.services_by_name["Admin"].methods}
        about_users = every - self.ABOUT_THE_SERVER
        self.assertGreater(len(about_users), 20)
        self.assertEqual(self.refused("power:power-password"), every)
        cairn("policy", "put", "of-power", "-", stdin=policy(("Allow", "*", "*")))
        cairn("user", "attach", "power", "of-power")
        self.assertEqual(self.refused("power:power-password"), set())
        user = "arn:aws:iam::000000000000:user/"
        for text in (policy(("Allow", "*", "*"), ("Deny", "iam:*", "*")), policy(("Allow", "*", "arn:aws:s3:::*")), policy(("Allow", "grpc:*", "*")),
                     policy(("Allow", "*", "*"), ("Deny", "grpc:cairn.v1.Admin/*", "arn:aws:iam::*")),
                     json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}})):
            cairn("policy", "put", "of-power", "-", stdin=text)
            refused = self.refused("power:power-password")
            # What is about all of them, or names nobody, has no ARN that IAM's pattern matches.
            of_nobody = {"ListUsers", "ListGroups", "ListPolicies", "AttachPolicy", "DetachPolicy"} if "arn:aws:iam" in text else set()
            self.assertLessEqual(about_users - of_nobody, refused, text)
            for command in (("user", "create", "made-by-power"), ("user", "attach", "power", "of-power"), ("key", "create", "power"), ("user", "delete", "power")):
                self.assertIn("may not", cairn(*command, code=DENIED, credentials=as_power), text)
        # A method is about whom it names.
        for effect, text in ((DENIED, policy(("Allow", "*", "*"), ("Deny", "grpc:*", user + "q9"))), (DENIED, policy(("Allow", "*", "*"), ("Deny", "iam:CreateUser", user + "q9"))),
                             (0, policy(("Allow", ["grpc:*", "iam:*"], user + "q9")))):
            cairn("policy", "put", "of-power", "-", stdin=text)
            cairn("user", "create", "q9", code=effect, credentials=as_power)
            cairn("user", "create", "q8", code=DENIED if effect == 0 else 0, credentials=as_power)
            if effect:
                cairn("user", "delete", "q8")
        cairn("key", "create", "q9", credentials=as_power)
        cairn("key", "create", "power", code=DENIED, credentials=as_power)
        cairn("user", "create", "q9", "--path", "/x/", code=DENIED, credentials=as_power)
        # A key is its user's.
        key = self.key("create", "power")
        cairn("key", "delete", key[0], code=DENIED, credentials=as_power)
        cairn("key", "rotate", key[0], code=DENIED, credentials=as_power)
        cairn("key", "delete", "AKIANOSUCH", code=DENIED, credentials=as_power)

    def test_a_session_of_a_user_manages_none(self):
        self.cairn("user", "create", "sue")
        self.cairn("policy", "put", "of-sue", "-", stdin=policy(("Allow", "*", "*")))
        self.cairn("user", "attach", "sue", "of-sue")
        key = self.key("create", "sue")
        made = boto3.session.Session().client(
            "sts", endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key[0], aws_secret_access_key=key[1],
            region_name="us-east-1").get_session_token()["Credentials"]
        session = "%s:%s:%s" % (made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])
        every = {m.name for m in self.server.grpc_stubs().admin_pb.DESCRIPTOR.services_by_name["Admin"].methods}
        self.assertEqual(self.refused(session), every - self.ABOUT_THE_SERVER)

    def test_listings_come_in_pages(self):
        stubs = self.server.grpc_stubs()
        pb = stubs.admin_pb
        names = ["page%04d" % i for i in range(1001)]
        for name in names:
            stubs.admin.CreateUser(pb.CreateUserRequest(name=name, path="/pages/"), metadata=stubs.metadata)
        listed = self.cairn("user", "list", "--path-prefix", "/pages/").splitlines()
        self.assertEqual([line.split()[0] for line in listed], names)
        page = stubs.admin.ListUsers(pb.ListUsersRequest(path_prefix="/pages/"), metadata=stubs.metadata)
        self.assertEqual(page.next_page_token, page.users[-1].name)
        with self.assertRaises(grpc.RpcError) as e:
            stubs.admin.AttachPolicy(pb.AttachPolicyRequest(policy="x"), metadata=stubs.metadata)
        self.assertEqual(e.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)


if __name__ == "__main__":
    import unittest
    unittest.main()
