"""The real binary as a child process."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path

from cases import ROOT

KEY, SECRET = "TESTKEY", "a secret of the tests"
REGION = "us-east-1"
ACCOUNT = "123456789012"
BINARY = Path(os.environ.get("VIDICON_BINARY", ROOT / "target/debug/vidicon"))
SHARED = Path(os.environ.get("VIDICON_SHARED", ROOT / "../shared"))
FIXTURES = SHARED / "kvs/fixtures"


class Server:
    """A server on a free port. `data` is kept if it is given, else temporary."""

    def __init__(self, data=None, env=None):
        self.temporary = data is None
        self.data = data or tempfile.mkdtemp(prefix="vidicon-interop-")
        root = {"VIDICON_ROOT_ACCESS_KEY_ID": KEY, "VIDICON_ROOT_SECRET_ACCESS_KEY": SECRET}
        self.log = []
        self.child = subprocess.Popen(
            [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", self.data],
            env={**os.environ, **root, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        atexit.register(self.stop)
        ready = threading.Event()
        threading.Thread(target=self._read, args=(ready,), daemon=True).start()
        if not ready.wait(60) or not self.url:
            raise RuntimeError(f"{BINARY} did not start: {' | '.join(self.log[-5:])}")

    url = None
    # Whom its certificate is trusted by, where it speaks TLS.
    ca = None

    def _read(self, ready):
        for line in self.child.stdout:
            self.log.append(line.rstrip())
            banner = re.search(r" is ready: (https?://\S+?)/?$", line.strip())
            if banner:
                self.url = banner[1]
                ready.set()
        ready.set()

    @property
    def authority(self):
        return self.url.split("://")[1]

    def stop(self, how=signal.SIGINT):
        if self.child.poll() is None:
            self.child.send_signal(how)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        if self.temporary:
            shutil.rmtree(self.data, ignore_errors=True)


_shared = None


def server():
    """The one that all tests share which do not need one of their own."""
    global _shared
    if _shared is None:
        _shared = Server()
    return _shared
