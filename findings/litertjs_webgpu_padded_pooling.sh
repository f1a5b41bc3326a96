#!/usr/bin/env bash
# On WebGPU, LiteRT.js computes zero padding followed by an average pooling without padding
# as if the zeros did not count: a window at the border is divided by the number of its other
# values. WebAssembly, and LiteRT on a processor, divide by the size of the window, as the
# file says. The model is reported as fully accelerated, with precision fp32, and nothing is
# said. Zeros in front of a convolution do count, so a depthwise convolution with constant
# taps is right on both.
#
# Versions: @litertjs/core 2.5.3, Chromium 150 (its WebGPU on the processor, SwiftShader),
# Node is for npm alone; the file is written by TensorFlow 2.21.0.
# Seen: of a map of ones, 2 x 2 means behind one row and one column of zeros are 1, .5 and
# .25 on WebAssembly, and 1 everywhere on WebGPU. Exits with 1 when these change. Needs npm
# and chromium.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0
cd "$folder"
mkdir site
npm install --silent --prefix site --ignore-scripts --no-audit --no-fund @litertjs/core@2.5.3
cat >write.py <<'PYTHON'
import numpy as np
import tensorflow as tf

zeros = ((0, 0), (0, 1), (0, 1), (0, 0))


class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 4), tf.float32)])
    def pooled(self, x):
        return tf.nn.avg_pool2d(tf.pad(x, zeros), 2, 1, "VALID")

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 4), tf.float32)])
    def convolved(self, x):
        kernel = np.full((2, 2, 4, 1), 0.25, "float32")
        return tf.nn.depthwise_conv2d(tf.pad(x, zeros), kernel, [1] * 4, "VALID")


model = Model()
for name in ("pooled", "convolved"):
    function = getattr(model, name).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], model)
    with open(f"site/{name}.tflite", "wb") as file:
        file.write(converter.convert())
PYTHON
TF_CPP_MIN_LOG_LEVEL=3 env/bin/python write.py 2>/dev/null
cat >site/index.html <<'HTML'
<!DOCTYPE html>
<link rel="icon" href="data:,">
<script type="importmap">{"imports": {
  "@litertjs/core": "./node_modules/@litertjs/core/dist/index.js",
  "@litertjs/wasm-utils": "./node_modules/@litertjs/wasm-utils/dist/index.js"
}}</script>
<body></body>
<script type="module">
import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";
const found = {};
try {
  await loadLiteRt("./node_modules/@litertjs/core/wasm/");
  for (const name of ["pooled", "convolved"]) {
    for (const accelerator of ["wasm", "webgpu"]) {
      const options = { accelerator, gpuOptions: { precision: "fp32" } };
      const model = await loadAndCompile(`${name}.tflite`, options);
      const ones = new Tensor(new Float32Array(64).fill(1), [1, 4, 4, 4]);
      const [output] = await model.run([ones]);
      const values = [...(await output.data())];
      found[`${name} ${accelerator}`] = {
        full: model.isFullyAccelerated,
        values: [0, 3, 15].map((place) => values[4 * place]),
      };
    }
  }
} catch (error) {
  found.error = String(error);
}
await fetch("/found", { method: "POST", body: JSON.stringify(found) });
</script>
HTML
cat >look.py <<'PYTHON'
import functools
import http.server
import json
import subprocess
import sys
import threading

found, done = {}, threading.Event()


class Handler(http.server.SimpleHTTPRequestHandler):
    def do_POST(self):
        found.update(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        done.set()

    def log_message(self, *args):
        pass


handler = functools.partial(Handler, directory="site")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
browser = subprocess.Popen(
    [
        *("chromium", "--headless=new", "--no-sandbox", "--no-first-run"),
        *("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"),
        *("--remote-debugging-port=0", "--user-data-dir=profile"),
        f"http://127.0.0.1:{server.server_port}/index.html",
    ],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
done.wait(180)
browser.terminate()
browser.wait()
for name, value in found.items():
    print(name, value)
right, wrong = [1, 0.5, 0.25], [1, 1, 1]
seen = {name: value["values"] for name, value in found.items()}
assert seen == {
    "pooled wasm": right,
    "pooled webgpu": wrong,
    "convolved wasm": right,
    "convolved webgpu": right,
}, "It computes otherwise now."
assert found["pooled webgpu"]["full"]
PYTHON
env/bin/python look.py
