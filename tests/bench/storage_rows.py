"""Rows of the storage alone: a catalog and an archive of any size, and the disk beside `fio`."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error

from load import Server, Skipped, need

SEEK_SMALL, SEEK_LARGE = (10, 26_000), (10, 2_592_000)  # cameras × seconds: 0.26 and 26 million fragments
GIB = 2**30


def scratch():
    return tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR"))


def forget(*paths):
    """Takes files out of the kernel's page cache: what is read next comes from the disk."""
    for path in paths:
        names = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]
        for name in names:
            fd = os.open(name, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def keep(path):
    """Brings a file into the kernel's page cache."""
    with open(path, "rb") as file:
        while file.read(1 << 20):
            pass


def seek_26m_p99(example, row):
    """The same look-ups in a catalog of 0.26 and of 26 million rows: out of a cold page cache, and all of the file in memory. Beside the cold
    ones pages of the same file at random places, which no catalog of that size can do without; beside the others SQLite alone."""
    figures = []
    with scratch() as folder:
        for name, (cameras, seconds) in (("small", SEEK_SMALL), ("large", SEEK_LARGE)):
            data = f"{folder}/{name}"
            made = example("vidicon-store", "scale", "rows", data, str(cameras), str(seconds), "0")
            forget(f"{data}/catalog.sqlite")
            page = example("vidicon-store", "scale", "bare", data, "2000", "16384", "0")
            forget(f"{data}/catalog.sqlite")
            cold = example("vidicon-store", "scale", "seek", data, "2000")
            keep(f"{data}/catalog.sqlite")
            warm = example("vidicon-store", "scale", "seek", data, "5000")
            bare = example("vidicon-store", "scale", "bare", data, "5000", "16384", "0")
            figures.append((made, page, cold, warm, bare))
    (_, _, small_cold, small, small_bare), (made, page, cold, large, bare) = figures
    size = made["bytes_per_fragment"]
    # A look-up reads a page of an index and one of the table, and of a cold file those that lead there.
    flat = large["p50_ms"] <= 2 * small["p50_ms"] and cold["p50_ms"] <= 6 * page["page_p50_ms"]
    passed = cold["p99_ms"] <= 10 and large["p99_ms"] <= 10 and size <= 120 and flat
    note = (f"{made['rows'] / 1e6:.3g} M rows, either clock, the file in memory; median {large['p50_ms']:.2g} ms, at 0.26 M {small['p50_ms']:.2g} "
            f"(SQLite alone, by time: {bare['time_p50_ms']:.2g}, {small_bare['time_p50_ms']:.2g}); 2000 look-ups of a cold file {cold['p50_ms']:.2g} "
            f"and p99 {cold['p99_ms']:.2g} ms (0.26 M: {small_cold['p50_ms']:.2g}, {small_cold['p99_ms']:.2g}), a page of it at a random place "
            f"{page['page_p50_ms']:.2g} and {page['page_p99_ms']:.2g}; a page of 10 s {large['page_p99_ms']:.2g} ms; {size:.4g} bytes a fragment; "
            f"baseline: 0.26 M rows")
    return row(large["p99_ms"], "ms a look-up", small["p99_ms"], "at most 10 ms, flat, 120 bytes", passed, note)


def wait_ready(server, until):
    while True:
        try:
            return server.get("/readyz")
        except urllib.error.HTTPError:
            if time.perf_counter() > until:
                raise
            time.sleep(0.01)


def startup_after_kill(example, row, binary):
    """The time from the start of a killed server to its banner, with 100 GB and with 1 GB of segments."""
    seconds = {}
    with scratch() as folder:
        for gigabytes in (1, 100):
            data = f"{folder}/{gigabytes}"
            fragments = gigabytes * 10**9 // 312_080
            example("vidicon-store", "scale", "rows", data, "10", str(fragments // 10), str(256 << 20))
            times = []
            for _ in range(3):
                recorder = subprocess.Popen([binary("vidicon-store", "scale"), "record", data], stdout=subprocess.PIPE, text=True)
                recorder.stdout.readline()
                time.sleep(1.5)
                recorder.kill()
                recorder.wait()
                forget(f"{data}/catalog.sqlite")
                began = time.perf_counter()
                with Server([], data=data) as server:
                    wait_ready(server, began + 60)
                    times.append(time.perf_counter() - began)
            seconds[gigabytes] = sorted(times)[1]
    value, baseline = seconds[100], seconds[1]
    note = "sparse segments, 0.32 M rows; SIGKILL while recording 60 MB/s; until /readyz says ready, median of 3; baseline: 1 GB"
    return row(value, "s to start", baseline, "at most 2 s, whatever the size", value <= 2 and value < baseline + 0.5, note)


def rate_of_dd(path):
    forget(path)
    said = subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=1M"], capture_output=True, text=True, check=True).stderr
    bytes_read, seconds = re.search(r"(\d+) bytes .*?, ([\d.]+) s", said).groups()
    return int(bytes_read) / float(seconds) / 1e6


CAMERAS, FRAGMENTS_OF_2_S = 100, 1800  # an hour of a hundred cameras


def read_hour_vs_disk(example, row):
    """An hour of one camera of a hundred that were recorded side by side: each group commit has a fragment or so of each."""
    size = 64_000  # 0.25 Mbit/s
    with scratch() as folder:
        free = shutil.disk_usage(folder).free
        if free < 1.3 * CAMERAS * FRAGMENTS_OF_2_S * size + GIB:
            raise Skipped(f"{free / 1e9:.0f} GB are free, an hour of a hundred cameras takes 12")
        data, plain = f"{folder}/data", f"{folder}/plain"
        made = example("vidicon-store", "scale", "hour", data, str(CAMERAS), str(FRAGMENTS_OF_2_S), str(size))
        subprocess.run(["dd", "if=/dev/urandom", f"of={plain}", "bs=1M", "count=1024", "conv=fsync"], check=True, capture_output=True)
        ours, theirs = [], []
        for camera in (17, 50, 83):  # alternating, so that the machine's moods hit both
            theirs.append(rate_of_dd(plain))
            forget(f"{data}/segments")
            ours.append(example("vidicon-store", "scale", "read", data, f"cam{camera}"))
    if any(run["fragments"] != FRAGMENTS_OF_2_S for run in ours):
        raise RuntimeError(f"not the whole hour was read: {ours}")
    value, baseline = sorted(run["mb_per_s"] for run in ours)[1], sorted(theirs)[1]
    note = (f"an hour of one camera of 100, {FRAGMENTS_OF_2_S} fragments of {size // 1000} KB, checksums compared; all {made['bytes'] / 1e9:.3g} GB recorded "
            f"in {made['seconds']:.3g} s; cold cache; baseline: dd of a file of 1 GiB, cold")
    return row(value, "MB/s of the camera", baseline, "at least 0.5 of the disk", value >= 0.5 * baseline, note)


def fio(folder, seconds, direct, rate=0):
    """MB/s of sequential writes of 8 MiB with one fdatasync every 200 ms or so at that rate; past the page cache or through it."""
    every = max(1, round(rate * 1e6 * 0.2 / (8 << 20)))
    command = ["fio", "--name=log", f"--directory={folder}", "--rw=write", "--bs=8M", "--size=4G", f"--runtime={seconds}", "--time_based",
               "--ioengine=psync", f"--fdatasync={every}", f"--direct={direct}", "--output-format=json"]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    os.remove(f"{folder}/log.0.0")
    return said["jobs"][0]["write"]["bw_bytes"] / 1e6


def store_local_vs_fio(args, example, row):
    need("fio")
    seconds = str(max(4, int(args.seconds / 2)))
    with scratch() as folder:
        # Whichever of the two suits the disk better.
        rate, direct = max((fio(folder, seconds, direct), direct) for direct in (0, 1))
        ours, theirs, runs = [], [], []
        for _ in range(2):  # alternating, so that the machine's moods hit both
            theirs.append(fio(folder, seconds, direct, rate))
            with tempfile.TemporaryDirectory(dir=folder) as data:
                runs.append(example("vidicon-store", "scale", "ingest", data, "20", seconds, "1000000", "0"))
                ours.append(runs[-1]["mb_per_s"])
        syncs = {}
        for streams, size in ((1, 200_000), (500, 40_000)):
            with tempfile.TemporaryDirectory(dir=folder) as data:
                steady = example("vidicon-store", "scale", "ingest", data, str(streams), seconds, str(size), "10000000")
                syncs[streams] = steady["commits_per_s"]
    value, baseline = sum(ours) / 2, sum(theirs) / 2
    amplification = max(run["amplification"] for run in runs)
    even = abs(syncs[500] - syncs[1]) <= 0.15 * syncs[1]
    note = (f"20 streams of 1 MB fragments; writes {amplification:.4g} times the media, catalog included; at 10 MB/s {syncs[1]:.3g} commits a second "
            f"of 1 stream and {syncs[500]:.3g} of 500; baseline: fio, blocks of 8 MiB, an fdatasync each 200 ms, the faster of O_DIRECT and not")
    return row(value, "MB/s", baseline, "at least 0.8 of fio, 1.02 written", value >= 0.8 * baseline and amplification <= 1.02 and even, note)


def encryption(args, example):
    """Ingest and reading with encryption and without, measured once for the rows that look at it."""
    if not encrypted:
        seconds = str(max(3, int(args.seconds / 2)))
        figures = {name: {False: [], True: []} for name in ("written", "read", "rate")}
        with scratch() as folder:
            for turn in range(3):  # alternating, so that the machine's moods hit both
                for key in (False, True):
                    env = {"VIDICON_ENCRYPTION_KEY": "5a" * 32} if key else {}
                    with tempfile.TemporaryDirectory(dir=folder) as data:
                        run = example("vidicon-store", "scale", "ingest", data, "4", seconds, "1000000", "40000000", **env)
                        figures["written"][key].append(run["cpu_s"] / (run["media_bytes"] / 1e9))
                        # Often enough that the clock's steps of 10 ms are a hundredth of it.
                        run = example("vidicon-store", "scale", "read", data, "cam0", "20", **env)
                        figures["read"][key].append(run["cpu_s"] / (run["bytes"] / 1e9))
                    with tempfile.TemporaryDirectory(dir=folder) as data:
                        run = example("vidicon-store", "scale", "ingest", data, "20", seconds, "1000000", "0", **env)
                        figures["rate"][key].append(run["mb_per_s"])
        encrypted.update({name: {key: sorted(runs)[1] for key, runs in both.items()} for name, both in figures.items()})
    return encrypted


encrypted = {}


def encryption_cost(args, example, row):
    """CPU of the store for a GB that it records at a steady rate, and for a GB that it reads, with encryption and without."""
    r = encryption(args, example)
    note = (f"4 streams, fragments of 1 MB, 40 MB/s, the store alone; reading {r['read'][True]:.3g} s a GB, without encryption "
            f"{r['read'][False]:.3g}; median of 3; baseline: the same without a key")
    return row(r["written"][True], "s of CPU a GB", r["written"][False], "shown", None, note)


def encryption_rate(args, example, row):
    """What the store takes at most, with encryption and without."""
    r = encryption(args, example)
    note = "20 streams of 1 MB fragments as fast as they are taken, the store alone; median of 3; baseline: the same without a key"
    return row(r["rate"][True], "MB/s", r["rate"][False], "shown", None, note)
