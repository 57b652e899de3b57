"""STS, as boto3 asks it."""

import datetime
import json
import urllib.request

import admin
from cases import shows
from clients import Case, client, of_session
from server import ACCOUNT, KEY


def trusting(account, *actions):
    """A trust policy for everybody of an account."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": list(actions)}]}


class Sts(Case):
    def setUp(self):
        self.sts = client("sts")

    def role(self, policy=None, trust=None, **more):
        if reason := admin.missing():
            self.skipTest(reason)
        return admin.role(self.called().replace(".", "-"), policy or admin.allow("kinesisvideo:*", "sts:*"), trust, **more)

    def assumed(self, arn, name="session", **more):
        return self.sts.assume_role(RoleArn=arn, RoleSessionName=name, **more)

    @shows("GetCallerIdentity")
    def test_who_i_am(self):
        told = self.sts.get_caller_identity()
        self.assertEqual(told["Account"], ACCOUNT)
        self.assertRegex(told["Arn"], rf"^arn:aws:iam::{ACCOUNT}:")
        self.assertTrue(told["UserId"])
        self.refused("SignatureDoesNotMatch", client("sts", secret="wrong").get_caller_identity)
        self.refused("InvalidClientTokenId", client("sts", key="AKIDNOBODY").get_caller_identity)

    @shows("GetCallerIdentity")
    def test_who_i_am_by_a_presigned_url(self):
        """How other systems let somebody prove who they are."""
        url = self.sts.generate_presigned_url("get_caller_identity", ExpiresIn=60, HttpMethod="GET")
        with urllib.request.urlopen(url, timeout=10) as answer:
            self.assertIn(f"<Account>{ACCOUNT}</Account>", answer.read().decode())

    @shows("GetSessionToken", needs=["ListStreams", "GetCallerIdentity"])
    def test_session_tokens(self):
        before = datetime.datetime.now(datetime.timezone.utc)
        for seconds in (900, 129_600, None):
            given = self.sts.get_session_token(**({"DurationSeconds": seconds} if seconds else {}))["Credentials"]
            self.assertRegex(given["AccessKeyId"], "^ASIA[A-Z0-9]{12,}$")
            for part, most in (("AccessKeyId", 128), ("SecretAccessKey", 128), ("SessionToken", 2048)):
                self.assertLessEqual(len(given[part]), most, "the C SDK has no room for more")
            lasts = (given["Expiration"] - before).total_seconds()
            self.assertAlmostEqual(lasts, seconds or 43_200, delta=10)
            of_session("kinesisvideo", given).list_streams()
        self.assertEqual(of_session("sts", given).get_caller_identity()["Account"], ACCOUNT)
        self.assertNotEqual(given["AccessKeyId"], KEY)

    @shows("AssumeRole", needs=["ListStreams", "GetCallerIdentity", "CreateStream"])
    def test_a_role(self):
        arn = self.role()
        told = self.assumed(arn, "front.door", DurationSeconds=900)
        name = arn.rsplit("/", 1)[1]
        self.assertEqual(told["AssumedRoleUser"]["Arn"], f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/front.door")
        self.assertTrue(told["AssumedRoleUser"]["AssumedRoleId"].endswith(":front.door"))
        self.assertLessEqual(len(told["Credentials"]["SessionToken"]), 2048)
        who = of_session("sts", told["Credentials"]).get_caller_identity()
        self.assertEqual((who["Arn"], who["UserId"]), (told["AssumedRoleUser"]["Arn"], told["AssumedRoleUser"]["AssumedRoleId"]))
        kvs = of_session("kinesisvideo", told["Credentials"])
        kvs.create_stream(StreamName=self.called())
        kvs.list_streams()

    @shows("AssumeRole", needs=["ListStreams", "CreateStream", "DescribeStream"])
    def test_an_inline_policy_narrows_a_role(self):
        arn = self.role(admin.allow("kinesisvideo:DescribeStream", "kinesisvideo:CreateStream"))
        client().create_stream(StreamName=self.called())
        policy = json.dumps(admin.allow("kinesisvideo:DescribeStream", "kinesisvideo:ListStreams"))
        kvs = of_session("kinesisvideo", self.assumed(arn, Policy=policy)["Credentials"])
        kvs.describe_stream(StreamName=self.called())
        self.refused("AccessDeniedException", kvs.list_streams)
        self.refused("AccessDeniedException", kvs.create_stream, StreamName=self.called() + ".2")

    @shows("AssumeRole", needs=["DescribeStream", "CreateStream"])
    def test_tags_of_a_session(self):
        """A policy names the stream by a tag of the session."""
        policy = admin.allow("kinesisvideo:*", resource="arn:aws:kinesisvideo:*:*:stream/${aws:PrincipalTag/camera}/*")
        arn = self.role(policy, trusting(ACCOUNT, "sts:AssumeRole", "sts:TagSession"))
        given = self.assumed(arn, Tags=[{"Key": "camera", "Value": self.called()}])["Credentials"]
        kvs = of_session("kinesisvideo", given)
        kvs.create_stream(StreamName=self.called())
        self.refused("AccessDeniedException", kvs.describe_stream, StreamName=self.called() + ".2")

    @shows("AssumeRole")
    def test_roles_that_trust_somebody_else(self):
        trust = trusting("999999999999", "sts:AssumeRole")
        told = self.refused("AccessDenied", self.assumed, self.role(trust=trust), says="sts:AssumeRole")
        absent = self.refused("AccessDenied", self.assumed, f"arn:aws:iam::{ACCOUNT}:role/no-such-role", says="sts:AssumeRole")
        name = self.called().replace(".", "-")
        self.assertEqual(told.replace(name, "x"), absent.replace("no-such-role", "x"), "nothing about which roles exist")

    @shows("AssumeRole", error="MalformedPolicyDocument")
    def test_policies_that_are_none(self):
        arn = self.role()
        for policy in ("{", "{}", '{"Version":"2012-10-17","Statement":[{"Effect":"Maybe","Action":"*","Resource":"*"}]}'):
            with self.subTest(policy):
                self.refused("MalformedPolicyDocument", self.assumed, arn, Policy=policy)

    @shows("AssumeRole", error="PackedPolicyTooLarge")
    def test_policies_that_are_too_large(self):
        arn = self.role(trust=trusting(ACCOUNT, "sts:AssumeRole", "sts:TagSession"))
        many = [f"arn:aws:kinesisvideo:*:*:stream/{i:04}{'x' * 10}{i * 7919 % 9973:04}/*" for i in range(34)]
        policy = json.dumps(admin.allow("kinesisvideo:DescribeStream", resource=many), separators=(",", ":"))
        self.assertLessEqual(len(policy), 2048)
        tags = [{"Key": f"k{i}", "Value": f"{i * 104729 % 99991}" * 40} for i in range(50)]
        self.refused("PackedPolicyTooLarge", self.assumed, arn, Policy=policy, Tags=[{**t, "Value": t["Value"][:256]} for t in tags])

    @shows("AssumeRole")
    def test_sessions_longer_than_the_role_allows(self):
        arn = self.role(max_session_s=3600)
        self.refused("ValidationError", self.assumed, arn, DurationSeconds=3601)
