"""The rows of the bench. A row function takes the arguments and gives {value, unit, baseline, ratio, goal, pass, note}."""
import json
import os
import statistics
import subprocess
import tempfile
import time

import archive_rows
import s3_rows
import signaling_rows
import storage_rows
import turn_rows
from load import ROOT, Farm, Server, Skipped, cpu_seconds, need, rss_bytes

CLIP = "media/derived/cam_av_720p15_gop30_aac.mp4"


def row(value, unit, baseline, goal, passed, note=""):
    ratio = value / baseline if baseline else None
    return dict(value=value, unit=unit, baseline=baseline, ratio=ratio, goal=goal, **{"pass": passed}, note=note)


def cpu_of_ffmpeg(farm, seconds, folder):
    """CPU seconds a second and camera of `ffmpeg -c copy`, one process a camera, as people record with it."""
    running = [
        subprocess.Popen(["ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "matroska",
                          "-y", f"{folder}/{i}.mkv"], stderr=subprocess.DEVNULL)
        for i, url in enumerate(farm.urls)
    ]
    try:
        time.sleep(4 + len(running) / 10)
        before = sum(cpu_seconds(p.pid) for p in running)
        time.sleep(seconds)
        used = sum(cpu_seconds(p.pid) for p in running) - before
        if any(p.poll() is not None for p in running):
            raise RuntimeError("an ffmpeg of the baseline ended early")
    finally:
        for p in running:
            p.kill()
            p.wait()
    return used / seconds / len(running)


def cpu_of_vidicon(farm, seconds):
    with Server(farm.urls) as server:
        server.wait_live(len(farm.urls))
        # Until the tail is full, each frame is the first use of its memory; that is not how a recorder spends its days.
        server.wait_full_tails()
        before = cpu_seconds(server.pid)
        time.sleep(seconds)
        used = cpu_seconds(server.pid) - before
        server.wait_live(len(farm.urls))
    return used / seconds / len(farm.urls)


def record_camera_cpu(cameras):
    def measure(args):
        need("ffmpeg")
        ours, theirs = [], []
        with Farm(CLIP, cameras) as farm, tempfile.TemporaryDirectory() as folder:
            for _ in range(2):  # alternating, so that the machine's moods hit both
                theirs.append(cpu_of_ffmpeg(farm, args.seconds, folder))
                ours.append(cpu_of_vidicon(farm, args.seconds))
        value, baseline = statistics.median(ours) * 100, statistics.median(theirs) * 100
        goal, passed = ("at most 1/3 of ffmpeg -c copy", value <= baseline / 3) if cameras == 50 else ("-", None)
        return row(value, "% of a core a camera", baseline, goal, passed, "baseline: ffmpeg -c copy, one process a camera")
    return measure


def record_camera_rss_50(args):
    """Memory a camera, without the media that the byte budget accounts for."""
    with Server([]) as empty:
        time.sleep(3)
        base = rss_bytes(empty.pid)
    with Farm(CLIP, 50) as farm, Server(farm.urls) as server:
        server.wait_live(50)
        time.sleep(max(20, args.seconds))
        metrics = server.metrics()
        media = sum(v for k, v in metrics.items() if k.startswith("vidicon_queue_bytes"))
        value = (rss_bytes(server.pid) - base - media) / 50 / 2**20
    with Farm(CLIP, 1) as farm, tempfile.TemporaryDirectory() as folder:
        need("ffmpeg")
        ffmpeg = subprocess.Popen(["ffmpeg", "-v", "error", "-nostdin", "-rtsp_transport", "tcp", "-i", farm.urls[0], "-c", "copy", "-y",
                                   f"{folder}/a.mkv"], stderr=subprocess.DEVNULL)
        time.sleep(10)
        baseline = rss_bytes(ffmpeg.pid) / 2**20
        ffmpeg.kill()
        ffmpeg.wait()
    return row(value, "MB a camera", baseline, "at most 2 MB", value <= 2, "beyond the byte budget; baseline: one ffmpeg -c copy")


