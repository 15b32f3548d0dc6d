"""The operations of `process_data`: functions of JSON data and of options, of which none changes what it is given."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, TypeAlias

Options: TypeAlias = Mapping[str, Any]
Operation: TypeAlias = Callable[[Any, Options], Any]
Row: TypeAlias = dict[str, Any]

MOST_PROBLEMS: Final = 100
MOST_FIELDS: Final = 100
"""Names in one option."""

_KINDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: is_number(value),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def transform(data: Any, options: Options) -> Any:
    """Text without white space at its ends, null members left out, at every depth; then, of objects, fields chosen.

    Options: `pick` or `omit`, lists of fields, and `rename`, a mapping from old to new, of each object of the outermost
    array, or of the object itself.
    """
    cleaned = _cleaned(data)
    pick, omit, rename = fields_in(options, "pick"), set(fields_in(options, "omit")), _names_in(options, "rename")
    if not (pick or omit or rename):
        return cleaned

    def chosen(row: Any) -> Any:
        if not isinstance(row, dict):
            return row
        kept = {name: row[name] for name in pick if name in row} if pick else row
        return {rename.get(name, name): value for name, value in kept.items() if name not in omit}

    return [chosen(row) for row in cleaned] if isinstance(cleaned, list) else chosen(cleaned)


def filter_rows(data: Any, options: Options) -> list[Row]:
    """The objects that meet every condition of `where`, in order.

    ``{"status": "open", "age": {"gte": 18, "lt": 65}}``: a value that the field equals, or operators: eq, ne, gt, gte,
    lt, lte, in, contains, exists. A field that isn't there, or is of another kind than the value, meets none but ne
    and ``exists: false``.
    """
    where = _mapping_in(options, "where")
    if not where:
        raise ValueError('filter needs the conditions: context={"where": {"status": "open"}}')
    tests = [(field, _conditions(field, wanted)) for field, wanted in where.items()]
    return [row for row in rows_of(data, "filter") if all(test(row.get(field, _ABSENT)) for field, test in tests)]


def aggregate(data: Any, options: Options) -> Row:
    """Of an array of numbers ``{"count", "sum", "min", "max", "mean"}``; of objects the same for each numeric field.

    Option: `fields`, those to look at. Of no numbers min, max and mean are None.
    """
    if isinstance(data, list) and all(map(is_number, data)):
        return summary(data)
    wanted = set(fields_in(options, "fields"))
    columns: dict[str, list[Any]] = {}
    for row in rows_of(data, "aggregate", "an array of numbers or an array of objects"):
        for name, value in row.items():
            if is_number(value) and (not wanted or name in wanted):
                columns.setdefault(name, []).append(value)
    return {name: summary(numbers) for name, numbers in columns.items()}


def validate(data: Any, options: Options) -> Row:
    """``{"valid": bool, "count": n, "problems": [{"path", "problem"}]}``, at most 100 of them.

    An item that is null, empty or blank is a problem. Options, of each object in an array: `required`, a list of
    fields, and `types`, a mapping from field to "text", "number", "boolean", "array" or "object".
    """
    required, types = fields_in(options, "required"), _names_in(options, "types")
    for field, kind in types.items():
        if kind not in _KINDS:
            raise ValueError(f"validate: types of {field!r} must be one of {', '.join(_KINDS)}")
    items = _members(data)
    found = chain.from_iterable(_problems_of(path, item, required, types) for path, item in items)
    problems = [{"path": path, "problem": problem} for path, problem in islice(found, MOST_PROBLEMS)]
    return {"valid": not problems, "count": len(items), "problems": problems}


def sort(data: Any, options: Options) -> list[Any]:
    """In ascending order; of equals the order stays. Nulls and absent fields come last, numbers before text.

    Options: `by`, a field or a list of them, which objects need; `descending`.
    """
    by, descending = fields_in(options, "by"), bool(options.get("descending"))
    items = _items(data, "sort")
    if not by:
        if any(isinstance(item, dict) for item in items):
            raise ValueError('sort of objects needs by: context={"by": "name"}')
        return _sorted(items, lambda item: item, descending)
    ordered = list(items)
    # One stable pass a field, the last field first: so each keeps its nulls at the end, in either direction.
    for field in reversed(by):
        ordered = _sorted(ordered, _member(field), descending)
    return ordered


def dedupe(data: Any, options: Options) -> list[Any]:
    """The first of each that are equal: as a whole, or in the fields of `by`."""
    by = fields_in(options, "by")
    seen: set[Any] = set()
    kept = []
    for item in _items(data, "dedupe"):
        mark = _frozen([item.get(field) for field in by] if by and isinstance(item, dict) else item)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept


def group(data: Any, options: Options) -> list[Row]:
    """``[{"key": {field: value}, "count": n, "items": [...]}]`` of the objects' fields in `by`, in order of appearance.

    Options: `by`, a field or a list of them, required; ``items: false`` leaves the items out; `fields` adds a "summary"
    of these, as aggregate makes it.
    """
    by = fields_in(options, "by")
    if not by:
        raise ValueError('group needs the field: context={"by": "status"}')
    groups: dict[Any, list[Row]] = {}
    for row in rows_of(data, "group"):
        groups.setdefault(_frozen([row.get(field) for field in by]), []).append(row)
    answer: list[Row] = []
    for rows in groups.values():
        one: Row = {"key": {field: rows[0].get(field) for field in by}, "count": len(rows)}
        if options.get("items", True):
            one["items"] = rows
        if options.get("fields"):
            one["summary"] = aggregate(rows, options)
        answer.append(one)
    return answer


OPERATIONS: Final[Mapping[str, Operation]] = {
    "transform": transform,
    "filter": filter_rows,
    "aggregate": aggregate,
    "validate": validate,
    "sort": sort,
    "dedupe": dedupe,
    "group": group,
}


def summary(numbers: Sequence[Any]) -> Row:
    """Count, sum, min, max and mean."""
    total, count = exact_sum(numbers), len(numbers)
    if not count:
        return {"count": 0, "sum": 0, "min": None, "max": None, "mean": None}
    return {"count": count, "sum": total, "min": min(numbers), "max": max(numbers), "mean": total / count}


def exact_sum(numbers: Sequence[Any]) -> Any:
    """Of whole numbers exact, else the float nearest to the exact one.

    Raises:
        ValueError: beyond the largest float, if only on the way.
    """
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    try:
        return math.fsum(numbers)
    except OverflowError:
        raise ValueError("the sum is beyond the largest float") from None


def is_number(value: Any) -> bool:
    """A bool is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def rows_of(data: Any, operation: str, wanted: str = "an array of objects") -> list[Row]:
    """The data itself, if it is an array of objects."""
    if isinstance(data, list) and all(isinstance(item, dict) for item in data):
        return data
    raise ValueError(f"{operation} takes {wanted}")


