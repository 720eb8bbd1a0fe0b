"""YAML and overrides -> a settings model, or a message: key path, value, limit and the nearest spelling."""

from __future__ import annotations

import difflib
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from defectflow.errors import SettingsError

_Tree = TypeVar("_Tree", bound=BaseModel)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
KINDS = {
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list, such as [1, 2]",
    "tuple_type": "a list, such as [1, 2]",
}
"""What a value should have been, by what the settings' library calls the problem."""


class Settings(BaseModel):
    """Frozen; a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shared: ClassVar[tuple[str, ...]] = ()
    """In a group that is one of several: what means the same in each, and stays where an override chooses another."""


def load(
    model: type[_Tree], name_or_path: str, builtin: dict[str, Path], overrides: list[str], *, kind: str = "recipe"
) -> _Tree:
    """Settings by the name of a built-in file or by path, with overrides such as `flow.layers=12`.

    `kind`: what messages call such a file.

    Raises SettingsError naming the file, the key's path, the value, what is allowed and the nearest spelling.
    """
    tree, path = _read_tree(name_or_path, builtin, kind)
    typed: dict[str, Any] = {}
    for change in overrides:
        _apply_override(typed, change)
    for name in model.model_fields:
        _change_member(model, name, tree, typed.get(name))
    for change in overrides:
        _apply_override(tree, change)
    return validated(model, tree, " ".join([str(path), *(f"--set {change}" for change in overrides)]))


def override(model: type[_Tree], tree: dict[str, Any], overrides: list[str]) -> _Tree:
    """A tree of plain values with overrides such as `review.audit_rate=0.1` -> settings. Raises SettingsError."""
    for change in overrides:
        _apply_override(tree, change)
    return validated(model, tree, " ".join(f"--set {change}" for change in overrides))


def _read_tree(name_or_path: str, builtin: dict[str, Path], kind: str) -> tuple[dict[str, Any], Path]:
    """A file's settings as plain values, and the file that they come from."""
    path = builtin.get(name_or_path, Path(name_or_path))
    if not builtin and not path.is_file():
        raise SettingsError(f"{path}: no such file; give the {kind} as a YAML file")
    if not path.is_file():
        hint = _nearest(name_or_path, list(builtin))
        raise SettingsError(f"recipe {name_or_path!r} is neither a file nor built in ({', '.join(builtin)}){hint}")
    try:
        tree = _parse(path.read_text(encoding="utf-8")) or {}
    except ValueError as error:
        raise SettingsError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(tree, dict):
        raise SettingsError(f"{path}: a {kind} is a tree of settings, not {type(tree).__name__}")
    return tree, path


