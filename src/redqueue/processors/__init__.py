"""Processors: the base of those with parts, and those that redqueue brings."""

from redqueue.processors.base import BaseProcessor

__all__ = ["BaseProcessor"]
