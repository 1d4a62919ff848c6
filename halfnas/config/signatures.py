"""Check the settings of a group against the signature of the class that it names, before anything is built."""

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.utils import get_object


def check_arguments(node: Mapping[str, Any], where: str) -> list[str]:
    """Problems of a `_target_` node and those inside it: unknown class, unknown arguments, values of another type.

    Args:
        node: plain containers, as OmegaConf.to_container gives them.
        where: the setting's name, for the messages.
    """
    problems = []
    if isinstance(node.get("_target_"), str):
        try:
            target = get_object(node["_target_"])
        except Exception as error:  # whatever importing the user's module raises
            return [f"`{where}._target_`: {node['_target_']!r} cannot be imported ({error})"]
        problems += _check_call(target, node, where)
    for key, value in node.items():
        if isinstance(value, Mapping):
            problems += check_arguments(value, f"{where}.{key}")
    return problems


def _check_call(target: Any, node: Mapping[str, Any], where: str) -> list[str]:
    problems = []
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # a class written in C says nothing
        return []
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    for key, value in node.items():
        if key.startswith("_") and key.endswith("_"):
            continue
        if key not in parameters:
            if not takes_any:
                known = ", ".join(parameters)
                problems.append(f"`{where}.{key}`: {target.__qualname__} has no such argument; it has {known}")
        elif key in hints and not matches(value, hints[key]):
            problems.append(f"`{where}.{key}` must be {describe(hints[key])}, got {value!r}")
    return problems


def matches(value: Any, hint: Any) -> bool:
    """Whether a plain yaml value fits a type hint; hints that yaml cannot express fit everything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, argument) for argument in arguments)
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    if origin in (list, tuple, Sequence):
        inner = arguments[0] if arguments else Any
        return isinstance(value, (list, tuple)) and all(matches(item, inner) for item in value)
    if origin in (dict, Mapping):
        return isinstance(value, Mapping)
    return True


def describe(hint: Any) -> str:
    """A type hint in words."""
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if hint in names:
        return names[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin in (list, tuple, Sequence):
        return "a list"
    if origin in (dict, Mapping):
        return "a mapping"
    return str(hint)
