"""A WebSocket client of RFC 6455, as small as the tests need: it signs as boto3 signs, sends text, and gives what comes, frame by frame."""

import base64
import json
import os
import socket
import struct
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from server import KEY, REGION, SECRET


def presigned(endpoint, channel_arn, client_id=None, key=KEY, secret=SECRET, token=None, expires=299):
    """The address by which a master, or with `client_id` a viewer, connects."""
    query = {"X-Amz-ChannelARN": channel_arn} | ({"X-Amz-ClientId": client_id} if client_id is not None else {})
    request = AWSRequest("GET", f"{endpoint}/?{urlencode(query)}")
    SigV4QueryAuth(Credentials(key, secret, token), "kinesisvideo", REGION, expires).add_auth(request)
    return request.url


class Refused(Exception):
    """The handshake was answered with something else than 101."""

    def __init__(self, status, error, message):
        super().__init__(f"{status} {error}: {message}")
        self.status, self.error, self.message = status, error, message


class WebSocket:
    def __init__(self, url, timeout=15):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)
        self.read = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        self.socket.sendall(head.encode())
        status = int(self.read.readline().split()[1])
        headers = {}
        while line := self.read.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if status != 101:
            body = json.loads(self.read.read(int(headers.get("content-length", 0))) or b"{}")
            self.close()
            raise Refused(status, headers.get("x-amzn-errortype", "").split(":")[0], body.get("Message", ""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.read.close()
        self.socket.close()

    def frame(self, opcode, payload):
        mask = os.urandom(4)
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size) if size < 1 << 16 else b"\xff" + struct.pack(">Q", size)
        self.socket.sendall(bytes([0x80 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))

    def send(self, **message):
        self.frame(1, json.dumps(message).encode())

    def got(self):
        """The next message; a close as (code, reason). Pings are answered."""
        while True:
            first, size = self.read.read(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.read.read(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self.read.read(8))
            payload = self.read.read(size)
            if first & 15 == 1:
                return json.loads(payload)
            if first & 15 == 8:
                return struct.unpack(">H", payload[:2])[0], payload[2:].decode()
            if first & 15 == 9:
                self.frame(10, payload)
