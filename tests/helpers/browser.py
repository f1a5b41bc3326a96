"""A headless Chromium, driven over two pipes: no port, no library.

The protocol is JSON, each message closed by a zero byte:
https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# WebGPU on the processor, as machines without one for graphics have it.
WEBGPU = "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"


def find() -> str | None:
    """Returns the path of an installed Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """A tab.

    Attributes:
        errors: What was written to the console as an error, or thrown.
        requests: The addresses that were asked for, except `file:` and `data:`.
    """

    def __init__(self, reader: int, writer: int):
        self.errors, self.requests = [], []
        self._reader, self._writer = reader, writer
        self._session, self._buffer, self._number = None, b"", 0
        self._events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params) -> dict:
        """Calls a method of the protocol and returns its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writer, data) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, path, width: int = 1280, height: int = 900):
        """Loads a file, or the address of a page, and waits until it is there."""
        self.resize(width, height)
        self._events.clear()
        self.call(
            "Page.navigate",
            url=path if isinstance(path, str) else path.resolve().as_uri(),
        )
        while "Page.loadEventFired" not in self._events:
            self._receive()

    def resize(self, width: int, height: int = 900):
        """Gives the tab a size in CSS pixels; narrow ones are telephones."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if width < 500 else 1,
            mobile=width < 500,
        )

    def run(self, code: str):
        """Returns the value of JavaScript, that of a promise included."""
        result = self.call(
            "Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:2000])
        return result["result"].get("value")

    def screenshot(self, path):
        """Saves the whole page as PNG."""
        image = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def print(self, path):
        """Saves the page as a PDF file of A4 pages."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69}
        sheet = self.call("Page.printToPDF", preferCSSPageSize=True, **size)
        path.write_bytes(base64.b64decode(sheet["data"]))

    def _receive(self, timeout: float = 60.0):
        end = time.monotonic() + timeout
        while b"\0" not in self._buffer:
            rest = max(end - time.monotonic(), 0)
            if not select.select([self._reader], [], [], rest)[0]:
                raise TimeoutError("Chromium does not answer.")
            data = os.read(self._reader, 1 << 20)
            if not data:
                raise EOFError("Chromium has ended.")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event, params):
        self._events.append(event)
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params))
        if event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        if event == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(json.dumps(params["args"]))
        if event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("file:", "data:")):
                self.requests.append(url)


@contextlib.contextmanager
def chromium(folder, *options: str):
    """Starts Chromium with its profile in a folder, and yields a `Page`.

    Args:
        folder: Of the profile.
        *options: Further flags of the command, such as `WEBGPU`.
    """
    (their_in, writer), (reader, their_out) = os.pipe(), os.pipe()
    # The browser reads from descriptor 3 and writes to 4, whichever these are here.
    shell = f'exec "$@" 3<&{their_in} 4>&{their_out}'
    command = [
        *("bash", "-c", shell, "bash", find()),
        *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        *("--disable-dev-shm-usage", "--disable-background-networking"),
        *("--remote-debugging-pipe", f"--user-data-dir={folder}", *options),
    ]
    process = subprocess.Popen(
        command,
        pass_fds=(their_in, their_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_in)
    os.close(their_out)
    try:
        page = Page(reader, writer)
        yield page
        # Asked to, it ends with all of its processes, and leaves the folder alone.
        page.call("Browser.close")
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        os.close(writer)
        os.close(reader)
