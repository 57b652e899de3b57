"""What AWS has in IAM and its clients here have not: keys, roles and policies, made over the native REST."""

import base64
import json
import urllib.error
import urllib.request

from server import ACCOUNT, KEY, SECRET, server


def call(method, path, body=None, at=None):
    """(status, answer) of a request with root's credentials."""
    basic = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request((at or server()).url + path, data, {"Authorization": f"Basic {basic}", "Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode(errors="replace")


def allow(*actions, resource="*", effect="Allow", **more):
    """A policy document of one statement."""
    return {"Version": "2012-10-17", "Statement": [{"Effect": effect, "Action": list(actions), "Resource": resource, **more}]}


def key(user, policy):
    """A key of the catalog, as boto3 wants it."""
    status, made = call("POST", "/v1/keys", {"user": user, "inline_policy": policy})
    assert status == 201, f"a key for {user}: {status} {made}"
    return {"key": made["access_key_id"], "secret": made["secret_access_key"]}


def role(name, policy, trust=None, **more):
    """A role; gives its ARN."""
    trusts = trust or {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}]}
    status, made = call("POST", "/v1/roles", {"name": name, "trust": trusts, "inline_policy": policy, **more})
    assert status == 201, f"role {name}: {status} {made}"
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def target(name, url="https://hooks.example/"):
    """A target of webhooks, which stands for the SNS topic of its name."""
    status, made = call("POST", "/v1/targets", {"name": name, "url": url, "secret": "a secret of the target", "allow_local": True})
    assert status in (200, 201), f"target {name}: {status} {made}"


def missing():
    """Why tests that need keys or roles cannot run, or None."""
    status, _ = call("GET", "/v1/roles")
    return None if status == 200 else "not served: /v1/keys and /v1/roles"
