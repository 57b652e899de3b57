"""Rows about signaling channels: what idle sockets cost, and how fast an offer crosses while they are there."""
import base64
import functools
import hashlib
import hmac
import json
import os
import random
import resource
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request

from load import Server, Skipped, rss_bytes

SOCKETS, CHANNELS = 10_000, 100
OFFERS, OFFER_BYTES = 3000, 4000


class Socket:
    """A client's end of a WebSocket, without any buffer of its own."""

    def __init__(self, port, target, host):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall((f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            piece = self.socket.recv(1)
            if not piece:
                break
            head += piece
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"no handshake: {head.decode(errors='replace')}")

    def send(self, payload):
        # Masked with zeros: as valid as any other mask, and it costs this side nothing.
        self.socket.sendall(b"\x81\xfe" + struct.pack(">H", len(payload)) + b"\0\0\0\0" + payload)

    def exactly(self, size):
        read = bytearray()
        while len(read) < size:
            piece = self.socket.recv(size - len(read))
            if not piece:
                raise RuntimeError("the server closed a socket")
            read += piece
        return bytes(read)

    def got(self):
        while True:
            first, size = self.exactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.exactly(2))
            payload = self.exactly(size)
            if first & 15 == 1:
                return payload
            if first & 15 != 9:
                raise RuntimeError(f"a frame of kind {first & 15}: {payload[:80]}")


@functools.cache
def signing_key(secret, date):
    key = ("AWS4" + secret).encode()
    for part in (date, "us-east-1", "kinesisvideo", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def presigned(host, arn, client_id=None):
    key, secret = Server.credentials.values()
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    scope = f"{now[:8]}/us-east-1/kinesisvideo/aws4_request"
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-ChannelARN": arn, "X-Amz-Credential": f"{key}/{scope}", "X-Amz-Date": now,
             "X-Amz-Expires": "299", "X-Amz-SignedHeaders": "host"} | ({"X-Amz-ClientId": client_id} if client_id else {})
    text = urllib.parse.urlencode(sorted(query.items()), quote_via=urllib.parse.quote, safe="~")
    canonical = f"GET\n/\n{text}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    return f"/?{text}&X-Amz-Signature={hmac.new(signing_key(secret, now[:8]), to_sign.encode(), 'sha256').hexdigest()}"


def p99(times):
    return sorted(times)[len(times) * 99 // 100] * 1000


def crossing(pairs, message, is_it):
    """From before an offer is sent until it was read at the other end, in seconds."""
    times = []
    for _ in range(OFFERS):
        one, other, who = random.choice(pairs)
        began = time.perf_counter()
        one.send(message)
        text = other.got()
        times.append(time.perf_counter() - began)
        assert is_it(text, who), text[:200]
    return times


def signaling_10k(binary_of_example, row):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < SOCKETS + 500:
        raise Skipped(f"a process may open {hard} files, and {SOCKETS + 500} are needed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return measured(binary_of_example("vidicon-web", "echo_sockets"), row)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def measured(echo, row):
    payload = base64.b64encode(random.randbytes(OFFER_BYTES * 3 // 4)).decode()
    offer = json.dumps({"action": "SDP_OFFER", "messagePayload": payload}).encode()
    baseline = subprocess.Popen([echo], stdout=subprocess.PIPE, text=True)
    try:
        port = int(baseline.stdout.readline())
        sockets = [Socket(port, "/", "localhost") for _ in range(SOCKETS)]
        time.sleep(1)
        bare_mb = rss_bytes(baseline.pid) / 1e6
        bare_ms = p99(crossing([(s, s, None) for s in sockets], offer, lambda text, _: text == offer))
        for s in sockets:
            s.socket.close()
    finally:
        baseline.kill()
        baseline.wait()
    # These clients answer no pings.
    environment = {"VIDICON_SIGNALING__PING_INTERVAL_S": "600"}
    os.environ.update(environment)
    try:
        with Server([]) as server:
            host = server.url.split("://")[1].rstrip("/")
            port = int(host.rsplit(":", 1)[1])
            time.sleep(1)
            empty_mb = rss_bytes(server.pid) / 1e6
            pairs, sockets = [], []
            began = time.perf_counter()
            for n in range(CHANNELS):
                arn = channel(server, f"c{n}")
                master = Socket(port, presigned(host, arn), host)
                viewers = [Socket(port, presigned(host, arn, f"v{i}"), host) for i in range(SOCKETS // CHANNELS - 1)]
                sockets += [master, *viewers]
                pairs += [(viewer, master, f"v{i}") for i, viewer in enumerate(viewers)]
            took = time.perf_counter() - began
            time.sleep(1)
            idle_mb = rss_bytes(server.pid) / 1e6
            connected = server.metrics()["vidicon_signaling_sockets"]
            assert connected == len(sockets) == SOCKETS, f"{connected} of {len(sockets)} are connected"
            ms = p99(crossing(pairs, offer, lambda text, who: json.loads(text) == {"messageType": "SDP_OFFER", "senderClientId": who, "messagePayload": payload}))
            for viewer, master, _ in pairs:
                viewer.send(offer)
                master.got()
            time.sleep(1)
            used_mb = rss_bytes(server.pid) / 1e6
            for s in sockets:
                s.socket.close()
    finally:
        for name in environment:
            del os.environ[name]
    note = (f"the whole process, {empty_mb:.0f} MB before and {used_mb:.0f} when each viewer has sent an offer; an offer of {OFFER_BYTES} bytes crosses within {ms:.2f} ms (p99), an echo within {bare_ms:.2f}; "
            f"{SOCKETS / took:.0f} handshakes a second; baseline: a bare echo of tokio-tungstenite with as many sockets")
    return row(idle_mb, "MB, 10 000 sockets", bare_mb, "at most 200 MB, an offer in 5 ms", idle_mb <= 200 and ms <= 5, note)


def channel(server, name):
    key, secret = server.credentials.values()
    request = urllib.request.Request(server.url + "/createSignalingChannel", json.dumps({"ChannelName": name}).encode(), {"Content-Type": "application/json"})
    request.add_header("Authorization", "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode())
    return json.loads(urllib.request.urlopen(request, timeout=20).read())["ChannelARN"]
