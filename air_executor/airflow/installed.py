"""Which modules come from installed packages, and a fingerprint of these: they change by installing only. All other code is read fresh."""

from __future__ import annotations

import hashlib
import os
import site
import sys
import sysconfig
import types
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from typing import Any

from air_executor import __version__

_PACKAGE_DIRECTORIES = ("site-packages", "dist-packages")
_METADATA_SUFFIXES = (".dist-info", ".egg-info", ".pth", ".egg-link")


class InstalledPackages:
    """The package directories and the standard library of this interpreter."""

    def __init__(self, volatile: Iterable[str] = ()) -> None:
        """Look at `sys.path`; read nothing yet.

        :param volatile: directories whose code may change at any time, as DAG folders; also where they lie within an installed one.
        """
        self.directories = _list_package_directories()
        libraries = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
        self._trusted = _as_prefixes((*self.directories, *libraries, *_frozen_home()))
        self._packages = _as_prefixes(self.directories)
        self._volatile = _as_prefixes(volatile)

    def holds(self, path: str) -> bool:
        """Claim that a file belongs to an installed package or to the standard library: the directory nearest to it decides."""
        if not path.startswith(self._trusted):
            return False
        return not path.startswith(self._volatile) or _longest(self._trusted, path) >= _longest(self._volatile, path)

    def is_in_package_directory(self, path: str) -> bool:
        """Claim that a file lies where packages are installed, not in the standard library."""
        return _longest(self._packages, path) > 0

    def fingerprint(self, *others: object) -> str:
        """Return a digest of interpreter, installed distributions and `others`; the same after a restart."""
        digest = hashlib.sha256()
        parts: list[object] = [sys.version, sys.executable, sys.prefix, __version__, *others]
        for directory in self.directories:
            parts.append(directory)
            parts.extend(_list_metadata(directory))
        for part in parts:
            digest.update(repr(part).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:32]


def find_origin(name: str, module: Any) -> str | None:
    """Return the file from which a loaded module came, None for built-in ones, namespaces, and what only looks like a module."""
    if not isinstance(module, types.ModuleType):
        return None
    # Not by attribute: a module may answer that with anything, and lazy ones would be loaded by the question.
    spec = vars(module).get("__spec__")
    # Another name than that of the spec is an alias.
    if not isinstance(spec, ModuleSpec) or spec.name != name or not spec.has_location:
        return None
    return spec.origin if isinstance(spec.origin, str) else None


def find_distributions(names: Iterable[str]) -> dict[str, list[str]]:
    """Return, for top-level names of modules, the installed distributions that they belong to. Reads metadata: takes a while."""
    from importlib.metadata import packages_distributions

    by_name = packages_distributions()
    return {name: sorted(set(by_name[name])) for name in names if name in by_name}


def _list_package_directories() -> tuple[str, ...]:
    found = [path for path in sys.path if os.path.basename(path) in _PACKAGE_DIRECTORIES]
    found += [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        found.append(site.getusersitepackages())
    return tuple(dict.fromkeys(os.path.abspath(path) for path in found if os.path.isdir(path)))


def _frozen_home() -> tuple[str, ...]:
    # Where the interpreter's own library is, also if a virtual environment is told another path.
    return (os.path.dirname(os.__file__),)


def _as_prefixes(directories: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(path.rstrip(os.sep) + os.sep for path in directories if path))


def _longest(prefixes: Iterable[str], path: str) -> int:
    return max((len(prefix) for prefix in prefixes if path.startswith(prefix)), default=0)


def _list_metadata(directory: str) -> list[tuple[str, int]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(
                (entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(_METADATA_SUFFIXES)
            )
    except OSError:
        return []