def _parse(text: str) -> Any:
    """YAML -> plain values. Raises ValueError for whatever is none."""
    try:
        return yaml.safe_load(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except Exception as error:  # beside YAMLError, whatever type a value leads to: 2026-99-99, !!int x, !!bool x
        raise ValueError(f"{error}") from error


def validated(model: type[_Tree], tree: dict[str, Any], source: str) -> _Tree:
    """A tree of plain values -> settings. Raises SettingsError with one line per problem."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, tree, problem) for problem in error.errors()]
        raise SettingsError("\n".join([f"{source}: {_settings(len(lines))} cannot be used", *lines])) from error


def _settings(count: int) -> str:
    return "1 setting" if count == 1 else f"{count} settings"


def _apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one dotted key. The value is read as YAML, so `[1, 2]`, `null` and `0.5` mean what they say."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise SettingsError(f"--set {override!r} is not KEY=VALUE; for example --set flow.layers=12")
    *parents, leaf = key.split(".")
    node = tree
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        child = node[parent]
        if not isinstance(child, dict):
            raise SettingsError(f"--set {override!r}: {parent!r} is a value, not a group of settings")
        node = child
    try:
        node[leaf] = _parse(text)
    except ValueError as error:
        raise SettingsError(f"--set {override!r}: {text!r} is not valid YAML: {error}") from error


def _change_member(model: type[BaseModel], name: str, tree: dict[str, Any], typed: Any) -> None:
    """If overrides choose another group, the file's settings of its own group are dropped, except shared ones.

    So the newly chosen group has its own defaults; what was typed for it is applied afterwards.
    """
    tag, members = _union(model, name)
    group, chosen = tree.get(name), typed.get(tag) if isinstance(typed, dict) else None
    if not isinstance(group, dict) or not isinstance(chosen, str) or chosen not in members:
        return
    if chosen != group.get(tag, getattr(model.model_fields[name].default, tag)):
        member = members[chosen]
        kept = set(getattr(member, "shared", ())).intersection(member.model_fields)
        tree[name] = {key: value for key, value in group.items() if key in kept}


def _explain(model: type[BaseModel], tree: dict[str, Any], problem: Any) -> str:
    """One pydantic problem -> path, value, limit and, for a misspelt key, the nearest spelling."""
    location = [str(part) for part in problem["loc"]]
    tag, members = _union(model, location[0]) if location else ("", {})
    if members:
        del location[1:2]  # pydantic puts the union's tag ("realnvp") into the path; the user never wrote it
    path = ".".join(location)
    value, kind = problem["input"], problem["type"]
    if kind == "extra_forbidden":
        allowed = _fields_beside(model, tree, location)
        elsewhere = [
            name for name, group in members.items() if len(location) == 2 and location[1] in group.model_fields
        ]
        if elsewhere:
            return (
                f"  {path}: {tag}: {problem['loc'][1]} has no such setting ({', '.join(elsewhere)} have); leave it "
                f"out; allowed: {', '.join(allowed)}"
            )
        return f"  {path}: no such setting{_nearest(location[-1], allowed)}. Allowed are {', '.join(allowed)}"
    if kind == "union_tag_invalid":
        allowed = sorted(members)
        chosen = value.get(tag) if isinstance(value, dict) else value
        return f"  {path}.{tag}: {chosen!r} is not one of {', '.join(allowed)}{_nearest(str(chosen), allowed)}"
    if kind == "literal_error":
        expected = problem["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"  {path}: {value!r} is not one of {', '.join(expected)}{_nearest(str(value), expected)}"
    if kind in ("model_type", "model_attributes_type"):
        return f"  {path!r}: {value!r} is a value, not a group of settings; write {path}: {{...}}"
    if kind in KINDS:
        return f"  {path}: {value!r} is not {KINDS[kind]}"
    said = problem["msg"].removeprefix("Value error, ")
    if isinstance(value, dict):  # a group names its own
        return f"  {path}: {said}" if path else f"  {said}"
    return f"  {path}: {value!r}: {said}"


def _union(model: type[BaseModel], name: str) -> tuple[str, dict[str, type[BaseModel]]]:
    """For a field that is one of several groups, distinguished by a tag: the tag, and the groups by it. Else none."""
    field = model.model_fields.get(name)
    if field is None or not isinstance(field.discriminator, str):
        return "", {}
    tag = field.discriminator
    return tag, {get_args(group.model_fields[tag].annotation)[0]: group for group in get_args(field.annotation)}


def _fields_beside(model: Any, tree: Any, location: list[str]) -> list[str]:
    """The settings that may stand where the unknown key stands."""
    for part in location[:-1]:
        if isinstance(tree, list):  # of groups of one kind
            tree, model = tree[int(part)], get_args(model)[0]
            continue
        if get_origin(model) is dict:  # groups of one kind, by names of the user's
            tree, model = next(one for name, one in tree.items() if str(name) == part), get_args(model)[1]
            continue
        field = model.model_fields[part]
        tag, members = _union(model, part)
        tree = tree[part]
        model = members[tree.get(tag, getattr(field.default, tag))] if members else _group(field.annotation)
    return list(model.model_fields)


def _group(annotation: Any) -> Any:
    """A group that may also be left out (`Group | None`) -> the group."""
    given = [one for one in get_args(annotation) if one is not type(None)]
    return given[0] if get_origin(annotation) is UnionType and len(given) == 1 else annotation


def _nearest(word: str, candidates: list[str]) -> str:
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
