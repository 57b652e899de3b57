"""The table of operations in docs/api.md, made from the service models, the tests and a look at the server."""

import importlib
from pathlib import Path

import cases
from models import FOREIGN, OPERATIONS, path_of, service_of

HERE = Path(__file__).parent
# Where an operation is shown first of all; then by the name of the file.
HOMES = ["test_streams.py", "test_stream_settings.py", "test_channels.py", "test_signaling.py", "test_ice.py", "test_put_media.py", "test_get_media.py", "test_archive.py", "test_sts.py"]


def load():
    """All tests, so that each has said what it shows."""
    for file in sorted(HERE.glob("test_*.py")):
        importlib.import_module(file.stem)


def names():
    """Every operation, PutMedia beside GetMedia, by service."""
    for name in OPERATIONS:
        if name == "GetMedia":
            yield "PutMedia"
        yield name


def shown_by(operation):
    """The test to look at: file and name."""
    tests = [t.split(": ") for t in cases.SHOWN.get((operation, None), [])]
    best = min(tests, key=lambda t: (t[0] not in HOMES, HOMES.index(t[0]) if t[0] in HOMES else t[0]), default=None)
    return f"`{best[0]}` {best[1].removeprefix('test_')}" if best else ""


def rows(served):
    load()
    service = None
    for name in names():
        if service_of(name) != service:
            service = service_of(name)
            yield f"\n**{service}**\n\n| Operation | Path | Status | Shown by |\n|---|---|---|---|"
        status = "served" if name in served else f"never: {FOREIGN[name]}" if name in FOREIGN else "not served"
        shown = shown_by(name) if name in served else ""
        yield f"| {name} | `{path_of(name)}` | {status} | {shown} |"


def updated(served):
    """docs/api.md with the table as it has to be."""
    text = cases.API.read_text()
    before, rest = text.split(cases.BEGIN)
    after = rest.split(cases.END)[1]
    return before + cases.BEGIN + "\n" + "\n".join(rows(served)) + "\n\n" + cases.END + after


def write():
    from test_models import served

    now = {name for name in names() if name not in FOREIGN and served(name)}
    cases.API.write_text(updated(now))
    print(f"{cases.API.relative_to(cases.ROOT)}: {len(now)} operations are served")
