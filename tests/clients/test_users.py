"""Users, groups, keys and policies: managed by awscli's `aws iam`, honoured at every door."""
import base64
import datetime
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import boto3
import grpc
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import BUILD, PASSWORD, PATIENCE, USER, Case, Server, wait_until

READ_PHOTOS = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*"},
    {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::photos"}]}


TRUST = json.dumps({"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}, "Action": "sts:AssumeRole"}]})


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        dict(zip(("Effect", "Action", "Resource", "Condition"), s)) for s in statements]})


class Users(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.home = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.home)
        s3 = cls.server.s3()
        s3.create_bucket(Bucket="photos")
        s3.put_object(Bucket="photos", Key="a", Body=b"picture")
        s3.put_object(Bucket="photos", Key="thumbs/a", Body=b"thumb")
        s3.create_bucket(Bucket="other")
        s3.put_object(Bucket="other", Key="a", Body=b"secret")

    def aws(self, *args, key=(USER, PASSWORD), check=True):
        env = dict(os.environ, HOME=self.home, AWS_ACCESS_KEY_ID=key[0], AWS_SECRET_ACCESS_KEY=key[1],
                   AWS_DEFAULT_REGION="us-east-1", AWS_PAGER="", AWS_MAX_ATTEMPTS="1")
        done = subprocess.run(["aws", "--endpoint-url=http://127.0.0.1:%d" % self.server.http, "--output=json"] + list(args),
                              env=env, capture_output=True, text=True, timeout=PATIENCE)
        if not check:
            return done.returncode, done.stderr
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def client(self, service, key=(USER, PASSWORD), **config):
        settings = dict(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, signature_version="v4" if service != "s3" else "s3v4")
        settings.update(config)
        return boto3.session.Session().client(
            service, endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key[0],
            aws_secret_access_key=key[1], region_name="us-east-1", config=Config(**settings))

    def iam(self, **kwargs):
        return self.client("iam", **kwargs)

    def user(self, name, *statements, password=None):
        """A new user with these rights; his key."""
        iam = self.iam()
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy(*statements))
        if password:
            iam.create_login_profile(UserName=name, Password=password)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response["Error"]["Code"]

    def rpc(self, user, password):
        stubs = self.server.grpc_stubs()
        token = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
        stubs.metadata = [("authorization", "Basic " + token)]
        return stubs

    def rpc_code(self, stubs, method, request):
        try:
            method(request, metadata=stubs.metadata, timeout=PATIENCE)
            return "OK"
        except grpc.RpcError as e:
            return e.code().name

    # ---- the command line ----

    def test_awscli_manages_all_of_it(self):
        aws = self.aws
        self.assertEqual(aws("sts", "get-caller-identity")["Arn"], "arn:aws:iam::000000000000:root")
        made = aws("iam", "create-user", "--user-name", "ann", "--path", "/staff/")["User"]
        self.assertEqual(made["Arn"], "arn:aws:iam::000000000000:user/staff/ann")
        self.assertTrue(made["UserId"].startswith("AIDA"))
        self.assertEqual(aws("iam", "get-user", "--user-name", "ANN")["User"], made)
        self.assertIn(made, aws("iam", "list-users")["Users"])
        self.assertEqual(aws("iam", "list-users", "--path-prefix", "/nobody/")["Users"], [])
        key = aws("iam", "create-access-key", "--user-name", "ann")["AccessKey"]
        login = (key["AccessKeyId"], key["SecretAccessKey"])
        self.assertEqual(aws("sts", "get-caller-identity", key=login)["Arn"], made["Arn"])
        listed = aws("iam", "list-access-keys", "--user-name", "ann")["AccessKeyMetadata"]
        self.assertEqual([(k["AccessKeyId"], k["Status"]) for k in listed], [(login[0], "Active")])
        self.assertNotIn("SecretAccessKey", listed[0])

        self.assertIn("(403)", aws("s3", "cp", "s3://photos/a", "-", key=login, check=False)[1])
        read = os.path.join(self.home, "read.json")
        with open(read, "w") as f:
            json.dump(READ_PHOTOS, f)
        group = aws("iam", "create-group", "--group-name", "readers")["Group"]
        aws("iam", "add-user-to-group", "--group-name", "readers", "--user-name", "ann")
        self.assertEqual(aws("iam", "list-groups-for-user", "--user-name", "ann")["Groups"], [group])
        self.assertEqual(aws("iam", "get-group", "--group-name", "readers")["Users"], [made])
        p = aws("iam", "create-policy", "--policy-name", "read-photos", "--policy-document", "file://" + read)["Policy"]
        self.assertEqual(p["Arn"], "arn:aws:iam::000000000000:policy/read-photos")
        aws("iam", "attach-group-policy", "--group-name", "readers", "--policy-arn", p["Arn"])
        self.assertEqual(aws("iam", "get-policy", "--policy-arn", p["Arn"])["Policy"]["AttachmentCount"], 1)
        version = aws("iam", "get-policy-version", "--policy-arn", p["Arn"], "--version-id", "v1")["PolicyVersion"]
        self.assertEqual(version["Document"], READ_PHOTOS)
        self.assertEqual(aws("iam", "list-attached-group-policies", "--group-name", "readers")["AttachedPolicies"],
                         [{"PolicyName": "read-photos", "PolicyArn": p["Arn"]}])
        self.assertEqual(len(aws("iam", "list-policies", "--scope", "Local")["Policies"]), 1)
        s3 = self.client("s3", login)
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(s3.get_object, Bucket="other", Key="a"), "AccessDenied")
        self.assertEqual(self.code(s3.put_object, Bucket="photos", Key="a", Body=b"x"), "AccessDenied")
        self.assertEqual(self.code(s3.list_buckets), "AccessDenied")
        self.assertEqual(len(s3.list_objects_v2(Bucket="photos")["Contents"]), 2)

        own = os.path.join(self.home, "own.json")
        with open(own, "w") as f:
            f.write(policy(("Deny", "s3:GetObject", "arn:aws:s3:::photos/a")))
        aws("iam", "put-user-policy", "--user-name", "ann", "--policy-name", "own", "--policy-document", "file://" + own)
        self.assertEqual(self.code(s3.get_object, Bucket="photos", Key="a"), "AccessDenied")
        self.assertEqual(aws("iam", "list-user-policies", "--user-name", "ann")["PolicyNames"], ["own"])
        got = aws("iam", "get-user-policy", "--user-name", "ann", "--policy-name", "own")["PolicyDocument"]
        self.assertEqual(got["Statement"][0]["Effect"], "Deny")
        aws("iam", "delete-user-policy", "--user-name", "ann", "--policy-name", "own")
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")

        # Not while it is in use.
        for words in (["delete-user", "--user-name", "ann"], ["delete-group", "--group-name", "readers"],
                      ["delete-policy", "--policy-arn", p["Arn"]]):
            self.assertIn("(DeleteConflict)", aws("iam", *words, check=False)[1])
        aws("iam", "update-user", "--user-name", "ann", "--new-user-name", "anna")
        self.assertEqual(aws("sts", "get-caller-identity", key=login)["Arn"], "arn:aws:iam::000000000000:user/staff/anna")
        aws("iam", "update-access-key", "--user-name", "anna", "--access-key-id", login[0], "--status", "Inactive")
        self.assertEqual(self.code(s3.get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        self.assertIn("(InvalidClientTokenId)", aws("iam", "get-user", key=login, check=False)[1])
        aws("iam", "update-access-key", "--user-name", "anna", "--access-key-id", login[0], "--status", "Active")
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        aws("iam", "remove-user-from-group", "--group-name", "readers", "--user-name", "anna")
        self.assertEqual(self.code(s3.get_object, Bucket="photos", Key="a"), "AccessDenied")
        aws("iam", "detach-group-policy", "--group-name", "readers", "--policy-arn", p["Arn"])
        aws("iam", "delete-policy", "--policy-arn", p["Arn"])
        aws("iam", "delete-group", "--group-name", "readers")
        aws("iam", "delete-access-key", "--user-name", "anna", "--access-key-id", login[0])
        self.assertEqual(self.code(s3.get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        aws("iam", "delete-user", "--user-name", "anna")
        for words, code in ((["get-user", "--user-name", "anna"], "NoSuchEntity"),
                            (["create-user", "--user-name", "a b"], "ValidationError"),
                            (["create-user", "--user-name", USER], "EntityAlreadyExists"),
                            (["create-user", "--user-name", "x", "--tags", "Key=a,Value=b"], "ValidationError"),
                            (["create-role", "--role-name", "r", "--assume-role-policy-document", "{}"], "MalformedPolicyDocument"),
                            (["create-instance-profile", "--instance-profile-name", "p"], "InvalidAction"),
                            (["create-policy", "--policy-name", "p", "--policy-document", "{}"], "MalformedPolicyDocument"),
                            (["attach-user-policy", "--user-name", "x", "--policy-arn",
                              "arn:aws:iam::aws:policy/ReadOnlyAccess"], "NoSuchEntity")):
            self.assertIn("(%s)" % code, aws("iam", *words, check=False)[1], words)

    def test_what_iam_changes_takes_a_right(self):
        key = self.user("helper", ("Allow", ["iam:GetUser", "iam:CreateAccessKey"], "arn:aws:iam::000000000000:user/${aws:username}"))
        iam = self.iam(key=key)
        self.assertEqual(iam.get_user()["User"]["UserName"], "helper")
        self.assertEqual(iam.create_access_key()["AccessKey"]["UserName"], "helper")
        self.user("someone")
        for call, kwargs in ((iam.get_user, {"UserName": "someone"}), (iam.create_access_key, {"UserName": "someone"}),
                             (iam.list_users, {}), (iam.create_user, {"UserName": "mine"}),
                             (iam.put_user_policy, {"UserName": "helper", "PolicyName": "p",
                                                    "PolicyDocument": policy(("Allow", "*", "*"))})):
            self.assertEqual(self.code(call, **kwargs), "AccessDenied", call)
        self.assertEqual(self.code(self.iam(key=(key[0], "wrong")).get_user), "SignatureDoesNotMatch")
        self.assertEqual(self.code(self.iam(key=("AKIANOBODY", "wrong")).get_user), "InvalidClientTokenId")

    def test_a_name_is_taken_by_who_may_take_it(self):
        arn = "arn:aws:iam::000000000000:"
        key = self.user("lead", ("Allow", "iam:*", [arn + "user/dev/*", arn + "group/dev/*"]))
        iam = self.iam(key=key)
        iam.create_user(UserName="dev1", Path="/dev/")
        iam.create_group(GroupName="devs", Path="/dev/")
        for change in ({"NewPath": "/admin/"}, {"NewPath": "/admin/", "NewUserName": "chief"}, {"NewPath": "/"}):
            self.assertEqual(self.code(iam.update_user, UserName="dev1", **change), "AccessDenied", change)
        self.assertEqual(self.code(iam.update_group, GroupName="devs", NewPath="/admin/"), "AccessDenied")
        iam.update_user(UserName="dev1", NewUserName="dev2")
        self.assertEqual(iam.get_user(UserName="dev2")["User"]["Path"], "/dev/")

    def test_a_password_is_set_by_who_may_when_it_is_set(self):
        """The hash takes its time, in which all may change."""
        self.user("eva")
        made, seen = [], []
        def create():
            try:
                self.iam().create_login_profile(UserName="eva", Password="password-of-eva")
                made.append(1)
            except ClientError as e:
                seen.append(e.response["Error"]["Code"])
        threads = [threading.Thread(target=create) for _ in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual((len(made), set(seen)), (1, {"EntityAlreadyExists"}))
        key = self.user("fred", ("Allow", "iam:*", "*"))
        answers = []
        def update():
            try:
                self.iam(key=key).update_login_profile(UserName="eva", Password="password-of-fred")
                answers.append("OK")
            except ClientError as e:
                answers.append(e.response["Error"]["Code"])
        # Those that wait behind one another find that he may not any more.
        threads = [threading.Thread(target=update) for _ in range(12)]
        for t in threads:
            t.start()
        self.iam().delete_user_policy(UserName="fred", PolicyName="own")
        self.iam().delete_login_profile(UserName="eva")
        for t in threads:
            t.join()
        self.assertEqual(self.code(self.iam().get_login_profile, UserName="eva"), "NoSuchEntity", answers)

    def test_a_bounded_key_makes_none_without(self):
        self.user("greg", ("Allow", "*", "*"))
        iam = self.iam()
        bound = {"Boundary": policy(("Allow", "iam:*", "*"))}
        iam.meta.events.register("before-call.iam.CreateAccessKey", lambda params, **_: params["body"].update(bound))
        made = iam.create_access_key(UserName="greg")["AccessKey"]
        bounded = self.iam(key=(made["AccessKeyId"], made["SecretAccessKey"]))
        self.assertEqual(bounded.get_user()["User"]["UserName"], "greg")
        # Nor anything else that lets somebody in, or more than he may.
        for call, kwargs in ((bounded.create_access_key, {}), (bounded.create_login_profile, {"UserName": "greg", "Password": "long-password"}),
                             (bounded.put_user_policy, {"UserName": "greg", "PolicyName": "more", "PolicyDocument": policy(("Allow", "*", "*"))}),
                             (bounded.create_user, {"UserName": "by-greg"}), (bounded.delete_user_policy, {"UserName": "greg", "PolicyName": "own"}),
                             (bounded.create_role, {"RoleName": "by-greg", "AssumeRolePolicyDocument": TRUST}),
                             (bounded.create_open_id_connect_provider, {"Url": "https://issuer.example", "ClientIDList": ["a"], "ThumbprintList": ["0" * 40]}),
                             (bounded.create_policy, {"PolicyName": "by-greg", "PolicyDocument": policy(("Allow", "*", "*"))}),
                             (bounded.update_access_key, {"AccessKeyId": made["AccessKeyId"], "Status": "Inactive"})):
            self.assertEqual(self.code(call, **kwargs), "AccessDenied")

    def test_what_policies_say_of_iam_holds_for_acl(self):
        """Who may all but IAM made users with all rights at the Redis door."""
        key = self.user("ike", ("Allow", "*", "*"))
        root = self.server.redis()
        root.execute_command("ACL", "SETUSER", "victim", "on", ">victim-password")
        r = redis.Redis(port=self.server.resp, username=key[0], password=key[1])

        def answers(*words):
            try:
                return r.execute_command(*words)
            except redis.exceptions.NoPermissionError:
                return "NOPERM"
        changes = (("ACL", "SETUSER", "by-ike", "on", "nopass", "+@all"), ("ACL", "SETUSER", "victim", ">another"), ("ACL", "DELUSER", "victim"),
                   ("ACL", "SETUSER", "default", "on"), ("ACL", "LOAD"), ("CONFIG", "SET", "requirepass", "abc12345"))
        reads = (("ACL", "LIST"), ("ACL", "USERS"), ("ACL", "GETUSER", "victim"))
        user = "arn:aws:iam::000000000000:user/"
        put = lambda *statements: self.iam().put_user_policy(UserName="ike", PolicyName="own", PolicyDocument=policy(*statements))
        for statements in ([("Allow", "*", "*"), ("Deny", "iam:*", "*")], [("Allow", "*", "arn:aws:s3:::*")], [("Allow", "resp:*", "*")]):
            put(*statements)
            for words in changes + reads:
                self.assertEqual(answers(*words), "NOPERM", (words, statements))
            self.assertEqual(answers("CONFIG", "GET", "requirepass"), [b"requirepass", b""])
            self.assertIn(b"maxmemory", answers("CONFIG", "GET", "maxmemory"))
        # It is about whom it names; what is about all takes the right on all.
        for denied in (("Deny", "iam:PutUserPolicy", user + "victim"), ("Deny", "resp:acl|setuser", user + "victim")):
            put(("Allow", "*", "*"), denied)
            self.assertEqual(answers("ACL", "SETUSER", "victim", ">another"), "NOPERM", denied)
            self.assertEqual(answers("ACL", "SETUSER", "by-ike", "off"), b"OK")
            self.assertEqual(answers("ACL", "DELUSER", "by-ike"), 1)
        put(("Allow", "*", "*"), ("Deny", "iam:PutUserPolicy", user + "victim"))
        self.assertEqual(answers("ACL", "LOAD"), "NOPERM")
        put(("Allow", "*", "*"), ("Deny", "iam:CreateUser", "*"))
        self.assertEqual(answers("ACL", "SETUSER", "by-ike", "off"), "NOPERM")
        put(("Allow", "resp:*", "*"), ("Allow", "iam:*", user + "*"))
        self.assertEqual(answers("ACL", "SETUSER", "victim", ">another"), b"OK")
        self.assertIn(b"flags", answers("ACL", "GETUSER", "victim"))
        for words in (("ACL", "SETUSER", "default", "on"), ("ACL", "LIST"), ("CONFIG", "SET", "requirepass", "abc12345")):
            self.assertEqual(answers(*words), "NOPERM", words)
        # Whom Redis's own rules allow it needs no policy, but none may deny it.
        self.iam().delete_user_policy(UserName="ike", PolicyName="own")
        root.execute_command("ACL", "SETUSER", "ike", "+@all")
        self.assertEqual(answers("ACL", "SETUSER", "victim", ">third"), b"OK")
        self.assertNotEqual(answers("ACL", "LIST"), "NOPERM")
        put(("Deny", "iam:PutUserPolicy", user + "victim"))
        self.assertEqual(answers("ACL", "SETUSER", "victim", ">fourth"), "NOPERM")
        self.assertEqual(answers("ACL", "SETUSER", "by-ike", "off"), b"OK")
        root.execute_command("ACL", "SETUSER", "ike", "reset")
        put(("Allow", "*", "*"))
        root.execute_command("ACL", "DELUSER", "by-ike", "victim")

    def test_what_a_door_cannot_tell_denies_there(self):
        key = self.user("hugh", ("Allow", "*", "*"), ("Deny", "s3:PutObject", "*", {"NumericGreaterThan": {"cairn:content-length": 10}}),
                        ("Deny", "s3:ListBucket", "*", {"StringLike": {"s3:prefix": "secret/*"}}))
        r = redis.Redis(port=self.server.resp, username=key[0], password=key[1])
        for words in (("SET", "k", "x" * 100), ("KEYS", "secret/*")):
            with self.assertRaises(redis.exceptions.NoPermissionError):
                r.execute_command(*words)
        self.assertIsNone(r.get("k"))
        self.client("s3", key).put_object(Bucket="photos", Key="hugh", Body=b"short")

    def test_names_of_all_keys_take_a_right(self):
        nobody = self.user("ida")
        r = redis.Redis(port=self.server.resp, username=nobody[0], password=nobody[1], single_connection_client=True)
        with self.assertRaises(redis.exceptions.NoPermissionError):
            r.execute_command("CLIENT", "TRACKING", "ON", "BCAST")
        key = self.user("jane", ("Allow", "resp:client|tracking", "*"))
        r = redis.Redis(port=self.server.resp, username=key[0], password=key[1], single_connection_client=True)
        target = r.client_id()
        self.assertEqual(r.execute_command("CLIENT", "TRACKING", "ON", "REDIRECT", str(target), "BCAST"), b"OK")

    def test_listings_come_in_pages(self):
        iam = self.iam()
        names = ["paged%02d" % i for i in range(25)]
        for name in names:
            iam.create_user(UserName=name, Path="/paged/")
        got, kwargs = [], {}
        while True:
            page = iam.list_users(PathPrefix="/paged/", MaxItems=10, **kwargs)
            got += [u["UserName"] for u in page["Users"]]
            if not page["IsTruncated"]:
                break
            kwargs = {"Marker": page["Marker"]}
        self.assertEqual(got, names)

    # ---- the doors ----

    def test_one_policy_holds_at_all_doors(self):
        key = self.user("reader", ("Allow", "s3:GetObject", "arn:aws:s3:::db0/a:*"),
                        ("Allow", "s3:ListBucket", "arn:aws:s3:::db1"), password="a-good-password")
        root = self.server.redis()
        root.set("a:1", "x")
        root.set("b:1", "y")
        s3 = self.client("s3", key)
        self.assertEqual(s3.get_object(Bucket="db0", Key="a:1")["Body"].read(), b"x")
        self.assertEqual(self.code(s3.get_object, Bucket="db0", Key="b:1"), "AccessDenied")
        self.assertEqual(self.code(s3.list_objects_v2, Bucket="db0"), "AccessDenied")
        self.assertNotIn("Contents", s3.list_objects_v2(Bucket="db1"))
        for user, password in (("reader", "a-good-password"), key):
            r = redis.Redis(port=self.server.resp, username=user, password=password)
            self.assertEqual(r.get("a:1"), b"x")
            self.assertTrue(r.ping())
            for refused in (lambda: r.get("b:1"), lambda: r.mget("a:1", "b:1"), lambda: r.set("a:1", "z")):
                with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "access one of the keys"):
                    refused()
            for words in (["KEYS", "*"], ["FLUSHDB"], ["CONFIG", "GET", "*"], ["PUBLISH", "c", "m"], ["INFO"],
                          ["CLIENT", "LIST"]):
                with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "this user has no permissions to run the '"):
                    r.execute_command(*words)
            with self.assertRaisesRegex(redis.exceptions.NoPermissionError, "access one of the keys|mentioned in the"):
                r.eval("return redis.call('GET', 'b:1')", 0)
            r.execute_command("SELECT", 1)
            self.assertEqual(r.keys(), [])
            rpc = self.rpc(user, password)
            key_of = lambda ns, name: rpc.kv_pb.GetRequest(key=rpc.key(ns, name))
            self.assertEqual(self.rpc_code(rpc, rpc.kv.Get, key_of("db0", "a:1")), "OK")
            self.assertEqual(self.rpc_code(rpc, rpc.kv.Get, key_of("db0", "b:1")), "PERMISSION_DENIED")
            self.assertEqual(self.rpc_code(rpc, rpc.kv.Put, rpc.kv_pb.PutRequest(key=rpc.key("db0", "a:1"), value=b"z")),
                             "PERMISSION_DENIED")
            self.assertEqual(self.rpc_code(rpc, rpc.objects.List, rpc.objects_pb.ListRequest(namespace="db0")), "PERMISSION_DENIED")
            self.assertEqual(self.rpc_code(rpc, rpc.objects.List, rpc.objects_pb.ListRequest(namespace="db1")), "OK")
            self.assertEqual(self.rpc_code(rpc, rpc.objects.CreateBucket, rpc.objects_pb.CreateBucketRequest(name="mine")),
                             "PERMISSION_DENIED")
        # The command line is who a file says, whatever the environment has.
        with tempfile.NamedTemporaryFile("w", suffix=".credentials") as file:
            file.write("reader:a-good-password\n")
            file.flush()
            cairn = lambda *words: subprocess.run(
                [os.path.join(BUILD, "cairn"), "--server=127.0.0.1:%d" % self.server.grpc, "--credentials=" + file.name, *words],
                env=dict(os.environ, CAIRN_ROOT_USER=USER, CAIRN_ROOT_PASSWORD=PASSWORD), capture_output=True, timeout=60)
            self.assertEqual(cairn("get", "db0/a:1").stdout, b"x")
            self.assertEqual(cairn("get", "db0/b:1").returncode, 4)
            self.assertEqual(cairn("put", "db0/a:1", "z").returncode, 4)
        self.assertEqual(root.mget("a:1", "b:1"), [b"x", b"y"])

    def test_a_password_is_asked_for_and_a_connection_loses_what_its_user_does(self):
        self.user("bob", ("Allow", "s3:*", "arn:aws:s3:::db2/*"), password="first-password")
        login = lambda password: redis.Redis(port=self.server.resp, username="bob", password=password, db=2)
        for wrong in ("second-password", "", "first-passwor"):
            with self.assertRaisesRegex(redis.exceptions.RedisError, "invalid username-password pair"):
                redis.Redis(port=self.server.resp).execute_command("AUTH", "bob", wrong)
            self.assertEqual(self.rpc_code(rpc := self.rpc("bob", wrong), rpc.kv.Get,
                                           rpc.kv_pb.GetRequest(key=rpc.key("db2", "k"))), "UNAUTHENTICATED")
        r = login("first-password")
        self.assertTrue(r.set("k", "1"))
        hello = redis.Redis(port=self.server.resp).execute_command("HELLO", "2", "AUTH", "bob", "first-password")
        self.assertIn(b"version", hello)
        self.iam().update_login_profile(UserName="bob", Password="second-password")
        with self.assertRaisesRegex(redis.exceptions.RedisError, "WRONGPASS|invalid username-password"):
            login("first-password").get("k")
        self.assertEqual(login("second-password").get("k"), b"1")
        self.assertEqual(r.get("k"), b"1")  # who is in stays in, as in Redis
        self.iam().put_user_policy(UserName="bob", PolicyName="own", PolicyDocument=policy(("Allow", "s3:GetObject", "*")))
        self.assertEqual(r.get("k"), b"1")
        with self.assertRaises(redis.exceptions.NoPermissionError):
            r.set("k", "2")
        self.iam().delete_login_profile(UserName="bob")
        with self.assertRaisesRegex(redis.exceptions.RedisError, "WRONGPASS|invalid username-password"):
            login("second-password").get("k")

    def test_a_key_ends_and_stays_within_its_boundary(self):
        self.user("carl", ("Allow", "s3:*", "*"))
        def create(**more):
            iam = self.iam()
            # Two parameters are Cairn's own, which no SDK knows.
            iam.meta.events.register("before-call.iam.CreateAccessKey", lambda params, **_: params["body"].update(more))
            made = iam.create_access_key(UserName="carl")["AccessKey"]
            return self.client("s3", (made["AccessKeyId"], made["SecretAccessKey"]))
        thumbs = create(Boundary=policy(("Allow", "s3:GetObject", "arn:aws:s3:::photos/thumbs/*")))
        self.assertEqual(thumbs.get_object(Bucket="photos", Key="thumbs/a")["Body"].read(), b"thumb")
        for call, kwargs in ((thumbs.get_object, {"Key": "a"}), (thumbs.delete_object, {"Key": "thumbs/a"}),
                             (thumbs.list_objects_v2, {})):
            self.assertEqual(self.code(call, Bucket="photos", **kwargs), "AccessDenied")
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=3)
        short = create(ExpiresAt=soon.strftime("%Y-%m-%dT%H:%M:%SZ"))
        while datetime.datetime.now(datetime.timezone.utc) < soon + datetime.timedelta(seconds=1):
            time.sleep(0.2)
        self.assertEqual(self.code(short.get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")

    def test_conditions_are_of_the_request(self):
        key = self.user("dora", ("Allow", "s3:ListBucket", "arn:aws:s3:::photos", {"StringLike": {"s3:prefix": "thumbs/*"}}),
                        ("Allow", "s3:GetObject", "arn:aws:s3:::photos/*", {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
                        ("Allow", "s3:GetObject", "arn:aws:s3:::other/*", {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
                        ("Allow", "s3:PutObject", "arn:aws:s3:::photos/*", {"NumericLessThan": {"cairn:content-length": 10}}),
                        ("Deny", "s3:*", "*", {"StringLike": {"aws:UserAgent": "curl*"}}))
        s3 = self.client("s3", key)
        self.assertEqual(len(s3.list_objects_v2(Bucket="photos", Prefix="thumbs/")["Contents"]), 1)
        self.assertEqual(self.code(s3.list_objects_v2, Bucket="photos"), "AccessDenied")
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(s3.get_object, Bucket="other", Key="a"), "AccessDenied")
        s3.put_object(Bucket="photos", Key="dora", Body=b"123456789")
        self.assertEqual(self.code(s3.put_object, Bucket="photos", Key="dora", Body=b"1234567890"), "AccessDenied")
        self.assertEqual(self.code(self.client("s3", key, user_agent="curl/8").get_object, Bucket="photos", Key="a"), "AccessDenied")
        self.iam().put_user_policy(UserName="dora", PolicyName="tags", PolicyDocument=policy(
            ("Allow", ["s3:PutObject", "s3:PutObjectTagging"], "arn:aws:s3:::photos/tagged/*", {"StringEquals": {"s3:RequestObjectTag/of": "dora"}})))
        s3.put_object(Bucket="photos", Key="tagged/a", Body=b"0123456789", Tagging="of=dora")
        for other in ("of=ann", "for=dora"):
            self.assertEqual(self.code(s3.put_object, Bucket="photos", Key="tagged/a", Body=b"0123456789", Tagging=other), "AccessDenied")
        self.assertEqual(self.code(s3.put_object_tagging, Bucket="photos", Key="tagged/a",
                                   Tagging={"TagSet": [{"Key": "of", "Value": "dora"}]}), "AccessDenied")  # not known yet
        for bad in ({"StringEquals": {"aws:SourceVpc": "x"}}, {"Nonsense": {"s3:prefix": "x"}}):
            self.assertEqual(self.code(self.iam().put_user_policy, UserName="dora", PolicyName="bad",
                                       PolicyDocument=policy(("Deny", "s3:*", "*", bad))), "MalformedPolicyDocument")

    def test_whether_a_key_is_there_is_told_to_who_may_list(self):
        blind = self.client("s3", self.user("fay", ("Allow", "s3:GetObject", "arn:aws:s3:::photos/*")))
        sees = self.client("s3", self.user("gus", ("Allow", "s3:GetObject", "arn:aws:s3:::photos/*"),
                                           ("Allow", "s3:ListBucket", "arn:aws:s3:::photos")))
        self.assertEqual(self.code(blind.get_object, Bucket="photos", Key="none"), "AccessDenied")
        self.assertEqual(self.code(blind.head_object, Bucket="photos", Key="none"), "403")
        self.assertEqual(self.code(sees.get_object, Bucket="photos", Key="none"), "NoSuchKey")
        self.assertEqual(self.code(sees.head_object, Bucket="photos", Key="none"), "404")

    def test_presigned_addresses_have_the_rights_of_their_key(self):
        key = self.user("eve", ("Allow", "s3:GetObject", "arn:aws:s3:::photos/a"))
        s3 = self.client("s3", key)
        url = s3.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "a"})
        self.assertEqual(urllib.request.urlopen(url).read(), b"picture")
        with self.assertRaises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(s3.generate_presigned_url("get_object", Params={"Bucket": "other", "Key": "a"}))
        self.assertEqual(e.exception.code, 403)
        e.exception.close()
        self.iam().update_access_key(UserName="eve", AccessKeyId=key[0], Status="Inactive")
        with self.assertRaises(urllib.error.HTTPError) as e:
            urllib.request.urlopen(url)
        self.assertIn(b"InvalidAccessKeyId", e.exception.read())
        e.exception.close()

    def test_metrics_take_a_right(self):
        self.user("monitor", ("Allow", "admin:metrics", "*"), password="monitors-password")
        self.user("blind", ("Allow", "s3:*", "*"), password="blinds-password")
        def get(user, password):
            token = base64.b64encode(("%s:%s" % (user, password)).encode()).decode()
            request = urllib.request.Request("http://127.0.0.1:%d/-/metrics" % self.server.http,
                                             headers={"Authorization": "Basic " + token})
            try:
                return urllib.request.urlopen(request).status
            except urllib.error.HTTPError as e:
                e.close()
                return e.code
        self.assertEqual([get("monitor", "monitors-password"), get("blind", "blinds-password"), get("monitor", "x")], [200, 403, 401])


class Kept(unittest.TestCase):
    def test_users_outlive_a_crash_and_secrets_need_the_master_key(self):
        server = Server(env={"CAIRN_MASTER_KEY": "11" * 32})
        self.addCleanup(server.remove)
        made = {}
        iam = lambda: boto3.session.Session().client(
            "iam", endpoint_url="http://127.0.0.1:%d" % server.http, aws_access_key_id=USER,
            aws_secret_access_key=PASSWORD, region_name="us-east-1", config=Config(retries={"max_attempts": 0}))
        iam().create_user(UserName="ann")
        iam().put_user_policy(UserName="ann", PolicyName="p", PolicyDocument=policy(("Allow", "s3:*", "*")))
        iam().create_login_profile(UserName="ann", Password="anns-password")
        key = iam().create_access_key(UserName="ann")["AccessKey"]
        self.assertFalse(os.path.exists(os.path.join(server.directory, "data", "master-key")))

        def s3():
            return boto3.session.Session().client(
                "s3", endpoint_url="http://127.0.0.1:%d" % server.http, aws_access_key_id=key["AccessKeyId"],
                aws_secret_access_key=key["SecretAccessKey"], region_name="us-east-1",
                config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}))
        s3().create_bucket(Bucket="anns")
        server.restart()
        s3().head_bucket(Bucket="anns")
        server.stop()
        server.start()
        s3().head_bucket(Bucket="anns")
        self.assertTrue(redis.Redis(port=server.resp, username="ann", password="anns-password").set("a", "b"))
        # What is on disk shows no secret.
        server.stop()
        for base, _, names in os.walk(os.path.join(server.directory, "data")):
            for name in names:
                with open(os.path.join(base, name), "rb") as f:
                    bytes_ = f.read()
                self.assertNotIn(key["SecretAccessKey"].encode(), bytes_)
                self.assertNotIn(b"anns-password", bytes_)
        # With another one, or none, it is not served, and no other is made; with the right one all is as it was.
        for other in ("22" * 32, None):
            server.env.pop("CAIRN_MASTER_KEY")
            if other:
                server.env["CAIRN_MASTER_KEY"] = other
            with self.assertRaisesRegex(RuntimeError, "sealed under another master key"):
                server.start()
            server.process.wait()
            self.assertFalse(os.path.exists(os.path.join(server.directory, "data", "master-key")))
            server.env["CAIRN_MASTER_KEY"] = "11" * 32
            server.start()
            s3().head_bucket(Bucket="anns")
            server.stop()
        server.env["CAIRN_MASTER_KEY"] = "22" * 32
        server.args = ["--repair"]
        server.start()
        with self.assertRaises(ClientError) as e:
            s3().list_buckets()
        self.assertEqual(e.exception.response["Error"]["Code"], "InvalidAccessKeyId")
        self.assertIn("the access key %s of the user ann is deleted" % key["AccessKeyId"], open(server.log.name).read())
        server.stop()
        server.args = []
        server.start()

    def test_audit_log(self):
        """Who did what, at every door; who was refused; no password and no value."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "audit.log")
            server = Server(args=["--audit-log=" + path])
            self.addCleanup(server.remove)
            r = server.redis()
            r.set("key1", "value-of-key1")
            r.execute_command("ACL", "SETUSER", "carl", "on", ">password-of-carl")
            r.execute_command("ACL", "DELUSER", "carl", "nobody")
            iam = boto3.session.Session().client(
                "iam", endpoint_url="http://127.0.0.1:%d" % server.http, aws_access_key_id=USER, aws_secret_access_key=PASSWORD,
                region_name="us-east-1")
            iam.create_user(UserName="ann")
            key = iam.create_access_key(UserName="ann")["AccessKey"]
            ann = redis.Redis(port=server.resp, username=key["AccessKeyId"], password=key["SecretAccessKey"])
            for call in (lambda: ann.get("key1"), lambda: redis.Redis(port=server.resp, username="ann", password="wrong-password").ping()):
                with self.assertRaises(redis.RedisError):
                    call()
            server.s3().create_bucket(Bucket="photos")
            # Tokens that are not believed, and sessions that are refused.
            def as_key(service, made, token):
                return boto3.session.Session().client(
                    service, endpoint_url="http://127.0.0.1:%d" % server.http, aws_access_key_id=made["AccessKeyId"],
                    aws_secret_access_key=made["SecretAccessKey"], aws_session_token=token, region_name="us-east-1")
            made = as_key("sts", key, None).get_session_token()["Credentials"]
            for service, call, who, token in (("s3", "list_buckets", made, made["SessionToken"][:-8] + "AAAAAAA="), ("s3", "list_buckets", key, made["SessionToken"]),
                                              ("iam", "list_groups", made, "x" + made["SessionToken"]), ("iam", "list_groups", made, made["SessionToken"])):
                with self.assertRaises(ClientError):
                    getattr(as_key(service, who, token), call)()
            server.s3().put_object(Bucket="photos", Key="a b", Body=b"value-of-object")
            server.s3().copy_object(Bucket="photos", Key="copy", CopySource="photos/a b")
            server.s3().delete_objects(Bucket="photos", Delete={"Objects": [{"Key": "copy"}, {"Key": "none"}]})
            stubs = server.grpc_stubs()
            stubs.kv.Get(stubs.kv_pb.GetRequest(key=stubs.key("db0", "key1")), metadata=stubs.metadata)
            want = [("resp", "default", "set", "db0", "key1", True), ("resp", "default", "acl|setuser", None, "carl", True),
                    ("resp", "default", "acl|deluser", None, "carl", True), ("resp", "default", "acl|deluser", None, "nobody", True), ("iam", USER, "CreateUser", None, "arn:aws:iam::000000000000:user/ann", True),
                    ("resp", "ann", "get", "db0", "key1", False), ("resp", "ann", "login", None, None, True),
                    ("s3", USER, "PutObject", "photos", "a b", True), ("s3", USER, "GetObject", "photos", "a b", True),
                    ("s3", USER, "DeleteObject", "photos", "copy", True), ("s3", USER, "DeleteObject", "photos", "none", True), ("grpc", "default", "cairn.v1.KeyValue/Get", "db0", "key1", True)]
            text = lambda: open(path).read()

            def lines():
                return [tuple(o.get(k) for k in ("door", "user", "action", "space", "key", "allowed")) for o in map(json.loads, text().splitlines())]
            self.assertTrue(wait_until(lambda: set(want) <= set(lines())), "%r lack in %s" % (set(want) - set(lines()), text()))
            self.assertTrue(any(x[0] == "resp" and x[2] == "login" and not x[5] for x in lines()))
            self.assertEqual(sum(x[0] == "s3" and x[2] == "login" and not x[5] for x in lines()), 3)
            self.assertIn(("iam", "ann", "ListGroups", None, "*", False), lines())
            for secret in ("value-of", "password-of-carl", PASSWORD, "wrong-password", key["SecretAccessKey"]):
                self.assertNotIn(secret, text())
            metrics = urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:%d/-/metrics" % server.http,
                                                                    headers={"Authorization": "Bearer " + PASSWORD})).read()
            self.assertIn(b"\ncairn_audit_lost_lines_total 0\n", metrics)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            os.rename(path, path + ".1")
            server.process.send_signal(signal.SIGHUP)
            self.assertTrue(wait_until(lambda: os.path.exists(path)))
            r.get("key2")
            r.close()
            server.stop()
            self.assertIn("key2", text())

    def test_a_master_key_is_made_where_none_is_given(self):
        server = Server()
        self.addCleanup(server.remove)
        path = os.path.join(server.directory, "data", "master-key")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        first = open(path).read()
        server.restart()
        self.assertEqual(open(path).read(), first)
        self.assertIn("master-key", open(server.log.name).read())
        server.stop()
        os.chmod(path, 0o644)
        with self.assertRaises(RuntimeError):
            server.start()
        os.chmod(path, 0o600)
        server.start()


if __name__ == "__main__":
    unittest.main()
