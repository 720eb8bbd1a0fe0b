"""What clients see: a vision system with its state, results, counters and cameras, named after OPC 40100-1.

    VisionSystem
      Enabled                              writable: whether triggers are let through
      LastRefusal                          why the last call was refused
      InspectFile, InspectPicture, Trigger methods
      VisionStateMachine/CurrentState      Preoperational, Halted, Error, Operational
      VisionStateMachine/AutomaticModeStateMachine/CurrentState
                                           Initialized, Ready, SingleExecution, ContinuousExecution; else empty
      ResultManagement/LastResult/...      the newest inspection; Id changes last
      ResultManagement/Counters/...        by decision, since Since
      Cameras/NAME/...                     Works, Error, Missed

Each inspection is an event of InspectionEventType, each alarm one of AlarmEventType: of VisionSystem, and of Server.
Node ids are the paths above, with dots: ns=2;s=VisionSystem.ResultManagement.LastResult.Decision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from asyncua import Node, Server, ua
from asyncua.server.event_generator import EventGenerator

from defectflow.serve.cameras import Camera
from defectflow.store import Alarm, Inspection
from defectflow.verdict import Word

NAMESPACE = "urn:defectflow:vision"
ROOT = "VisionSystem"
WORDS: tuple[Word, ...] = ("ok", "review", "defect", "invalid", "error")
_Type = ua.VariantType
_RESULT: dict[str, tuple[ua.VariantType, Callable[[Inspection], Any]]] = {
    "Time": (_Type.DateTime, lambda row: row.at),
    "Decision": (_Type.String, lambda row: row.decision),
    "Reason": (_Type.String, lambda row: row.reason or ""),
    "Score": (_Type.Double, lambda row: _number(row.score)),
    "PValue": (_Type.Double, lambda row: _number(row.p_value)),
    "Threshold": (_Type.Double, lambda row: _number(row.threshold)),
    "ReviewThreshold": (_Type.Double, lambda row: _number(row.review_threshold)),
    "Part": (_Type.String, lambda row: row.part),
    "Lot": (_Type.String, lambda row: row.lot or ""),
    "Camera": (_Type.String, lambda row: row.camera or ""),
    "File": (_Type.String, lambda row: row.file),
    "Client": (_Type.String, lambda row: row.by),
    "Model": (_Type.String, lambda row: row.model),
    "Product": (_Type.String, lambda row: row.product or ""),
    "BundleId": (_Type.String, lambda row: row.bundle_id),
    "CalibrationId": (_Type.String, lambda row: row.calibration_id),
    "Milliseconds": (_Type.Double, lambda row: _number(row.milliseconds)),
    "Error": (_Type.String, lambda row: row.error or ""),
    "Id": (_Type.Int64, lambda row: row.id),
}
"""What is shown of an inspection. Id is the last, so that whoever waits for it to change finds the rest in place."""
ANSWERED = ("Id", "Decision", "Score", "PValue", "Threshold", "Part", "Model", "CalibrationId", "Milliseconds", "Error")
"""What a method answers."""
_ALARM: dict[str, tuple[ua.VariantType, Callable[[Alarm], Any]]] = {
    "Subject": (_Type.String, lambda alarm: f"{alarm.kind} {alarm.subject}"),
    "Raised": (_Type.Boolean, lambda alarm: alarm.raised),
    "Id": (_Type.Int64, lambda alarm: alarm.id),
}
SEVERITY = {"ok": 100, "review": 300, "defect": 500, "invalid": 500, "error": 700}
"""Of events, from 1 to 1000, by decision."""
ALARM_SEVERITY, CLEARED_SEVERITY = 900, 200


@dataclass(frozen=True, slots=True)
class State:
    """Of the vision system."""

    vision: str
    automatic: str = ""


class Space:
    """The nodes, and how they are set. Used by the event loop alone."""

    def __init__(self, server: Server, index: int) -> None:
        self._server, self._index = server, index
        self._variables: dict[str, tuple[Node, ua.VariantType]] = {}
        self._shown: dict[str, Any] = {}
        self._counts = dict.fromkeys((*WORDS, "total"), 0)
        self._events: list[EventGenerator] = []
        self._alarms: list[EventGenerator] = []
        self._last_told = 0

    async def build(self, station: str, version: str, cameras: Iterable[str]) -> None:
        objects = self._server.nodes.objects
        root = await objects.add_object(self._id(ROOT), self._name(ROOT))
        await root.write_attribute(ua.AttributeIds.DisplayName, ua.DataValue(ua.Variant(ua.LocalizedText(station))))
        self._root = root
        await self._add(root, ROOT, "Station", _Type.String, station)
        await self._add(root, ROOT, "SoftwareVersion", _Type.String, version)
        self.enabled = await self._add(root, ROOT, "Enabled", _Type.Boolean, True)
        await self.enabled.set_writable()
        await self._add(root, ROOT, "LastRefusal", _Type.String, "")
        machine, path = await self._folder(root, ROOT, "VisionStateMachine")
        await self._add(machine, path, "CurrentState", _Type.LocalizedText, ua.LocalizedText("Preoperational", "en"))
        machine, path = await self._folder(machine, path, "AutomaticModeStateMachine")
        await self._add(machine, path, "CurrentState", _Type.LocalizedText, ua.LocalizedText("", "en"))
        results, path = await self._folder(root, ROOT, "ResultManagement")
        last, inner = await self._folder(results, path, "LastResult")
        for name, (kind, _) in _RESULT.items():
            await self._add(last, inner, name, kind, _EMPTY[kind])
        counters, inner = await self._folder(results, path, "Counters")
        for word in self._counts:
            await self._add(counters, inner, word.capitalize(), _Type.UInt64, 0)
        await self._add(counters, inner, "Since", _Type.DateTime, datetime.now(UTC))
        parent, path = await self._folder(root, ROOT, "Cameras")
        for name in cameras:
            camera, inner = await self._folder(parent, path, name)
            await self._add(camera, inner, "Works", _Type.Boolean, False)
            await self._add(camera, inner, "Error", _Type.String, "")
            await self._add(camera, inner, "Missed", _Type.UInt64, 0)
        results_said = {name: kind for name, (kind, _) in _RESULT.items()}
        self._events = await self._generators("InspectionEventType", results_said)
        self._alarms = await self._generators("AlarmEventType", {name: kind for name, (kind, _) in _ALARM.items()})

    async def add_method(
        self,
        name: str,
        called: Callable[..., Coroutine[Any, Any, Any]],
        inputs: Mapping[str, tuple[ua.VariantType, str]],
    ) -> None:
        """`inputs`: by name, the type and what it is for."""
        given = [_argument(argument, kind, words) for argument, (kind, words) in inputs.items()]
        answered = [_argument(argument, _RESULT[argument][0], "") for argument in ANSWERED]
        await self._root.add_method(self._id(f"{ROOT}.{name}"), self._name(name), called, given, answered)

    async def show_state(self, state: State) -> None:
        machine = f"{ROOT}.VisionStateMachine"
        await self._set(f"{machine}.CurrentState", ua.LocalizedText(state.vision, "en"))
        await self._set(f"{machine}.AutomaticModeStateMachine.CurrentState", ua.LocalizedText(state.automatic, "en"))

    async def show_refusal(self, said: str) -> None:
        await self._set(f"{ROOT}.LastRefusal", said)

    async def show_cameras(self, cameras: Mapping[str, Camera]) -> None:
        for name, camera in cameras.items():
            path = f"{ROOT}.Cameras.{name}"
            error = camera.error
            await self._set(f"{path}.Works", error is None)
            await self._set(f"{path}.Error", error or "")
            await self._set(f"{path}.Missed", camera.missed)

    async def tell(self, said: Inspection | Alarm) -> None:
        """Values, counters and events; what is told again, because it could not be noted that it was, only once."""
        if said.id <= self._last_told:
            return
        if isinstance(said, Alarm):
            for generator in self._alarms:
                for name, (_, value) in _ALARM.items():
                    setattr(generator.event, name, value(said))
                generator.event.Severity = ALARM_SEVERITY if said.raised else CLEARED_SEVERITY
                await generator.trigger(said.at, f"{said.kind} {said.subject}: {said.message}")
        else:
            await self._tell_inspection(said)
        self._last_told = said.id

    async def _tell_inspection(self, row: Inspection) -> None:
        values = {name: value(row) for name, (_, value) in _RESULT.items()}
        for word in (row.decision, "total"):
            self._counts[word] += 1
            await self._set(f"{ROOT}.ResultManagement.Counters.{word.capitalize()}", self._counts[word])
        for name, value in values.items():
            await self._set(f"{ROOT}.ResultManagement.LastResult.{name}", value)
        for generator in self._events:
            for name, value in values.items():
                setattr(generator.event, name, value)
            generator.event.Severity = SEVERITY[row.decision]
            await generator.trigger(row.at, f"{row.part}: {row.decision}")

    async def _generators(self, name: str, properties: Mapping[str, ua.VariantType]) -> list[EventGenerator]:
        kind = await self._server.create_custom_event_type(
            self._index, name, ua.ObjectIds.BaseEventType, list(properties.items())
        )
        return [
            await self._server.get_event_generator(kind, emitting_node=node)
            for node in (ua.NodeId(ua.Int32(ua.ObjectIds.Server)), self._root.nodeid)
        ]

    async def _folder(self, parent: Node, path: str, name: str) -> tuple[Node, str]:
        inner = f"{path}.{name}"
        return await parent.add_object(self._id(inner), self._name(name)), inner

    async def _add(self, parent: Node, path: str, name: str, kind: ua.VariantType, value: Any) -> Node:
        inner = f"{path}.{name}"
        node = await parent.add_variable(self._id(inner), self._name(name), value, kind)
        self._variables[inner] = node, kind
        return node

    async def _set(self, path: str, value: Any) -> None:
        if path in self._shown and self._shown[path] == value:
            return
        node, kind = self._variables[path]
        await node.write_value(ua.DataValue(ua.Variant(value, kind), SourceTimestamp=ua.DateTime.now(UTC)))
        self._shown[path] = value

    def _id(self, path: str) -> ua.NodeId:
        return ua.NodeId(ua.String(path), ua.Int16(self._index))

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, ua.UInt16(self._index))


def answer_of(row: Inspection) -> list[ua.Variant]:
    """What a method answers."""
    return [ua.Variant(_RESULT[name][1](row), _RESULT[name][0]) for name in ANSWERED]


_EMPTY: dict[ua.VariantType, Any] = {
    _Type.String: "",
    _Type.Double: math.nan,
    _Type.Int64: 0,
    _Type.DateTime: datetime(1970, 1, 1, tzinfo=UTC),
}
"""Until the first inspection."""


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _argument(name: str, kind: ua.VariantType, words: str) -> ua.Argument:
    argument = ua.Argument()
    argument.Name = name
    argument.DataType = ua.NodeId(ua.Int32(kind.value))
    argument.ValueRank = ua.Int32(-1)
    argument.Description = ua.LocalizedText(words)
    return argument
