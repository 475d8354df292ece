"""The errors of Air-Executor: the docstring of each is its default message and names the remedy."""

from __future__ import annotations


class AirExecutorError(Exception):
    """Something went wrong in Air-Executor."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class InvalidNameError(AirExecutorError):
    """The name is not allowed: use 1 to 200 of letters, digits and `_ . ~ : + -`, not only dots."""


class InvalidJobError(AirExecutorError):
    """The job's files are not valid: correct the named field and submit the job again."""


class DependencyError(InvalidJobError):
    """The dependencies do not form an order: remove the cycle or the unknown task id."""


class TaskConflictError(InvalidJobError):
    """A task of this id exists with another command: choose another id."""


class InvalidTransitionError(AirExecutorError):
    """The event does not fit the state of the task: the journal or the manager is wrong."""


class RootError(AirExecutorError):
    """The base path cannot be used: it must be a directory of yours that nobody else may write to."""


class JobExistsError(AirExecutorError):
    """A job of this name exists: choose another name, or remove the old job first."""


class JobNotFinishedError(AirExecutorError):
    """The job is not over: cancel it first."""


class JobNotFoundError(AirExecutorError):
    """There is no job of this name under the base path: `air-executor jobs` lists them."""


class DamagedFileError(AirExecutorError):
    """The file is damaged: restore it, or remove its job's directory."""


class TornFileError(DamagedFileError):
    """The file is not whole: it is empty, or no JSON at all."""


class SubmissionError(AirExecutorError):
    """The submission could not be written to disk; nothing of it was kept."""


class NotInsideTaskError(AirExecutorError):
    """This works only in a task that Air-Executor runs."""


class ManagerRunningError(AirExecutorError):
    """A manager runs on this base path already: `air-executor manager stop` ends it."""


class ManagerNotRunningError(AirExecutorError):
    """No manager runs on this base path: `air-executor manager start` starts one."""


class ChartError(AirExecutorError):
    """The chart cannot be drawn: it is a .png or .svg file, and needs `pip install 'air-executor[plot]'`."""


class ConfigurationError(AirExecutorError):
    """A setting has a value that it cannot have."""


class HistoryError(AirExecutorError):
    """The database of the history cannot be used: `air-executor doctor` says more."""


class HistoryNotInstalledError(HistoryError):
    """The history needs SQLAlchemy and Alembic: run `pip install 'air-executor[history]'`."""
