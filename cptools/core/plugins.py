"""Registries of methods: this package's own, and those that other installed packages add.

Another package adds a method by an entry point in its `pyproject.toml`, under the name that users
will type:

    [project.entry-points."cptools.algorithms"]
    barlow = "my_package.methods:BARLOW"

It names an entry, an object such as `cptools.core.algorithms.Algorithm`, in a module that imports
no torch: `--help` lists the entries. What an entry names as text, "module:function", is imported
only when the method is used. The groups are cptools.attacks, cptools.algorithms, cptools.encoders
and cptools.defenses.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint, EntryPoints

Entry = TypeVar("Entry")

log = logging.getLogger("cptools")


def suggest(name: object, choices: Collection[str], *, form: str = "{}") -> str:
    """What to do about an unknown name: the one that it looks like, or else all there are.

    Args:
        name: what was given.
        choices: what there is.
        form: how a choice is written, such as "`mode={}`".
    """
    near = get_close_matches(str(name), choices, 1)
    if near:
        return f"did you mean {form.format(near[0])}?"
    return f"give {', '.join(map(form.format, choices))}"


def check_spec(spec: object) -> None:
    """Refuse what `cptools.core.lazy.load` cannot read.

    Raises:
        ValueError: it is no "module:name".
    """
    if not isinstance(spec, str) or re.fullmatch(r"\w+(\.\w+)*:\w+", spec) is None:
        raise ValueError(f'it names {spec!r}, not "module:name"')


class Registry(Mapping[str, Entry]):
    """Entries by name. Those of other packages are imported when any entry is first looked up.

    A package that cannot be used takes no part, and the logger "cptools" says so: as a warning
    where it takes a name that this package has, else as information, because the reason is also
    the error of `find` for its name.

    Args:
        what: a noun for messages, such as "attack".
        kind: class of the entries.
        own: the entries of this package.
        group: of the entry points of others.
        check: called with the name and the entry of another package; raises ValueError where it
            cannot be used.
        pattern: of the names that others may add, a regular expression.

    Attributes:
        own: the entries of this package; to look one up imports nothing.
        broken: why entries of other packages cannot be used, by name.
    """

    def __init__(
        self,
        what: str,
        kind: type[Entry],
        own: Mapping[str, Entry],
        *,
        group: str,
        check: Callable[[str, Entry], None],
        pattern: str = "[a-z][a-z0-9_.-]*",
    ):
        self.what, self.kind, self.group, self.check = what, kind, group, check
        self.pattern = pattern
        self.own, self.broken = MappingProxyType(dict(own)), dict[str, str]()
        self._entries = dict(own)
        self._pending: dict[str, list[EntryPoint]] | None = None

    def find(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            ValueError: there is none, or it cannot be used; one line that says what to do.
        """
        entries = self._all()
        if isinstance(name, str) and name in entries:
            return entries[name]
        raise ValueError(self.broken.get(str(name)) or self._unknown(name))

    def _unknown(self, name: object) -> str:
        return f"{name!r} is no {self.what}; {suggest(name, self._entries)}"

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, Entry]:
        if self._pending is None:
            self._pending = _by_name(_entry_points(), self.group)
        # The module of an entry may look up what it builds on while it is being imported.
        ready = [n for n, points in self._pending.items() if not _is_being_imported(points[0])]
        for name in ready:
            if points := self._pending.pop(name, []):
                self._add(name, points)
        return self._entries

    def _add(self, name: str, points: "list[EntryPoint]") -> None:
        """Add the entry of another package, or remember why not."""
        packages = " and ".join(sorted({p.dist.name if p.dist else p.value for p in points}))
        if name in self.own:
            log.warning(
                "the %s %s of %s is left out: cptools has one of that name; remove the package or "
                "rename its entry point", self.what, name, packages,
            )  # fmt: skip
            return
        try:
            if len(points) > 1:
                raise ValueError("several packages add one")
            if re.fullmatch(self.pattern, name) is None:
                raise ValueError("no such name can be typed as an option")
            entry = points[0].load()
            if not isinstance(entry, self.kind):
                kind = self.kind
                raise TypeError(
                    f"{points[0].value} is no {kind.__module__}.{kind.__name__}"
                    f" but of type {type(entry).__name__}"
                )
            self.check(name, entry)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - of anybody's code
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.broken[name] = (
                f"the {self.what} {name} of {packages} cannot be used ({reason[:300]}); update or"
                " remove the package"
            )
            log.info("%s", self.broken[name])
        else:
            self._entries[name] = entry


@cache
def _entry_points() -> "EntryPoints | None":
    """The entry points of installed packages, if one of them may be ours.

    Importing importlib.metadata takes 40 ms, a sixth of `--help`, and few have a package to add.
    """
    if not any(map(_mentions_cptools, sys.path)):
        return None
    from importlib.metadata import entry_points

    return cast("EntryPoints", entry_points())  # in Python 3.11 it has `select`, but is a dict


def _mentions_cptools(folder: str) -> bool:
    """Whether a package installed in a folder of `sys.path` has entry points of our groups."""
    try:
        with os.scandir(folder or os.curdir) as found:
            packages = [e.path for e in found if e.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return False
    for package in packages:
        with suppress(OSError), Path(package, "entry_points.txt").open("rb") as file:
            if b"[cptools." in file.read():
                return True
    return False


def _by_name(points: "EntryPoints | None", group: str) -> "dict[str, list[EntryPoint]]":
    """The entry points of a group by name, each once, in an order that does not depend on paths."""
    found: dict[str, list[EntryPoint]] = {}
    ours = () if points is None else points.select(group=group)
    for point in sorted(ours, key=lambda p: (p.name, p.value)):
        same = found.setdefault(point.name, [])
        if point not in same:
            same.append(point)
    return found


def _is_being_imported(point: "EntryPoint") -> bool:
    spec = getattr(sys.modules.get(point.module), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))
