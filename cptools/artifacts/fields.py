"""Strict access to the JSON objects in a header: each value is checked for type and range."""

import re
from collections.abc import Collection
from typing import Any, NoReturn, TypeGuard

from cptools.artifacts.errors import ArtifactError

MAX_TEXT = 10_000  # characters of a name; a path may have 4096 bytes
MAX_TEXTS = 100_000  # names in a list; the largest public dataset has 22,000 classes
MAX_INTEGER = 1 << 20  # width, features, pixels of a side: far more than any network has

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Fields:
    """One JSON object of a header; its methods return a value or raise `ArtifactError`.

    Args:
        value: the JSON value at this position.
        where: how messages name this position, e.g. `header` or `history[2]`.
        keys: the keys the object has to have.
        optional: the only other ones it may have.
    """

    def __init__(
        self, value: object, where: str, keys: Collection[str], optional: Collection[str] = ()
    ) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise ArtifactError(f"damaged header: {where} is not an object; make the file again")
        self._values: dict[str, Any] = value
        for key in keys:
            if key not in value:
                self.fail(key, "is missing")
        for key in value:
            if key not in keys and key not in optional:
                raise ArtifactError(
                    f"unknown field {key[:80]!r} in {where}; it may need a newer cptools"
                )

    def fail(self, key: str, problem: str) -> NoReturn:
        """Raise the error for one field."""
        raise ArtifactError(f"damaged header: {self.where}.{key} {problem}; make the file again")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def raw(self, key: str) -> Any:
        """The value as it stands."""
        return self._values[key]

    def text(self, key: str, pattern: str = r"(?s:.*)") -> str:
        """A string that matches the whole of `pattern`."""
        value = self._values[key]
        if not _is_text(value) or re.fullmatch(pattern, value) is None:
            self.fail(key, f"is not valid text: {str(value)[:40]!r}")
        return value

    def digest(self, key: str) -> str:
        """A SHA-256 in 64 hexadecimal digits."""
        value = self._values[key]
        if not isinstance(value, str) or _DIGEST.fullmatch(value) is None:
            self.fail(key, "is not a SHA-256 in hexadecimal")
        return value

    def integer(self, key: str) -> int:
        """An integer from 1 to `MAX_INTEGER`."""
        value = self._values[key]
        if type(value) is not int or not 1 <= value <= MAX_INTEGER:
            self.fail(key, f"is not an integer from 1 to {MAX_INTEGER}")
        return value

    def channels(self, key: str, *, positive: bool) -> tuple[float, float, float]:
        """Three numbers in [0, 1], or in (0, 1] where `positive`: one for each color channel."""
        value = self.items(key)
        if len(value) != 3 or not all(_is_share(v) and (v > 0 or not positive) for v in value):
            self.fail(key, f"is not three numbers in {'(0' if positive else '[0'}, 1]")
        red, green, blue = map(float, value)
        return red, green, blue

    def items(self, key: str) -> list[Any]:
        """A list."""
        value = self._values[key]
        if not isinstance(value, list):
            self.fail(key, "is not a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one string."""
        value = self.items(key)
        if not 1 <= len(value) <= MAX_TEXTS or not all(map(_is_text, value)):
            self.fail(key, "is not a list of names")
        return tuple(value)

    def mapping(self, key: str, pattern: str = r"[a-z][a-z0-9_]*") -> dict[str, Any]:
        """An object whose keys all match `pattern`."""
        value = self._values[key]
        if not isinstance(value, dict):
            self.fail(key, "is not an object")
        for name in value:
            if re.fullmatch(pattern, name) is None:
                self.fail(key, f"has the invalid name {name[:40]!r}")
        return value


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) <= MAX_TEXT


def _is_share(value: object) -> bool:
    return type(value) in (int, float) and 0 <= value <= 1  # type: ignore[operator]
