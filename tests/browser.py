# SPDX-License-Identifier: Apache-2.0
"""A page in headless Chromium, over its pipe for programs (the DevTools protocol, fds 3 and 4).

    with Browser(path, width=360) as browser:
        browser.run("document.title")
        browser.picture(folder / "page.png")

BROWSER_PICTURES=FOLDER keeps a picture of every page that a test has opened.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "headless_shell")
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), "")
HEIGHT = 900
LIMIT_S = 60.0

needs_browser = pytest.mark.skipif(not PROGRAM, reason="Chromium (Debian: chromium) is missing")


def high(fd: int) -> int:
    """The same at a number that is none of 3 and 4."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD, 20)
    os.close(fd)
    return moved


class Browser:
    def __init__(self, page: Path, width: int) -> None:
        self.page, self.width = page, width
        self.errors: list[str] = []
        self._number = 0
        self._rest = b""
        self._session = ""

    def __enter__(self) -> Browser:
        self._folder = tempfile.TemporaryDirectory(
            prefix="mfs-browser-", ignore_cleanup_errors=True
        )
        theirs_in, self._out = map(high, os.pipe())
        self._in, theirs_out = map(high, os.pipe())

        def as_3_and_4() -> None:
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        self._process = subprocess.Popen(
            [
                *(PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
                *("--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"),
                *(f"--user-data-dir={self._folder.name}", "about:blank"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=as_3_and_4,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self) -> None:
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        made = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = made["sessionId"]
        self.ask("Page.enable")
        self.ask("Runtime.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=self.width, height=HEIGHT, deviceScaleFactor=1, mobile=self.width < 600,
        )  # fmt: skip
        self.ask("Page.navigate", url=self.page.resolve().as_uri())
        until = time.monotonic() + LIMIT_S
        while self.run("document.readyState") != "complete":
            assert time.monotonic() < until, "the page is not there"
        kept = os.environ.get("BROWSER_PICTURES")
        if kept:
            self.picture(Path(kept) / f"{self.page.stem}-{self.width}.png")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Call it; what it says."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._hear()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(said["params"]["exceptionDetails"])[:500])

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], LIMIT_S)[0], "the browser says nothing"
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has gone"
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def run(self, script: str) -> Any:
        """What a piece of JavaScript gives."""
        said = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def picture(self, path: Path) -> None:
        """Of all of it, also of what is below."""
        said = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(said["data"]))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def __exit__(self, *_: object) -> None:
        self.close()
