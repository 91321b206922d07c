"""A real browser without a window: Chromium, driven by the DevTools protocol over a pair of pipes,
which takes no library (https://chromedevtools.github.io/devtools-protocol/)."""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = ROOT / "build" / "browser" / "usr" / "lib"  # what `make browser` unpacks
PROGRAM = OURS / "chromium" / "chromium-headless-shell"
NAMES = "chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome"
LATEST = 60.0  # seconds that an answer may take
SWITCHES = (
    "--headless",
    "--no-sandbox",  # a container has no user namespaces; the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
# It reads commands from descriptor 3 and writes to 4, which may be in use the other way round.
START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, end in zip((3, 4), ends):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find_browser() -> str | None:
    """The program: $FASTHOAG_BROWSER, that of `make browser`, or one on the path."""
    given = os.environ.get("FASTHOAG_BROWSER")
    if given:
        return given
    return str(PROGRAM) if PROGRAM.exists() else next(filter(None, map(shutil.which, NAMES)), None)


def environment(program: str) -> dict[str, str]:
    """That of the program: what `make browser` unpacked has its libraries beside it."""
    if program != str(PROGRAM):
        return dict(os.environ)
    folders = [*OURS.glob("*-linux-gnu"), *OURS.glob("*-linux-gnu/pulseaudio")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


class Browser:
    """One page of a browser that runs."""

    def __init__(self, to: int, of: int) -> None:
        self._to, self._of, self._buffer, self._count = to, of, b"", 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        found = self.ask("Target.attachToTarget", targetId=page, flatten=True)
        self._session = found["sessionId"]
        for name in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{name}.enable")

    def ask(self, method: str, **params: Any) -> Any:
        """The answer to a command; events that come meanwhile are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._count:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def _next(self) -> Any:
        end = time.monotonic() + LATEST
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._of], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._of, 1 << 20) if ready else b""
            assert part, "the browser has ended or does not answer"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, *, width: int, height: int = 800, is_dark: bool = False) -> None:
        """Shows a file on a screen of this size, to somebody who likes it light or dark."""
        self.events.clear()
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """What a line of JavaScript gives in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def complaints(self) -> list[str]:
        """What the browser says on its console since the page was opened, and exceptions."""
        methods = "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"
        return [str(one["params"]) for one in self.events if one.get("method") in methods]

    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened."""
        sent = [one for one in self.events if one.get("method") == "Network.requestWillBeSent"]
        return [one["params"]["request"]["url"] for one in sent]

    def picture(self) -> bytes:
        """The whole page as PNG."""
        return b64decode(self.ask("Page.captureScreenshot", captureBeyondViewport=True)["data"])


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Starts the browser, and ends it."""
    of_browser, to = os.pipe()
    of, to_us = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        switches = [*SWITCHES, f"--user-data-dir={profile}"]
        process = subprocess.Popen(
            [sys.executable, "-c", START, str(of_browser), str(to_us), program, *switches],
            pass_fds=(of_browser, to_us),
            env=environment(program),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(of_browser)
        os.close(to_us)
        try:
            yield Browser(to, of)
        finally:
            os.close(to)  # It ends when nobody commands it.
            os.close(of)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
