"""A real Chromium for tests of pages: real clicks, drags and keys, no dependency.

The DevTools protocol is spoken over the pipe that ``--remote-debugging-pipe`` opens
(file descriptors 3 and 4, messages ended by a zero byte).
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
TIMEOUT_S = 60
#: Key -> (code, virtual key code); letters and digits follow a rule.
KEYS = {
    "Enter": ("Enter", 13),
    "Tab": ("Tab", 9),
    "Escape": ("Escape", 27),
    "Home": ("Home", 36),
    "End": ("End", 35),
    "PageUp": ("PageUp", 33),
    "PageDown": ("PageDown", 34),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
    " ": ("Space", 32),
}
MODIFIERS = {"alt": 1, "ctrl": 2, "meta": 4, "shift": 8}


class Browser:
    """A headless Chromium with one tab; a context manager.

    Args:
        profile: Folder of the profile. A later browser with the same one finds the
            localStorage of the former, as after closing and opening a browser.
        size: Width and height of the tab in CSS pixels.

    Attributes:
        errors: Texts of uncaught exceptions and of errors in the console.
        requests: Every URL that a page asked for, itself included.
        downloads: Folder that receives what a page saves.
    """

    def __init__(self, profile: Path, *, size: tuple[int, int] = (1400, 1000)):
        program = next(filter(None, map(shutil.which, NAMES)), None)
        if program is None:
            pytest.skip("no Chromium to open the page in")
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.downloads = Path(profile) / "downloads"
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._loaded = False
        self._finished: set[str] = set()
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(TIMEOUT_S)
        # The shell puts one end of the socket where Chromium looks for its pipe.
        self._process = subprocess.Popen(
            [
                *("sh", "-c", 'exec "$@" 3<&0 4>&0 </dev/null', "sh"),
                *(program, *FLAGS),
                f"--user-data-dir={profile}",
                f"--window-size={size[0]},{size[1]}",
                "about:blank",
            ],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        try:
            self._attach(*size)
        except BaseException:
            self._process.kill()
            raise

    def _attach(self, width: int, height: int) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self.send(
            "Browser.setDownloadBehavior",
            behavior="allow",
            downloadPath=str(self.downloads.absolute()),
            eventsEnabled=True,
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error) -> None:
        self._session = None
        try:
            self.send("Browser.close")
            self._process.wait(TIMEOUT_S)
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._socket.close()

    def send(self, method: str, **parameters) -> dict:
        """Calls the DevTools protocol and returns the result."""
        number = self._post(method, parameters)
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _post(self, method: str, parameters: dict) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.sendall(json.dumps(message).encode() + b"\0")
        return self._number

    def _receive(self) -> dict:
        while b"\0" not in self._buffer:
            data = self._socket.recv(1 << 20)
            if not data:
                raise RuntimeError("Chromium ended")
            self._buffer += data
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, parameters: dict) -> None:
        if event == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            thrown = details.get("exception", {})
            self.errors.append(thrown.get("description") or details["text"])
        elif event == "Runtime.consoleAPICalled" and parameters["type"] == "error":
            texts = [str(each.get("value")) for each in parameters["args"]]
            self.errors.append(" ".join(texts))
        elif event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif event == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Page.javascriptDialogOpening":
            self._post("Page.handleJavaScriptDialog", {"accept": True})
        elif event == "Browser.downloadProgress" and parameters["state"] == "completed":
            self._finished.add(parameters["guid"])

    def open(self, page: Path | str) -> None:
        """Opens a file (or a URL) and waits until it is loaded."""
        url = page.absolute().as_uri() if isinstance(page, Path) else page
        self._loaded = False
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def resize(self, width: int, height: int) -> None:
        """Gives the tab another size in CSS pixels."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def evaluate(self, script: str):
        """Returns the value of a JavaScript expression; a promise is awaited."""
        answer = self.send(
            "Runtime.evaluate",
            expression=script,
            returnByValue=True,
            awaitPromise=True,
        )
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {})
            raise RuntimeError(thrown.get("description", script))
        return answer["result"].get("value")

    def wait_for(self, script: str, *, timeout_s: float = 20) -> None:
        """Waits until a JavaScript expression is true."""
        end = time.monotonic() + timeout_s
        while not self.evaluate(f"Boolean({script})"):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {timeout_s} s: {script}")
            time.sleep(0.02)

    def point(
        self, selector: str, place: tuple[float, float] = (0.5, 0.5)
    ) -> tuple[float, float]:
        """Scrolls an element into view; returns a point of it in the viewport.

        Args:
            selector: CSS selector; the first match counts.
            place: Shares of its width and height from its top left corner.
        """
        left, top, width, height = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height]; })()"
        )
        return left + place[0] * width, top + place[1] * height

    def click(
        self, selector: str, place: tuple[float, float] = (0.5, 0.5), *, count: int = 1
    ) -> None:
        """Clicks with the left button; `count` 2 is a double click."""
        x, y = self.point(selector, place)
        self._mouse("mouseMoved", x, y, buttons=0)
        for click in range(1, count + 1):
            self._mouse("mousePressed", x, y, clicks=click)
            self._mouse("mouseReleased", x, y, buttons=0, clicks=click)

    def drag(
        self,
        selector: str,
        start: tuple[float, float],
        end: tuple[float, float],
        *,
        steps: int = 8,
    ) -> None:
        """Drags from one place of an element to another, as shares of its size."""
        first, last = self.point(selector, start), self.point(selector, end)
        self._mouse("mouseMoved", *first, buttons=0)
        self._mouse("mousePressed", *first)
        for step in range(1, steps + 1):
            share = step / steps
            pairs = zip(first, last, strict=True)
            self._mouse("mouseMoved", *(a + share * (b - a) for a, b in pairs))
        self._mouse("mouseReleased", *last, buttons=0)

    def wheel(
        self, selector: str, delta_y: float, place: tuple[float, float] = (0.5, 0.5)
    ) -> None:
        """Turns the wheel over an element; positive scrolls down."""
        x, y = self.point(selector, place)
        self.send(
            "Input.dispatchMouseEvent",
            type="mouseWheel",
            x=x,
            y=y,
            deltaX=0,
            deltaY=delta_y,
        )

    def _mouse(self, kind: str, x: float, y: float, *, buttons=1, clicks=1) -> None:
        self.send(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            button="none" if kind == "mouseMoved" and not buttons else "left",
            buttons=buttons,
            clickCount=0 if kind == "mouseMoved" else clicks,
        )

    def press(self, key: str, *modifiers: str) -> None:
        """Presses and releases a key, with ``shift``, ``ctrl``, ``alt`` or ``meta``."""
        self.hold(key, *modifiers)
        self.release(key, *modifiers)

    def hold(self, key: str, *modifiers: str) -> None:
        """Presses a key and keeps it down until `release`."""
        typed = {"Enter": "\r"}.get(key, key)
        text = {"text": typed} if len(typed) == 1 else {}
        self._key("keyDown" if text else "rawKeyDown", key, modifiers, **text)

    def release(self, key: str, *modifiers: str) -> None:
        """Releases a key."""
        self._key("keyUp", key, modifiers)

    def _key(self, kind: str, key: str, modifiers: tuple[str, ...], **text) -> None:
        if key in KEYS:
            code, number = KEYS[key]
        elif key.isalnum():
            code = f"Digit{key}" if key.isdigit() else f"Key{key.upper()}"
            number = ord(key.upper())
        else:
            code, number = "", 0
        self.send(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=code,
            windowsVirtualKeyCode=number,
            modifiers=sum(MODIFIERS[name] for name in modifiers),
            **text,
        )

    def type(self, text: str) -> None:
        """Types text into what has the focus."""
        self.send("Input.insertText", text=text)

    def choose_file(self, selector: str, path: Path) -> None:
        """Puts a file into an ``<input type=file>``, as its dialog would."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        found = self.send("DOM.querySelector", nodeId=root, selector=selector)
        self.send(
            "DOM.setFileInputFiles",
            nodeId=found["nodeId"],
            files=[str(path.absolute())],
        )

    def downloaded(self, count: int = 1) -> list[Path]:
        """Waits for that many finished downloads; returns the files by age."""
        end = time.monotonic() + TIMEOUT_S
        while len(self._finished) < count and time.monotonic() < end:
            self.evaluate("0")
            time.sleep(0.02)
        files = list(self.downloads.iterdir()) if self.downloads.is_dir() else []
        return sorted(files, key=lambda file: file.stat().st_mtime)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Saves what the tab shows, or the whole page, as PNG."""
        picture = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(picture["data"]))
