"""Random streams by name, so that a run can stop and carry on anywhere without stored RNG state."""

import hashlib

import torch


def stream(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator of its own for each (seed, path), such as stream(0, "shuffle", epoch)."""
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
