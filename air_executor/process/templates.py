"""The templates of a fork server: which launches wait for one, which are started from one, and when each has to go."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Protocol

import msgspec

from air_executor.process.attempts import Birthplace
from air_executor.process.cgroup import CgroupParent
from air_executor.process.exits import RunnerExit
from air_executor.process.fork_runner import ForkRunner
from air_executor.process.protocol import Launch
from air_executor.process.template import Facts
from air_executor.process.template_link import TemplateLink
from air_executor.process.template_roster import TemplateRoster

_RENEW_AT = 0.6
"""From this part of its age on, a template that is in use has its successor prepared beside it."""
_RENEWAL_DELAY_S = 0.25
"""So much after the launch that shows that it is in use: that would share the CPU with the preparation."""
_REMEMBER_REFUSAL_S = 3600.0
_REMEMBER_DEATH_S = 60.0
"""Of a preparation that ended its process nobody knows what it has read, and so not when that changes. What is refused twice
within this time is refused for as long."""
_BUSY_S = 1.0
"""A template that was used so lately is not let go for another."""


class Standing(msgspec.Struct, frozen=True):
    """How it stands with one key, for people."""

    key: Hashable
    facts: Facts
    reason: str | None
    """Why there is no template; None while there is one."""


class TemplatePlan(Protocol):
    """What templates there may be, as the one who knows what launches are about decides."""

    max_age_s: float
    most: int
    """Templates at a time."""
    prepare_limit_s: float

    def find_key(self, launch: Launch) -> Hashable | None:
        """Tell of which template a launch is; None: of none."""

    def prepare(self, key: Hashable) -> Facts:
        """Prepare the calling process, which is a fork for this purpose; raises UnsuitableError."""

    def why_outdated(self, facts: Facts) -> str | None:
        """Tell what has changed since facts were found."""

    def suits(self, launch: Launch, facts: Facts) -> bool:
        """Claim that what was prepared is the same as this launch would have found."""

    def note(self, standings: list[Standing]) -> None:
        """Be told how it stands now, whenever that has changed."""


class _Place:
    """One key."""

    def __init__(self) -> None:
        self.serving: TemplateLink | None = None
        self.preparing: TemplateLink | None = None
        self.successor_due_at: float | None = None
        """When a template is to be prepared that replaces the one which serves; None: not asked for."""
        self.waiting: deque[Launch] = deque()
        self.refusal: Standing | None = None
        self.refused_at = 0.0
        self.is_refused_whatever_changes = False

    @property
    def is_needed(self) -> bool:
        return bool(self.serving or self.preparing or self.waiting or self.refusal)


class Templates:
    """Made by a fork server that has a plan; all calls are from its loop."""

    def __init__(
        self,
        plan: TemplatePlan,
        runners: ForkRunner,
        here: Birthplace,
        *,
        poll: select.poll,
        server_fds: tuple[int, ...],
        cgroups: CgroupParent | None,
        spare: Callable[[int], None],
    ) -> None:
        """Start nothing yet.

        :param runners: what starts runners, here and in templates.
        :param here: where launches start that no template suits.
        :param spare: called with the pid of each template, which is no orphan.
        """
        self._plan = plan
        self._runners = runners
        self._here = here
        self._server_fds = server_fds
        self._cgroups = cgroups
        self._spare = spare
        self._places: dict[Hashable, _Place] = {}
        self._roster = TemplateRoster(poll, cgroups)
        self._have_waited: set[str] = set()
        """Attempts that were released and are yet to be routed anew."""

    @property
    def has_waiting(self) -> bool:
        """Claim that launches wait for a template."""
        return any(place.waiting for place in self._places.values())

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The fork server's ends of the connections to templates, which no fork may keep."""
        return self._roster.descriptors

    def route(self, launch: Launch) -> Birthplace | None:
        """Return where to start a launch; None: it was taken, since it has to wait, and `take_released` gives it back.

        It waits once at most: a template may be over whenever it is ready.
        """
        has_waited = launch.attempt_id in self._have_waited
        self._have_waited.discard(launch.attempt_id)
        key = self._plan.find_key(launch)
        if key is None:
            return self._here
        place = self._places.setdefault(key, _Place())
        now = time.monotonic()
        if self._is_refused(place, now):
            return self._here
        serving = place.serving
        if serving is not None and serving.has_ended:
            # `receive` will hear of it, and knows what to do.
            return self._here
        if serving is not None and (self._is_too_old(serving, now) or self._plan.why_outdated(serving.facts or {})):
            self._let_go(place)
            serving = None
        if serving is not None:
            assert serving.facts is not None
            if not self._plan.suits(launch, serving.facts):
                return self._here
            serving.used_at = now
            if now > serving.began_at + self._plan.max_age_s * _RENEW_AT:
                place.successor_due_at = place.successor_due_at or now + _RENEWAL_DELAY_S
            return serving
        if has_waited:
            return self._here
        if place.preparing is None and not (self._make_room(now) and self._prepare(key, place)):
            return self._here
        place.waiting.append(launch)
        return None

    def _is_refused(self, place: _Place, now: float) -> bool:
        # A refusal that no longer holds is kept: only so `_refuse` knows that the next is not the first.
        if place.refusal is None:
            return False
        age_s = now - place.refused_at
        if place.is_refused_whatever_changes:
            return age_s < _REMEMBER_DEATH_S
        return age_s < _REMEMBER_REFUSAL_S and self._plan.why_outdated(place.refusal.facts) is None

    def _is_too_old(self, link: TemplateLink, now: float) -> bool:
        return now >= link.began_at + self._plan.max_age_s

    def _see_to_successor(self, key: Hashable, place: _Place) -> None:
        place.successor_due_at = None
        # At the end of its age it is in use, but not so much that others should go for it.
        if place.preparing is None and self._count() < self._plan.most:
            self._prepare(key, place)

    def _prepare(self, key: Hashable, place: _Place) -> bool:
        """Have a template prepared; False if it cannot be forked."""
        # Who waits here waits in the cgroup that becomes the template's.
        self._runners.dismiss()
        try:
            link = TemplateLink(
                key,
                self._plan.prepare,
                self._runners,
                server_fds=(*self._server_fds, *self.descriptors),
                cgroup_home=self._cgroups.home if self._cgroups is not None else None,
            )
        except OSError:
            return False
        # It was born in the cgroup of the next attempt: leave it that one, before an attempt is born there.
        link.birth_cgroup = self._here.move_on()
        self._spare(link.pid)
        self._roster.add(link)
        place.preparing = link
        return True

    def _count(self) -> int:
        return sum((place.serving is not None) + (place.preparing is not None) for place in self._places.values())

    def _make_room(self, now: float) -> bool:
        """Let the one go that was not used for longest, where there are as many as there may be; False if all are needed."""
        if self._count() < self._plan.most:
            return True
        serving = [(place.serving.used_at, key) for key, place in self._places.items() if place.serving is not None]
        used_at, key = min(serving, key=lambda each: each[0], default=(now, None))
        if now - used_at < _BUSY_S:
            return False
        self._let_go(self._places[key])
        return True

    def _let_go(self, place: _Place) -> None:
        """Have the template that serves leave; what it has yet to tell is heard."""
        link, place.serving, place.successor_due_at = place.serving, None, None
        if link is not None:
            link.finish()
            self._tell()

    def receive(self, descriptor: int) -> bool:
        """Take what a template says; False if the descriptor is none of theirs."""
        link = self._roster.find(descriptor)
        if link is None:
            return False
        link.receive()
        place = self._places.get(link.key)
        if place is not None and place.preparing is link and (link.facts is not None or link.has_ended):
            place.preparing = None
            self._settle(place, link)
        if link.has_ended:
            if place is not None and place.serving is link:
                place.serving = None
                if link.has_served:
                    self._tell()
                else:
                    self._refuse(place, link, {}, "it ended before it had served")
            # It may have broken the protocol instead of ending.
            link.kill()
            self._roster.strike_off(link)
        return True

    def _settle(self, place: _Place, link: TemplateLink) -> None:
        """Have a template serve whose preparation is over, or refuse it."""
        facts = link.facts or {}
        if not link.is_ready:
            self._refuse(place, link, facts, link.reason or "its preparation ended the process")
        elif self._is_too_old(link, time.monotonic()):
            # What was read does not tell when it will take less.
            reason = f"its preparation takes longer than a template may live, {self._plan.max_age_s:g} s"
            self._refuse(place, link, {}, reason)
        elif changed := self._plan.why_outdated(facts):
            # Since its facts do not fit, the next launch tries again, once: bytecode may have been written, a file edited.
            self._refuse(place, link, facts, f"what it reads changes while it is prepared: {changed}")
        else:
            self._let_go(place)
            place.serving, place.refusal = link, None
            self._tell()

    def _refuse(self, place: _Place, link: TemplateLink, facts: Facts, reason: str) -> None:
        """Start the launches of a key without, until what facts tell of has changed; without facts for some time."""
        # Where that changes all the time, looking for it would cost each launch a preparation.
        is_again = place.refusal is not None and link.began_at < place.refused_at + _REMEMBER_DEATH_S
        place.is_refused_whatever_changes = is_again or not facts
        place.refusal = Standing(link.key, facts, reason)
        place.refused_at = time.monotonic()
        self._let_go(place)
        link.kill()
        self._tell()

    def take_exits(self) -> list[tuple[int, RunnerExit]]:
        """Return the exits that templates have told of since the last call, by pid of the runner."""
        return self._roster.take_exits()

    def take_released(self) -> Iterator[Launch]:
        """Yield the launches whose waiting is over, in their order; they are routed anew."""
        for place in self._places.values():
            if place.preparing is None or place.serving is not None:
                while place.waiting:
                    launch = place.waiting.popleft()
                    self._have_waited.add(launch.attempt_id)
                    yield launch

    def drop_waiting(self) -> None:
        """Forget the launches that wait: nobody is there to hear of them."""
        for place in self._places.values():
            place.waiting.clear()
        self._have_waited.clear()

    def tend(self) -> None:
        """Let go of what is too old, or takes too long."""
        now = time.monotonic()
        for key, place in self._places.items():
            if place.preparing is not None and now >= place.preparing.began_at + self._plan.prepare_limit_s:
                link, place.preparing = place.preparing, None
                self._refuse(place, link, {}, f"its preparation takes more than {self._plan.prepare_limit_s:g} s")
            if place.serving is not None and self._is_too_old(place.serving, now):
                self._let_go(place)
            if place.successor_due_at is not None and now >= place.successor_due_at:
                self._see_to_successor(key, place)
            if place.refusal is not None and now - place.refused_at >= _REMEMBER_REFUSAL_S:
                place.refusal = None
        self._places = {key: place for key, place in self._places.items() if place.is_needed}
        self._roster.tend(now)

    def timeout_s(self) -> float | None:
        """Return after how many seconds `tend` has something to do; None if there is nothing to wait for."""
        due = [place.serving.began_at + self._plan.max_age_s for place in self._places.values() if place.serving]
        due += [
            place.preparing.began_at + self._plan.prepare_limit_s for place in self._places.values() if place.preparing
        ]
        due += [place.successor_due_at for place in self._places.values() if place.successor_due_at is not None]
        left_over = self._roster.next_due()
        if left_over is not None:
            due.append(left_over)
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def end(self) -> None:
        """End all templates, and wait for it; runners go on."""
        self._roster.end()
        for place in self._places.values():
            place.serving = place.preparing = None
        self._tell()

    def _tell(self) -> None:
        standings = [place.refusal for place in self._places.values() if place.refusal is not None]
        standings += [
            Standing(link.key, link.facts or {}, None)
            for link in (place.serving for place in self._places.values())
            if link is not None
        ]
        self._plan.note(standings)
