"""What all pages share. A page gets it as the argument of its `build` function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from defectflow.errors import DefectFlowError
from defectflow.store import Role, Store
from defectflow_ui.models.bundles import Bundles
from defectflow_ui.models.drift_watch import DriftWatch
from defectflow_ui.settings import Settings
from defectflow_ui.tasks.jobs import Jobs
from defectflow_ui.visits.visitors import Session, Sessions, Visitor
from defectflow_ui.words import common as words

MESSAGE_S = 20.0
"""How long a refusal stays on the page."""
LOCAL_USER = "local"
"""Who works at a station without users: somebody at this machine, who may do everything."""


@dataclass(eq=False)
class Station:
    """Settings, store, bundles, sessions and jobs of one running station."""

    settings: Settings
    store: Store
    bundles: Bundles = field(init=False)
    sessions: Sessions = field(init=False)
    drift: DriftWatch = field(init=False)
    jobs: Jobs = field(default_factory=Jobs)
    opening: list[dict[str, Any]] = field(default_factory=list)
    """What the frame runs whenever the page is opened, and a page's tab chosen."""
    changing: list[Any] = field(default_factory=list)
    """Gradio's events after which the frame is shown anew, since the active model may be another one."""

    def __post_init__(self) -> None:
        self.bundles = Bundles(self.settings.bundles, self.store.versions, self.settings.provider, self.settings.core)
        self.sessions = Sessions(self.settings.port)
        self.drift = DriftWatch(self.store, self.bundles)

    def role_of(self, session: Session) -> Role | None:
        """Looked up at every call, so that a changed role or password or a removed user counts at once."""
        if not self.store.users.any():
            return Role.ENGINEER if session.user == LOCAL_USER and self.settings.local else None
        user = self.store.users.get(session.user)
        return None if user is None or user.key != session.key else user.role

    def handler(self, least: Role) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Make a function of a page callable from the browser, for everybody whose role is at least this one.

        The function gets a Visitor first and the components' values after it. A DefectFlowError becomes a message.

            @station.handler(Role.ENGINEER)
            def activate(visitor: Visitor, name: str) -> str: ...
        """

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            if inspect.isgeneratorfunction(function):

                def checked(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
                    with_messages = _with_messages(function(self._visitor(request, event, least), *values))
                    yield from with_messages
            else:

                def checked(request: gr.Request, event: gr.EventData, *values: Any) -> Any:
                    try:
                        return function(self._visitor(request, event, least), *values)
                    except DefectFlowError as error:
                        raise gr.Error(str(error), duration=MESSAGE_S, print_exception=False) from error

            checked.__name__ = function.__name__
            checked.__doc__ = function.__doc__
            checked.least = least  # type: ignore[attr-defined]  # what server.build looks for
            return checked

        return wrap

    def on_open(self, handler: Callable[..., Any], *, inputs: Any = None, outputs: Any = None) -> None:
        """Call a handler whenever this page comes to the front; each page fills itself with it."""
        self.opening.append({"fn": handler, "inputs": inputs, "outputs": outputs})

    def shown_above(self, event: Any) -> None:
        """Show the frame anew after an event that changes what it shows: `station.shown_above(b.click(...))`."""
        self.changing.append(event)

    def _visitor(self, request: gr.Request, event: gr.EventData, least: Role) -> Visitor:
        session = self.sessions.find(request.cookies)
        role = self.role_of(session) if session is not None else None
        if session is None or role is None:
            raise gr.Error(words.sign_in_again, duration=MESSAGE_S, print_exception=False)
        if not role.allows(least):
            raise gr.Error(words.not_allowed(role, least), duration=MESSAGE_S, print_exception=False)
        said = event._data if isinstance(event._data, dict) else {}
        name = str(request.session_hash)
        return Visitor(session.user, role, session, name, session.tab(name), said)

    def close(self) -> None:
        """Stop jobs, forget sessions, remove what was uploaded."""
        self.jobs.stop_all()
        self.sessions.close()
        self.store.close()


def _with_messages(steps: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from steps
    except DefectFlowError as error:
        raise gr.Error(str(error), duration=MESSAGE_S, print_exception=False) from error