def example(package, name, *arguments, **environment):
    """Runs an example of a crate in release; it prints one JSON object as its last line."""
    done = subprocess.run(["cargo", "run", "-q", "--release", "--locked", "-p", package, "--example", name, "--", *arguments], cwd=ROOT,
                          capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    last = done.stdout.strip().splitlines()[-1]
    if last.startswith("skipped"):
        raise Skipped(last)
    return json.loads(last)


def binary_of_example(package, name):
    """The path of an example in release, built."""
    built = subprocess.run(["cargo", "build", "-q", "--release", "--locked", "-p", package, "--example", name], cwd=ROOT,
                           capture_output=True, text=True)
    if built.returncode:
        raise RuntimeError(built.stderr[-2000:])
    return ROOT / "target/release/examples" / name


def mkv_parse_rate(args):
    """The core of PutMedia alone, measured by criterion."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["cargo", "bench", "-q", "--locked", "-p", "vidicon-ingest", "--bench", "mkv_parse_rate", "--", "--noplot",
                               "--measurement-time", str(max(3, args.seconds / 3))], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "CRITERION_HOME": folder})
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        rates = {}
        for name in "core", "core_short_pieces", "crc32c", "copy":
            new = f"{folder}/mkv_parse_rate/{name}/new"
            with open(f"{new}/estimates.json") as estimates, open(f"{new}/benchmark.json") as what:
                rates[name] = json.load(what)["throughput"]["Bytes"] / json.load(estimates)["median"]["point_estimate"]
    note = "pieces of 64 KiB; of 8 KiB, which are copied, {core_short_pieces:.3g}; a bare copy {copy:.3g}; baseline: CRC-32C of the same bytes"
    return row(rates["core"], "GB/s", rates["crc32c"], "at least 1 GB/s", rates["core"] >= 1, note.format(**rates))


def put_media(*arguments, **more):
    """The producers of the bench (web/examples/put_media.rs)."""
    built = subprocess.run(["cargo", "build", "-q", "--release", "--locked", "-p", "vidicon-web", "--example", "put_media"], cwd=ROOT,
                           capture_output=True, text=True)
    if built.returncode:
        raise RuntimeError(built.stderr[-2000:])
    return subprocess.Popen([ROOT / "target/release/examples/put_media", *map(str, arguments)], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, **Server.credentials}, **more)


def result(process):
    out, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"the producers failed: {out}")
    said = json.loads(out.strip().splitlines()[-1])
    if said["errors"]:
        raise RuntimeError(f"refused: {said['errors'][0]}")
    return said


def server_with_streams(count):
    server = Server([])
    if put_media("streams", f"{server.folder.name}/data", count).wait():
        raise RuntimeError("the streams could not be made")
    return server


def putmedia_cpu_per_gb(args):
    """CPU of the server for what one producer sends as fast as it can."""
    gigabytes = max(1.0, args.seconds / 4)

    def cost(pid, address, folder):
        # On a virtual machine, memory that was free for a while costs seconds a GB to touch, and files take it: both get such as was just used.
        with open(f"{folder}/used", "wb") as file:
            for _ in range(int(gigabytes * 1.5 * 1000)):
                file.write(bytes(10**6))
        os.unlink(f"{folder}/used")
        before = cpu_seconds(pid)
        sent = result(put_media("flood", address, gigabytes))["bytes"]
        return (cpu_seconds(pid) - before) / (sent / 1e9)

    ours, theirs = [], []
    for _ in range(3):  # alternating, so that the machine's moods hit both
        with tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR")) as folder:
            sink = put_media("sink", f"{folder}/body")
            try:
                theirs.append(cost(sink.pid, sink.stdout.readline().strip(), folder))
            finally:
                sink.kill()
                sink.wait()
        with server_with_streams(1) as server:
            ours.append(cost(server.pid, server.url.removeprefix("http://"), server.folder.name))
    value, baseline = statistics.median(ours), statistics.median(theirs)
    return row(value, "CPU seconds a GB", baseline, "at most 1.5 of a bare handler", value <= 1.5 * baseline,
               "baseline: an axum handler that appends the body to a file and syncs it once")


def healthz_p99(server, seconds):
    took, until = [], time.time() + seconds
    while time.time() < until:
        began = time.time()
        server.get("/healthz")
        took.append((time.time() - began) * 1000)
        time.sleep(0.02)
    return sorted(took)[int(len(took) * 0.99)]


SESSIONS = 500
INTERVAL_MS = 200  # the default of store.commit_interval_ms
loads = {}


def put_media_load(args):
    """Five hundred producers of 1 Mbit/s, measured once for the rows that look at it."""
    if "load" not in loads:
        seconds = int(max(20, args.seconds))
        with server_with_streams(SESSIONS) as server:
            time.sleep(2)
            base = rss_bytes(server.pid)
            producers = put_media("many", server.url.removeprefix("http://"), SESSIONS, seconds, 1000)
            time.sleep(seconds / 4)
            healthz = healthz_p99(server, seconds / 4)
            before, began = cpu_seconds(server.pid), time.time()
            time.sleep(seconds / 4)
            cpu = (cpu_seconds(server.pid) - before) / (time.time() - began)
            metrics, rss = server.metrics(), rss_bytes(server.pid)
            total = lambda name: sum(v for k, v in metrics.items() if k.startswith(name))
            if total("vidicon_put_media_active_connections") != SESSIONS:
                raise RuntimeError("not all sessions are open")
            held = (rss - base) / SESSIONS
            loads["load"] = dict(result(producers), held=held, cpu=cpu, healthz=healthz)
    return loads["load"]


def putmedia_500_sessions(args):
    r = put_media_load(args)
    value, baseline = r["held"] / 1024, r["fragment_bytes"] / 1024
    return row(value, "KiB a session", baseline, "at most 1.5 of its largest fragment", value <= 1.5 * baseline,
               f"500 sessions of 1 Mbit/s take {r['cpu']:.2f} cores; all memory beyond the idle server's; baseline: the fragment's bytes")


def ack_buffering_p99(args):
    r = put_media_load(args)
    return row(r["buffering_ms"]["p99"], "ms", r["healthz"], "at most 50 ms", r["buffering_ms"]["p99"] <= 50,
               "from sending a cluster's head to reading its BUFFERING; baseline: GET /healthz, p99, on a new connection under the same load")


def ack_persisted_p99(args):
    r = put_media_load(args)
    limit = INTERVAL_MS + 50
    return row(r["persisted_ms"]["p99"], "ms", INTERVAL_MS, "within the commit interval + 50 ms", r["persisted_ms"]["p99"] <= limit,
               "from sending what ends a fragment to reading its PERSISTED; baseline: the commit interval")


def sigv4_verify_rate(args):
    """Verifying signatures alone, measured by criterion."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["cargo", "bench", "-q", "--locked", "-p", "vidicon-web", "--bench", "sigv4_verify_rate", "--", "--noplot",
                               "--measurement-time", str(max(3, args.seconds / 3))], cwd=ROOT, capture_output=True, text=True,
                              env={**os.environ, "CRITERION_HOME": folder})
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        rates = {}
        for name in "verify", "verify_anew", "hashes":
            with open(f"{folder}/sigv4_verify_rate/{name}/new/estimates.json") as estimates:
                rates[name] = 1e9 / json.load(estimates)["median"]["point_estimate"]
    note = "one core, signing key at hand; derived anew {verify_anew:.3g}; baseline: its two hashes and the HMAC alone"
    return row(rates["verify"], "verifications a second", rates["hashes"], "at least 50 000", rates["verify"] >= 50_000, note.format(**rates))


