"""Ingest into a bucket of a real S3 server (Garage, one node), beside that server's own throughput with one plain client."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import shutil
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


def signed(method, path, digest, host):
    """The headers of a request, signed as AWS says (version 4)."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    names = "host;x-amz-content-sha256;x-amz-date"
    request = f"{method}\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{now}\n\n{names}\n{digest}"
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
        connection.request("PUT", path, bytes(body), signed("PUT", path, hashlib.sha256(body).hexdigest(), host))
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"PUT: {answer.status} {text}")
        count += 1
    took = time.perf_counter() - began
    connection.close()
    return size * count / took / 1e6


def gets(garage, prefix, ids):
    """MB/s of one client that gets these segments, whole, one after the other over one connection."""
    host, digest, size, began = f"127.0.0.1:{garage.port}", hashlib.sha256(b"").hexdigest(), 0, time.perf_counter()
    connection = http.client.HTTPConnection(host)
    for segment in ids:
        path = f"/media/{prefix}/segments/{segment:016x}.seg"
        connection.request("GET", path, headers=signed("GET", path, digest, host))
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"GET {path}: {answer.status} {body[:300]}")
        size += len(body)
    connection.close()
    return size / (time.perf_counter() - began) / 1e6


def forget_all(folder):
    """Takes the server's files out of the kernel's page cache."""
    for at, _, names in os.walk(folder):
        for name in names:
            fd = os.open(f"{at}/{name}", os.O_RDONLY)
            os.fdatasync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def read_hour_vs_get(example, row):
    """An hour of one camera of a hundred out of a bucket: each object has a fragment or so of each."""
    cameras, fragments, size = 100, 1800, 64_000  # 0.25 Mbit/s, a fragment every 2 s
    with tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR")) as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.5 * cameras * fragments * size:
            raise Skipped(f"{free / 1e9:.0f} GB are free, an hour of a hundred cameras takes 12")
        with Garage(folder) as garage:
            os.environ["VIDICON_BENCH_STORAGE"] = json.dumps(garage.storage("hour"))
            try:
                made = example("vidicon-store", "scale", "hour", f"{folder}/store", str(cameras), str(fragments), str(size))
                ours, theirs = [], []
                for run, camera in enumerate((17, 50, 83)):  # alternating, so that the machine's moods hit both
                    forget_all(f"{folder}/data")
                    theirs.append(gets(garage, "hour", range(40 + run * 100, 120 + run * 100)))
                    forget_all(f"{folder}/data")
                    ours.append(example("vidicon-store", "scale", "read", f"{folder}/store", f"cam{camera}"))
            finally:
                del os.environ["VIDICON_BENCH_STORAGE"]
    if any(run["fragments"] != fragments for run in ours):
        raise RuntimeError(f"not the whole hour was read: {ours}")
    value, baseline = sorted(run["mb_per_s"] for run in ours)[1], sorted(theirs)[1]
    note = (f"an hour of one camera of 100, {fragments} fragments of {size // 1000} KB, checksums compared; all {made['bytes'] / 1e9:.3g} GB recorded in "
            f"{made['seconds']:.3g} s; cold cache; baseline: one client that gets whole objects one after the other")
    return row(value, "MB/s of the camera", baseline, "shown", None, note)


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
