"""Runtimes that run exported files, and servers: what each of them runs as a network.

`places.open_network` takes the place of any of them: a path or an address.
"""
