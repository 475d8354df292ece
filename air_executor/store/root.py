"""The base path: where everything lies, and whether it may be trusted."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from air_executor.core.names import check_job_name, is_plain_name
from air_executor.errors import RootError
from air_executor.store.paths import store_path

_DIRECTORIES = ("jobs", "archive", "requests", "ended", "environments", "run", "tmp")


class Root:
    """The paths below one base path. `open` checks them; the constructor alone touches nothing."""

    def __init__(self, path: Path) -> None:
        path = store_path(path)
        self.path = path
        self.jobs = path / "jobs"
        self.archive = path / "archive"
        self.requests = path / "requests"
        self.ended = path / "ended"
        self.environments = path / "environments"
        self.run = path / "run"
        self.tmp = path / "tmp"
        self.history = path / "history"
        """Journals that are yet to be recorded; made when a history is first wanted."""
        self.history_database = path / "history.db"
        self.manager_lock = path / "manager.lock"
        self.manager_pid = path / "manager.pid"
        self.manager_log = path / "manager.log"

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, create: bool = True) -> Root:
        """Check the base path, and create what is missing with mode 0700.

        :raises RootError: it is missing and `create` is false, not a directory, not ours, open to others' writing, or read-only.
        """
        root = cls(Path(os.path.abspath(path)))
        try:
            if create:
                root.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_directory(root.path)
            for name in _DIRECTORIES:
                directory = root.path / name
                if create and not directory.is_symlink():
                    directory.mkdir(mode=0o700, exist_ok=True)
                _check_directory(directory)
        except FileNotFoundError as error:
            raise RootError(
                f"{error.filename}: does not exist; start a manager there, or give another base path"
            ) from error
        except OSError as error:
            raise RootError(f"{error.filename or path}: cannot be used as base path ({error.strerror})") from error
        return root

    def restore_directories(self) -> bool:
        """Make the root's own directories anew that somebody removed; returns whether there were any.

        :raises OSError: one could not be made.
        """
        was_missing = False
        for name in _DIRECTORIES:
            try:
                os.mkdir(self.path / name, 0o700)
                was_missing = True
            except FileExistsError:
                continue
        return was_missing

    def make_history(self) -> None:
        """Make the directory of journals that are yet to be recorded, if it is missing.

        :raises RootError: something else is there, or others may write to it.
        :raises OSError: it could not be made.
        """
        if not os.path.lexists(self.history):
            self.history.mkdir(mode=0o700, exist_ok=True)
        _check_directory(self.history)

    def job(self, name: str) -> Path:
        """Return the directory of a job.

        :raises InvalidNameError: the name is not allowed.
        """
        return self.jobs / check_job_name(name)

    def archived_job(self, name: str) -> Path:
        """Return where a job lies once it was moved out of jobs/.

        :raises InvalidNameError: the name is not allowed.
        """
        return self.archive / check_job_name(name)

    def log(self, job_name: str, task_id: str, attempt: int) -> Path:
        """Return the log file of an attempt, which is also its lock."""
        return self.job(job_name) / log_name(task_id, attempt)

    def result(self, job_name: str, task_id: str, attempt: int) -> Path:
        """Return the file into which an attempt may write a result, as JSON."""
        return self.job(job_name) / result_name(task_id, attempt)

    def job_names(self) -> list[str]:
        """Return the names under jobs/ that a job may have, unsorted."""
        return _plain_names(self.jobs)

    def archived_names(self) -> list[str]:
        """Return the names under archive/ that a job may have, unsorted."""
        return _plain_names(self.archive)


def _plain_names(directory: Path) -> list[str]:
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries if is_plain_name(entry.name)]


# As text, for those who name very many.


def log_name(task_id: str, attempt: int) -> str:
    """Return the path, within the job's directory, of an attempt's log, which is also its lock."""
    return f"logs/{file_stem(task_id)}.{attempt}.log"


def result_name(task_id: str, attempt: int) -> str:
    """Return the path, within the job's directory, of the file into which an attempt may write a result, as JSON."""
    return f"results/{file_stem(task_id)}.{attempt}.json"


def error_name(task_id: str, attempt: int) -> str:
    """Return the path, within the job's directory, of the file into which an attempt may write why it fails."""
    return f"results/{file_stem(task_id)}.{attempt}.error"


def file_stem(task_id: str) -> str:
    """Return what stands for a task id in file names: the id itself, or a readable part with a digest.

    Ids that differ give stems that differ: an id with a `.` in it could else meet the number of an attempt.
    """
    if is_plain_name(task_id) and "." not in task_id and len(task_id) <= 150:
        return task_id
    readable = "".join(char if is_plain_name(char) else "-" for char in task_id)[:100]
    return f"{readable}.{hashlib.sha256(task_id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def _check_directory(path: Path) -> None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise RootError(f"{path}: is a symbolic link; give the directory itself as base path")
    if not stat.S_ISDIR(status.st_mode):
        raise RootError(f"{path}: is not a directory")
    if status.st_uid != os.geteuid():
        raise RootError(
            f"{path}: belongs to user {status.st_uid}, not to user {os.geteuid()}; use a base path of your own"
        )
    if status.st_mode & 0o022:
        raise RootError(f"{path}: others may write to it; run `chmod go-w {path}`")
    if status.st_mode & 0o055:
        # Others may read it, as after a git checkout. What lies in it is for its owner alone.
        os.chmod(path, 0o700)
    if not os.access(path, os.W_OK | os.X_OK):
        raise RootError(f"{path}: cannot be written to; make it writable or give another base path")