def commit_latency_p99(args):
    r = example("vidicon-store", "commit_latency", str(args.seconds))
    limit = r["commit_interval_ms"] + 50
    return row(r["sealed_to_durable_p99_ms"], "ms", r["append_and_sync_p99_ms"] + r["commit_interval_ms"],
               "within the commit interval + 50 ms", r["sealed_to_durable_p99_ms"] <= limit,
               f"{r['streams']} streams; baseline: the interval + bare append and fdatasync of the same bytes")


def detect_rate_vs_ort(_args):
    r = example("vidicon-ml", "detect_rate")
    value, baseline = r["detector_fps"], r["bare_ort_fps"]
    return row(value, "pictures a second", baseline, "at least 0.9 of bare ONNX Runtime", value >= 0.9 * baseline,
               "same model, frames and threads; the detector's figure includes scaling and post-processing")


def whep_first_picture_p95(_args):
    need("chromium")
    with Farm(CLIP, 1) as farm, Server(farm.urls) as server:
        server.wait_live(1)
        time.sleep(3)
        done = subprocess.run(["node", f"{ROOT}/tests/browser/first-picture.mjs", server.url, "cam0", "20"], capture_output=True, text=True,
                              env={**os.environ, **server.credentials})
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        r = json.loads(done.stdout.strip().splitlines()[-1])
    return row(r["p95_ms"], "ms", r["key_interval_ms"], "at most 500 ms", r["p95_ms"] <= 500,
               "offer to first decoded picture in Chromium; baseline: the wait for the next key frame without a cached one, at worst")


ROWS = {
    "record_camera_cpu_1": record_camera_cpu(1),
    "record_camera_cpu_10": record_camera_cpu(10),
    "record_camera_cpu_50": record_camera_cpu(50),
    "record_camera_rss_50": record_camera_rss_50,
    "mkv_parse_rate": mkv_parse_rate,
    "sigv4_verify_rate": sigv4_verify_rate,
    "putmedia_cpu_per_gb": putmedia_cpu_per_gb,
    "putmedia_500_sessions": putmedia_500_sessions,
    "ack_buffering_p99": ack_buffering_p99,
    "ack_persisted_p99": ack_persisted_p99,
    "commit_latency_p99": commit_latency_p99,
    "whep_first_picture_p95": whep_first_picture_p95,
    "signaling_10k": lambda _args: signaling_rows.signaling_10k(binary_of_example, row),
    "detect_rate_vs_ort": detect_rate_vs_ort,
    "getmedia_vs_cat": lambda _args: archive_rows.getmedia_vs_cat(example, row),
    "list_fragments_1m_p99": lambda _args: archive_rows.list_fragments_1m_p99(example, row),
    "seek_26m_p99": lambda _args: storage_rows.seek_26m_p99(example, row),
    "startup_after_kill": lambda _args: storage_rows.startup_after_kill(example, row, binary_of_example),
    "read_hour_vs_disk": lambda _args: storage_rows.read_hour_vs_disk(example, row),
    "encryption_cost": lambda args: storage_rows.encryption_cost(args, example, row),
    "encryption_rate": lambda args: storage_rows.encryption_rate(args, example, row),
    "store_local_vs_fio": lambda args: storage_rows.store_local_vs_fio(args, example, row),
    "turn_vs_coturn_1": lambda args: turn_rows.turn_vs_coturn(1)(args, row, binary_of_example),
    "turn_vs_coturn_200": lambda args: turn_rows.turn_vs_coturn(200)(args, row, binary_of_example),
    "store_s3_vs_put": lambda args: s3_rows.store_s3_vs_put(args, example, row),
    "read_hour_vs_get": lambda _args: s3_rows.read_hour_vs_get(example, row),
}
