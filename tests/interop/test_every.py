"""What holds for every operation, generated from the service models: required members, rules of members, things that are not there,
strangers. Each goes over the operations that docs/api.md says are served."""

import json
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree

from botocore import xform_name
from botocore.exceptions import ClientError

import cases
from clients import Case, client
from inputs import GOOD, absent
from models import OPERATIONS, documented, inside, path_of, service_of
from server import server

ALL = [name for name in OPERATIONS if name in GOOD]
SERVED = [name for name in ALL if name in cases.SERVED]
OF_RESOURCE = [name for name in ALL if "ResourceNotFoundException" in documented(name)]
INVALID, FORMAT = "InvalidArgumentException", "InvalidResourceFormatException"

cases.claims("test_every.py: test_members_that_break_a_rule", [n for n in ALL if INVALID in documented(n)], INVALID)
cases.claims("test_every.py: test_what_is_not_there", OF_RESOURCE, "ResourceNotFoundException")

# Members whose rules in the model are not held here, and why.
LENIENT = {
    ("GetMedia", "StreamARN"): "the model wants the partition aws, every other operation takes any (REFERENCE §1.2)",
    ("GetMedia", "StartSelector.ContinuationToken"): "it is not read with another type of selector; test_get_media.py tries it with its own",
    ("CreateStream", "Tags"): "no tags are asked for, and none are given",
    ("ListStreams", "StreamNameCondition.ComparisonValue"): "every name begins with nothing",
    ("ListSignalingChannels", "ChannelNameCondition.ComparisonValue"): "every name begins with nothing",
}
EMPTY = ("an empty text", "an empty map")


def tried(operation, given):
    """Calls with an input that the client does not check. (error or None, message)"""
    service = service_of(operation)
    try:
        answer = getattr(client(service, parameter_validation=False), xform_name(operation))(**given)
    except ClientError as e:
        return e.response["Error"]["Code"], e.response["Error"]["Message"], e.response["ResponseMetadata"]["HTTPStatusCode"]
    if "Payload" in answer:
        answer["Payload"].close()
    return None, "", 200


class Every(Case):
    def setUp(self):
        if not SERVED:
            self.skipTest("not served: any operation")
        if "CreateStream" not in cases.SERVED:
            self.skipTest("not served: CreateStream, which these tests make their stream with")

    def each(self, operations):
        for operation in operations:
            reason = cases.not_served([operation])
            if reason or ("Channel" in json.dumps(GOOD_MEMBERS[operation]) and "CreateSignalingChannel" not in cases.SERVED):
                continue
            with self.subTest(operation):
                yield operation

    def test_members_that_break_a_rule(self):
        """Every rule of every member of every input: the answer is 400 and names the member."""
        tries = 0
        for operation in self.each([n for n in ALL if service_of(n) != "sts"]):
            good = GOOD[operation]()
            for where, what, given in inside(OPERATIONS[operation][1].input_shape, good):
                if (operation, where) in LENIENT and (what in EMPTY or "GetMedia" == operation):
                    continue
                tries += 1
                with self.subTest(operation, member=where, what=what):
                    error, message, status = tried(operation, given)
                    # Some operations have an error of their own for ARNs.
                    own = {FORMAT} & set(documented(operation)) if where == "StreamARN" else set()
                    self.assertIn(error, {INVALID} | own, message)
                    self.assertEqual(status, 400)
                    self.assertIn(where.replace("[0]", "").split(".")[-1], message)
        self.assertGreater(tries, 5 * len([n for n in SERVED if service_of(n) == "kinesisvideo"]) // 2)

    def test_members_of_sts_that_break_a_rule(self):
        for operation in self.each([n for n in ALL if service_of(n) == "sts"]):
            for where, what, given in inside(OPERATIONS[operation][1].input_shape, GOOD[operation]()):
                if what == "a number for a text":
                    continue  # in a form everything is a text
                with self.subTest(operation, member=where, what=what):
                    error, message, status = tried(operation, given)
                    self.assertEqual((error, status), ("ValidationError", 400), message)
                    self.assertIn(where.lower(), message.lower())

    def test_what_is_not_there(self):
        for operation in self.each(OF_RESOURCE):
            for given in absent(operation):
                with self.subTest(operation, **{k: str(v) for k, v in given.items()}):
                    error, message, status = tried(operation, given)
                    self.assertEqual((error, status), ("ResourceNotFoundException", 404), message)

    def test_neither_name_nor_arn(self):
        for operation in self.each(OF_RESOURCE):
            given = GOOD[operation]()
            names = {"StreamName", "StreamARN", "ChannelName", "ChannelARN", "ResourceARN"}
            with self.subTest(operation):
                error, message, status = tried(operation, {k: v for k, v in given.items() if k not in names})
                self.assertEqual((error, status), (INVALID, 400), message)
                self.assertRegex(message, "StreamName|StreamARN|ChannelName|ChannelARN|ResourceARN")

    def test_strangers(self):
        """Without a signature, with bodies of any form: 403 in the form of AWS, and nothing about what exists."""
        for operation in self.each(ALL):
            given = GOOD[operation]()
            body = json.dumps(given, default=str).encode()
            if service_of(operation) == "sts":
                body = f"Action={operation}&Version=2011-06-15".encode()
            for body in (body, b"", b"{", b"\xff\xfe"):
                if service_of(operation) == "sts" and not body.startswith(b"Action"):
                    continue  # without an action it is a request for the page
                if operation == "AssumeRoleWithWebIdentity":
                    continue  # it is not signed
                kind = "application/x-www-form-urlencoded" if service_of(operation) == "sts" else "application/json"
                request = urllib.request.Request(server().url + path_of(operation), body, {"Content-Type": kind}, method="POST")
                with self.assertRaises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(request, timeout=10)
                answer = caught.exception
                text = answer.read()
                self.assertEqual(answer.status, 403, text)
                if service_of(operation) == "sts":
                    error = ElementTree.fromstring(text).find("{*}Error/{*}Code").text
                    self.assertEqual(error, "MissingAuthenticationToken")
                else:
                    self.assertEqual(answer.headers["x-amzn-ErrorType"].split(":")[0], "MissingAuthenticationTokenException")
                    self.assertNotIn("inputs", text.decode())

    def test_bodies_that_are_no_json(self):
        """Signed, but not what the operation takes: 400, never 500."""
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        from server import KEY, REGION, SECRET

        for operation in self.each([n for n in ALL if service_of(n) != "sts"]):
            for body in (b"[]", b'"a"', b"{", b"\xff\xfe{}", b'{"StreamName":' + b"[" * 50_000, b"null", b"{}x"):
                request = AWSRequest("POST", server().url + path_of(operation), data=body, headers={"Content-Type": "application/json"})
                SigV4Auth(Credentials(KEY, SECRET), "kinesisvideo", REGION).add_auth(request)
                made = urllib.request.Request(request.url, body, dict(request.headers.items()), method="POST")
                with self.subTest(operation, body=body[:20]), self.assertRaises(urllib.error.HTTPError) as caught:
                    urllib.request.urlopen(made, timeout=10).close()
                self.assertEqual(caught.exception.status, 400)
                self.assertTrue(json.loads(caught.exception.read())["Message"])


GOOD_MEMBERS = {name: list(OPERATIONS[name][1].input_shape.members) if OPERATIONS[name][1].input_shape else [] for name in ALL}
