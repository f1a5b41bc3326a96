"""Exports in browsers and Node: what each runtime computes, held against Python."""
