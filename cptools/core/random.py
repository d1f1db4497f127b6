"""Random streams by name, so that a run can stop and carry on anywhere without stored RNG state."""

import hashlib

import torch


def stream(seed: int, *path: str | int) -> torch.Generator:
    """A CPU generator of its own for each (seed, path), such as stream(0, "shuffle", epoch)."""
    digest = hashlib.sha256("/".join(map(str, (seed, *path))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator for large draws on a device: the CPU's own, elsewhere one that it seeds.

    Drawing a number a pixel on the CPU would take a GPU longer than its work with them. So large
    draws differ between the two, where small ones, such as crops, are the same on both.
    """
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
