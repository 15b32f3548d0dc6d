"""Key rings: by which secrets a queue's contents are signed or encrypted. What is done with them is core/seal.py's."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NoReturn, TypeAlias

import msgspec

from redqueue.errors import ConfigurationError, InvalidOption, MissingExtra
from redqueue.units import shown

SHORTEST_SECRET: Final = 32
"""In bytes; what is typed by hand is guessed."""

VARIABLES: Final = ("REDQUEUE_SEAL", "REDQUEUE_SEAL_FILE")
"""The key ring as JSON, or the path of a file that holds it."""

_MISSING: Final = re.compile(r"missing required field `(\w+)`")
_WRONG: Final = re.compile(r"at `\$\.(\w+)")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
_LONGEST_FILE: Final = 64 * 1024


class Signed:
    """Data, results, errors, checkpoints, progress and log lines are signed: HMAC-SHA256.

    Who can write to Redis and has no key can neither invent nor change one, nor put it into another job's place.

    Args:
        keys: secrets of at least 32 bytes by their ids, of ``[A-Za-z0-9_.-]{1,32}``. All of them open.
        current: the id of the key that seals; it may be left out when there is only one.
        required: False also takes what is not sealed: for the time in which a queue changes over.
    Raises:
        InvalidOption: by its name; a secret is never shown.
    """

    __slots__ = ("_keys", "current", "required")

    def __init__(self, keys: Mapping[str, bytes], current: str | None = None, *, required: bool = True) -> None:
        self._keys = _check_keys(keys)
        self.current = _check_current(self._keys, current)
        if not isinstance(required, bool):
            raise InvalidOption("required", f"required must be True or False, not {shown(required)}")
        self.required = required

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys."""
        return tuple(self._keys)

    def secret(self, key_id: str) -> bytes | None:
        """The secret of a key; None when the ring has no such key."""
        return self._keys.get(key_id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} by {self.current!r} of {', '.join(self._keys)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key ring isn't pickled: make it anew from where its secrets are kept")


class Encrypted(Signed):
    """The same, and nobody without a key can read them: AES-256-GCM. Needs the extra ``encryption``.

    It opens what `Signed` sealed by one of its keys, too.
    """

    __slots__ = ()

    def __init__(self, keys: Mapping[str, bytes], current: str | None = None, *, required: bool = True) -> None:
        super().__init__(keys, current, required=required)
        try:
            import cryptography.hazmat.primitives.ciphers.aead  # noqa: F401
        except ImportError:
            raise MissingExtra("encryption", "Encrypted") from None


Seal: TypeAlias = Signed | Encrypted


def check_seal(seal: object) -> Seal | None:
    """The key ring itself, or InvalidOption."""
    if seal is not None and not isinstance(seal, Signed):
        raise InvalidOption("seal", f"seal must be Signed(...) or Encrypted(...), not a {type(seal).__name__}")
    return seal


def described(seal: Seal | None) -> str:
    """A line for the log: the kind and the current key's id, or that there is none. Never a secret."""
    if seal is None:
        return "none"
    kind = "encrypted" if isinstance(seal, Encrypted) else "signed"
    return f"{kind} by key {seal.current}" + ("" if seal.required else "; jobs without a seal run, too")


def seal_from_env(environ: Mapping[str, str]) -> Seal | None:
    """The key ring that the environment names; None: it names none.

    Raises:
        ConfigurationError: by the name of the variable; what it holds is never shown.
    """
    text, path = (environ.get(name, "").strip() for name in VARIABLES)
    if not text and not path:
        return None
    if text and path:
        raise ConfigurationError(f"{VARIABLES[0]} and {VARIABLES[1]} are both set: unset one of them")
    if path:
        return _read(f"{VARIABLES[1]}={path}", _content(path))
    return _read(VARIABLES[0], text.encode(errors="surrogateescape"))  # the bytes that it had, if they are no UTF-8


class _Stored(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["signed", "encrypted"]
    keys: dict[str, str]
    current: str | None = None
    required: bool = True


def _read(name: str, text: bytes) -> Seal:
    try:
        stored = msgspec.json.decode(text, type=_Stored)
        keys = {id: base64.b64decode(secret.encode(), validate=True) for id, secret in stored.keys.items()}
        kind = Encrypted if stored.kind == "encrypted" else Signed
        return kind(keys, stored.current, required=stored.required)
    except msgspec.ValidationError as error:
        why = _misshaped(str(error))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        why = "it is not JSON"
    except binascii.Error:
        raise ConfigurationError(f"{name}: a secret is not base64: make one by `openssl rand -base64 32`") from None
    except InvalidOption as error:
        raise ConfigurationError(f"{name}: {error}") from None
    raise ConfigurationError(
        f'{name}: {why}. It must be as {{"kind": "signed", "keys": {{"2026-11": "<base64>"}}, "current": "2026-11"}}; '
        'kind is "signed" or "encrypted". What it holds is not shown'
    )


def _misshaped(error: str) -> str:
    """What is wrong, without msgspec's own words, which quote what they read."""
    if missing := _MISSING.search(error):
        return f"the field {missing[1]} is missing"
    if "unknown field" in error:
        return f"it has a field that is none of {', '.join(_Stored.__struct_fields__)}"
    wrong = _WRONG.search(error)
    return f"the value of {wrong[1]} is wrong" if wrong else "it is no JSON object"


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LONGEST_FILE)
    except OSError as error:
        raise ConfigurationError(f"{VARIABLES[1]}={path} can't be read: {error.strerror}") from None


def _check_keys(keys: object) -> dict[str, bytes]:
    if not isinstance(keys, Mapping) or not keys:
        raise InvalidOption("keys", f"keys must be a mapping of ids to secrets, at least one, not {_kind(keys)}")
    for id, secret in keys.items():
        if not isinstance(id, str) or not _KEY_ID.fullmatch(id):
            raise InvalidOption("keys", f"a key's id is 1 to 32 characters of A-Z a-z 0-9 _ . -, not {_shown_id(id)}")
        if not isinstance(secret, bytes) or len(secret) < SHORTEST_SECRET:
            size = f"{len(secret)} bytes" if isinstance(secret, bytes) else f"a {type(secret).__name__}"
            raise InvalidOption(
                "keys", f"the secret of key {id!r} must be at least {SHORTEST_SECRET} random bytes, not {size}"
            )
    return dict(keys)


def _check_current(keys: Mapping[str, bytes], current: object) -> str:
    if current is None and len(keys) == 1:
        return next(iter(keys))
    if not isinstance(current, str) or current not in keys:
        named = f"not {_shown_id(current)}" if current is not None else "when there are several"
        raise InvalidOption("current", f"current must name one of the keys ({', '.join(keys)}), {named}")
    return current


def _kind(keys: object) -> str:
    return "an empty one" if isinstance(keys, Mapping) else f"a {type(keys).__name__}"


def _shown_id(id: object) -> str:
    """It may be the secret itself, in the wrong place."""
    return f"a text of {len(id)} characters" if isinstance(id, str) else f"a {type(id).__name__}"