def fields_in(options: Options, name: str) -> list[str]:
    """A field's name, or a list of them, as a list."""
    found = options.get(name)
    fields = [found] if isinstance(found, str) else found or []
    if not isinstance(fields, list | tuple) or not all(isinstance(field, str) for field in fields):
        raise ValueError(f"{name} must be the name of a field, or a list of names")
    if len(fields) > MOST_FIELDS:
        raise ValueError(f"{name} takes at most {MOST_FIELDS} names, not {len(fields):,}")
    return list(fields)


def _names_in(options: Options, name: str) -> Mapping[str, str]:
    found = _mapping_in(options, name)
    if not all(isinstance(value, str) for value in found.values()):
        raise ValueError(f"{name} must give text for each field")
    return found


def _mapping_in(options: Options, name: str) -> Mapping[str, Any]:
    found = options.get(name) or {}
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} must be a mapping by field")
    if len(found) > MOST_FIELDS:
        raise ValueError(f"{name} takes at most {MOST_FIELDS} names, not {len(found):,}")
    return found


def _items(data: Any, operation: str) -> list[Any]:
    if isinstance(data, list):
        return data
    raise ValueError(f"{operation} takes an array")


def _cleaned(data: Any) -> Any:
    if isinstance(data, str):
        return data.strip()
    if isinstance(data, list):
        return [_cleaned(item) for item in data]
    if isinstance(data, dict):
        return {name: _cleaned(value) for name, value in data.items() if value is not None}
    return data


