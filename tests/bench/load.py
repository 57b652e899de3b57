"""Cameras, the server under load, and what the kernel says of a process."""
import base64
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("VIDICON_SHARED", ROOT / "../shared"))


class Skipped(Exception):
    """What a row needs is not here."""


def need(program):
    if not shutil.which(program):
        raise Skipped(f"{program} is not installed")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_bytes(pid):
    return next(int(l.split()[1]) * 1024 for l in open(f"/proc/{pid}/status") if l.startswith("VmRSS"))


class Farm:
    """N looping RTSP cameras from one clip (the shared camera farm)."""

    def __init__(self, clip, cameras):
        if not (SHARED / "tools/camfarm.py").exists():
            raise Skipped("../shared (camera farm and clips) is not here")
        self.port = free_port()
        self.urls = [f"rtsp://127.0.0.1:{self.port}/cam{i}" for i in range(cameras)]
        self.command = [sys.executable, SHARED / "tools/camfarm.py", SHARED / clip, "--cams", str(cameras), "--port", str(self.port)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(100):
            time.sleep(0.1)
            if self.process.poll() is not None:
                raise Skipped("the camera farm does not start (its Python packages are missing?)")
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
        raise RuntimeError("the camera farm does not listen")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Server:
    """`vidicon serve` in release on a temporary folder, with these cameras in its configuration file."""

    credentials = {"VIDICON_ROOT_ACCESS_KEY_ID": "BENCHKEY", "VIDICON_ROOT_SECRET_ACCESS_KEY": "secret of the bench"}

    def __init__(self, urls, data=None):
        self.folder = tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR"))
        config = pathlib.Path(self.folder.name) / "vidicon.toml"
        config.write_text("".join(f'[[cameras]]\nname = "cam{i}"\nurl = "{url}"\n' for i, url in enumerate(urls)))
        self.command = [ROOT / "target/release/vidicon", "serve", "--listen", "127.0.0.1:0", "--log", "warn", "--config", config,
                        "--data", data or f"{self.folder.name}/data"]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True, env={**os.environ, **self.credentials})
        self.pid = self.process.pid
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+?(?=/?\s)", line).group(0)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(6)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()

    def get(self, path):
        key, secret = self.credentials.values()
        request = urllib.request.Request(self.url + path)
        request.add_header("Authorization", "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode())
        return urllib.request.urlopen(request, timeout=20).read()

    def wait_live(self, cameras, limit=60):
        until = time.time() + limit
        while True:
            states = [c["status"]["state"] for c in json.loads(self.get("/v1/cameras"))["cameras"]]
            if states.count("live") == cameras:
                return
            if time.time() > until:
                raise RuntimeError(f"cameras are not live: {states}")
            time.sleep(0.2)

    def wait_full_tails(self, limit=300):
        """Until the fragments in memory no longer grow."""
        most, until = -1, time.time() + limit
        while True:
            total = sum(v for k, v in self.metrics().items() if k.startswith("vidicon_tail_bytes"))
            if total <= most:
                return
            if time.time() > until:
                raise RuntimeError(f"the tails do not fill up: they hold {total:.0f} bytes and grow")
            most = total
            time.sleep(6)

    def metrics(self):
        lines = self.get("/metrics").decode().splitlines()
        return {k: float(v) for k, v in (l.rsplit(" ", 1) for l in lines if l and not l.startswith("#"))}
