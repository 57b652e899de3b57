"""Rows of TURN: packets that are relayed for a second of CPU, beside coturn's, with the same client and peer (signaling/examples/turn_load.rs)."""
import base64
import json
import re
import subprocess
import tempfile
import time
import urllib.request

from load import Server, cpu_seconds, free_port, need

SIZES = (120, 1200)
MANY = "max_kbps_per_credential = 0\nmax_allocations_per_channel = 1000\nmax_allocations_per_credential = 1000\nmax_allocations_per_address = 1000\n"


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


# Packets of a burst, and bursts a second of a flow (0: the next when the last is nearly back). A picture of 1 Mbit/s at 25 a second has four
# packets of 1200 bytes; singles are what sound looks like. The first of each is what the goal is about: a server with work to do.
LOADS = {1: {"bursts of 8": (8, 0), "singles": (1, 0)},
         200: {"bursts of 4": (4, 0), "singles": (1, 0), "bursts of 4, 25 a second": (4, 25), "singles, 100 a second": (1, 100)}}


def packets_a_core_second(client, server, flows, size, load, seconds):
    """Packets that a server relays, both ways, for a second of CPU, and the part of them that was lost."""
    words = ["127.0.0.1:" + server.port, server.user, server.password, flows, size, *load, seconds]
    with subprocess.Popen([client, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        if running.stdout.readline().strip() != "ready":
            raise RuntimeError(f"no allocations: {running.stderr.read()[-500:]}")
        before = cpu_seconds(server.pid)
        running.stdout.readline()
        used = cpu_seconds(server.pid) - before
        did = json.loads(running.stdout.readline())
    if not did["back"]:
        raise RuntimeError("nothing came back")
    return 2 * did["back"] / used, 1 - did["back"] / did["sent"], did["back"] / did["seconds"]


def turn_vs_coturn(flows):
    def measure(args, row, binary_of_example):
        need("turnserver")
        client = binary_of_example("vidicon-signaling", "turn_load")
        seconds = max(2, min(args.seconds / 4, 4))
        worst, notes = None, []
        for nth, (name, load) in enumerate(LOADS[flows].items()):
            for size in SIZES:
                done = {Coturn: [], Ours: []}
                for _ in range(1 if nth else 3):  # alternating, so that the machine's moods hit both
                    for kind, results in done.items():
                        with kind() as server:
                            results.append(packets_a_core_second(client, server, flows, size, load, seconds))
                (baseline, lost_there, rate_there), (value, lost, rate) = (sorted(results)[len(results) // 2] for results in done.values())
                notes.append(f"{size} B in {name}: {value / baseline:.2f} × ({value:.0f} against {baseline:.0f}; {rate:.0f} and {rate_there:.0f} a second "
                             f"came back, {lost:.1%} and {lost_there:.1%} did not)")
                if nth == 0 and (worst is None or value / baseline < worst[0] / worst[1]):
                    worst = value, baseline
        value, baseline = worst
        return row(value, "packets a core second", baseline, "at least 2 × coturn, in bursts", value >= 2 * baseline,
                   "baseline: coturn with the same client and peer; " + "; ".join(notes))

    return measure
