"""The mutants of one Lua text: small changes, each of which some test should notice.

Tree-sitter reads the text; a change replaces bytes of it, so all else stays as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Final

import tree_sitter_lua
from tree_sitter import Language, Node, Parser

PARSER: Final = Parser(Language(tree_sitter_lua.language()))

WRITES: Final = frozenset(
    {"DEL", "EXPIRE", "HDEL", "HINCRBY", "HSET", "HSETNX", "LTRIM", "MSET", "PEXPIRE", "RPUSH", "SET", "UNLINK"}
    | {"XADD", "ZADD", "ZPOPMIN", "ZREM", "ZREMRANGEBYSCORE"}
)
FLIPPED: Final = {"==": "~=", "~=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}
BLOCKS: Final = frozenset({"chunk", "block"})
ANSWERS_ITS_ARGUMENT: Final = frozenset({"remember"})
"""Functions with an effect whose call can be replaced by what they are given."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change.

    Attributes:
        kind: what sort of change it is, in words.
        line: of the file, from 1.
        before, after: the first line that differs, as it was and as it is; after is empty when it is gone.
        text: the whole file, changed.
    """

    file: str
    kind: str
    line: int
    before: str
    after: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}: {self.before} -> {self.after or 'nothing'}"


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes of the text, and what stands there instead."""

    kind: str
    first: int
    end: int
    new: bytes


def mutants(file: str, text: str) -> Iterator[Mutant]:
    """All mutants of a file, in the order of its lines; no two are the same text, and none is the text itself.

    Raises:
        SyntaxError: it is no Lua.
    """
    source = text.encode()
    tree = PARSER.parse(source)
    if tree.root_node.has_error:
        raise SyntaxError(f"{file} is no Lua that tree-sitter reads")
    seen = {source}
    found = [*changes(tree.root_node), *islice(swapped_writes(tree.root_node, source), 1)]
    for change in sorted(found, key=lambda one: one.first):
        changed = source[: change.first] + change.new + source[change.end :]
        if changed not in seen:
            seen.add(changed)
            yield described(file, change, source, changed)


def described(file: str, change: Change, source: bytes, changed: bytes) -> Mutant:
    old, new = source.decode().split("\n"), changed.decode().split("\n")
    at = next(n for n in range(len(old)) if n >= len(new) or old[n] != new[n])
    gone = old[at + 1 :] == new[at:] or not new[at].strip() or len(new) < len(old)
    return Mutant(file, change.kind, at + 1, old[at].strip(), "" if gone else new[at].strip(), changed.decode())


def changes(node: Node) -> Iterator[Change]:
    """Those of one node and of all below."""
    if node.type in BLOCKS:
        yield from dropped_statements(node)
    elif node.type == "binary_expression":
        yield from changed_operators(node)
    elif node.type == "unary_expression":
        if node.children[0].type == "not":
            yield replaced("drop a not", node, text_of(node.children[1]))
    elif node.type == "number":
        yield from moved_numbers(node)
    elif node.type == "function_call" and name_of(node) in ANSWERS_ITS_ARGUMENT:
        arguments = node.child_by_field_name("arguments")
        assert arguments is not None
        yield replaced("drop a call", node, text_of(arguments))
    if condition := node.child_by_field_name("condition"):
        yield from negated(condition)
    for child in node.children:
        yield from changes(child)


def dropped_statements(block: Node) -> Iterator[Change]:
    """Calls, assignments, and whatever leaves a block or a loop early."""
    for statement in block.named_children:
        if statement.type == "function_call":
            yield replaced("drop a call", statement, b"")
        elif statement.type == "assignment_statement":
            yield replaced("drop an assignment", statement, b"")
        elif statement.type == "break_statement" or (statement.type == "return_statement" and is_early(block)):
            yield replaced("drop an exit", statement, b"")


def is_early(block: Node) -> bool:
    """Whether something of its function could come after it."""
    return block.parent is not None and block.parent.type != "function_declaration" and block.type != "chunk"


def swapped_writes(node: Node, source: bytes) -> Iterator[Change]:
    """Each write, and the statement after it. The first one of a script is where Redis checks its memory."""
    statements = [one for one in node.named_children if one.type != "comment"] if node.type in BLOCKS else []
    for write, after in pairwise(statements):
        if is_write(write) and after.type not in ("return_statement", "break_statement"):
            new = text_of(after) + source[write.end_byte : after.start_byte] + text_of(write)
            yield Change("swap a write with what follows", write.start_byte, after.end_byte, new)
    for child in node.children:
        yield from swapped_writes(child, source)


def is_write(statement: Node) -> bool:
    """A call of Redis that changes something, or of a function of ours for what it does."""
    if statement.type != "function_call":
        return False
    words = text_of(statement).decode().split("'")
    return name_of(statement) != "redis.call" or words[1] in WRITES


def changed_operators(node: Node) -> Iterator[Change]:
    left, operator, right = node.children
    if operator.type in FLIPPED:
        yield replaced(f"flip {operator.type}", operator, FLIPPED[operator.type].encode())
    elif operator.type in ("and", "or"):
        if right.type != "table_constructor":  # a default in place of nothing
            yield replaced(f"drop the right of {operator.type}", node, text_of(left))
        yield replaced(f"drop the left of {operator.type}", node, text_of(right))


def negated(condition: Node) -> Iterator[Change]:
    """What has an opposite of its own is changed there."""
    operator = condition.child_by_field_name("operator") or next(iter(condition.children), None)
    if operator is None or operator.type not in ("==", "~=", "not"):
        yield replaced("negate a condition", condition, b"not (" + text_of(condition) + b")")


def moved_numbers(node: Node) -> Iterator[Change]:
    """By one up; a bound by one down as well. Not where they only name a place in a table, or are compared by ==."""
    text = text_of(node).decode()
    operator = node.parent.child_by_field_name("operator") if node.parent else None
    compared = "" if operator is None else operator.type
    if not text.isdigit() or compared in ("==", "~=") or is_index(node):
        return
    yield replaced("one more", node, str(int(text) + 1).encode())
    if compared in FLIPPED and int(text) > 0:
        yield replaced("one less", node, str(int(text) - 1).encode())


def is_index(node: Node) -> bool:
    above = node.parent
    while above is not None and above.type in ("binary_expression", "unary_expression"):
        above = above.parent
    return above is not None and above.type == "bracket_index_expression"


def replaced(kind: str, node: Node, new: bytes) -> Change:
    return Change(kind, node.start_byte, node.end_byte, new)


def text_of(node: Node) -> bytes:
    assert node.text is not None
    return node.text


def name_of(call: Node) -> str:
    name = call.child_by_field_name("name")
    return "" if name is None else text_of(name).decode()
