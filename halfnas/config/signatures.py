"""Check the settings of a group against the signatures of what takes them, before anything is built.

Types and bounds stand beside the arguments: `Annotated[int, Field(ge=1, description="epochs of the search")]`.
"""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal

from hydra.utils import get_object
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

#: Types that yaml can express; any other one fits everything.
PLAIN = (int, float, bool, str, type(None))
WORDS = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "none_required": "null",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "is_instance_of": "a list",
    "list_type": "a list",
    "tuple_type": "a list",
    "sequence_str": "a list",
}


def check_arguments(
    node: Mapping[str, Any], where: str, *, also: Sequence[Callable[..., Any]] = (), given: Collection[str] = ()
) -> list[str]:
    """Problems of a `_target_` node and those inside it: unknown class, unknown arguments, values that cannot be.

    Args:
        node: plain containers, as OmegaConf.to_container gives them.
        where: the setting's name, for the messages.
        also: what takes some of the settings besides the class that the node names.
        given: arguments that are no settings.
    """
    takers = list(also)
    if isinstance(node.get("_target_"), str):
        try:
            takers.insert(0, get_object(node["_target_"]))
        except Exception as error:  # whatever importing the user's module raises
            return [f"`{where}._target_`: {node['_target_']!r} cannot be imported ({error})"]
    problems = _check_call(takers, node, where, given) if takers else []
    for key, value in node.items():
        if isinstance(value, Mapping):
            problems += check_arguments(value, f"{where}.{key}")
    return problems


def arguments_of(target: Callable[..., Any]) -> dict[str, Any] | None:
    """Argument -> its type of what can be called by name; None where it takes any, or does not say."""
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # a class written in C says nothing
        return None
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found[name] = hint
        elif typing.get_origin(hint) is typing.Unpack:  # those of a TypedDict
            found |= typing.get_type_hints(typing.get_args(hint)[0], include_extras=True)
        else:
            return None
    return found


def problem_of(value: Any, hint: Any) -> str | None:
    """What is wrong with a plain value for an argument of that type, as the end of a sentence; None if nothing is."""
    if isinstance(value, Mapping) and "_target_" in value:
        return None  # a node of its own
    try:
        _adapter(hint).validate_python(tuple(value) if isinstance(value, list) else value)
    except ValidationError as error:
        return f"must be {_expected(error.errors(), hint)}, got {value!r}"
    return None


def _check_call(
    takers: Sequence[Callable[..., Any]], node: Mapping[str, Any], where: str, given: Collection[str]
) -> list[str]:
    signatures = [arguments_of(taker) for taker in takers]
    known: dict[str, list[Any]] = {}
    for each in signatures:
        for name, hint in (each or {}).items():
            if name not in given:
                known.setdefault(name, []).append(hint)
    problems = []
    for key, value in node.items():
        if key.startswith("_") and key.endswith("_"):
            continue
        if key in known:
            found = [problem for hint in known[key] if (problem := problem_of(value, hint))]
            problems += [f"`{where}.{key}` {problem}" for problem in found[:1]]
        elif all(each is not None for each in signatures):
            name = getattr(takers[0], "__qualname__", str(takers[0]))
            problems.append(f"`{where}.{key}`: {name} has no such argument; it has {', '.join(known)}")
    return problems


def _expected(errors: Sequence[ErrorDetails], hint: Any) -> str:
    bounds = [words for error in errors if (words := _bound(error))]
    if bounds:
        reason = _description(hint)
        return " or ".join(bounds) + (f": {reason}" if reason else "")
    *names, last = dict.fromkeys(name for error in errors for name in _type_name(error).split(" or "))
    return f"{', '.join(names)} or {last}" if names else last


def _bound(error: ErrorDetails) -> str | None:
    context = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"at least {context['ge']:g}"
        case "greater_than":
            return "positive" if context["gt"] == 0 else f"more than {context['gt']:g}"
        case "less_than_equal":
            return f"at most {context['le']:g}"
        case "less_than":
            return f"less than {context['lt']:g}"
    return None


def _type_name(error: ErrorDetails) -> str:
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"]).replace("'", "").replace('"', "")
    if error["type"] in ("missing", "too_long", "too_short"):
        return "a list of another length"
    words = WORDS.get(error["type"], error["msg"])
    inside = [part for part in error["loc"] if isinstance(part, int)]
    return f"a list in which number {inside[-1] + 1} is {words}" if inside else words


def _description(hint: Any) -> str | None:
    if typing.get_origin(hint) is Annotated:
        for extra in hint.__metadata__:
            if isinstance(extra, FieldInfo) and extra.description:
                return extra.description
    return next((found for part in typing.get_args(hint) if (found := _description(part))), None)


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_plain(hint), config=ConfigDict(strict=True))


def _plain(hint: Any) -> Any:
    """A type of which nothing is left that yaml cannot express."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[_plain(arguments[0]), *hint.__metadata__]
    if origin in (typing.Required, typing.NotRequired):
        return _plain(arguments[0])
    if origin is Literal or hint in (*PLAIN, Any, ...):
        return hint
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(_plain, arguments))]  # noqa: UP007 # made of what is found
    if origin is tuple:
        return tuple[tuple(map(_plain, arguments))]  # type: ignore[misc]
    if origin in (list, Sequence):
        return Sequence[_plain(arguments[0])]  # type: ignore[misc]
    if origin in (dict, Mapping):
        return Mapping[str, Any]
    return Any
