"""What all pages share, and who may call which of their handlers."""

from __future__ import annotations

import html
import inspect
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import gradio as gr

from defectflow.errors import DefectFlowError
from defectflow.store import Role, Store
from defectflow_ui.language import of_visitor, speaking
from defectflow_ui.models.bundles import Bundles
from defectflow_ui.models.drift_watch import DriftWatch
from defectflow_ui.settings import LOCAL_USER, Settings
from defectflow_ui.tasks.jobs import Jobs
from defectflow_ui.visits.visitors import Session, Sessions, Visitor
from defectflow_ui.words import common as words
from defectflow_ui.words.heard import heard

MESSAGE_S = 20.0
"""How long a refusal stays on the page."""


@dataclass(eq=False)
class Station:
    """Settings, store, bundles, sessions and jobs of one running station."""

    settings: Settings
    store: Store
    bundles: Bundles = field(init=False)
    sessions: Sessions = field(init=False)
    drift: DriftWatch = field(init=False)
    jobs: Jobs = field(default_factory=Jobs)
    started: str = field(default_factory=lambda: secrets.token_hex(8))
    """By which an open page sees that the station was started anew."""
    opening: list[dict[str, Any]] = field(default_factory=list)
    """What the frame runs whenever the page is opened, and a page's tab chosen."""
    changing: list[Any] = field(default_factory=list)
    """Gradio's events after which the frame is shown again, since the active model may be another one."""

    def __post_init__(self) -> None:
        store, settings = self.store, self.settings
        changes = store.model_changes
        self.bundles = Bundles(settings.bundles, store.versions, changes, settings.provider, settings.core)
        self.sessions = Sessions(self.settings.port)
        self.drift = DriftWatch(self.store, self.bundles)

    def role_of(self, session: Session) -> Role | None:
        """Looked up at every call, so that a changed role or password or a removed user counts at once."""
        if not self.store.users.any():
            return Role.ENGINEER if session.user == LOCAL_USER and self.settings.local else None
        user = self.store.users.get(session.user)
        return None if user is None or user.key != session.key else user.role

    def on_open(self, handler: Callable[..., Any], *, inputs: Any = None, outputs: Any = None) -> None:
        """Call a handler whenever this page comes to the front; each page fills itself with it."""
        self.opening.append({"fn": handler, "inputs": inputs, "outputs": outputs})

    def shown_above(self, event: Any) -> None:
        """Show the frame again after an event that changes what it shows: `station.shown_above(b.click(...))`."""
        self.changing.append(event)

    def visitor(self, request: gr.Request, event: gr.EventData, least: Role) -> Visitor:
        """Who asks. Raises gr.Error where the session is over, or the role is not enough."""
        session = self.sessions.find(request.cookies)
        role = self.role_of(session) if session is not None else None
        if session is None or role is None:
            raise _message(words.sign_in_again)
        if not role.allows(least):
            raise _message(words.not_allowed(role, least))
        said = event._data if isinstance(event._data, dict) else {}
        name = str(request.session_hash)
        return Visitor(session.user, role, session, name, session.tab(name), said)

    def close(self) -> None:
        """Stop jobs, forget sessions, remove what was uploaded."""
        self.jobs.stop_all()
        self.sessions.close()
        self.store.close()


class AtStation(Protocol):
    """What has handlers."""

    station: Station


def handler(least: Role) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method callable from the browser, for everybody whose role is at least this one.

    It gets a Visitor first and the components' values after it. A DefectFlowError becomes a message.

        class ModelsPage(Page):
            @handler(Role.ENGINEER)
            def activate(self, visitor: Visitor, name: str) -> str: ...
    """

    def wrap(method: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isgeneratorfunction(method):

            def checked(at: AtStation, request: gr.Request, event: gr.EventData, *values: Any) -> Any:
                with _answering(request):
                    steps = method(at, at.station.visitor(request, event, least), *values)
                while True:  # Gradio makes each step in a context of its own
                    with _answering(request):
                        try:
                            step = next(steps)
                        except StopIteration:
                            return
                    yield step
        else:

            def checked(at: AtStation, request: gr.Request, event: gr.EventData, *values: Any) -> Any:
                with _answering(request):
                    return method(at, at.station.visitor(request, event, least), *values)

        checked.__name__ = method.__name__
        checked.__doc__ = method.__doc__
        checked.least = least  # type: ignore[attr-defined]  # what server.build looks for
        return checked

    return wrap


@contextmanager
def _answering(request: gr.Request) -> Iterator[None]:
    """In the visitor's language; a DefectFlowError becomes a message."""
    with speaking(of_visitor(request.cookies, request.headers)):
        try:
            yield
        except DefectFlowError as error:
            raise _message(heard(str(error))) from error


def _message(text: str) -> gr.Error:
    """A refusal, which Gradio shows as HTML: what it quotes is escaped."""
    said = html.escape(text, quote=False)
    return gr.Error(said, title=words.problem, duration=MESSAGE_S, print_exception=False)
