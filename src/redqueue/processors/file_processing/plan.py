"""Which operations follow which; told before anything is read."""

from __future__ import annotations

from typing import Final, Literal

from redqueue.errors import Discard
from redqueue.processors.storage import InvalidKey, check_key
from redqueue.shapes import (
    Checksum,
    Convert,
    Crop,
    FileOperation,
    FileProcessingJobData,
    Frame,
    Orient,
    Pack,
    Probe,
    Resize,
    Strip,
    Text,
    Thumbnail,
    Transcode,
    Unpack,
)

ON_IMAGES: Final = (Resize, Thumbnail, Crop, Convert, Strip, Orient)

_Stage = Literal["the source", "an image", "another file", "many files"]


def check_plan(data: FileProcessingJobData) -> None:
    """Refuse what could not work.

    Raises:
        Discard: a key that is none, operations that don't follow each other, or a destination that is the source, is
            missing, or gets nothing.
    """
    keys = [data.source] + [key for operation in data.operations for key in _others(operation)]
    try:
        read = [check_key(key) for key in keys]
        destination = None if data.destination is None else check_key(data.destination)
    except InvalidKey as error:
        raise Discard(str(error)) from error
    if len(set(read)) < len(read):
        raise Discard("pack: a file is named twice")
    if destination in read:
        raise Discard("the destination is also a source: a job that runs again would work on what it wrote")
    stage: _Stage = "the source"
    for operation in data.operations:
        stage = _after(stage, operation)
    if destination is None and stage != "the source":
        raise Discard("the operations make a file, and there is no destination: give a key")
    if destination is not None and stage == "the source":
        raise Discard("there is a destination, and the operations only tell of the source: leave it out")


def _others(operation: FileOperation) -> list[str]:
    return operation.also if isinstance(operation, Pack) else []


def _after(stage: _Stage, operation: FileOperation) -> _Stage:
    name = type(operation).__name__.lower()
    if stage == "many files":
        raise Discard(f"{name} can't follow unpack, which must be the last operation")
    match operation:
        case Checksum() | Probe():
            return stage
        case Unpack() | Pack() | Text() | Transcode() | Frame() if stage != "the source":
            raise Discard(f"{name} works on the source, and an operation before it made {stage}: put it first")
        case Unpack():
            return "many files"
        case Pack() | Text() | Transcode():
            return "another file"
        case Frame():
            return "an image"
        case _ if stage == "another file":
            raise Discard(f"{name} works on images, and an operation before it made {stage}")
        case _:
            return "an image"
