"""An OpenID Connect provider on this machine: a discovery document, its keys, and tokens signed with RS256."""

import base64
import functools
import http.server
import json
import subprocess
import threading
import time

import rsa  # one of the aws command line's own packages

from server import ACCOUNT


def _text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value):
    return _text(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@functools.cache
def _keys():
    """A pair of keys. Made by openssl where there is one, as Python alone takes many seconds."""
    try:
        made = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return rsa.newkeys(2048)
    secret = rsa.PrivateKey.load_pkcs1(made)
    return rsa.PublicKey(secret.n, secret.e), secret


class Provider:
    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = outer.answers.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.name = self.url.removeprefix("http://")
        public, self.secret = _keys()
        key = {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "first", "n": _number(public.n), "e": _number(public.e)}
        discovery = {
            "issuer": self.url, "jwks_uri": f"{self.url}/keys", "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        }
        self.answers = {"/.well-known/openid-configuration": discovery, "/keys": {"keys": [key]}}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def trust(self, **claims):
        """A trust policy for those of this provider whose tokens have these claims."""
        statement = {
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{self.name}"},
            "Condition": {"StringEquals": {f"{self.name}:{k}": v for k, v in (claims or {"aud": "page"}).items()}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def token(self, expires=600, **claims):
        head = {"alg": "RS256", "typ": "JWT", "kid": "first"}
        now = int(time.time())
        body = {"iss": self.url, "aud": "page", "sub": "ann", "iat": now - 1, "exp": now + expires, **claims}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, body))
        return f"{signed}.{_text(rsa.sign(signed.encode(), self.secret, 'SHA-256'))}"
