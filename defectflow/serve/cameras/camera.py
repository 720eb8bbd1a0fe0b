"""A source in a thread of its own: triggers -> pictures -> requests for `work`. A dead camera is an alarm.

Where a camera fails, whoever waits for its picture is told at once, and it is opened again, with growing pauses,
until it works.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Condition, Thread

from defectflow.errors import CameraError, SettingsError, StoreError, UnknownCamera
from defectflow.serve.camera_settings import CameraSettings
from defectflow.serve.cameras.aravis import AravisSource
from defectflow.serve.cameras.folder import FolderSource
from defectflow.serve.cameras.http import HttpSource
from defectflow.serve.cameras.opencv import OpenCvSource
from defectflow.serve.cameras.source import Frame, Source
from defectflow.serve.receive import Spool, remove, shown
from defectflow.serve.settings import MIB, LimitSettings
from defectflow.serve.switch import Switch
from defectflow.serve.work import Busy, Done, Job, Received, Work
from defectflow.store import Alarms, RequestKey

log = logging.getLogger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
"""Between tries to open a camera that has failed."""
ROOM_S = 0.2
"""Between tries to hand over a picture that nobody will ask for again."""
WAITING = 16
"""Triggers of one camera that may wait for their pictures."""


@dataclass(eq=False, kw_only=True)
class Trigger:
    """Somebody asks for a picture to be inspected."""

    client: str
    part: str | None = None
    lot: str | None = None
    model: str | None = None
    product: str | None = None
    """None: the camera's own."""
    key: RequestKey | None = None
    future: Future[Done] = field(default_factory=Future)
    until: float = 0.0
    """By `time.monotonic`: its picture is not taken any more after that."""


