"""AssumeRoleWithWebIdentity: how browsers and other systems get credentials without a secret of this server."""

import hashlib
import json
import unittest

import admin
from botocore import UNSIGNED
from cases import not_served, shows
from clients import Case, client, of_session
from oidc import Provider
WEB = "AssumeRoleWithWebIdentity"


class WebIdentity(Case):
    @classmethod
    def setUpClass(cls):
        if reason := not_served([WEB]):
            raise unittest.SkipTest(reason)
        cls.provider = Provider()
        cls.addClassCleanup(cls.provider.stop)
        cls.added = admin.call("POST", "/v1/oidc-providers", {"url": cls.provider.url, "client_ids": ["page"], "allow_local": True})

    def role(self, **conditions):
        self.assertEqual(self.added[0], 201, self.added)
        return admin.role(self.called().replace(".", "-"), admin.allow("kinesisvideo:ListStreams"), self.provider.trust(**conditions))

    def assumed(self, role, token, **more):
        """By a client that has no credentials, and signs nothing."""
        sts = client("sts", key=None, secret=None, signature_version=UNSIGNED)
        return sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="browser", WebIdentityToken=token, **more)

    @shows(WEB, needs=["ListStreams", "GetCallerIdentity"])
    def test_a_token_is_exchanged_for_credentials(self):
        role = self.role(aud="page", sub="ann")
        told = self.assumed(role, self.provider.token(), DurationSeconds=900)
        self.assertEqual((told["SubjectFromWebIdentityToken"], told["Audience"]), ("ann", "page"))
        self.assertTrue(told["Provider"].endswith(self.provider.name))
        self.assertRegex(told["AssumedRoleUser"]["Arn"], "assumed-role/.*/browser$")
        credentials = told["Credentials"]
        self.assertEqual(of_session("sts", credentials).get_caller_identity()["Arn"], told["AssumedRoleUser"]["Arn"])
        of_session("kinesisvideo", credentials).list_streams()
        self.refused("AccessDeniedException", of_session("kinesisvideo", credentials).describe_stream, StreamName="none")

    @shows(WEB)
    def test_somebody_whom_the_role_does_not_trust(self):
        role = self.role(sub="ann")
        self.refused("AccessDenied", self.assumed, role, self.provider.token(sub="bob"))
        self.assumed(role, self.provider.token())

    @shows(WEB, error="InvalidIdentityToken")
    def test_tokens_that_do_not_hold(self):
        role = self.role(sub="ann")
        token = self.provider.token()
        head, body, signature = token.split(".")
        other = self.provider.token(sub="bob").split(".")[1]
        for wrong in (f"{head}.{other}.{signature}", f"{head}.{body}.{signature[:-8]}AAAAAAAA", "a.b.c", self.provider.token(aud="another"), self.provider.token(iss="https://elsewhere.example")):
            with self.subTest(wrong[:40]):
                self.refused("InvalidIdentityToken", self.assumed, role, wrong)

    @shows(WEB, error="ExpiredTokenException")
    def test_a_token_that_has_expired(self):
        self.refused("ExpiredTokenException", self.assumed, self.role(sub="ann"), self.provider.token(expires=-120))

    @shows(WEB, error="MalformedPolicyDocument")
    def test_a_policy_that_is_none(self):
        self.refused("MalformedPolicyDocument", self.assumed, self.role(sub="ann"), self.provider.token(), Policy="{}")

    @shows(WEB, error="PackedPolicyTooLarge")
    def test_a_policy_that_is_too_large(self):
        """Names that cannot be packed, as many as a policy may have."""
        names = [hashlib.sha256(str(i).encode()).hexdigest()[:40] for i in range(24)]
        policy = json.dumps(admin.allow("kinesisvideo:GetMedia", resource=[f"arn:aws:kinesisvideo:*:*:stream/{n}/*" for n in names]), separators=(",", ":"))
        self.assertLessEqual(len(policy), 2048)
        self.refused("PackedPolicyTooLarge", self.assumed, self.role(sub="ann"), self.provider.token(), Policy=policy)

    @shows(WEB, error="IDPCommunicationError")
    def test_a_provider_that_does_not_answer(self):
        away = Provider()
        away.stop()
        status, told = admin.call("POST", "/v1/oidc-providers", {"url": away.url, "client_ids": ["page"], "allow_local": True})
        self.assertEqual(status, 201, told)
        role = admin.role(self.called().replace(".", "-"), admin.allow("kinesisvideo:*"), away.trust())
        sts = client("sts", key=None, secret=None, signature_version=UNSIGNED, retries={"total_max_attempts": 1})
        self.refused("IDPCommunicationError", sts.assume_role_with_web_identity, RoleArn=role, RoleSessionName="browser", WebIdentityToken=away.token())
