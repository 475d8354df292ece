"""The templates of a fork server that live, and what is left of those that are gone: exits to tell, cgroups to remove."""

from __future__ import annotations

import os
import select
import time

from air_executor.process.cgroup import AttemptCgroup, CgroupParent, remove_leftovers
from air_executor.process.exits import RunnerExit
from air_executor.process.template_link import TemplateLink

_VACATED_RETRY_S = 1.0
_ABANDONED_RETRY_S = 60.0
"""Cgroups that a template has left go when the runners in there have ended: nobody is in a hurry."""
_FAREWELL_S = 2.0
_STEP_S = 0.005


class TemplateRoster:
    """Knows every template from its fork until nothing is left of it, also those that are leaving."""

    def __init__(self, poll: select.poll, cgroups: CgroupParent | None) -> None:
        """Start empty.

        :param poll: what the fork server waits with; it wakes for what templates say.
        """
        self._poll = poll
        self._cgroups = cgroups
        self._links: dict[int, TemplateLink] = {}
        """By descriptor."""
        self._vacated: list[AttemptCgroup] = []
        """Those in which templates were born that are gone."""
        self._abandoned: list[TemplateLink] = []
        """Gone, but the cgroups that they have made are not."""
        self._abandoned_next_at = 0.0
        self._exits: list[tuple[int, RunnerExit]] = []

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The fork server's ends of the connections, which no fork may keep."""
        return tuple(self._links)

    def add(self, link: TemplateLink) -> None:
        """Hear of a template from now on."""
        self._links[link.fileno()] = link
        self._poll.register(link, select.POLLIN)

    def find(self, descriptor: int) -> TemplateLink | None:
        """Return the template at the other end; None if the descriptor is none of theirs."""
        return self._links.get(descriptor)

    def strike_off(self, link: TemplateLink) -> None:
        """Forget one that is gone, but for what is left of it."""
        self._exits += link.take_exits()
        self._poll.unregister(link)
        del self._links[link.fileno()]
        link.close()
        if link.birth_cgroup is not None:
            # What its preparation left running is in there.
            link.birth_cgroup.kill()
            self._vacated.append(link.birth_cgroup)
        if not link.remove_cgroups():
            self._abandoned.append(link)

    def take_exits(self) -> list[tuple[int, RunnerExit]]:
        """Return the exits that templates have told of since the last call, by pid of the runner."""
        exits, self._exits = self._exits, []
        # Not only of those that can be read: some may have come with an answer.
        for link in self._links.values():
            exits += link.take_exits()
        return exits

    def tend(self, now: float) -> None:
        """Remove the cgroups that have emptied."""
        self._remove_vacated()
        if self._abandoned and now >= self._abandoned_next_at:
            self._abandoned = [link for link in self._abandoned if not link.remove_cgroups()]
            self._abandoned_next_at = now + _ABANDONED_RETRY_S

    def next_due(self) -> float | None:
        """Return the monotonic instant at which `tend` has something to do; None if there is nothing to wait for."""
        due = [self._abandoned_next_at] if self._abandoned else []
        if self._vacated:
            due.append(time.monotonic() + _VACATED_RETRY_S)
        return min(due, default=None)

    def end(self) -> None:
        """End all templates, and wait for it; runners go on."""
        links = list(self._links.values())
        for link in links:
            # One that prepares may take its time.
            (link.finish if link.is_ready else link.kill)()
        gives_up_at = time.monotonic() + _FAREWELL_S
        for link in links:
            if not _has_left(link.pid, gives_up_at):
                link.kill()
                _has_left(link.pid, time.monotonic() + _FAREWELL_S)
            self.strike_off(link)
        self._remove_vacated()
        if self._cgroups is not None:
            # Of templates that were killed.
            remove_leftovers(self._cgroups.home)

    def _remove_vacated(self) -> None:
        self._vacated = [cgroup for cgroup in self._vacated if not cgroup.remove()]


def _has_left(pid: int, gives_up_at: float) -> bool:
    """Wait for a child to be gone until a monotonic instant, and reap it."""
    try:
        while os.waitpid(pid, os.WNOHANG)[0] == 0:
            if time.monotonic() >= gives_up_at:
                return False
            time.sleep(_STEP_S)
    except ChildProcessError:
        # The reaper was first.
        pass
    return True
