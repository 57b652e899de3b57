"""A producer: PutMedia as REFERENCE §2 tells it, over a socket of its own, as no AWS client for Python has it. The signature is botocore's."""

import json
import socket
import ssl
import time
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from server import KEY, REGION, SECRET, server


class PutMedia:
    """One session. `start`: the header x-amzn-producer-start-timestamp as text. `sign`: header, query or none."""

    def __init__(
        self, stream, at=None, credentials=None, timecodes="ABSOLUTE", start=None, sign="header", expect=False, headers=None, unsigned_payload=False, endpoint=None
    ):
        url = urlsplit(endpoint or (at or server()).url)
        named = "x-amzn-stream-arn" if stream and stream.startswith("arn:") else "x-amzn-stream-name"
        own = {named: stream, "x-amzn-fragment-timecode-type": timecodes, "x-amzn-fragment-acknowledgment-required": "1"}
        own["x-amzn-producer-start-timestamp"] = start or f"{time.time():.3f}"
        own = {k: v for k, v in {**own, **(headers or {})}.items() if v is not None}
        if unsigned_payload:
            own["x-amz-content-sha256"] = "UNSIGNED-PAYLOAD"
        request = AWSRequest("POST", f"{url.scheme}://{url.netloc}/putMedia", headers=own)
        who = Credentials(KEY, SECRET) if credentials is None else Credentials(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials.get("SessionToken"))
        path = "/putMedia"
        if sign == "header":
            SigV4Auth(who, "kinesisvideo", REGION).add_auth(request)
        elif sign == "query":
            # The producers that do so sign the hash of an empty body, as GET requests have it.
            SigV4QueryAuth(who, "kinesisvideo", REGION, 300).add_auth(request)
            path = request.url.removeprefix(f"{url.scheme}://{url.netloc}")
        out = dict(request.headers.items())
        out.update({"Host": url.netloc, "Transfer-Encoding": "chunked", "User-Agent": "interop"})
        if expect:
            out["Expect"] = "100-continue"
        self.socket = socket.create_connection((url.hostname, url.port or 80), timeout=20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "https":
            self.socket = ssl.create_default_context(cafile=at.ca).wrap_socket(self.socket, server_hostname=url.hostname)
        self.socket.sendall(f"POST {path} HTTP/1.1\r\n".encode() + "".join(f"{k}: {v}\r\n" for k, v in out.items()).encode() + b"\r\n")
        self.reading = self.socket.makefile("rb")
        self.acks, self.chunks, self.ended = [], [], False
        self.continued = False
        self._head()

    def _head(self):
        self.status = int(self.reading.readline().split()[1])
        self.headers = {}
        for line in iter(lambda: self.reading.readline().strip(), b""):
            name, _, value = line.decode().partition(":")
            self.headers[name.lower()] = value.strip()
        if self.status == 100:
            self.continued = True
            self._head()
        elif self.status != 200:
            body = self.reading.read(int(self.headers.get("content-length", 0)))
            self.error = self.headers.get("x-amzn-errortype", "").split(":")[0]
            self.message = json.loads(body).get("Message") if body else None
            self.close()

    def send(self, data, pieces=16384):
        """One HTTP chunk per so many bytes."""
        for at in range(0, len(data), pieces):
            piece = data[at : at + pieces]
            self.socket.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        return self

    def ack(self):
        """The next acknowledgement, or None where the answer has ended."""
        length = int(self.reading.readline().split(b";")[0], 16)
        data = self.reading.read(length)
        self.reading.readline()
        if length == 0:
            self.ended = True
            return None
        self.chunks.append(data)
        self.acks.append(json.loads(data))  # exactly one in each chunk, or this fails
        return self.acks[-1]

    def wait(self, event, timecode=None):
        """Reads until such an acknowledgement came; gives it."""
        while True:
            ack = self.ack()
            assert ack is not None, f"the answer ended before {event} of {timecode}: {self.acks}"
            if ack["EventType"] == event and timecode in (None, ack.get("FragmentTimecode")):
                return ack

    def end(self):
        """Ends the body and reads the rest of the acknowledgements; gives all of them."""
        self.socket.sendall(b"0\r\n\r\n")
        while self.ack() is not None:
            pass
        self.close()
        return self.acks

    def close(self):
        self.reading.close()
        self.socket.close()

    def persisted(self):
        return [a["FragmentNumber"] for a in self.acks if a["EventType"] == "PERSISTED"]
