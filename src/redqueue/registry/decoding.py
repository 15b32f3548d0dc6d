"""JSON that came from outside, into what an annotation says, or InvalidArguments.

The message names the path and what was expected there, never the value: it is stored, logged and shown. What a class's
own check says may hold the value, so of it only the exception's class is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import inspect

from redqueue.core.bombs import bomb_in
from redqueue.errors import InvalidArguments, RegistrationError
from redqueue.registry.names import escaped, quoted
from redqueue.registry.spelling import either_spelling
from redqueue.registry.unknown_fields import Check, check_of, reachable

Decode: TypeAlias = Callable[[bytes], Any]


def refuse_bombs(name: str, raw: bytes) -> None:
    """Before anything is decoded; see `bomb_in`.

    Raises:
        InvalidArguments: nested deeper than 64, or an integer of more than 20 digits.
    """
    problem = bomb_in(raw)
    if problem:
        raise InvalidArguments(f"{name}: $: {problem}")


def decoder_of(name: str, annotation: Any, places: Sequence[str] = ()) -> Decode:
    """What turns JSON into the annotation's type, strictly: no text becomes a number, no field is passed over.

    One msgspec decode, where the type itself refuses unknown fields or has none; else a second, untyped one to compare.

    Args:
        name: of the function, for messages.
        places: when the annotation is an array whose places have names, those.
    Raises:
        RegistrationError: JSON can't be decoded into such a type.
    """
    try:
        info = inspect.type_info(annotation)
        modelled = _refuse_foreign(info)
        typed = msgspec.json.Decoder(annotation, dec_hook=_into_model if modelled else None).decode
        check = check_of(info)
    except RegistrationError as error:
        raise RegistrationError(f"{name}: {error}") from error
    except Exception as error:
        raise RegistrationError(f"{name}: {annotation!r} can't be decoded from JSON: {error}") from error

    def decode(raw: bytes) -> Any:
        try:
            return typed(raw)
        except MemoryError:
            raise
        except Exception as error:
            problem = _problem(error, info, raw)
        # Outside of the except: the exception that holds the value must not travel as this one's context.
        raise InvalidArguments(f"{name}: {_with_names(problem, places)}")

    return either_spelling(name, annotation, decode if check is None else _compared(name, check, decode, places))


def is_model(kind: object) -> bool:
    """Whether it is a pydantic model, told without importing pydantic."""
    return isinstance(kind, type) and hasattr(kind, "model_validate_json") and hasattr(kind, "__pydantic_validator__")


def _compared(name: str, check: Check, decode: Decode, places: Sequence[str]) -> Decode:
    untyped = decoder_of(name, Any)

    def decode_and_compare(raw: bytes) -> Any:
        found = check(untyped(raw))
        if found:
            raise InvalidArguments(f"{name}: {_with_names(f'${found}', places)}")
        return decode(raw)

    return decode_and_compare


def _refuse_foreign(info: inspect.Type) -> bool:
    """Whether there are pydantic models in it; RegistrationError for what neither msgspec nor pydantic decodes."""
    modelled = False
    for one in reachable(info):
        if isinstance(one, inspect.DataclassType) and hasattr(one.cls, "__pydantic_validator__"):
            raise RegistrationError(
                f"{one.cls.__qualname__} is a pydantic dataclass: make it a BaseModel or a plain one"
            )
        if isinstance(one, inspect.CustomType) and one.cls is not object:
            if not is_model(one.cls):
                raise RegistrationError(
                    f"{one.cls.__qualname__} can't be decoded from JSON: use a msgspec.Struct, dataclass, attrs class, "
                    "TypedDict, pydantic model or built-in type"
                )
            _check_model(one.cls)
            modelled = True
    return modelled


def _check_model(model: Any) -> None:
    if "extra" not in signature(model.model_validate_json).parameters:
        raise RegistrationError(f"{model.__qualname__} is a pydantic model: that needs pydantic 2.12 or newer")
    if not model.__pydantic_complete__:
        model.model_rebuild()


class _Refused(ValueError):
    """By a pydantic model: the path below it, and a text without the value."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(text)
        self.path = path
        self.text = text


def _into_model(model: Any, value: Any) -> Any:
    if model is object:
        return value
    # As JSON again: pydantic's strict mode takes a date from JSON's text, and not from Python's.
    try:
        return model.model_validate_json(msgspec.json.encode(value), strict=True, extra="forbid")
    except ValueError as error:
        errors = getattr(error, "errors", None)
        if errors is None:
            raise
        details = errors(include_url=False, include_context=False, include_input=False)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{escaped(str(step), 80)}" for step in details[0]["loc"])
    raise _Refused(path, _model_text(details[0]) + more)


_PLAIN_MODEL_TEXT: Final = re.compile(
    r"missing|extra_forbidden|literal_error|enum|none_required|multiple_of|(greater|less)_than(_equal)?"
    r"|string_(too_short|too_long|pattern_mismatch)"
    r"|(string|int|float|bool|bytes|list|dict|tuple|set|frozen_set|model|date|time|datetime|time_delta|decimal|uuid)_type"
)


def _model_text(detail: Mapping[str, Any]) -> str:
    """Of pydantic's texts only those that never hold the input; else the name of the rule."""
    rule = str(detail["type"])
    return _lowered(str(detail["msg"])) if _PLAIN_MODEL_TEXT.fullmatch(rule) else f"refused as {escaped(rule, 80)}"


_PLAIN_TEXT: Final = re.compile(
    r"Expected .*|(Number|Integer value|Duration|Timestamp) (is )?out of range.*|Only units .* are supported .*"
    r"|Invalid (RFC3339 .*|ISO8601 duration|UUID|decimal string|base64 .*|epoch timestamp)",
    re.DOTALL,
)


