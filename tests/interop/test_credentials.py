"""Who is let in: signatures, clocks, tokens, presigned URLs and policies, as clients meet them."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import admin
import cases
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cases import shows
from clients import Case, client, of_session
from inputs import GOOD
from models import OPERATIONS, documented
from server import KEY, REGION, SECRET, Server, server

HERE = Path(__file__).parent
DENIABLE = [n for n in GOOD if "AccessDeniedException" in documented(n)]
cases.claims("test_credentials.py: test_what_a_policy_does_not_allow", DENIABLE, "AccessDeniedException")


def shifted(seconds):
    """An environment in which a process has its clock shifted, or None where that cannot be made."""
    shim = Path(tempfile.gettempdir()) / f"vidicon-clock-{os.getuid()}-{int((HERE / 'clock.c').stat().st_mtime)}.so"
    if not shim.exists():
        made = shim.with_suffix(f".{os.getpid()}")
        try:
            subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, HERE / "clock.c", "-ldl"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        made.rename(shim)
    return {"LD_PRELOAD": str(shim), "CLOCK_SHIFT_S": str(seconds)}


# A program for a process with a wrong clock: the client as it is.
PROGRAM = """
import sys, boto3, botocore.exceptions
url, key, secret, token, service, call = sys.argv[1:7]
made = boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret, aws_session_token=token or None)
try:
    getattr(made, call)()
    print("let in")