def _members(data: Any) -> list[tuple[str, Any]]:
    if isinstance(data, list):
        return [(f"$[{place}]", item) for place, item in enumerate(data)]
    if isinstance(data, dict):
        return [(f"$.{name}", value) for name, value in data.items()]
    return [("$", data)]


def _problems_of(path: str, item: Any, required: Sequence[str], types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if (problem := _problem_of(item)) is not None:
        yield path, problem
    elif isinstance(item, dict):
        for field in required:
            if item.get(field) is None:
                yield f"{path}.{field}", "is missing"
        for field, kind in types.items():
            if item.get(field) is not None and not _KINDS[kind](item[field]):
                yield f"{path}.{field}", f"is no {kind}"


def _problem_of(item: Any) -> str | None:
    if item is None:
        return "is null"
    if isinstance(item, str):
        return None if item.strip() else "is blank"
    return "is empty" if isinstance(item, list | dict) and not item else None


_ABSENT: Final = object()


def _conditions(field: str, wanted: Any) -> Callable[[Any], bool]:
    if not isinstance(wanted, dict):
        return lambda value: _equal(value, wanted)
    unknown = sorted(wanted.keys() - _COMPARED.keys() - {"in", "exists"})
    if unknown or not wanted:
        known = ", ".join([*_COMPARED, "in", "exists"])
        raise ValueError(f"filter: {field!r} takes a value, or some of {known}; not {', '.join(unknown) or 'none'}")

    within = _one_of(wanted["in"]) if "in" in wanted else None

    def test(value: Any) -> bool:
        for name, operand in wanted.items():
            if name == "exists":
                good = (value is not _ABSENT and value is not None) == bool(operand)
            elif name == "in":
                good = within is None or _frozen(value) in within
            else:
                good = _COMPARED[name](value, operand)
            if not good:
                return False
        return True

    return test


def _equal(value: Any, wanted: Any) -> bool:
    # In Python True equals 1; in JSON they are different things, at any depth.
    return bool(value == wanted) and _frozen(value) == _frozen(wanted)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def test(value: Any, wanted: Any) -> bool:
        alike = (is_number(value) and is_number(wanted)) or (isinstance(value, str) and isinstance(wanted, str))
        return alike and compare(value, wanted)

    return test


def _one_of(wanted: Any) -> frozenset[Any]:
    if not isinstance(wanted, list):
        raise ValueError("filter: in takes an array")
    return frozenset(map(_frozen, wanted))


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(value, str):
        return isinstance(wanted, str) and wanted in value
    return isinstance(value, list) and any(_equal(one, wanted) for one in value)


_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": _equal,
    "ne": lambda value, wanted: not _equal(value, wanted),
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "contains": _contains,
}


def _member(field: str) -> Callable[[Any], Any]:
    return lambda item: item.get(field) if isinstance(item, dict) else None


def _sorted(items: Sequence[Any], value: Callable[[Any], Any], descending: bool) -> list[Any]:
    there = [item for item in items if value(item) is not None]
    absent = [item for item in items if value(item) is None]
    return sorted(there, key=lambda item: _rank(value(item)), reverse=descending) + absent


def _rank(value: Any) -> tuple[int, Any]:
    """What orders values of every kind: booleans, numbers, text, then the rest in the order given."""
    if isinstance(value, bool):
        return 0, value
    if is_number(value):
        return 1, value
    return (2, value) if isinstance(value, str) else (3, 0)


def _frozen(value: Any) -> Any:
    """Equal for equal JSON values, and hashable."""
    if isinstance(value, dict):
        return frozenset((name, _frozen(item)) for name, item in value.items())
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return (type(value) is bool, value)
