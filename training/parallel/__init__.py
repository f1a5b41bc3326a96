"""Processes, on this machine or on others, that share the work of a command.

`pool` gives calls of functions to workers and makes those of a worker that died again.
An engine starts the workers: `local` as processes of this machine, `ray_cluster` on the
nodes of a Ray cluster. `process` is what runs in each of them, and `workers` decides
between these, and when they pay.
"""
