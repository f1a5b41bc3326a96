"""The runtimes: Node, and headless Chromium on a server of files."""

import contextlib
import functools
import http.server
import json
import pathlib
import shutil
import subprocess
import threading
import time

from tests.helpers import browser
from tests.helpers.commands import ROOT
from tests.web import cases

HERE = pathlib.Path(__file__).parent
NODE_MODULES = ROOT / ".web" / "node_modules"
LITERT_NODE, LITERT_WASM = "LiteRT.js, WASM, Node", "LiteRT.js, WASM, Chromium"
LITERT_WEBGPU = "LiteRT.js, WebGPU, Chromium"
ONNX_NODE, ONNX_WASM = "onnxruntime-web, WASM, Node", "onnxruntime-web, WASM, Chromium"
_SECONDS = 300  # WebGPU on a processor takes a second for an image.


def missing() -> str:
    """Returns what is not here of what the runtimes need, or nothing."""
    if not shutil.which("node"):
        return "needs Node"
    if not browser.find():
        return "needs an installed Chromium"
    if not NODE_MODULES.is_dir():
        return "needs the packages of npm that `make web` installs"
    return ""


def versions() -> str:
    """Returns what the browser, Node and the packages say that they are."""

    def said(*command):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.split()

    names = json.loads((HERE / "package.json").read_text())["dependencies"]
    packages = ", ".join(f"{name} {version}" for name, version in names.items())
    return (
        f"{' '.join(said(browser.find(), '--version')[:2])}, Node "
        f"{said('node', '--version')[0]}, {packages}"
    )


class _Quiet(http.server.SimpleHTTPRequestHandler):
    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".mjs": "text/javascript",
    }

    def log_message(self, *args):
        """Says nothing."""


@contextlib.contextmanager
def server(folder: pathlib.Path):
    """Serves a folder on this machine, and yields its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


def in_node(script: str, path: pathlib.Path) -> dict:
    """Returns what a script finds for the cases of a file, by their names."""
    command = [
        *("node", "--preserve-symlinks", str(HERE / script)),
        *(str(NODE_MODULES.resolve()), str(path), str(HERE / "measure.mjs")),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def in_chromium(page, address: str, path: pathlib.Path, accelerator: str) -> dict:
    """Returns what the exported pages find on an accelerator, by case."""
    found, known = {}, cases.read(path)
    for name, case in known["cases"].items():
        page.open(f"{address}/{name}/index.html")
        found[name] = _measured(
            page,
            f"const {{ load }} = await import('{address}/{name}/classifier.js');"
            f"const it = await load({{ accelerator: '{accelerator}' }});",
            f"{address}/measure.mjs",
            known["images"],
            case["seeds"],
            rounds=3 if accelerator == "webgpu" else 15,
        )
    return found


def onnx_in_chromium(page, address: str, path: pathlib.Path) -> dict:
    """Returns what onnxruntime-web finds, by case."""
    found, known = {}, cases.read(path)
    dist = f"{address}/node_modules/onnxruntime-web/dist/"
    for name, case in known["cases"].items():
        if "onnx" not in case:
            continue
        page.open(f"{address}/blank.html")
        found[name] = _measured(
            page,
            f"const ort = await import('{dist}ort.wasm.min.mjs');"
            f"const {{ onnx }} = await import('{address}/measure.mjs');"
            f"ort.env.wasm.wasmPaths = '{dist}'; ort.env.wasm.numThreads = 1;"
            f"const it = await onnx(ort, '{address}/{name}.onnx', 'wasm',"
            f"{known['shape']});",
            f"{address}/measure.mjs",
            known["images"],
            case["seeds"],
            rounds=15,
        )
    return found


def _measured(page, made: str, measure: str, images, seeds, rounds: int) -> dict:
    """Returns what `measure` gives for what some code makes, `it`, or its error."""
    arguments = f"it, {json.dumps(images)}, {json.dumps(seeds)}, {rounds}"
    page.run(
        "(async () => { try {"
        f"const {{ measure }} = await import('{measure}');"
        f"{made} window.found = await measure({arguments});"
        "} catch (error) { window.found = { refused: error.message }; } })(); 0"
    )
    end = time.monotonic() + _SECONDS
    while (found := page.run("window.found")) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"It takes more than {_SECONDS} seconds.")
        time.sleep(0.2)
    return found


def run_all(path: pathlib.Path, profile: pathlib.Path) -> dict[str, dict]:
    """Returns what each runtime finds for the cases of a file, by their names.

    Args:
        path: What `cases.make` has returned.
        profile: A folder for Chromium.

    Returns:
        Of each runtime and case the `results` of the images and the `milliseconds` of
        one of them, or why it was `refused`. Runtimes that this machine lacks are not
        among them.
    """
    folder = path.parent
    shutil.copy(HERE / "measure.mjs", folder)
    (folder / "blank.html").write_text("<!DOCTYPE html><link rel=icon href='data:,'>")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(NODE_MODULES.resolve())
    found = {LITERT_NODE: in_node("litert.mjs", path)}
    if cases.has_onnx():
        found[ONNX_NODE] = in_node("onnx.mjs", path)
    options = browser.WEBGPU
    with server(folder) as address, browser.chromium(profile, *options) as page:
        found[LITERT_WASM] = in_chromium(page, address, path, "wasm")
        if cases.has_onnx():
            found[ONNX_WASM] = onnx_in_chromium(page, address, path)
        page.open(f"{address}/blank.html")
        if page.run("navigator.gpu?.requestAdapter().then(x => x !== null)"):
            found[LITERT_WEBGPU] = in_chromium(page, address, path, "webgpu")
        elsewhere = [url for url in page.requests if not url.startswith(address)]
        if elsewhere:
            raise AssertionError(f"It asked for {elsewhere[0]}.")
    return found
