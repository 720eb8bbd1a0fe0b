"""Inspections and alarms in the store -> the plant's systems: a thread for each channel, until it is told to end.

A receiver gets every inspection of the service, at least once: what is sent again, because no confirmation came, bears
the same number. One message is on its way at a time, so they come in order, unless the receiver takes several at once.
Whatever is away, the line goes on, and the store keeps what is still to be told.

One message that a receiver refuses, while it accepts another, is set aside after some tries, or all behind it would
wait for ever. A receiver that refuses whatever it is sent (its address or key is wrong) is waited for.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import Event, Thread
from typing import Protocol

from defectflow.errors import DefectFlowError, StoreError
from defectflow.serve.answers import AlarmAnswer, InspectionAnswer
from defectflow.store import Alarm, Inspection, Outbox

log = logging.getLogger(__name__)
HELD_S = 15.0
"""A process that has died is succeeded after so long."""
AT_ONCE = 100
NOTED_S = 1.0
"""How often at most the place is noted on disk while much is waiting."""
LOOK_S = 1.0
"""How often another process's inspections are looked for."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 60.0
TRIES = 5
"""After so many refusals of one message another one is tried: is it the message, or all?"""


Told = Inspection | Alarm
"""What receivers are told."""


class Untold(Exception):  # noqa: N818  (the state is the message)
    """The receiver has not confirmed; it is tried again."""


class Refused(Untold):
    """The receiver has understood, and says that this message is not to be sent again."""


class Channel(Protocol):
    """A receiver. `name` is what the store and the metrics call it."""

    name: str
    at_once: int
    """So many messages may be on their way to it; of more than one, a later one may come first."""

    def wants(self, said: Told) -> bool:
        """Whether it is to be told this."""

    def tell(self, said: Told) -> None:
        """Returns once the receiver has confirmed. Raises Untold, and Refused. Called by `at_once` threads."""

    def close(self) -> None: ...


