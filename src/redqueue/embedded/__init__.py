"""A genuine Valkey or Redis server without an installation: one for each data folder, shared by all its processes.

`ensure` starts it on first need and returns its URL; it survives the process that started it, and so do its data.
`PrivateServer` is for tests: a server of one's own that never outlives this process.

A server that a systemd unit or a container started ends with that unit or container; its data stay in the folder.
"""

from __future__ import annotations

from redqueue.embedded.private import PrivateServer
from redqueue.embedded.server import ServerStatus, ensure, status, stop, url

__all__ = ["PrivateServer", "ServerStatus", "ensure", "status", "stop", "url"]
