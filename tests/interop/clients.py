"""boto3's clients with the endpoint changed and nothing else, whose every answer is held against the service model."""

import json
import re
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from models import OPERATIONS, documented
from server import KEY, REGION, SECRET, server

# Errors that every operation may give (REFERENCE §1.1), with their statuses.
COMMON = {
    "AccessDeniedException": 403,
    "MissingAuthenticationTokenException": 403,
    "IncompleteSignatureException": 403,
    "UnrecognizedClientException": 403,
    "InvalidSignatureException": 403,
    "ExpiredTokenException": 403,
    "RequestEntityTooLargeException": 413,
}
# The same in STS, whose names have no ending.
COMMON_STS = {
    "AccessDenied": 403,
    "MissingAuthenticationToken": 403,
    "IncompleteSignature": 403,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "ExpiredToken": 403,
    "ValidationError": 400,
    "InvalidAction": 400,
}
# What REFERENCE gives to operations beside their models: archive reads of a stream without retention (§1.3).
BESIDE = {("ListFragments", "NoDataRetentionException"): 400, ("GetMediaForFragmentList", "NoDataRetentionException"): 400}
# Members that the service itself gives as null where nobody said what they are; SDKs leave them out then.
NULL = {"MediaType", "DeviceName"}
_session = boto3.Session()


def client(service="kinesisvideo", at=None, key=KEY, secret=SECRET, token=None, region=REGION, **config):
    """A client of a server (the shared one by default). `config` goes to botocore's Config."""
    made = _session.client(
        service,
        endpoint_url=(at or server()).url,
        region_name=region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(**config) if config else None,
        verify=(at or server()).ca,
    )
    made.meta.events.register("before-parse", _check)
    return made


def of_session(service, credentials, **more):
    """A client with the credentials that STS gave."""
    return client(service, key=credentials["AccessKeyId"], secret=credentials["SecretAccessKey"], token=credentials["SessionToken"], **more)


def _check(operation_model, response_dict, **_):
    """Holds what came over the wire against the model: names and types of members, statuses of errors, headers."""
    name, status, headers = operation_model.name, response_dict["status_code"], response_dict["headers"]
    where = f"{name} ({status})"
    assert headers.get("date"), f"{where}: no Date; clients correct their clock by it"
    if operation_model.service_model.service_name == "sts":
        return
    assert re.fullmatch(r"[0-9a-f-]{36}", headers.get("x-amzn-requestid", "")), f"{where}: no x-amzn-RequestId"
    if status >= 300:
        error = headers.get("x-amzn-errortype", "").split(":")[0]
        # Where the model lists one of the common errors with 401, 403 holds too: it was refused before it was an operation.
        allowed = {s for known in (documented(name), COMMON) for e, s in known.items() if e == error}
        allowed |= {s for (operation, e), s in BESIDE.items() if (operation, e) == (name, error)}
        assert allowed, f"{where}: {error!r} is not documented for this operation: {response_dict['body']!r}"
        assert status in allowed, f"{where}: {error} comes with {sorted(allowed)}"
        assert json.loads(response_dict["body"]).get("Message"), f"{where}: {error} says nothing"
    elif not operation_model.has_streaming_output and operation_model.output_shape is not None:
        _shape(operation_model.output_shape, json.loads(response_dict["body"] or b"{}"), where)


def _shape(shape, value, where):
    kind = shape.type_name
    if kind == "structure":
        assert isinstance(value, dict), f"{where}: {value!r} is no object"
        for name, inner in value.items():
            assert name in shape.members, f"{where}: {name} is not in the model"
            if inner is None and name in NULL:
                continue
            assert inner is not None, f"{where}: {name} is null"
            _shape(shape.members[name], inner, f"{where}.{name}")
        missing = set(shape.required_members) - set(value)
        assert not missing, f"{where}: {missing} are missing"
    elif kind == "list":
        assert isinstance(value, list), f"{where}: {value!r} is no list"
        for inner in value:
            _shape(shape.member, inner, f"{where}[]")
    elif kind == "map":
        assert isinstance(value, dict), f"{where}: {value!r} is no map"
        for inner in value.values():
            _shape(shape.value, inner, f"{where}[]")
    elif kind == "string":
        assert isinstance(value, str), f"{where}: {value!r} is no text"
        known = shape.metadata.get("enum")
        assert not known or value in known, f"{where}: {value!r} is none of {known}"
    elif kind in ("integer", "long"):
        assert isinstance(value, int) and not isinstance(value, bool), f"{where}: {value!r} is no whole number"
    elif kind == "timestamp":
        assert isinstance(value, (int, float)) and not isinstance(value, bool), f"{where}: {value!r} is no number of seconds"


class Case(unittest.TestCase):
    """What tests of operations share."""

    def refused(self, error, call, *args, says="", **kwargs):
        """The call must fail with this error, of its own class where the model has one; gives the message."""
        with self.assertRaises(ClientError) as caught:
            call(*args, **kwargs)
        found = caught.exception
        told = found.response["Error"]
        names = (error,) if isinstance(error, str) else error
        self.assertIn(told["Code"], names, told)
        self.assertTrue(told["Message"])
        self.assertRegex(told["Message"], says or ".")
        if told["Code"].endswith("Exception") and told["Code"] in documented(found.operation_name):
            shape = next(s for s in OPERATIONS[found.operation_name][1].error_shapes if s.metadata.get("error", {}).get("code", s.name) == told["Code"])
            self.assertEqual(type(found).__name__, shape.name)
        return told["Message"]

    def called(self, suffix=""):
        """A name for what the test makes: the test's own."""
        return f"{type(self).__name__}.{self._testMethodName.removeprefix('test_')}{suffix}"[:250]