except botocore.exceptions.ClientError as e:
    print(e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Code"], e.response["Error"]["Message"])
"""


def at_another_time(seconds, url, key=KEY, secret=SECRET, token="", call=("kinesisvideo", "list_streams")):
    """What a client is told whose clock is off by so much."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, url, key, secret, token, *call], env={**os.environ, **shifted(seconds)}, capture_output=True, text=True, timeout=30)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


class Signatures(Case):
    def sent(self, headers=None, body=b"{}", path="/listStreams", sign=True, host=None, secret=SECRET, late=None):
        """A request of REFERENCE §6.2's kind, sent as it was signed: (status, error, message)."""
        url = urlsplit(server().url)
        request = AWSRequest("POST", f"http://{host or url.netloc}{path}", data=body, headers=headers or {})
        if sign:
            SigV4Auth(Credentials(KEY, secret), "kinesisvideo", REGION).add_auth(request)
        out = dict(request.headers.items()) | {"Host": host or url.netloc} | (late or {})
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        connection.request("POST", path, body, out)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, (answer.headers.get("x-amzn-errortype") or "").split(":")[0], text

    @shows("ListStreams")
    def test_wrong_secrets_and_unknown_keys(self):
        self.refused("InvalidSignatureException", client(secret="wrong").list_streams, says="does not match")
        self.refused("UnrecognizedClientException", client(key="AKIDNOBODY").list_streams, says="security token included in the request is invalid")
        told = self.refused("UnrecognizedClientException", client(token="made up").list_streams)
        self.assertNotIn("made up", told)

    @shows("ListStreams")
    def test_every_region_and_each_form_of_the_host(self):
        client(region="eu-central-1").list_streams()
        bare = urlsplit(server().url).hostname
        self.assertEqual(self.sent(host=bare)[0], 200, "the C SDK signs and sends the host without the port")

    @shows("ListStreams")
    def test_payload_hashes(self):
        self.assertEqual(self.sent({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})[0], 200)
        url = urlsplit(server().url)
        request = AWSRequest("POST", f"{server().url}/listStreams", data=b"{}")
        SigV4Auth(Credentials(KEY, SECRET), "kinesisvideo", REGION).add_auth(request)
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
        connection.request("POST", "/listStreams", b'{"MaxResults":1}', dict(request.headers.items()))
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["x-amzn-errortype"].split(":")[0]), (403, "InvalidSignatureException"), "another body than was signed")

    @shows("ListStreams")
    def test_broken_authorisation(self):
        for header in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request,SignedHeaders=host,Signature=00"):
            with self.subTest(header):
                status, error, text = self.sent(sign=False, late={"Authorization": header, "X-Amz-Date": "20260101T000000Z"})
                self.assertEqual(status, 403, text)
                self.assertIn(error, ("IncompleteSignatureException", "InvalidSignatureException", "UnrecognizedClientException"), text)

    def test_operations_that_nobody_has(self):
        """Told in the form that SDKs read, and to nobody who is not let in."""
        status, error, text = self.sent(path="/noSuchOperation")
        self.assertEqual((status, error), (404, "UnknownOperationException"), text)
        self.assertIn("/noSuchOperation", text)
        self.assertEqual(self.sent(path="/noSuchOperation", secret="wrong")[:2], (403, "InvalidSignatureException"))

    @shows("ListStreams")
    def test_clocks_that_are_off(self):
        """The texts by which the C SDKs correct their clock; four minutes are let pass."""
        if not shifted(0):
            self.skipTest("there is no C compiler to shift clocks with")
        self.assertEqual(at_another_time(-240, server().url), "let in")
        self.assertEqual(at_another_time(240, server().url), "let in")
        self.assertRegex(at_another_time(-660, server().url), "^403 InvalidSignatureException .*Signature expired")
        self.assertRegex(at_another_time(660, server().url), "^403 InvalidSignatureException .*Signature not yet current")

    @shows("ListStreams")
    def test_presigned_urls(self):
        """What boto3 presigns is the query with an empty body, so operations that need no member."""

        def fetched(url, data=b""):
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as e:
                return e.code, e.read().decode()

        url = client().generate_presigned_url("list_streams")
        self.assertIn("X-Amz-Signature=", url)
        status, text = fetched(url)
        self.assertEqual(status, 200, text)
        self.assertIn("StreamInfoList", text)
        self.assertEqual(fetched(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"))[0], 403)
        self.assertEqual(fetched(url.replace("/listStreams", "/listSignalingChannels"))[0], 403)
        self.assertEqual(fetched(url, b'{"MaxResults": 1}')[0], 403, "the body is signed too")
        short = client().generate_presigned_url("list_streams", ExpiresIn=1)
        self.assertEqual(fetched(short)[0], 200, "until then it can be used again")
        time.sleep(2.1)
        status, text = fetched(short)
        self.assertEqual(status, 403)
        self.assertIn("Signature expired", text)


class Sessions(Case):
    @shows("GetSessionToken", needs=["ListStreams", "GetCallerIdentity"])
    def test_a_token_that_has_expired(self):
        """The server is started again on the same data, some minutes later for it and its clients."""
        if not shifted(0):
            self.skipTest("there is no C compiler to shift clocks with")
        with tempfile.TemporaryDirectory(prefix="vidicon-interop-") as data:
            first = Server(data)
            given = client("sts", at=first).get_session_token(DurationSeconds=900)["Credentials"]
            of_session("kinesisvideo", given, at=first).list_streams()
            first.stop()
            named = (given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
            second = Server(data, env=shifted(600))
            self.assertEqual(at_another_time(600, second.url, *named), "let in")
            second.stop()
            third = Server(data, env=shifted(1000))
            self.assertRegex(at_another_time(1000, third.url, *named), "^403 ExpiredTokenException .*expired")
            self.assertRegex(at_another_time(1000, third.url, *named, call=("sts", "get_caller_identity")), "^403 ExpiredToken .*expired")
            third.stop()

    @shows("GetSessionToken", needs=["ListStreams"])
    def test_parts_of_two_sessions(self):
        """A token belongs to its key: neither half of two sessions fits, nor a token that was changed."""
        sts = client("sts")
        one, two = (sts.get_session_token(DurationSeconds=900)["Credentials"] for _ in range(2))
        of_session("kinesisvideo", one).list_streams()
        either = ("UnrecognizedClientException", "InvalidSignatureException")
        self.refused(either, of_session("kinesisvideo", {**one, "SessionToken": two["SessionToken"]}).list_streams)
        self.refused(either, of_session("kinesisvideo", {**one, "SecretAccessKey": two["SecretAccessKey"]}).list_streams)
        token = one["SessionToken"]
        flipped = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
        self.refused(either, of_session("kinesisvideo", {**one, "SessionToken": flipped}).list_streams)
        self.refused(either, client(key=one["AccessKeyId"], secret=one["SecretAccessKey"]).list_streams)

    @shows("GetSessionToken", needs=["ListStreams"])
    def test_a_token_that_is_not_signed(self):
        """The C SDK sends the token beside its signature (§6.2)."""
        given = client("sts").get_session_token(DurationSeconds=900)["Credentials"]
        request = AWSRequest("POST", f"{server().url}/listStreams", data=b"{}")
        SigV4Auth(Credentials(given["AccessKeyId"], given["SecretAccessKey"]), "kinesisvideo", REGION).add_auth(request)
        headers = dict(request.headers.items()) | {"x-amz-security-token": given["SessionToken"]}
        made = urllib.request.Request(request.url, b"{}", headers, method="POST")
        with urllib.request.urlopen(made, timeout=10) as answer:
            self.assertEqual(answer.status, 200)


class Policies(Case):
    def setUp(self):
        if reason := admin.missing():
            self.skipTest(reason)

    def test_what_a_policy_does_not_allow(self):
        """Each operation, with a key that may do everything but this: 403, whether the thing exists or not."""
        if reason := cases.not_served(["CreateStream"]):
            self.skipTest(reason)
        from botocore import xform_name

        denied = {"Effect": "Deny", "Resource": "*", "Action": []}
        allowed = {"Effect": "Allow", "Resource": "*", "Action": "*"}
        for operation in GOOD:
            service, _ = OPERATIONS[operation]
            if operation not in cases.SERVED or service == "sts" or ("Channel" in operation and cases.not_served(["CreateSignalingChannel"])):
                continue
            with self.subTest(operation):
                policy = {"Version": "2012-10-17", "Statement": [allowed, {**denied, "Action": [f"kinesisvideo:{operation}"]}]}
                call = getattr(client(service, **admin.key(f"{operation}-denied", policy)), xform_name(operation))
                self.refused("AccessDeniedException", call, says=f"(?i){operation}|not", **GOOD[operation]())

    @shows("CreateStream", "DescribeStream", "ListStreams", needs=["DeleteStream"])
    def test_a_camera_that_may_only_its_own(self):
        name = self.called()
        own = admin.allow("kinesisvideo:*", resource=f"arn:aws:kinesisvideo:*:*:stream/{name}/*")
        kvs = client(**admin.key("camera", own))
        kvs.create_stream(StreamName=name)
        kvs.describe_stream(StreamName=name)
        client().create_stream(StreamName=name + ".other")
        told = self.refused("AccessDeniedException", kvs.describe_stream, StreamName=name + ".other")
        absent = self.refused("AccessDeniedException", kvs.describe_stream, StreamName=name + ".none")
        self.assertEqual(told.replace(".other", ".x"), absent.replace(".none", ".x"), "nothing about what exists")
        self.refused("AccessDeniedException", kvs.list_streams)

    @shows("DescribeStream", needs=["CreateStream"])
    def test_a_key_that_is_deleted(self):
        client().create_stream(StreamName=self.called())
        made = admin.key("leaver", admin.allow("kinesisvideo:*"))
        kvs = client(**made)
        kvs.describe_stream(StreamName=self.called())
        self.assertEqual(admin.call("DELETE", f"/v1/keys/{made['key']}")[0], 204)
        self.refused("UnrecognizedClientException", kvs.describe_stream, StreamName=self.called())
