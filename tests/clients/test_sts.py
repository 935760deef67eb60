"""Roles, sessions and tokens of OpenID Connect: STS as boto3 calls it, and its credentials at every door."""
import base64
import datetime
import json
import os
import shutil
import tempfile
import unittest
import urllib.parse

import boto3
import grpc
import redis
import requests
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import PASSWORD, PATIENCE, USER, Case, Server
from oidc_issuer import Issuer, Key

ACCOUNT = "000000000000"


def policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": [
        dict(zip(("Effect", "Action", "Resource", "Condition"), s)) for s in statements]})


def trust(*principals, action="sts:AssumeRole", condition=None):
    all = [{"Effect": "Allow", "Principal": p, "Action": action} for p in principals]
    for one in all:
        if condition:
            one["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": all})


class Sessions(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        s3 = cls.server.s3()
        for bucket in ("photos", "other"):
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="a", Body=b"picture")

    def client(self, service, key=(USER, PASSWORD), token=None, **config):
        settings = dict(retries={"max_attempts": 0}, parameter_validation=False, s3={"addressing_style": "path"}, signature_version="v4" if service != "s3" else "s3v4")
        settings.update(config)
        return boto3.session.Session().client(
            service, endpoint_url="http://127.0.0.1:%d" % self.server.http, aws_access_key_id=key[0], aws_secret_access_key=key[1],
            aws_session_token=token, region_name="us-east-1", config=Config(**settings))

    def as_session(self, service, credentials, **config):
        return self.client(service, (credentials["AccessKeyId"], credentials["SecretAccessKey"]), credentials["SessionToken"], **config)

    def iam(self):
        return self.client("iam")

    def user(self, name, *statements):
        self.iam().create_user(UserName=name)
        if statements:
            self.iam().put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy(*statements))
        made = self.iam().create_access_key(UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]

    def role(self, name, trusted, *statements, **more):
        role = self.iam().create_role(RoleName=name, AssumeRolePolicyDocument=trusted, **more)["Role"]
        if statements:
            self.iam().put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=policy(*statements))
        return role["Arn"]

    def code(self, call, **kwargs):
        with self.assertRaises(ClientError) as e:
            call(**kwargs)
        return e.exception.response["Error"]["Code"]

    def arn(self, user):
        return "arn:aws:iam::%s:user/%s" % (ACCOUNT, user)

    # ---- roles ----

    def test_roles_are_managed_as_awss(self):
        iam = self.iam()
        self.user("keeper")
        document = trust({"AWS": self.arn("keeper")})
        made = iam.create_role(RoleName="reader", Path="/app/", AssumeRolePolicyDocument=document, Description="reads", MaxSessionDuration=7200)["Role"]
        self.assertEqual((made["Arn"], made["MaxSessionDuration"], made["Description"]), ("arn:aws:iam::%s:role/app/reader" % ACCOUNT, 7200, "reads"))
        self.assertTrue(made["RoleId"].startswith("AROA"))
        self.assertEqual(iam.get_role(RoleName="READER")["Role"]["AssumeRolePolicyDocument"], json.loads(document))
        self.assertIn("reader", [r["RoleName"] for r in iam.list_roles(PathPrefix="/app/")["Roles"]])
        self.assertEqual(self.code(iam.create_role, RoleName="Reader", AssumeRolePolicyDocument=document), "EntityAlreadyExists")
        iam.put_role_policy(RoleName="reader", PolicyName="own", PolicyDocument=policy(("Allow", "s3:GetObject", "*")))
        self.assertEqual(iam.list_role_policies(RoleName="reader")["PolicyNames"], ["own"])
        self.assertEqual(iam.get_role_policy(RoleName="reader", PolicyName="own")["PolicyDocument"]["Statement"][0]["Action"], "s3:GetObject")
        named = iam.create_policy(PolicyName="of-roles", PolicyDocument=policy(("Allow", "s3:ListBucket", "*")))["Policy"]["Arn"]
        iam.attach_role_policy(RoleName="reader", PolicyArn=named)
        self.assertEqual([p["PolicyName"] for p in iam.list_attached_role_policies(RoleName="reader")["AttachedPolicies"]], ["of-roles"])
        self.assertEqual([r["RoleName"] for r in iam.list_entities_for_policy(PolicyArn=named)["PolicyRoles"]], ["reader"])
        self.assertEqual(self.code(iam.delete_policy, PolicyArn=named), "DeleteConflict")
        self.assertEqual(self.code(iam.delete_role, RoleName="reader"), "DeleteConflict")
        iam.update_role(RoleName="reader", Description="", MaxSessionDuration=3600)
        iam.update_assume_role_policy(RoleName="reader", PolicyDocument=trust({"AWS": ACCOUNT}))
        self.assertEqual(iam.get_role(RoleName="reader")["Role"]["AssumeRolePolicyDocument"], json.loads(trust({"AWS": ACCOUNT})))
        iam.detach_role_policy(RoleName="reader", PolicyArn=named)
        iam.delete_role_policy(RoleName="reader", PolicyName="own")
        iam.delete_role(RoleName="reader")
        iam.delete_policy(PolicyArn=named)
        self.assertEqual(self.code(iam.get_role, RoleName="reader"), "NoSuchEntity")

    def test_what_is_no_trust_is_refused(self):
        create = self.iam().create_role
        self.user("trusted")
        for document in (trust({"AWS": self.arn("nobody-such")}), policy(("Allow", "sts:AssumeRole", "*")),
                         trust({"AWS": self.arn("trusted")}, action="s3:GetObject"), trust({"Service": "ec2.amazonaws.com"}),
                         trust({"AWS": ACCOUNT}, condition={"StringEquals": {"aws:PrincipalTag/a": "b"}}),
                         trust({"Federated": "cognito-identity.amazonaws.com"}), "{", "{}"):
            self.assertEqual(self.code(create, RoleName="bad", AssumeRolePolicyDocument=document), "MalformedPolicyDocument", document)
        self.assertEqual(self.code(create, RoleName="bad", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}, condition={"StringEquals": {"aws:userid": "x" * 3000}})),
                         "LimitExceeded")
        for seconds in (3599, 43201):
            self.assertEqual(self.code(create, RoleName="bad", AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}), MaxSessionDuration=seconds), "ValidationError")

    def test_whom_a_role_trusts(self):
        key = self.user("ann")
        other = self.user("bob", ("Allow", "sts:AssumeRole", "*"))
        denied = self.user("eve", ("Deny", "sts:*", "*"))
        by_name = self.role("by-name", trust({"AWS": [self.arn("ann"), self.arn("eve")]}))
        of_account = self.role("of-account", trust({"AWS": "arn:aws:iam::%s:root" % ACCOUNT}))
        outside = self.role("outside", trust({"AWS": ACCOUNT}, condition={"StringEquals": {"sts:ExternalId": "7", "sts:RoleSessionName": "right"}}))
        assume = lambda key, role, name="right", **more: self.client("sts", key).assume_role(RoleArn=role, RoleSessionName=name, **more)
        answer = assume(key, by_name)
        self.assertEqual(answer["AssumedRoleUser"]["Arn"], "arn:aws:sts::%s:assumed-role/by-name/right" % ACCOUNT)
        self.assertTrue(answer["Credentials"]["AccessKeyId"].startswith("ASIA"))
        who = self.as_session("sts", answer["Credentials"]).get_caller_identity()
        self.assertEqual((who["Arn"], who["UserId"]), (answer["AssumedRoleUser"]["Arn"], answer["AssumedRoleUser"]["AssumedRoleId"]))
        assume(other, of_account)
        assume(other, outside, ExternalId="7")
        refused = [(key, of_account, "right", {}), (other, by_name, "right", {}), (denied, by_name, "right", {}), (other, outside, "right", {}),
                   (other, outside, "wrong", {"ExternalId": "7"}), (other, outside, "right", {"ExternalId": "8"}), ((USER, PASSWORD), of_account, "right", {}),
                   (other, of_account + "x", "right", {})]
        for who, role, name, more in refused:
            self.assertEqual(self.code(lambda **_: assume(who, role, name, **more)), "AccessDenied", (who[0], role, name, more))

    def test_a_user_made_again_is_not_the_one_who_was_trusted(self):
        self.user("gone", ("Allow", "sts:AssumeRole", "*"))
        role = self.role("of-gone", trust({"AWS": self.arn("gone")}), ("Allow", "s3:*", "*"))
        iam = self.iam()
        first = iam.get_user(UserName="gone")["User"]["UserId"]
        s3 = self.server.s3()
        s3.put_bucket_policy(Bucket="other", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": self.arn("gone")}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::other/*"}]}))
        self.assertIn(self.arn("gone"), s3.get_bucket_policy(Bucket="other")["Policy"])
        for key in iam.list_access_keys(UserName="gone")["AccessKeyMetadata"]:
            iam.delete_access_key(UserName="gone", AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName="gone", PolicyName="own")
        iam.delete_user(UserName="gone")
        self.assertIn(first, s3.get_bucket_policy(Bucket="other")["Policy"])
        again = self.user("gone", ("Allow", "sts:AssumeRole", "*"))
        self.assertIn(first, s3.get_bucket_policy(Bucket="other")["Policy"])
        self.assertEqual(self.code(self.client("sts", again).assume_role, RoleArn=role, RoleSessionName="s1"), "AccessDenied")
        self.assertEqual(self.code(self.client("s3", again).get_object, Bucket="other", Key="a"), "AccessDenied")
        s3.put_bucket_policy(Bucket="other", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": self.arn("gone")}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::other/*"}]}))
        self.assertEqual(self.client("s3", again).get_object(Bucket="other", Key="a")["Body"].read(), b"picture")
        iam.update_user(UserName="gone", NewUserName="renamed")
        self.assertIn(self.arn("renamed"), s3.get_bucket_policy(Bucket="other")["Policy"])
        self.assertEqual(self.client("s3", again).get_object(Bucket="other", Key="a")["Body"].read(), b"picture")
        s3.delete_bucket_policy(Bucket="other")

    # ---- sessions ----

    def test_a_session_is_taken_at_every_door(self):
        key = self.user("doors")
        self.role("at-doors", trust({"AWS": self.arn("doors")}), ("Allow", "s3:GetObject", ["arn:aws:s3:::photos/*", "arn:aws:s3:::db0/*"]),
                  ("Allow", "s3:PutObject", "arn:aws:s3:::photos/*"))
        made = self.client("sts", key).assume_role(RoleArn="arn:aws:iam::%s:role/at-doors" % ACCOUNT, RoleSessionName="s1")["Credentials"]
        self.server.redis().set("k", "v")
        s3 = self.as_session("s3", made)
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(s3.get_object, Bucket="other", Key="a"), "AccessDenied")
        for version in ("s3v4", "s3"):
            client = self.as_session("s3", made, signature_version=version)
            url = client.generate_presigned_url("get_object", Params={"Bucket": "photos", "Key": "a"})
            self.assertEqual(requests.get(url, timeout=PATIENCE).content, b"picture", version)
            self.assertEqual(client.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture", version)
            wrong = url.replace("ecurity-token=", "ecurity-token=A").replace("ecurity-Token=", "ecurity-Token=A")
            self.assertNotEqual(wrong, url)
            self.assertIn("<Code>InvalidToken</Code>", requests.get(wrong, timeout=PATIENCE).text)
        form = s3.generate_presigned_post("photos", "posted")
        self.assertIn("x-amz-security-token", form["fields"])
        self.assertEqual(requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=PATIENCE).status_code, 204)
        less = {k: v for k, v in form["fields"].items() if k != "x-amz-security-token"}
        self.assertIn("<Code>InvalidAccessKeyId</Code>", requests.post(form["url"], data=less, files={"file": b"x"}, timeout=PATIENCE).text)
        password = made["SecretAccessKey"] + ":" + made["SessionToken"]
        r = redis.Redis(port=self.server.resp, username=made["AccessKeyId"], password=password)
        self.assertEqual(r.get("k"), b"v")
        with self.assertRaises(redis.ResponseError):
            r.set("k", "w")
        with self.assertRaises((redis.AuthenticationError, redis.ResponseError)):
            redis.Redis(port=self.server.resp, username=made["AccessKeyId"], password=made["SecretAccessKey"]).ping()
        stubs = self.server.grpc_stubs()
        metadata = [("authorization", "Basic " + base64.b64encode((made["AccessKeyId"] + ":" + password).encode()).decode())]
        got = stubs.kv.Get(stubs.kv_pb.GetRequest(key=stubs.key("db0", "k")), metadata=metadata, timeout=PATIENCE)
        self.assertEqual(got.value.value, b"v")
        with self.assertRaises(grpc.RpcError) as e:
            stubs.kv.Delete(stubs.kv_pb.DeleteRequest(key=stubs.key("db0", "k")), metadata=metadata, timeout=PATIENCE)
        self.assertEqual(e.exception.code(), grpc.StatusCode.PERMISSION_DENIED)
        # What the role loses its sessions lose, whatever stands.
        self.iam().put_role_policy(RoleName="at-doors", PolicyName="own", PolicyDocument=policy(("Allow", "s3:GetObject", "arn:aws:s3:::photos/*")))
        with self.assertRaises(redis.ResponseError):
            r.get("k")
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.iam().delete_role_policy(RoleName="at-doors", PolicyName="own")
        self.iam().delete_role(RoleName="at-doors")
        self.assertEqual(self.code(s3.get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        self.assertEqual(self.code(self.as_session("sts", made).get_caller_identity), "InvalidClientTokenId")
        with self.assertRaises((redis.ResponseError, redis.ConnectionError)):
            r.get("k")

    def test_a_token_goes_with_its_key_alone(self):
        key = self.user("tokens", ("Allow", "s3:*", "*"))
        first, second = (self.client("sts", key).get_session_token()["Credentials"] for _ in range(2))
        get = lambda key, secret, token: self.code(self.client("s3", (key, secret), token).get_object, Bucket="photos", Key="a")
        self.assertEqual(self.as_session("s3", first).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(get(first["AccessKeyId"], first["SecretAccessKey"], second["SessionToken"]), "InvalidToken")
        self.assertEqual(get(first["AccessKeyId"], first["SecretAccessKey"], first["SessionToken"][:-8] + "AAAAAAA="), "InvalidToken")
        self.assertEqual(get(first["AccessKeyId"], first["SecretAccessKey"], "x" * 9000), "InvalidToken")
        self.assertEqual(get(first["AccessKeyId"], first["SecretAccessKey"], None), "InvalidAccessKeyId")
        self.assertEqual(get(key[0], key[1], first["SessionToken"]), "InvalidToken")
        self.assertEqual(get(first["AccessKeyId"], "wrong", first["SessionToken"]), "SignatureDoesNotMatch")

    def test_a_user_session_is_the_user_for_a_while(self):
        key = self.user("whiler", ("Allow", "s3:GetObject", "*"), ("Allow", "iam:*", "*"))
        sts = self.client("sts", key)
        for seconds in (899, 129601):
            self.assertEqual(self.code(sts.get_session_token, DurationSeconds=seconds), "ValidationError")
        made = sts.get_session_token(DurationSeconds=900)["Credentials"]
        left = (made["Expiration"] - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
        self.assertLessEqual(left, 901)
        self.assertEqual(self.as_session("sts", made).get_caller_identity()["Arn"], self.arn("whiler"))
        self.assertEqual(self.as_session("s3", made).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(self.as_session("sts", made).get_session_token), "AccessDenied")
        self.assertEqual(self.code(self.as_session("iam", made).create_access_key, UserName="whiler"), "InvalidClientTokenId")
        self.iam().update_access_key(UserName="whiler", AccessKeyId=key[0], Status="Inactive")
        self.assertEqual(self.code(self.as_session("s3", made).get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
        self.iam().update_access_key(UserName="whiler", AccessKeyId=key[0], Status="Active")
        self.assertEqual(self.as_session("s3", made).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        root = self.client("sts").get_session_token()["Credentials"]
        self.assertEqual(self.as_session("sts", root).get_caller_identity()["Arn"], "arn:aws:iam::%s:root" % ACCOUNT)
        self.assertEqual(self.as_session("s3", root).get_object(Bucket="other", Key="a")["Body"].read(), b"picture")

    def test_a_session_is_within_its_policies(self):
        key = self.user("within")
        role = self.role("whole", trust({"AWS": self.arn("within")}), ("Allow", "s3:*", "*"))
        named = self.iam().create_policy(PolicyName="within-named", PolicyDocument=policy(("Allow", "s3:GetObject", "arn:aws:s3:::other/*")))["Policy"]["Arn"]
        assume = lambda **more: self.client("sts", key).assume_role(RoleArn=role, RoleSessionName="s1", **more)
        answer = assume(Policy=policy(("Allow", "s3:GetObject", "arn:aws:s3:::photos/*")))
        self.assertGreater(answer["PackedPolicySize"], 0)
        s3 = self.as_session("s3", answer["Credentials"])
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(s3.get_object, Bucket="other", Key="a"), "AccessDenied")
        self.assertEqual(self.code(s3.put_object, Bucket="photos", Key="b"), "AccessDenied")
        both = self.as_session("s3", assume(Policy=policy(("Allow", "s3:GetObject", "arn:aws:s3:::photos/*")), PolicyArns=[{"arn": named}])["Credentials"])
        for bucket in ("photos", "other"):
            self.assertEqual(both.get_object(Bucket=bucket, Key="a")["Body"].read(), b"picture")
        self.iam().create_policy_version(PolicyArn=named, PolicyDocument=policy(("Deny", "s3:*", "*")), SetAsDefault=True)
        self.assertEqual(self.code(both.get_object, Bucket="photos", Key="a"), "AccessDenied")
        self.assertEqual(self.code(assume, Policy="{"), "MalformedPolicyDocument")
        self.assertEqual(self.code(assume, Policy=policy(("Allow", "s3:NoSuch", "*"))), "MalformedPolicyDocument")
        self.assertEqual(self.code(assume, Policy=policy(("Allow", "iam:NoSuch", "*"))), "MalformedPolicyDocument")
        self.assertEqual(self.code(assume, Policy=policy(("Allow", "s3:GetObject", "arn:aws:s3:::" + "x" * 2048))), "PackedPolicyTooLarge")
        self.assertEqual(self.code(assume, DurationSeconds=3601), "ValidationError")
        self.assertEqual(self.code(assume, DurationSeconds=899), "ValidationError")
        self.assertEqual(self.code(assume, Tags=[{"Key": "a", "Value": "b"}]), "ValidationError")

    def test_who_is_bounded_assumes_no_role(self):
        self.user("bounded")
        role = self.role("unbounded", trust({"AWS": self.arn("bounded")}), ("Allow", "s3:*", "*"))
        form = urllib.parse.urlencode({"Action": "CreateAccessKey", "Version": "2010-05-08", "UserName": "bounded",
                                       "Boundary": policy(("Allow", ["sts:*", "s3:GetObject"], "*"))})
        made = self.signed_call("iam", form)
        key = [made.split("<%s>" % tag)[1].split("<")[0] for tag in ("AccessKeyId", "SecretAccessKey")]
        self.assertEqual(self.code(self.client("sts", key).assume_role, RoleArn=role, RoleSessionName="s1"), "AccessDenied")
        # What is his for a while is within the same.
        made = self.client("sts", key).get_session_token()["Credentials"]
        self.iam().put_user_policy(UserName="bounded", PolicyName="own", PolicyDocument=policy(("Allow", "s3:*", "*")))
        s3 = self.as_session("s3", made)
        self.assertEqual(s3.get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(s3.put_object, Bucket="photos", Key="b"), "AccessDenied")

    def signed_call(self, service, form):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
        request = AWSRequest("POST", "http://127.0.0.1:%d/" % self.server.http, data=form, headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
        SigV4Auth(Credentials(USER, PASSWORD), service, "us-east-1").add_auth(request)
        answer = requests.post(request.url, data=form, headers=dict(request.headers), timeout=PATIENCE)
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.text

    def test_roles_in_a_chain_end_within_an_hour(self):
        key = self.user("chain")
        first = self.role("first", trust({"AWS": self.arn("chain")}), ("Allow", "sts:AssumeRole", "*"), ("Allow", "iam:GetUser", "*"))
        second = self.role("second", trust({"AWS": first}), ("Allow", "s3:GetObject", "*"), MaxSessionDuration=7200)
        made = self.client("sts", key).assume_role(RoleArn=first, RoleSessionName="s1")["Credentials"]
        sts = self.as_session("sts", made)
        chained = sts.assume_role(RoleArn=second, RoleSessionName="s2")["Credentials"]
        self.assertEqual(self.as_session("s3", chained).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
        self.assertEqual(self.code(sts.assume_role, RoleArn=second, RoleSessionName="s2", DurationSeconds=7200), "ValidationError")
        self.assertEqual(self.code(self.client("sts", key).assume_role, RoleArn=second, RoleSessionName="s2"), "AccessDenied")
        # A role is no user.
        self.assertEqual(self.code(self.as_session("iam", made).get_user), "ValidationError")
        self.assertEqual(self.as_session("iam", made).get_user(UserName="chain")["User"]["UserName"], "chain")
        # And it ends with who began it.
        iam = self.iam()
        iam.delete_access_key(UserName="chain", AccessKeyId=key[0])
        self.assertEqual(self.code(self.as_session("s3", chained).get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")

    def test_a_bucket_may_name_a_role(self):
        key = self.user("named")
        role = self.role("in-bucket", trust({"AWS": self.arn("named")}))
        made = self.client("sts", key).assume_role(RoleArn=role, RoleSessionName="s1")["Credentials"]
        get = lambda: self.as_session("s3", made).get_object(Bucket="photos", Key="a")
        self.assertEqual(self.code(get), "AccessDenied")
        self.server.s3().put_bucket_policy(Bucket="photos", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": role}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/*",
             "Condition": {"StringEquals": {"aws:PrincipalType": "AssumedRole", "aws:PrincipalAccount": ACCOUNT}, "ArnEquals": {"aws:PrincipalArn": role},
                           "DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}}]}))
        self.addCleanup(self.server.s3().delete_bucket_policy, Bucket="photos")
        self.assertEqual(get()["Body"].read(), b"picture")
        self.assertEqual(json.loads(self.server.s3().get_bucket_policy(Bucket="photos")["Policy"])["Statement"][0]["Principal"], {"AWS": role})
        # All that was given out before a moment can be taken back.
        self.iam().put_role_policy(RoleName="in-bucket", PolicyName="revoke", PolicyDocument=policy(
            ("Deny", "*", "*", {"DateLessThan": {"aws:TokenIssueTime": "2100-01-01T00:00:00Z"}})))
        self.assertEqual(self.code(get), "AccessDenied")

    def test_writes_may_have_to_be_conditional(self):
        key = self.user("writer", ("Allow", "s3:*", "*"))
        s3, conditional = self.client("s3", key), self.client("s3", key)
        conditional.meta.events.register("before-sign.s3", lambda request, **_: request.headers.add_header("If-None-Match", "*"))
        self.server.s3().create_bucket(Bucket="conditional")
        self.server.s3().put_bucket_policy(Bucket="conditional", Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::conditional/*",
             "Condition": {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}}]}))
        self.assertEqual(self.code(s3.put_object, Bucket="conditional", Key="a"), "AccessDenied")
        conditional.put_object(Bucket="conditional", Key="a")
        upload = s3.create_multipart_upload(Bucket="conditional", Key="b")["UploadId"]
        tag = s3.upload_part(Bucket="conditional", Key="b", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
        self.assertEqual(self.code(s3.complete_multipart_upload, Bucket="conditional", Key="b", UploadId=upload, MultipartUpload=parts), "AccessDenied")
        conditional.complete_multipart_upload(Bucket="conditional", Key="b", UploadId=upload, MultipartUpload=parts)

    # ---- OpenID Connect ----

    def issuer(self, **kwargs):
        issuer = Issuer(**kwargs)
        self.addCleanup(issuer.close)
        return issuer

    def provider(self, issuer, *client_ids):
        made = self.iam().create_open_id_connect_provider(
            Url=issuer.url, ClientIDList=list(client_ids or ("cairn",)), ThumbprintList=[issuer.thumbprint] if issuer.thumbprint else [])
        return made["OpenIDConnectProviderArn"]

    def web(self, role, token, **more):
        return self.client("sts", signature_version=UNSIGNED).assume_role_with_web_identity(
            RoleArn=role, RoleSessionName=more.pop("name", "web"), WebIdentityToken=token, **more)

    def test_providers_are_managed_as_awss(self):
        iam, issuer = self.iam(), self.issuer()
        arn = self.provider(issuer, "one")
        self.assertEqual(arn, "arn:aws:iam::%s:oidc-provider/%s" % (ACCOUNT, issuer.name))
        self.assertIn(arn, [p["Arn"] for p in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]])
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="two")
        iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="one")
        iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["A" * 40])
        got = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.assertEqual((got["Url"], got["ClientIDList"], got["ThumbprintList"]), (issuer.name, ["two"], ["a" * 40]))
        self.assertEqual(self.code(iam.create_open_id_connect_provider, Url=issuer.url), "EntityAlreadyExists")
        for url in ("ftp://a.b", "http://example.com", "https://a.b/?x=1", "https://a.b/", "https://"):
            self.assertEqual(self.code(iam.create_open_id_connect_provider, Url=url), "InvalidInput", url)
        self.assertEqual(self.code(iam.create_open_id_connect_provider, Url="https://a.b", ThumbprintList=["x" * 40]), "ValidationError")
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.assertEqual(self.code(iam.get_open_id_connect_provider, OpenIDConnectProviderArn=arn), "NoSuchEntity")

    def test_a_token_of_a_provider_opens_a_role(self):
        for secure in (False, True):
            issuer = self.issuer(secure=secure)
            provider = self.provider(issuer)
            name = "web-%d" % secure
            condition = {"StringEquals": {issuer.name + ":aud": "cairn"}, "StringLike": {issuer.name + ":sub": "runner-*"}}
            role = self.role(name, trust({"Federated": provider}, action="sts:AssumeRoleWithWebIdentity", condition=condition), ("Allow", "s3:GetObject", "*"))
            for key in (0, 1):
                answer = self.web(role, issuer.token(key))
                self.assertEqual((answer["SubjectFromWebIdentityToken"], answer["Audience"], answer["Provider"]), ("runner-1", "cairn", provider))
                self.assertEqual(answer["AssumedRoleUser"]["Arn"], "arn:aws:sts::%s:assumed-role/%s/web" % (ACCOUNT, name))
                self.assertEqual(self.as_session("s3", answer["Credentials"]).get_object(Bucket="photos", Key="a")["Body"].read(), b"picture")
            self.assertEqual(issuer.asked, 2)
            self.assertEqual(self.code(lambda: self.web(role, issuer.token(sub="other"))), "AccessDenied")
            # What its provider loses the session does too.
            self.iam().delete_open_id_connect_provider(OpenIDConnectProviderArn=provider)
            self.assertEqual(self.code(self.as_session("s3", answer["Credentials"]).get_object, Bucket="photos", Key="a"), "InvalidAccessKeyId")
            self.assertEqual(self.code(lambda: self.web(role, issuer.token())), "InvalidIdentityToken")

    def test_tokens_that_are_refused(self):
        issuer = self.issuer()
        role = self.role("web-refused", trust({"Federated": self.provider(issuer, "cairn", "party")}, action="sts:AssumeRoleWithWebIdentity"), MaxSessionDuration=3600)
        other = self.role("no-web", trust({"AWS": "*"}, action="sts:*"))
        good = issuer.token()
        self.web(role, good)
        now = issuer.claims()["iat"]
        stranger = Key("rsa-1", "RS256")
        head, claims, signature = good.split(".")
        cases = [
            ("InvalidIdentityToken", "x.y.z"), ("InvalidIdentityToken", "abcd"), ("InvalidIdentityToken", good + ".x"), ("InvalidIdentityToken", good[:-3]),
            ("InvalidIdentityToken", ".".join((head, claims[:-2] + "AA", signature))), ("InvalidIdentityToken", ".".join((head, claims, ""))),
            ("InvalidIdentityToken", issuer.token(by=stranger)), ("InvalidIdentityToken", issuer.token(head={"alg": "none"})),
            ("InvalidIdentityToken", issuer.token(head={"alg": "HS256"})), ("InvalidIdentityToken", issuer.token(head={"alg": "ES256"})),
            ("InvalidIdentityToken", issuer.token(head={"crit": ["exp"]})), ("InvalidIdentityToken", issuer.token(iss=issuer.url + "/")),
            ("InvalidIdentityToken", issuer.token(iss="https" + issuer.url[4:])), ("InvalidIdentityToken", issuer.token(aud="other")),
            ("InvalidIdentityToken", issuer.token(iss=[issuer.url])), ("InvalidIdentityToken", issuer.token(sub=["runner-1"])),
            ("InvalidIdentityToken", issuer.token(aud=["cairn", 7])), ("InvalidIdentityToken", issuer.token(head={"kid": 5})),
            ("InvalidIdentityToken", issuer.token(aud=None)), ("InvalidIdentityToken", issuer.token(azp="other")),
            ("ExpiredTokenException", issuer.token(exp=now - 1, iat=now - 600)), ("IDPRejectedClaim", issuer.token(nbf=now + 600)),
            ("IDPRejectedClaim", issuer.token(iat=now + 600)), ("IDPRejectedClaim", issuer.token(sub=None)), ("IDPRejectedClaim", issuer.token(exp=None)),
            ("InvalidIdentityToken", issuer.token(exp="soon")), ("InvalidIdentityToken", issuer.token(x="y" * 20000))]
        for code, token in cases:
            self.assertEqual(self.code(lambda: self.web(role, token)), code, token[:200])
        # Anybody is not whom a provider identified.
        self.assertEqual(self.code(lambda: self.web(other, good)), "AccessDenied")
        self.assertEqual(self.code(lambda: self.web(role + "x", good)), "AccessDenied")
        self.assertEqual(self.code(lambda: self.web(role, good, DurationSeconds=7200)), "ValidationError")
        self.web(role, issuer.token(aud=["other", "cairn"], head={"kid": None}))
        self.web(role, issuer.token(aud="other", azp="party", nbf=now + 10))
        # What nobody signed is of no use else.
        self.assertEqual(self.code(self.client("sts", signature_version=UNSIGNED).get_session_token), "MissingAuthenticationToken")

    def test_a_provider_that_does_not_answer(self):
        issuer = self.issuer()
        issuer.broken = True
        role = self.role("web-broken", trust({"Federated": self.provider(issuer)}, action="sts:AssumeRoleWithWebIdentity"))
        self.assertEqual(self.code(lambda: self.web(role, issuer.token())), "IDPCommunicationError")
        asked = issuer.asked
        self.assertEqual(self.code(lambda: self.web(role, issuer.token())), "IDPCommunicationError")
        self.assertEqual(issuer.asked, asked)  # whoever asks again at once is told the same
        secure = self.issuer(secure=True)
        secure.thumbprint = "0" * 40
        role = self.role("web-pinned", trust({"Federated": self.provider(secure)}, action="sts:AssumeRoleWithWebIdentity"))
        self.assertEqual(self.code(lambda: self.web(role, secure.token())), "IDPCommunicationError")
        self.assertEqual(secure.asked, 0)


class Started(unittest.TestCase):
    def test_keys_of_a_file_and_sessions_over_a_restart(self):
        issuer = Issuer()
        issuer.close()  # it is not asked
        home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, home)
        keys = os.path.join(home, "keys.json")
        with open(keys, "w") as f:
            json.dump({"keys": [k.jwk() for k in issuer.keys] + [{"kty": "oct", "k": "AAAA"}]}, f)
        server = Server(args=["--oidc-jwks=%s %s" % (issuer.url, keys)])
        self.addCleanup(server.remove)
        client = lambda service, key=(USER, PASSWORD), token=None, **config: boto3.session.Session().client(
            service, endpoint_url="http://127.0.0.1:%d" % server.http, aws_access_key_id=key[0], aws_secret_access_key=key[1], aws_session_token=token,
            region_name="us-east-1", config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}, **config))
        server.s3().create_bucket(Bucket="photos")
        server.s3().put_object(Bucket="photos", Key="a", Body=b"picture")
        iam = client("iam")
        provider = iam.create_open_id_connect_provider(Url=issuer.url, ClientIDList=["cairn"], ThumbprintList=[])["OpenIDConnectProviderArn"]
        role = iam.create_role(RoleName="web", AssumeRolePolicyDocument=trust({"Federated": provider}, action="sts:AssumeRoleWithWebIdentity"))["Role"]["Arn"]
        iam.put_role_policy(RoleName="web", PolicyName="own", PolicyDocument=policy(("Allow", "s3:GetObject", "*")))
        made = client("sts", signature_version=UNSIGNED).assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="web", WebIdentityToken=issuer.token(1))["Credentials"]
        get = lambda: client("s3", (made["AccessKeyId"], made["SecretAccessKey"]), made["SessionToken"]).get_object(Bucket="photos", Key="a")
        self.assertEqual(get()["Body"].read(), b"picture")
        server.args = []
        server.restart()
        self.assertEqual(get()["Body"].read(), b"picture")
        self.assertEqual(client("iam").get_role(RoleName="web")["Role"]["Arn"], role)


if __name__ == "__main__":
    unittest.main()
