"""cptools: Unix-style tools for data poisoning of contrastive learning.

The command-line tools exchange datasets, poison deltas and encoders as safetensors streams.
`cptools.core` holds the methods as functions on tensors, `cptools.artifacts` the file format.
Importing this package imports neither torch nor numpy.
"""

__version__ = "0.1.0"