class Teller:
    """Tells one channel what is waiting, in a thread of its own."""

    def __init__(self, channel: Channel, outbox: Outbox) -> None:
        """Raises StoreError. From here on, every inspection is told."""
        self.channel = channel
        self.error: str | None = None
        """Why the last try failed; None: it did not."""
        self._outbox = outbox
        self._owner = f"{socket.gethostname()} {os.getpid()} {secrets.token_hex(4)}"
        self._over, self._news = Event(), Event()
        self._held_until = 0.0
        self._came_on = False
        """Whether anything was confirmed since the last failure."""
        self._refusals: tuple[int, int] = (0, 0)
        """The message that was refused last, and how often in a row."""
        self._ahead = set[int]()
        """What was confirmed although one before it was not."""
        self._senders = ThreadPoolExecutor(channel.at_once, thread_name_prefix=f"send {channel.name}")
        self._hold()
        self._thread = Thread(target=self._tell_on, name=f"tell {channel.name}", daemon=True)
        self._thread.start()

    @property
    def behind(self) -> int:
        """Inspections that are still to be told. Raises StoreError."""
        return self._outbox.behind(self.channel.name)

    def look(self) -> None:
        """There is something new."""
        self._news.set()

    def close(self) -> None:
        """End soon; what is not told by then is told by the next process."""
        self._over.set()
        self._news.set()
        self._thread.join()
        self.channel.close()

    def _tell_on(self) -> None:
        try:
            self._until_over()
        finally:
            self._senders.shutdown()
            try:
                self._outbox.release(self.channel.name, self._owner)
            except DefectFlowError as error:
                log.error("%s: %s", self.channel.name, error)

    def _until_over(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._over.is_set():
            self._news.clear()
            try:
                if not self._hold():
                    self._over.wait(HELD_S / 10)
                    continue
                self._tell_again()
                rows = self._outbox.waiting(self.channel.name, AT_ONCE)
                self._tell(rows)
            except (Untold, StoreError) as error:
                self._failed(error)
                if self._came_on:  # it refuses now and then: waiting longer each time, it would never be told all
                    self._came_on, pause = False, FIRST_PAUSE_S
                self._wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            if self.error is not None and rows:
                log.warning("%s: is told again", self.channel.name)
                self.error = None
            pause = FIRST_PAUSE_S
            if not rows:
                self._news.wait(LOOK_S)

    def _tell(self, rows: Sequence[Told]) -> None:
        """Tell them, and note how far it came, whatever happens."""
        told, noted_at = None, time.monotonic()
        wanted = deque(row for row in rows if self.channel.wants(row))
        on_the_way = deque[tuple[Told, Future[None]]]()
        try:
            for row in rows:
                if self._over.is_set() or not self._hold():
                    return
                # A receiver that has just failed gets one message, and more once it has confirmed that.
                most = self.channel.at_once if self._came_on or self.error is None else 1
                while wanted and len(on_the_way) < most:
                    on_the_way.append((wanted[0], self._begin(wanted.popleft())))
                if on_the_way and on_the_way[0][0] is row:
                    self._confirm(row, on_the_way[0][1], wanted)
                    on_the_way.popleft()
                    self._ahead.discard(row.id)
                told, self._came_on = row.id, True
                if time.monotonic() - noted_at > NOTED_S:
                    self._outbox.told(self.channel.name, self._owner, told)
                    told, noted_at = None, time.monotonic()
        finally:
            while on_the_way and self._was_confirmed(on_the_way[0][1]):
                told = on_the_way.popleft()[0].id
                self._ahead.discard(told)
            self._ahead.update(row.id for row, answer in on_the_way if self._was_confirmed(answer))
            if told is not None:
                self._outbox.told(self.channel.name, self._owner, told)

    def _begin(self, row: Told) -> Future[None]:
        if row.id not in self._ahead:
            return self._senders.submit(self._send, row)
        confirmed = Future[None]()
        confirmed.set_result(None)
        return confirmed

    def _send(self, row: Told) -> None:
        """Raises Untold, whatever goes wrong: a channel that ended in silence would never be told again."""
        try:
            self.channel.tell(row)
        except Untold:
            raise
        except Exception as error:
            raise Untold(f"{event_id(row)}: {type(error).__name__}: {error}") from error

    def _once_answered(self, answer: Future[None]) -> None:
        """Returns once it is confirmed, and goes on holding the channel until then. Raises Untold."""
        while not answer.done():
            wait([answer], HELD_S / 6)
            with suppress(StoreError):
                self._hold()
        answer.result()

    def _was_confirmed(self, answer: Future[None]) -> bool:
        try:
            self._once_answered(answer)
        except Untold:
            return False
        return True

    def _confirm(self, row: Told, answer: Future[None], later: Sequence[Told]) -> None:
        """Returns once it is confirmed, or set aside. Raises Untold."""
        try:
            self._once_answered(answer)
        except Refused as error:
            refusals = self._refusals[1] + 1 if self._refusals[0] == row.id else 1
            self._refusals = row.id, refusals
            if refusals < TRIES or not (self._ahead or self._accepts_one_of(later, refusals - TRIES)):
                raise
            self._outbox.set_aside(self.channel.name, self._owner, row.id, str(error))
            log.error(
                "%s: %s; %d times so, though another is accepted: it is set aside (defectflow log refused)",
                self.channel.name,
                error,
                refusals,
            )

    def _accepts_one_of(self, later: Sequence[Told], attempt: int) -> bool:
        """Whether the receiver accepts another message: at each attempt the next one is tried."""
        if not later:
            return False
        other = later[attempt % len(later)]
        if not self._was_confirmed(self._begin(other)):
            return False
        self._ahead.add(other.id)
        return True

    def _tell_again(self) -> None:
        """What was set aside, and somebody wants to be told after all. Raises Untold."""
        for row in self._outbox.to_tell_again(self.channel.name, AT_ONCE):
            if self._over.is_set() or not self._hold():
                return
            try:
                self._once_answered(self._begin(row))
            except Refused as error:
                self._outbox.set_aside(self.channel.name, self._owner, row.id, str(error))
                log.error("%s: %s, once more; it stays set aside", self.channel.name, error)
            else:
                self._outbox.told_again(self.channel.name, row.id)

    def _hold(self) -> bool:
        """Whether this process is the one that tells; asks the store only when half of the time is over."""
        now = time.monotonic()
        if now < self._held_until - HELD_S / 2:
            return True
        held = self._outbox.hold(self.channel.name, self._owner, HELD_S)
        self._held_until = now + HELD_S if held else 0.0
        return held

    def _wait(self, pause: float) -> None:
        """And go on holding the channel, or somebody else would take it for free."""
        until = time.monotonic() + pause
        while (left := until - time.monotonic()) > 0 and not self._over.wait(min(left, HELD_S / 6)):
            with suppress(StoreError):
                self._hold()

    def _failed(self, error: Exception) -> None:
        """Said once, not at every try."""
        if self.error is None:
            log.error("%s: %s; it is tried again until it works", self.channel.name, error)
        self.error = str(error)


def event_id(told: Told) -> str:
    """The same however often it is told: by it, receivers know what they have had."""
    return f"{_type(told)}-{told.id}"


def event(told: Told) -> bytes:
    """What every receiver is told, as JSON."""
    answer = AlarmAnswer.of(told) if isinstance(told, Alarm) else InspectionAnswer.of(told)
    data = answer.model_dump(mode="json", exclude={"images"})
    said = {"type": _type(told), "id": event_id(told), "timestamp": data["at"], "data": data}
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()


def _type(told: Told) -> str:
    return "alarm" if isinstance(told, Alarm) else "inspection"
