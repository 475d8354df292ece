"""What a warm parent was made from, as stamps for the manager; and where code lies that changes at any time."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping

import air_executor
from air_executor.airflow.installed import InstalledPackages, find_origin
from air_executor.airflow.options import ReadOption
from air_executor.store.stamps import Stamp, take_stamp

# Of a checkout: what changes there concerns the manager too, and is renewed with it.
_OWN = os.path.join(os.path.dirname(air_executor.__file__), "")
_SETTLE_S = 2.0
_LONGEST_SETTLE_S = 60.0
_STEP_S = 0.1
_MOST_FILES = 2000
_MOST_DIRECTORIES = 200
_MOST_ENTRIES = 20_000
_DEEPEST = 4


def wait_until_settled(directories: Iterable[str]) -> None:
    """Wait while packages are being installed: a directory of packages that has just changed may be half done."""
    paths = tuple(directories)
    gives_up_at = time.monotonic() + _LONGEST_SETTLE_S
    while time.monotonic() < gives_up_at:
        now_ns = time.time_ns()
        ages_s = [(now_ns - (take_stamp(path).mtime_ns or 0)) / 1e9 for path in paths]
        # A time to come is a wrong clock, and says nothing.
        if not any(0 <= age_s < _SETTLE_S for age_s in ages_s):
            return
        time.sleep(_STEP_S)


def find_config_files(environ: Mapping[str, str]) -> list[str]:
    """Return the files from which Airflow reads its configuration, whether they exist or not."""
    home = os.path.expanduser(environ.get("AIRFLOW_HOME") or "~/airflow")
    return [os.path.expanduser(environ.get("AIRFLOW_CONFIG") or os.path.join(home, "airflow.cfg"))]


def read_digest(path: str) -> str | None:
    """Return a digest of a file's content; None where it cannot be read. The same in a container that is started anew."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def list_volatile(read: ReadOption) -> list[str]:
    """Return the directories of DAGs, bundles and plugins, and the working directory: their code is read fresh."""
    found = [read("core", "dags_folder"), read("core", "plugins_folder"), *_list_bundle_paths(read), os.getcwd()]
    storage = read("dag_processor", "dag_bundle_storage_path")
    found.append(storage or os.path.join(tempfile.gettempdir(), "airflow", "dag_bundles"))
    return [os.path.abspath(os.path.expanduser(path)) for path in found if path]


def list_dag_modules(read: ReadOption) -> frozenset[str]:
    """Return the top-level names that modules in DAG folders have, if their directory were put on `sys.path`."""
    folders = [read("core", "dags_folder"), *_list_bundle_paths(read)]
    names: set[str] = set()
    for folder in folders:
        if folder:
            names.update(_list_module_names(os.path.abspath(os.path.expanduser(folder))))
    return frozenset(names)


def take_stamps(
    packages: InstalledPackages, config_files: Iterable[str], plugins: str | None, began_ns: int
) -> list[Stamp]:
    """Return stamps of all that this process was made from.

    :param began_ns: when loading began: what was written since may have been read before, and is stamped as changed.
    """
    own = [sys.executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    loaded = _list_other_files(packages)
    stamps = [stamp_unless_changed(path, began_ns) for path in (*packages.directories, *own, *config_files, *loaded)]
    # As they are now: Python itself writes into them, when plugins are imported for the first time.
    if plugins:
        stamps += [take_stamp(path) for path in _walk(os.path.abspath(os.path.expanduser(plugins)), _MOST_DIRECTORIES)]
    return stamps


def stamp_unless_changed(path: str, began_ns: int, first: Stamp | None = None) -> Stamp:
    """Return a stamp, or one that never fits if the file was written since `began_ns`.

    :param first: its stamp from before it was read: the file may have been replaced since by one that is older.
    """
    stamp = take_stamp(path)
    is_replaced = first is not None and first != stamp
    if is_replaced or (stamp.mtime_ns is not None and began_ns <= stamp.mtime_ns <= time.time_ns()):
        return Stamp(path, -1)
    return stamp


def _list_other_files(packages: InstalledPackages) -> list[str]:
    """Return the files of loaded modules that no installer put there: plugins, local settings, editable installs."""
    files = []
    for name, module in list(sys.modules.items()):
        origin = find_origin(name, module)
        if origin is not None and not packages.holds(origin) and not origin.startswith(_OWN):
            files.append(origin)
    return files[:_MOST_FILES]


def _list_bundle_paths(read: ReadOption) -> list[str]:
    try:
        bundles = json.loads(read("dag_processor", "dag_bundle_config_list") or "[]")
        return [bundle["kwargs"]["path"] for bundle in bundles if isinstance(bundle.get("kwargs", {}).get("path"), str)]
    except (ValueError, TypeError, AttributeError, KeyError):
        # Airflow says what is wrong with it.
        return []


def _list_module_names(folder: str) -> Iterator[str]:
    seen = 0
    for directory in _walk(folder, _MOST_DIRECTORIES):
        try:
            entries = os.listdir(directory)
        except OSError:
            continue
        seen += len(entries)
        if seen > _MOST_ENTRIES:
            return
        yield from (name.removesuffix(".py") for name in entries if name.endswith(".py"))
        if directory != folder and any(name.endswith(".py") for name in entries):
            yield os.path.basename(directory)


def _walk(top: str, most: int) -> Iterator[str]:
    """Yield a directory and those below it, the nearest first, as deep and as many as bearable; no hidden ones."""
    level, left = [top], most
    for _ in range(_DEEPEST):
        below: list[str] = []
        for directory in level:
            if left <= 0:
                return
            if not os.path.isdir(directory):
                continue
            left -= 1
            yield directory
            try:
                with os.scandir(directory) as entries:
                    below += sorted(each.path for each in entries if _is_own_directory(each))
            except OSError:
                continue
        level = below


def _is_own_directory(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__pycache__"))