class Camera:
    """One camera of the service. `state` and the counts may be read from any thread."""

    def __init__(
        self,
        name: str,
        settings: CameraSettings,
        limits: LimitSettings,
        work: Work,
        spool: Spool,
        switch: Switch,
        alarms: Alarms,
        alarmed: Callable[[], None],
    ) -> None:
        """`alarmed`: called when an alarm has been recorded. Raises SettingsError."""
        self.name, self.settings = name, settings
        self.error: str | None = "it is not open yet"
        """Why it gives no pictures; None: it does."""
        self.words = ""
        """What it is, in words, as it said itself."""
        self.pictures = self.missed = 0
        """Pictures that were handed over to be inspected; pictures that came or were due, and could not be."""
        self.last_at: datetime | None = None
        """When the last picture came."""
        self._limits, self._work, self._spool, self._switch = limits, work, spool, switch
        self._alarms, self._alarmed = alarms, alarmed
        self._unrecorded: deque[tuple[bool, str]] = deque(maxlen=100)
        """Alarms that the store has not taken yet."""
        self._raised = False
        self._source = source_of(name, settings, limits)
        self._change = Condition()
        self._waiting: deque[Trigger] = deque()
        self._over = False
        self._thread = Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def by_itself(self) -> bool:
        """Whether pictures are inspected without anybody asking."""
        return self.settings.every_s is not None or self._by_hardware

    @property
    def _by_hardware(self) -> bool:
        return self.settings.aravis is not None and self.settings.aravis.trigger == "hardware"

    def trigger(self, trigger: Trigger) -> Future[Done]:
        """Take a picture and inspect it. Raises CameraError, Busy and SwitchedOff at once where it cannot be."""
        self._switch.require()
        if self._by_hardware:
            raise CameraError(f"camera {self.name}: is triggered by its own input (aravis.trigger: hardware)")
        with self._change:
            if self.error is not None:
                raise CameraError(f"camera {self.name}: {self.error}")
            if self._over or len(self._waiting) >= WAITING:
                raise Busy(
                    f"camera {self.name}: {len(self._waiting)} triggers are waiting; come again later",
                    retry_after_s=1,
                    full=not self._over,
                )
            trigger.until = time.monotonic() + self.settings.timeout_s
            self._waiting.append(trigger)
            self._change.notify_all()
        return trigger.future

    def close(self) -> None:
        """Take no more pictures; what was handed over is answered."""
        with self._change:
            self._over = True
            self._change.notify_all()
        self._thread.join()

    def _run(self) -> None:
        pause = FIRST_PAUSE_S
        while not self._over:
            try:
                self.words = self._source.open()
                self._works()
                pause = FIRST_PAUSE_S
                self._serve()
            except CameraError as error:
                self._fails(str(error))
            except Exception as error:  # a driver's own; the camera is opened anew
                log.exception("camera %s: an unexpected error", self.name)
                self._fails(f"{type(error).__name__}: {error}")
            self._source.close()
            self._refuse_waiting()
            self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _serve(self) -> None:
        """While the camera works. Raises CameraError."""
        every_s, check_s = self.settings.every_s, self.settings.check_s
        due = None if every_s is None else time.monotonic()
        checked = time.monotonic()
        while not self._over:
            trigger = self._next(min(checked + check_s, checked + check_s if due is None else due))
            now = time.monotonic()
            if trigger is not None:
                self._take_for(trigger)
                checked = time.monotonic()
            elif due is not None and every_s is not None and now >= due:
                if self._switch.on:
                    self._hand_over(self._source.take(self.settings.timeout_s))
                    checked = time.monotonic()
                missed = int((time.monotonic() - due) // every_s)  # where the line is slower than the clock
                self._miss(missed if self._switch.on else 0, "the interval every_s is shorter than an inspection")
                due += (missed + 1) * every_s
            elif self._source.live or now >= checked + check_s:
                frame = self._source.watch()
                checked = now
                if frame is not None and self._switch.on:
                    self._hand_over(frame)
            self._record_alarms()

    def _next(self, until: float) -> Trigger | None:
        """The next trigger; none where none has come by then, or where the source must be watched meanwhile."""
        with self._change:
            if not self._source.live:
                self._change.wait_for(lambda: self._waiting or self._over, max(0.0, until - time.monotonic()))
            return self._waiting.popleft() if self._waiting else None

    def _take_for(self, trigger: Trigger) -> None:
        """Raises CameraError, of which the trigger has been told."""
        now = time.monotonic()
        if trigger.until < now:
            said = f"camera {self.name}: the trigger has waited for more than {self.settings.timeout_s:g} s (timeout_s)"
            trigger.future.set_exception(CameraError(said))
            return
        try:
            frame = self._source.take(trigger.until - now)
        except Exception as error:
            trigger.future.set_exception(CameraError(f"camera {self.name}: {error}"))
            raise
        try:
            self._submit(frame, trigger)
        except Exception as error:  # no room, or no disk space: it is told, and may trigger again
            trigger.future.set_exception(error)

    def _hand_over(self, frame: Frame) -> None:
        """A picture that nobody has asked for, and nobody will ask for again: it waits for room as a request would."""
        until = time.monotonic() + self._limits.wait_s
        while True:
            trigger = Trigger(client=f"camera {self.name}")
            try:
                self._submit(frame, trigger)
            except Busy as error:
                if self._over or time.monotonic() > until:
                    self._miss(1, str(error))
                    return
                self._pause(ROOM_S)
                continue
            trigger.future.add_done_callback(self._inspected)
            return

    def _inspected(self, future: Future[Done]) -> None:
        error = future.exception()
        if error is not None:
            self._miss(1, str(error))

    def _submit(self, frame: Frame, trigger: Trigger) -> None:
        """The picture's file, and a request like any other. Raises Busy."""
        at = datetime.now(UTC)
        self.last_at = at
        name = frame.name or f"{self.name}-{at:%Y%m%dT%H%M%S.%f}{frame.suffix}"
        received = Received(shown(name), self._spool.new(name), hashlib.sha256(frame.content).hexdigest())
        job = Job(
            pictures=(received,),
            client=trigger.client,
            model=trigger.model or self.settings.model,
            product=trigger.product or self.settings.product,
            part=trigger.part,
            lot=trigger.lot or self.settings.lot,
            camera=self.name,
            key=trigger.key,
            future=trigger.future,
        )
        try:
            received.path.write_bytes(frame.content)
            self._work.submit(job)
        except BaseException:
            remove([received])
            raise
        self.pictures += 1
        job.future.add_done_callback(lambda _: remove([received]))

    def _miss(self, count: int, why: str) -> None:
        if count:
            self.missed += count
            log.error("camera %s: %d picture(s) not inspected: %s", self.name, count, why)

    def _works(self) -> None:
        with self._change:
            self.error = None
        log.info("camera %s: %s", self.name, self.words)
        if self._raised:
            self._raised = False
            self._alarm(False, "it gives pictures again")

    def _fails(self, error: str) -> None:
        """Said once, not at every try."""
        with self._change:
            self.error = error
        if not self._raised:
            self._raised = True
            log.error("camera %s: %s; it is opened again until it works", self.name, error)
            self._alarm(True, error)
        self._record_alarms()

    def _alarm(self, raised: bool, said: str) -> None:
        self._unrecorded.append((raised, said))
        self._record_alarms()

    def _record_alarms(self) -> None:
        while self._unrecorded:
            raised, said = self._unrecorded[0]
            try:
                self._alarms.record(kind="camera", subject=self.name, raised=raised, message=said)
            except StoreError as error:
                log.error("camera %s: its alarm is not recorded yet: %s", self.name, error)
                return
            self._unrecorded.popleft()
            self._alarmed()

    def _refuse_waiting(self) -> None:
        with self._change:
            waiting = list(self._waiting)
            self._waiting.clear()
        for trigger in waiting:
            trigger.future.set_exception(
                CameraError(f"camera {self.name}: {self.error or 'the service is being stopped'}")
            )

    def _pause(self, seconds: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._over, seconds)


def source_of(name: str, settings: CameraSettings, limits: LimitSettings) -> Source:
    """Raises SettingsError."""
    most_bytes = round(limits.picture_megabytes * MIB)
    if settings.folder is not None:
        return FolderSource(settings.folder, most_bytes)
    if settings.http is not None:
        return HttpSource(settings.http, name, settings.timeout_s, most_bytes)
    if settings.opencv is not None:
        return OpenCvSource(settings.opencv, name, settings.timeout_s)
    if settings.aravis is not None:
        return AravisSource(settings.aravis, name, settings.timeout_s)
    raise SettingsError(f"cameras.{name}: give one of folder, http, opencv and aravis")


def try_camera(name: str, settings: CameraSettings, limits: LimitSettings) -> str:
    """Open a camera once; in words, what it is. Raises SettingsError and CameraError."""
    source = source_of(name, settings, limits)
    try:
        return source.open()
    except CameraError as error:
        raise CameraError(f"camera {name}: {error}") from error
    finally:
        source.close()


def find_camera(cameras: Mapping[str, Camera], name: str) -> Camera:
    """Raises UnknownCamera."""
    if name not in cameras:
        raise UnknownCamera(f"camera {name!r}: there is none of this name; there are {', '.join(cameras) or 'none'}")
    return cameras[name]
