"""Code outside cptools that a file may name, and who vouches for it."""

import os

TRUST = "CPTOOLS_TRUST"
"""Environment variable: names such as "package.module:function", with commas between them."""


def vouched() -> frozenset[str]:
    """The names that the environment vouches for."""
    return frozenset(word.strip() for word in os.environ.get(TRUST, "").split(","))
