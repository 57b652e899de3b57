"""Rows of reading what is recorded: GetMedia beside `cat`, and ListFragments over a long stream."""
import base64
import glob
import http.client
import json
import os
import random
import socket
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.parse

from load import Server

MIB = 2**20
FRAGMENTS, FRAGMENT_BYTES = 600, MIB
LONG, SHORT, PAGE = 1_000_000, 1_000, 1000


def authorization():
    key, secret = Server.credentials.values()
    return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()


def drain(sock, most):
    """Reads up to so many bytes; the rate in MB/s from the first byte on."""
    buffer, seen, began = memoryview(bytearray(MIB)), 0, None
    while seen < most:
        got = sock.recv_into(buffer)
        if not got:
            break
        began = began or time.perf_counter()
        seen += got
    return seen / (time.perf_counter() - began) / 1e6


def rate_of_get_media(url, most):
    at = urllib.parse.urlsplit(url)
    body = json.dumps({"StreamName": "past", "StartSelector": {"StartSelectorType": "EARLIEST"}})
    with socket.create_connection((at.hostname, at.port)) as sock:
        sock.sendall(f"POST /getMedia HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: {authorization()}\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        return drain(sock, most)


def rate_of_cat(files, most):
    """`cat` of the segments into a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            sock, _ = listener.accept()
            with sock:
                subprocess.run(["cat", *files], stdout=sock, stderr=subprocess.DEVNULL)
        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname()) as sock:
            rate = drain(sock, most)
        thread.join()
    return rate


def getmedia_vs_cat(example, row):
    with tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR")) as folder:
        example("vidicon-store", "fill", f"{folder}/data", "past", str(FRAGMENTS), str(FRAGMENT_BYTES))
        files, most = sorted(glob.glob(f"{folder}/data/segments/*.seg")), (FRAGMENTS - 20) * FRAGMENT_BYTES
        ours, theirs = [], []
        with Server([], data=f"{folder}/data") as server:
            rate_of_cat(files, most)  # both read what the kernel has in memory
            for _ in range(5):  # alternating, so that the machine's moods hit both
                ours.append(rate_of_get_media(server.url, most))
                theirs.append(rate_of_cat(files, most))
    value, baseline = statistics.median(ours), statistics.median(theirs)
    return row(value, "MB/s", baseline, "at least 0.7 of cat", value >= 0.7 * baseline,
               f"{FRAGMENTS} fragments of 1 MiB, one connection on loopback; baseline: cat of the segments into such a connection")


def page_times(server, stream, fragments, count=400):
    """Milliseconds of pages of 1000 at random places by either clock, and of pages that follow one another."""
    at = urllib.parse.urlsplit(server.url)
    client = http.client.HTTPConnection(at.hostname, at.port)
    times, end, chance, token = [], time.time(), random.Random(1), None
    for i in range(count):
        start = end - chance.uniform(PAGE, fragments) if fragments > PAGE else end - 2 * fragments
        by = ("PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP")[i // 2 % 2]
        body = {"StreamName": stream, "MaxResults": PAGE}
        if i % 2 and token:
            body["NextToken"] = token
        else:
            body["FragmentSelector"] = {"FragmentSelectorType": by, "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end}}
        began = time.perf_counter()
        client.request("POST", "/listFragments", json.dumps(body), {"Authorization": authorization()})
        answer = client.getresponse()
        text = answer.read()
        times.append((time.perf_counter() - began) * 1000)
        page = json.loads(text)
        if answer.status != 200 or not page["Fragments"]:
            raise RuntimeError(f"{answer.status}: {text[:300]}")
        token = page.get("NextToken")
    return statistics.quantiles(times, n=100)[98]


def list_fragments_1m_p99(example, row):
    with tempfile.TemporaryDirectory(dir=os.environ.get("VIDICON_BENCH_DIR")) as folder:
        for stream, fragments in (("long", LONG), ("short", SHORT)):
            example("vidicon-store", "fill", f"{folder}/data", stream, str(fragments), "100")
        with Server([], data=f"{folder}/data") as server:
            page_times(server, "long", LONG, 40)
            value, baseline = page_times(server, "long", LONG), page_times(server, "short", SHORT)
    return row(value, "ms a page of 1000", baseline, "at most 10 ms", value <= 10,
               "over HTTP, random places of 1 M fragments, both clocks; baseline: the same of a stream of 1000 fragments")
