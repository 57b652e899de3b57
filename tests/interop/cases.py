"""Which test shows what. Tests say it by `shows`; `test_model.py` fails where an operation, or an error that its model documents,
has no test, and where `docs/api.md` says of an operation something else than the server does."""

import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "docs/api.md"
BEGIN, END = "<!-- table of operations: begin -->", "<!-- table of operations: end -->"

# (operation, error or None) → the tests that show it.
SHOWN = {}


def table():
    """The rows of the table in docs/api.md: operation → (path, status, shown by)."""
    text = API.read_text()
    assert BEGIN in text and END in text, f"{API} has no table of operations between its marks"
    rows = re.findall(r"^\| (\w+) \| `(\S+)` \| ([^|]+) \| ([^|]*)\|$", text.split(BEGIN)[1].split(END)[0], re.M)
    return {name: (path, status.strip(), shown.strip()) for name, path, status, shown in rows}


SERVED = {name for name, (_, status, _) in table().items() if status == "served"}


def not_served(operations):
    """Why a test that needs these operations cannot run, or None."""
    missing = sorted(set(operations) - SERVED)
    return f"not served: {', '.join(missing)}" if missing else None


def shows(*operations, error=None, needs=()):
    """A test of these operations: that they work, or that they give this error. It is skipped while one of them, or of those in
    `needs`, is not served."""

    def decorate(test):
        name = f"{Path(test.__code__.co_filename).name}: {test.__name__}" if not hasattr(test, "shown_as") else test.shown_as
        for operation in operations:
            SHOWN.setdefault((operation, error), []).append(name)

        @functools.wraps(test)
        def run(self, *args, **kwargs):
            reason = not_served([*operations, *needs])
            if reason:
                self.skipTest(reason)
            return test(self, *args, **kwargs)

        run.shown_as = name
        return run

    return decorate


def claims(name, operations, error=None):
    """What a test shows that goes over all of these operations that are served."""
    for operation in operations:
        SHOWN.setdefault((operation, error), []).append(name)
