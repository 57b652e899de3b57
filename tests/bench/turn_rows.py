"""Rows of TURN: packets a second and core beside coturn's, with coturn's client and peer on both."""
import base64
import json
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request

from load import Server, cpu_seconds, free_port, need

SIZES = (120, 1200)
MANY = "max_allocations_per_channel = 1000\nmax_allocations_per_credential = 1000\nmax_allocations_per_address = 1000\n"


class Peer:
    """What sends back what it gets."""

    def __enter__(self):
        self.port = free_port()
        self.process = subprocess.Popen(["turnutils_peer", "-L", "127.0.0.1", "-p", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.4)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Ours(Server):
    def __init__(self):
        super().__init__([])
        with open(f"{self.folder.name}/vidicon.toml", "a") as config:
            config.write('[turn]\nallow_peers = ["127.0.0.1"]\n' + MANY)

    def __enter__(self):
        super().__enter__()
        arn = self.ask("/createSignalingChannel", {"ChannelName": "bench"})["ChannelARN"]
        one = self.ask("/v1/get-ice-server-config", {"ChannelARN": arn})["IceServerList"][0]
        self.port = re.search(r":(\d+)\?transport=udp", " ".join(one["Uris"]))[1]
        self.user, self.password = one["Username"], one["Password"]
        return self

    def ask(self, path, body):
        key, secret = self.credentials.values()
        headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode(), "Content-Type": "application/json"}
        return json.load(urllib.request.urlopen(urllib.request.Request(self.url + path, json.dumps(body).encode(), headers), timeout=20))


class Coturn:
    user, password = "user", "pass"

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = str(free_port())
        at = self.folder.name
        self.process = subprocess.Popen(
            ["turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech", "--user=user:pass", "--realm=bench", "--allow-loopback-peers",
             "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={self.port}", f"--pidfile={at}/pid", f"--userdb={at}/db",
             f"--log-file={at}/log", "--simple-log", "-q", "0", "-Q", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        time.sleep(2)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def packets_a_core_second(server, peer, flows, size, seconds):
    """Packets that a server relays, both ways, for a second of CPU."""
    # One flow as fast as its client goes; many of 100 packets a second each.
    interval, count = (0, int(20_000 * seconds / 4)) if flows == 1 else (10, int(100 * seconds))
    before = cpu_seconds(server.pid)
    said = subprocess.run(["turnutils_uclient", "-c", "-u", server.user, "-w", server.password, "-p", server.port, "-e", "127.0.0.1", "-r", str(peer.port),
                           "-m", str(flows), "-n", str(count), "-l", str(size), "-z", str(interval), "127.0.0.1"], capture_output=True, text=True, timeout=300)
    used = cpu_seconds(server.pid) - before
    got = re.findall(r"tot_recv_msgs=(\d+)", said.stdout)
    if not got or not int(got[-1]):
        raise RuntimeError(f"nothing came back: {said.stdout[-500:]}{said.stderr[-500:]}")
    return 2 * int(got[-1]) / used


def turn_vs_coturn(flows):
    def measure(args, row):
        for program in ("turnserver", "turnutils_uclient", "turnutils_peer"):
            need(program)
        seconds = min(args.seconds, 10)
        ratios, values, baselines, notes = [], [], [], []
        for size in SIZES:
            ours, theirs = [], []
            for _ in range(3):  # alternating, so that the machine's moods hit both
                with Peer() as peer, Coturn() as server:
                    theirs.append(packets_a_core_second(server, peer, flows, size, seconds))
                with Peer() as peer, Ours() as server:
                    ours.append(packets_a_core_second(server, peer, flows, size, seconds))
            value, baseline = statistics.median(ours), statistics.median(theirs)
            values.append(value)
            baselines.append(baseline)
            ratios.append(value / baseline)
            notes.append(f"{size} B: {value:.0f} against {baseline:.0f}")
        worst = ratios.index(min(ratios))
        return row(values[worst], "packets a core second", baselines[worst], "at least 2 × coturn", min(ratios) >= 2,
                   "baseline: coturn with the same client and peer; " + "; ".join(notes))

    return measure
