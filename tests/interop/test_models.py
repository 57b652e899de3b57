"""That nothing is forgotten: every operation of the service models has a row in docs/api.md, the row says what the server does, and
what is served has a test for each thing its model documents."""

import unittest

import cases
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.httpsession import URLLib3Session
from inputs import GOOD
from models import FOREIGN, OPERATIONS, documented, path_of, service_of
from server import KEY, REGION, SECRET, server

# Errors of the models that are never given here, and why. By error, or by (operation, error).
NEVER = {
    ("PutMedia", "ClientLimitExceededException"): "the rate of its calls is not limited: reconnecting is never held up (REFERENCE §9.4, 7)",
    ("GetMedia", "ConnectionLimitExceededException"): "any number may watch a stream",
    ("AssumeRole", "ExpiredTokenException"): "it is about web identity tokens; credentials that have expired give ExpiredToken",
    ("GetIceServerConfig", "InvalidClientException"): "a client is only a name; one that is none is InvalidArgumentException",
    ("GetIceServerConfig", "SessionExpiredException"): "a session does not end by itself; when its credentials do, they are refused",
    "NotAuthorizedException": "what a policy does not allow is AccessDeniedException with 403 at every operation (REFERENCE §1.1)",
    "InvalidEndpointException": "one endpoint serves everything",
    "InvalidDeviceException": "a device is only a name",
    "IDPRejectedClaim": "somebody whom a role does not trust is told AccessDenied, whoever says who they are",
    "RegionDisabledException": "regions are names",
    **{
        (operation, "ResourceInUseException"): "streams and channels are always ACTIVE"
        for operation in (
            "UpdateStream", "UpdateDataRetention", "UpdateImageGenerationConfiguration", "UpdateNotificationConfiguration",
            "UpdateStreamStorageConfiguration", "UpdateSignalingChannel", "StartEdgeConfigurationUpdate", "GetSignalingChannelEndpoint",
        )
    },
}


def served(operation):
    """Whether the server has the operation: every answer of one has a request id, and an unknown one is told so."""
    sts = service_of(operation) == "sts"
    url = server().url + path_of(operation)
    if sts:
        request = AWSRequest("POST", url, data=f"Action={operation}&Version=2011-06-15", headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"})
    else:
        request = AWSRequest("POST", url, data="{}", headers={"Content-Type": "application/json"})
    SigV4Auth(Credentials(KEY, SECRET), "sts" if sts else "kinesisvideo", REGION).add_auth(request)
    answer = URLLib3Session(timeout=10).send(request.prepare())
    if sts:
        # Whatever the action then says: it is one. An unknown one is InvalidAction, and without STS there is no XML at all.
        return b"<" in answer.content[:1] and b"<Code>InvalidAction</Code>" not in answer.content
    error = answer.headers.get("x-amzn-errortype", "").split(":")[0]
    return "x-amzn-requestid" in answer.headers and error != "UnknownOperationException"


class Models(unittest.TestCase):
    def test_the_table_has_every_operation(self):
        self.assertEqual(set(cases.table()), set(OPERATIONS) | {"PutMedia"})
        for name, (path, status, _) in cases.table().items():
            self.assertEqual(path, path_of(name), name)
            self.assertIn(status, ("served", "not served", "never: " + FOREIGN.get(name, "")), name)

    def test_the_table_says_what_the_server_does(self):
        """Both ways: neither a row that promises too much nor one that was forgotten."""
        for name, (_, status, _) in cases.table().items():
            with self.subTest(name):
                said = status == "served"
                self.assertEqual(said, served(name), f"docs/api.md says {status!r} of {name}; the server says otherwise. Update it: python tests/interop --table")

    def test_the_table_names_the_tests(self):
        import table

        self.assertEqual(cases.API.read_text(), table.updated(set(cases.SERVED)), "docs/api.md is out of date: python tests/interop --table")

    def test_every_operation_has_a_test(self):
        import table

        table.load()
        for name in [*GOOD, "PutMedia"]:
            with self.subTest(name):
                self.assertIn((name, None), cases.SHOWN, f"no test shows that {name} works")
        forgotten = set(OPERATIONS) - set(GOOD) - set(FOREIGN) - {n for n, row in cases.table().items() if row[1] == "not served"}
        self.assertFalse(forgotten, "these are served, and inputs.py has no input for them")

    def test_every_documented_error_has_a_test(self):
        import table

        table.load()
        for name in [*GOOD, "PutMedia"]:
            if name not in cases.SERVED:
                continue
            for error in documented(name):
                never = NEVER.get(error) or NEVER.get((name, error))
                shown = (name, error) in cases.SHOWN
                with self.subTest(name, error=error):
                    self.assertTrue(shown or never, f"no test shows {error} of {name}")
                    self.assertFalse(shown and never, f"{error} of {name} is given after all: take it out of NEVER")


if __name__ == "__main__":
    unittest.main()
