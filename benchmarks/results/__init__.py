"""The tables of this repository's own documents, made from measured results."""
