"""Jobs of revoked task instances: they are cancelled, and their ends are nobody's news."""

from __future__ import annotations

from air_executor.airflow.fault_log import FaultLog
from air_executor.client import AirExecutorClient
from air_executor.errors import JobNotFoundError

_REASON = "revoked by the scheduler"


class DismissedJobs:
    """Remembers each until it has ended, so that its mark is removed and its cancellation is asked for again if need be."""

    def __init__(self, faults: FaultLog) -> None:
        self._faults = faults
        self._is_cancelled: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._is_cancelled)

    def __contains__(self, name: object) -> bool:
        return name in self._is_cancelled

    def add(self, name: str) -> None:
        """Dismiss a job."""
        self._is_cancelled.setdefault(name, False)

    def cancel(self, client: AirExecutorClient, name: str) -> None:
        """Ask the manager to end a dismissed job.

        :raises AirExecutorError, OSError: it could not be asked; `check_all` asks again.
        """
        client.cancel(name, reason=_REASON)
        self._is_cancelled[name] = True

    def collect(self, client: AirExecutorClient) -> None:
        """Forget those that left their mark, with the mark.

        :raises OSError: the marks cannot be listed.
        """
        if not self._is_cancelled:
            return
        for name in client.ended_names():
            if name in self:
                self._forget(client, name)

    def check_all(self, client: AirExecutorClient) -> None:
        """Forget those that are over or gone: their mark may never come. Raises no error for a single job."""
        for name in list(self._is_cancelled):
            try:
                self._check(client, name)
            except Exception as error:
                self._faults.tell("Air-Executor cannot see to the end of job %s, will try again: %s", name, error)

    def _check(self, client: AirExecutorClient, name: str) -> None:
        try:
            is_over = client.job(name).state.is_terminal
        except JobNotFoundError:
            is_over = True
        if is_over:
            self._forget(client, name)
        elif not self._is_cancelled[name]:
            self.cancel(client, name)

    def _forget(self, client: AirExecutorClient, name: str) -> None:
        client.forget_ended(name)
        del self._is_cancelled[name]
