"""Runs the tests of unmodified AWS clients: `python tests/interop [--table] [NAME…]`. `--table` writes the table in docs/api.md anew,
NAME are names of tests as unittest takes them."""

import sys
import time
import unittest
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


class Timed(unittest.TextTestResult):
    """Knows how long each test took."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.took = []

    def startTest(self, test):
        self.began = time.monotonic()
        super().startTest(test)

    def stopTest(self, test):
        self.took.append((time.monotonic() - self.began, test.id()))
        super().stopTest(test)


def main(names):
    try:
        import awscli  # noqa: F401
        import boto3  # noqa: F401
    except ImportError as e:
        print(f"skipped: {e.name} is not installed in {sys.executable}")
        return 0
    from server import BINARY

    if not BINARY.exists():
        print(f"skipped: {BINARY} is not built")
        return 0
    if names == ["--table"]:
        import table

        table.write()
        return 0
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(names) if names else loader.discover(str(HERE), top_level_dir=str(HERE))
    began = time.monotonic()
    result = unittest.TextTestRunner(buffer=True, resultclass=Timed).run(suite)
    for reason, count in sorted(Counter(reason for _, reason in result.skipped).items()):
        print(f"skipped, {count} tests: {reason}")
    import cases

    if missing := sorted(n for n, row in cases.table().items() if row[1] == "not served"):
        print(f"not served: {', '.join(missing)}")
    slowest = ", ".join(f"{name} {seconds:.1f} s" for seconds, name in sorted(result.took, reverse=True)[:8])
    print(f"AWS clients: {result.testsRun} tests in {time.monotonic() - began:.0f} s; the slowest: {slowest}")
    return 0 if result.wasSuccessful() else 1


sys.exit(main(sys.argv[1:]))
