"""The checksum that an artifact carries of itself, so that a damaged one is noticed.

XXH3 of 128 bits: it keeps up with memory, where SHA-256 would more than double the time of
reading. It tells accidents, not attacks: whoever changes a file on purpose can write the checksum
that fits. What identifies an artifact in histories is SHA-256 (`history.digest`).
"""

from collections.abc import Mapping
from typing import Any

import xxhash

from cptools.artifacts.frame import Spec
from cptools.artifacts.strict_json import dump_json

KEY = "checksum"  # of the header; the rest of the header is part of what is hashed


def begin(specs: Mapping[str, Spec], header: Mapping[str, Any]) -> "xxhash.xxh3_128":
    """The hash of names, dtypes, shapes, places and header; the payload has to follow.

    Args:
        specs: the tensors.
        header: the JSON object of the header; a checksum in it is left out.
    """
    tensors = {name: [spec.dtype, spec.shape, spec.begin] for name, spec in specs.items()}
    rest = {key: value for key, value in header.items() if key != KEY}
    return xxhash.xxh3_128(dump_json([tensors, rest]).encode())
