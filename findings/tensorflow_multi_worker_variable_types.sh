#!/usr/bin/env bash
# Under `tf.distribute.MultiWorkerMirroredStrategy` with two workers a variable of
# bfloat16, uint32, uint8 or int8 cannot be made: the first worker sends its initial
# value to the others, and the kernel of that takes six types. bfloat16 is what Keras'
# policy "bfloat16" makes weights of. `MirroredStrategy` makes all of them, and so does
# this strategy with one worker, so that it is found on the cluster only.
#
# Versions: tensorflow 2.21.0, two processes on one machine without a GPU.
# Seen: InvalidArgumentError "Value for attr 'T' of bfloat16 is not in the list of
# allowed values: bool, float, half, double, int32, int64". Exits with 1 if one of the
# four is made, or float32 is not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0
cd "$folder"
cat > worker.py <<'PYTHON'
import json
import os
import sys

index, ports = int(sys.argv[1]), sys.argv[2:]
workers = [f"127.0.0.1:{port}" for port in ports]
if len(workers) > 1:
    task = {"type": "worker", "index": index}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})

import tensorflow as tf


def made(strategy, dtype):
    """Returns whether a variable of a type can be made; says why not."""
    try:
        with strategy.scope():
            tf.Variable(tf.ones((2,), dtype), trainable=False)
    except tf.errors.InvalidArgumentError as error:
        print(f"{dtype}: {str(error).splitlines()[0]}", flush=True)
        return False
    return True


strategies = [tf.distribute.MultiWorkerMirroredStrategy()]
if len(workers) == 1:
    strategies.append(tf.distribute.MirroredStrategy(["CPU:0"]))
types = "float32", "int32", "bfloat16", "uint32", "uint8", "int8"
for strategy in strategies:
    found = [dtype for dtype in types if made(strategy, dtype)]
    print(f"made: {' '.join(found)}", flush=True)
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=""
free=$(env/bin/python -c '
import socket
some = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(one.getsockname()[1] for one in some))')
env/bin/python worker.py 1 $free > other.log 2>&1 &
env/bin/python worker.py 0 $free 2> errors.log | tee chief.log
wait
env/bin/python worker.py 0 1 2> errors.log | tee alone.log
grep -q "^made: float32 int32$" chief.log
test "$(grep -c "^made: float32 int32 bfloat16 uint32 uint8 int8$" alone.log)" = 2
