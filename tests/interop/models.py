"""What the clients' own service models say: operations, their members, and the errors that they document."""

import re

import botocore.session

# Every service of Kinesis Video Streams that has a model, and STS. PutMedia is in no model.
SERVICES = [
    "kinesisvideo",
    "kinesis-video-media",
    "kinesis-video-archived-media",
    "kinesis-video-signaling",
    "kinesis-video-webrtc-storage",
    "sts",
]

# Operations that nobody has planned to serve: what they are about does not exist here.
FOREIGN = {
    "AssumeRoleWithSAML": "there is no SAML provider",
    "AssumeRoot": "there are no member accounts",
    "DecodeAuthorizationMessage": "refusals are not encoded",
    "GetAccessKeyInfo": "there is one account",
    "GetDelegatedAccessToken": "there are no delegated requests",
    "GetFederationToken": "roles and GetSessionToken give sessions",
    "GetWebIdentityToken": "identities here are not known elsewhere",
}

_session = botocore.session.get_session()
MODELS = {name: _session.get_service_model(name) for name in SERVICES}
# Operation name → (service, operation model). No name is in two services.
OPERATIONS = {
    operation: (service, model.operation_model(operation)) for service, model in MODELS.items() for operation in model.operation_names
}


def service_of(operation):
    return "kinesis-video-media" if operation == "PutMedia" else OPERATIONS[operation][0]


def path_of(operation):
    return "/putMedia" if operation == "PutMedia" else OPERATIONS[operation][1].http["requestUri"]


def documented(operation):
    """The names of the errors that the model lists for an operation, as they come over the wire, with their statuses."""
    if operation == "PutMedia":
        operation = "GetMedia"  # REFERENCE §1.4: the same set
    shapes = OPERATIONS[operation][1].error_shapes
    return {s.metadata.get("error", {}).get("code", s.name): s.metadata.get("error", {}).get("httpStatusCode", 400) for s in shapes}


def required(operation):
    shape = OPERATIONS[operation][1].input_shape
    return list(shape.required_members) if shape else []


def _python(pattern):
    """A pattern of a model (Java's dialect) in Python's."""
    for theirs, ours in (("\\p{L}", "a-zA-Z"), ("\\p{Z}", " "), ("\\p{N}", "0-9")):
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)


def broken(shape, path=""):
    """Values that break one rule of a shape each: (what is wrong, value). Of a structure's inner members too, as functions of a
    value that holds: (what is wrong, function)."""
    data = shape.metadata
    if shape.type_name == "string":
        if "enum" in data:
            yield "a value that is not in the enum", "NO_SUCH_VALUE"
            return
        if data.get("min", 0) > 0:
            yield "an empty text", ""
        if "pattern" in data:
            pattern = _python(data["pattern"])
            for text in ("not a name/*", "*", "\n"):
                if not pattern.fullmatch(text):
                    yield "a text outside the pattern", text
                    break
        if 0 < data.get("max", 0) <= 2048:
            yield "a text that is too long", _long(shape)
        yield "a number for a text", 5
    elif shape.type_name in ("integer", "long"):
        if "min" in data:
            yield "a number below the least", data["min"] - 1
        if "max" in data:
            yield "a number over the most", data["max"] + 1
        yield "a text for a number", "many"
    elif shape.type_name == "list":
        if data.get("min", 0) > 0:
            yield "an empty list", []
        if 0 < data.get("max", 0) <= 50 and shape.member.type_name == "string" and "enum" not in shape.member.metadata:
            yield "a list that is too long", [f"k{i}" for i in range(data["max"] + 1)]
    elif shape.type_name == "map":
        if data.get("min", 0) > 0:
            yield "an empty map", {}


def _long(shape):
    length = shape.metadata["max"] + 1
    pattern = shape.metadata.get("pattern", "")
    if pattern.startswith("arn:"):
        head = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/" if "kinesisvideo" in pattern else "arn:aws:iot:us-east-1:123456789012:thing/"
        tail = "/1700000000000" if "kinesisvideo" in pattern else ""
        return head + "a" * (length - len(head) - len(tail)) + tail
    return "a" * length


def inside(shape, value):
    """Copies of a value that holds, each with one rule broken somewhere: (member path, what is wrong, value)."""
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            if name in shape.required_members and name in value:
                yield name, "a required member is missing", {k: v for k, v in value.items() if k != name}
            for where, what, inner in _member(member, value.get(name)):
                yield f"{name}{where}", what, {**value, name: inner}
    elif shape.type_name == "list" and value:
        for where, what, inner in _member(shape.member, value[0]):
            yield f"[0]{where}", what, [inner, *value[1:]]


def _member(shape, value):
    for what, wrong in broken(shape):
        yield "", what, wrong
    if value is not None:
        for where, what, inner in inside(shape, value):
            yield (where if where.startswith("[") else f".{where}"), what, inner
