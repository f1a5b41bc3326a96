#!/usr/bin/env bash
# In TensorFlow 2.21 the end of a `tf.data` iterator may wait for the thread that tunes
# `AUTOTUNE`. That thread sleeps between two looks, twice as long each time, and the end
# of the iterator does not always wake it: it is waited for until it looks again. So an
# iterator that was in use for 5.5 s may take another 4.7 s to go away, in which nothing
# is computed. `Model.fit` makes an iterator for each epoch: epochs of ten seconds take
# twenty. It is a race, which is lost more often where the process has one core.
#
# Versions: TensorFlow 2.21.0, Linux.
# Seen, for 30 iterators in use for 0.7 to 3.6 s each, on one core: 4 of them took up to
# 2.3 s to go away; with `options.autotune.enabled = False` none took 0.01 s. On two
# cores 2 of 10 took 0.3 and 0.5 s.
# Exits with 1 if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0
cat > "$folder/ends.py" <<'PYTHON'
import gc
import os
import time

if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import tensorflow as tf


def seconds_of_the_end(used, is_tuned):
    dataset = tf.data.Dataset.range(10**9)
    dataset = dataset.map(lambda x: x + 1, num_parallel_calls=tf.data.AUTOTUNE)
    options = tf.data.Options()
    options.autotune.enabled = is_tuned
    iterator = iter(dataset.prefetch(tf.data.AUTOTUNE).with_options(options))
    start = time.perf_counter()
    while time.perf_counter() < start + used:
        next(iterator)
        time.sleep(0.02)
    start = time.perf_counter()
    del iterator
    return time.perf_counter() - start


gc.disable()
late = {}
for is_tuned in (True, False):
    ends = [seconds_of_the_end(0.7 + 0.1 * i, is_tuned) for i in range(30)]
    late[is_tuned] = [end for end in ends if end > 0.1]
    most = max(late[is_tuned], default=0)
    print(f"tuned: {is_tuned}; ends that took long: {len(late[is_tuned])}, up to {most:.2f} s")
assert late[True] and not late[False]
PYTHON
TF_CPP_MIN_LOG_LEVEL=2 "$folder/env/bin/python" "$folder/ends.py"