def _problem(error: Exception, info: inspect.Type, raw: bytes) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return f"$: {_unreadable(error)}"
    text, _, path = str(error).rpartition(" - at `")
    if text:
        path = path.removesuffix("`")
        path = f"a key of {path.removeprefix('key` in `')}" if path.startswith("key` in `") else path
    else:
        text, path = path, "$"
    cause = error.__cause__
    if isinstance(cause, _Refused):
        return f"{path}{cause.path}: {escaped(cause.text)}"
    if cause is not None:
        return f"{escaped(path)}: {_own_check(cause)}"
    allowed = _listed(_allowed_at(info, raw, path)) if text.startswith(_NOT_AMONG) else ""
    return f"{escaped(path)}: {f'none of the values allowed: {allowed}' if allowed else _text(text)}"


def _text(text: str) -> str:
    """msgspec's text without the value, which some of them quote."""
    for start, meaning in (
        ("Object missing required field ", "missing"),
        ("Object contains unknown field ", "unknown"),
    ):
        if text.startswith(start):
            return f"{meaning} field {quoted(text.removeprefix(start).strip('`'))}"
    if text.startswith("Invalid enum value "):
        return "none of the values allowed"
    return escaped(_lowered(text)) if _PLAIN_TEXT.fullmatch(text) else "invalid value"


_NOT_AMONG: Final = ("Invalid enum value ", "Invalid value ")
"""Of literals and enums; of the tags of structs."""

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MOST_LISTED: Final = 10


def _listed(values: Iterable[object]) -> str:
    shown = [quoted(value, 40) if isinstance(value, str) else str(value) for value in values if value is not None]
    more = len(shown) - _MOST_LISTED
    return ", ".join(shown[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _allowed_at(info: inspect.Type, raw: bytes, path: str) -> list[Any]:
    """What the type takes there, each once; nothing where that can't be told.

    The value is looked at only for its tags: structs of a union may have fields of one name and different types.
    """
    of_key = path.startswith("a key of ")
    steps = [found[1] or found[2] for found in _STEP.finditer(path)]
    try:
        value = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return []
    infos = [info]
    for at, step in enumerate(steps):
        if at == len(steps) - 1 and not of_key and (tags := [tag for one in infos for tag in _tags(one, step)]):
            return list(dict.fromkeys(tags))
        infos = [below for one in infos for below in _below(one, step, value)]
        value = _value_below(value, step)
    return list(dict.fromkeys(allowed for one in infos for allowed in _allowed(one, of_key)))


def _tags(info: inspect.Type, step: str) -> Iterator[str | int]:
    match info:
        case inspect.Metadata():
            yield from _tags(info.type, step)
        case inspect.UnionType():
            for part in info.types:
                yield from _tags(part, step)
        case inspect.StructType(tag=tag) if tag is not None:
            if step == ("0" if info.array_like else info.tag_field):
                yield tag


def _below(info: inspect.Type, step: str, value: Any) -> Iterator[inspect.Type]:
    match info:
        case inspect.Metadata():
            yield from _below(info.type, step, value)
        case inspect.UnionType():
            for part in info.types:
                yield from _below(part, step, value)
        case inspect.StructType(array_like=True) | inspect.NamedTupleType() | inspect.TupleType():
            yield from _at_place(info, step, value)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            if _is_tagged_so(info, value):
                yield from (field.type for field in info.fields if field.encode_name == step)
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            if step.isdecimal():
                yield info.item_type
        case inspect.DictType() if step == "...":
            yield info.value_type


def _at_place(
    info: inspect.StructType | inspect.NamedTupleType | inspect.TupleType, step: str, value: Any
) -> Iterator[inspect.Type]:
    items = info.item_types if isinstance(info, inspect.TupleType) else [field.type for field in info.fields]
    place = int(step) if step.isdecimal() else -1
    if isinstance(info, inspect.StructType) and info.tag is not None:
        if not isinstance(value, list) or value[:1] != [info.tag]:
            return
        place -= 1
    if 0 <= place < len(items):
        yield items[place]


def _is_tagged_so(info: inspect.Type, value: Any) -> bool:
    if not isinstance(info, inspect.StructType) or info.tag is None:
        return True
    return isinstance(value, dict) and value.get(info.tag_field, info.tag) == info.tag


def _value_below(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[int(step)] if isinstance(value, list) and step.isdecimal() and int(step) < len(value) else None


def _allowed(info: inspect.Type, of_key: bool) -> Iterator[Any]:
    match info:
        case inspect.Metadata():
            yield from _allowed(info.type, of_key)
        case inspect.UnionType():
            for part in info.types:
                yield from _allowed(part, of_key)
        case inspect.DictType() if of_key:
            yield from _allowed(info.key_type, False)
        case inspect.LiteralType() if not of_key:
            yield from info.values
        case inspect.EnumType() if not of_key:
            yield from (member.value for member in info.cls)


def _unreadable(error: Exception) -> str:
    if isinstance(error, msgspec.DecodeError):
        return f"not JSON: {_lowered(str(error))}"
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    return "nested too deep" if isinstance(error, RecursionError) else _own_check(error)


def _own_check(error: BaseException) -> str:
    return f"refused by its own check ({type(error).__name__})"


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _with_names(problem: str, places: Sequence[str]) -> str:
    """``$[1].x`` is ``$.user.x`` where place 1 is the parameter `user`."""
    found = re.match(r"\$\[(\d+)\]", problem)
    if not found or int(found[1]) >= len(places):
        return problem
    return f"$.{places[int(found[1])]}{problem[found.end() :]}"
