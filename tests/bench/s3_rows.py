"""Ingest into a bucket of a real S3 server (Garage, one node), beside that server's own throughput with one plain client."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import socket
import subprocess
import tempfile
import time

from load import Skipped, free_port

KEY, SECRET, REGION = "GK0123456789abcdef01234567", "00112233445566778899aabbccddeeff" * 2, "garage"
BLOCK = 1 << 20  # Garage knows blocks by their content: each must be new, or it is not written


class Garage:
    """The server with a bucket `media`, on the disk that the bench is on. It compresses nothing, as video cannot be."""

    def __init__(self, folder):
        program = os.environ.get("VIDICON_GARAGE")
        if not program:
            raise Skipped("VIDICON_GARAGE names no S3 server (./run bench builds one)")
        self.port, rpc = free_port(), free_port()
        config = f"{folder}/garage.toml"
        with open(config, "w") as out:
            out.write(f'metadata_dir = "{folder}/meta"\ndata_dir = "{folder}/data"\ndb_engine = "lmdb"\nreplication_factor = 1\n'
                      f'compression_level = "none"\nrpc_secret = "{SECRET}"\nrpc_bind_addr = "127.0.0.1:{rpc}"\n'
                      f'rpc_public_addr = "127.0.0.1:{rpc}"\n[s3_api]\ns3_region = "{REGION}"\napi_bind_addr = "127.0.0.1:{self.port}"\n')
        self.credentials = f"{folder}/credentials"
        with open(self.credentials, "w") as out:
            out.write(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
        self.command = [program, "-c", config, "server", "--single-node", "--default-bucket"]

    def __enter__(self):
        names = {"ACCESS_KEY": KEY, "SECRET_KEY": SECRET, "BUCKET": "media"}
        self.process = subprocess.Popen(self.command, env={**os.environ, "RUST_LOG": "warn", **{f"GARAGE_DEFAULT_{k}": v for k, v in names.items()}})
        for _ in range(600):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError("Garage does not start")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def storage(self, prefix):
        return {"url": f"s3://media/{prefix}", "endpoint": f"http://127.0.0.1:{self.port}", "region": REGION, "allow_http": True,
                "credentials_file": self.credentials}


def signed(path, digest, host):
    """The headers of a PUT, signed as AWS says (version 4)."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    names = "host;x-amz-content-sha256;x-amz-date"
    request = f"PUT\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{now}\n\n{names}\n{digest}"
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = ("AWS4" + SECRET).encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now,
            "authorization": f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={key.hex()}"}


def puts(garage, size, seconds, run):
    """MB/s of one client that puts one object after the other over one connection."""
    body, host = bytearray(os.urandom(size)), f"127.0.0.1:{garage.port}"
    connection = http.client.HTTPConnection(host)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        for at in range(0, size - 16, BLOCK):
            body[at:at + 16] = os.urandom(16)
        path = f"/media/plain/{run}/{count}"
        connection.request("PUT", path, bytes(body), signed(path, hashlib.sha256(body).hexdigest(), host))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"PUT: {answer.status} {text}")
        count += 1
    took = time.perf_counter() - began
    connection.close()
    return size * count / took / 1e6


def ingest(example, garage, data, prefix, streams, seconds, size, rate):
    os.environ["VIDICON_BENCH_STORAGE"] = json.dumps(garage.storage(prefix))
    try:
        return example("vidicon-store", "scale", "ingest", data, str(streams), str(seconds), str(size), str(rate))
    finally:
        del os.environ["VIDICON_BENCH_STORAGE"]


def store_s3_vs_put(args, example, row):
    seconds = max(4, int(args.seconds / 2))
    ours, theirs, sizes, rates = [], [], [], {}
    with tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR")) as folder, Garage(folder) as garage:
        for run in range(3):  # alternating, so that the machine's moods hit both
            said = ingest(example, garage, f"{folder}/run{run}", f"run{run}", 20, seconds, 1_000_000, 0)
            ours.append(said["mb_per_s"])
            sizes.append(said["media_bytes"] / said["commits"])
            theirs.append(puts(garage, int(sizes[-1]), seconds, run))
        for streams in (1, 500):
            name = f"steady{streams}"
            # Long enough for one PUT more or less, of one a second, not to count; small fragments, as a group begins with one.
            said = ingest(example, garage, f"{folder}/{name}", name, streams, max(15, seconds), 100_000, 5_000_000)
            rates[streams] = said["commits_per_s"]
    value, baseline = sorted(ours)[1], sorted(theirs)[1]
    even = abs(rates[500] - rates[1]) <= 0.15 * rates[1]
    note = (f"20 streams of 1 MB fragments, objects of {sorted(sizes)[1] / 1e6:.3g} MB, 4 PUTs under way; at 5 MB/s {rates[1]:.3g} PUTs a second of "
            f"1 stream and {rates[500]:.3g} of 500; baseline: one client that puts objects of that size over one connection")
    return row(value, "MB/s", baseline, "at least 0.8 of one client's PUTs", value >= 0.8 * baseline and even, note)
