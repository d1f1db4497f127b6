"""The bytes of cptools: datasets, deltas and encoders as safetensors files and streams.

Arrays in, arrays out; numpy and the standard library only, never torch and never `cptools.core`.
Start at `schema` (what the artifacts are), `stream` (read and write them) and `history`
(where they came from). Importing this package alone imports nothing else.
"""
