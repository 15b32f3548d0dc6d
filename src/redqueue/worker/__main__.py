"""``python -m redqueue.worker MODULE[:REGISTRY] ...``: a worker of its own process.

Every option is also a variable, REDQUEUE_ and its name; the option wins. Exit codes: 0 stopped or, in a burst, done;
1 an error of redqueue's own; 2 the command line, a setting or the registry can't work; 3 Redis refuses (credentials,
permissions, format); 4 with --check, Redis is not reached.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from redqueue.defaults import DEFAULT_GRACE, DEFAULT_LEASE, DEFAULT_PREFIX, DEFAULT_UNKNOWN_GRACE
from redqueue.errors import BadInput, ConfigurationError, RedisRefused, RedisUnavailable, RegistrationError
from redqueue.registry.registry import ServiceRegistry
from redqueue.worker.logs import set_up_logging
from redqueue.worker.worker import Worker

OK: Final = 0
BROKEN: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNREACHED: Final = 4

logger = logging.getLogger("redqueue.worker")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line; answers the exit code."""
    parser = _parser(environ)
    options = parser.parse_args(arguments)
    set_up_logging(options.log_format)
    try:
        worker, registry = _make(options)
        if options.check:
            return _check(worker, registry)
        worker.run()
    except (BadInput, ConfigurationError, RegistrationError) as error:
        logger.error("%s", error)
        return USAGE
    except RedisRefused as error:
        logger.error("%s", error)
        return REFUSED
    except Exception:
        logger.exception("the worker ended by an error")
        return BROKEN
    return OK


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    def default(name: str, value: str | None = None) -> str | None:
        return environ.get(f"REDQUEUE_{name}", "").strip() or value

    parser = argparse.ArgumentParser(
        prog="python -m redqueue.worker",
        description="Run the jobs of some queues.",
        epilog="Every option is also an environment variable: --log-format is REDQUEUE_LOG_FORMAT. "
        "Exit codes: 0 stopped or done, 1 internal error, 2 usage or registry, 3 refused by Redis, 4 not reached.",
    )
    modules = (default("MODULES") or "").split()
    parser.add_argument("modules", nargs="*" if modules else "+", default=modules, metavar="MODULE[:REGISTRY]")
    add = parser.add_argument
    add("-q", "--queues", default=default("QUEUES"), metavar="NAME[:CONCURRENCY],...", help="default: all registered")
    add("-c", "--concurrency", type=int, default=_number(parser, environ, "CONCURRENCY"), help="jobs at once (10)")
    add("--url", default=default("URL"), help="of Redis (REDIS_URL, or redis://localhost:6379/0)")
    add("--burst", action="store_true", default=_flag(parser, environ, "BURST"), help="end when nothing is left")
    add("--grace", type=float, default=default("GRACE", str(DEFAULT_GRACE)), help="seconds to finish when stopped (25)")
    add("--lease", type=float, default=default("LEASE", str(DEFAULT_LEASE)), help="seconds until a dead worker's (30)")
    add("--prefetch", type=int, default=_number(parser, environ, "PREFETCH"), help="jobs claimed ahead; 0: none")
    add("--unknown-grace", type=float, default=default("UNKNOWN_GRACE", str(DEFAULT_UNKNOWN_GRACE)), metavar="SECONDS")
    add("--prefix", default=default("PREFIX", DEFAULT_PREFIX), help="of all keys (redqueue)")
    add("--app-dir", default=default("APP_DIR", "."), help="where the modules are (the current folder)")
    add("--log-format", choices=("text", "json"), default=default("LOG_FORMAT", "text"))
    add("--check", action="store_true", help="connect, print the registry and leave")
    return parser


def _make(options: argparse.Namespace) -> tuple[Worker, ServiceRegistry]:
    sys.path.insert(0, str(Path(options.app_dir).resolve()))
    registries = [_load(name) for name in options.modules]
    if any(one is not registries[0] for one in registries):
        raise ConfigurationError("the modules name different registries; one worker has one")
    worker = Worker(
        _queues(options.queues, options.concurrency),
        options.url,
        registry=registries[0],
        concurrency=options.concurrency,
        lease=options.lease,
        grace=options.grace,
        burst=options.burst,
        prefetch=options.prefetch,
        unknown_grace=options.unknown_grace,
        prefix=options.prefix,
    )
    return worker, registries[0]


def _load(name: str) -> ServiceRegistry:
    """The registry of MODULE[:REGISTRY]: the named attribute, else the application's one."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise ConfigurationError(f"no module {module_name!r}: is --app-dir the folder that it is in?") from error
    if not attribute:
        return ServiceRegistry.get_instance()
    registry = vars(module).get(attribute)
    if not isinstance(registry, ServiceRegistry):
        raise ConfigurationError(f"{module_name} has no ServiceRegistry of the name {attribute!r}")
    return registry


def _queues(text: str | None, concurrency: int | None) -> list[str] | dict[str, int] | None:
    """The queues as a worker takes them: a mapping as soon as one of them has its own concurrency."""
    if not text:
        return None
    pairs = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    if not any(limit for _, _, limit in pairs):
        return [name for name, _, _ in pairs]
    try:
        return {name: int(limit) if limit else concurrency or 10 for name, _, limit in pairs}
    except ValueError:
        raise ConfigurationError(f"-q {text}: after the colon comes a number, as in sms:50") from None


def _check(worker: Worker, registry: ServiceRegistry) -> int:
    try:
        reached = asyncio.run(worker.check())
    except RedisUnavailable as error:
        logger.error("%s", error)
        return UNREACHED
    sys.stdout.write("\n".join([*_described(registry), *reached, ""]))
    return OK


def _described(registry: ServiceRegistry) -> list[str]:
    lines = [f"processor {job_type}" for job_type in registry.job_types()]
    for service in registry.get_registered_services():
        lines.extend(f"service   {service}.{method}" for method in registry.get_service_methods(service))
    lines.extend(f"task      {task}" for task in registry.tasks())
    return lines


def _number(parser: argparse.ArgumentParser, environ: Mapping[str, str], name: str) -> int | None:
    text = environ.get(f"REDQUEUE_{name}", "").strip()
    try:
        return int(text) if text else None
    except ValueError:
        parser.error(f"REDQUEUE_{name} must be a whole number, not {text!r}")


def _flag(parser: argparse.ArgumentParser, environ: Mapping[str, str], name: str) -> bool:
    text = environ.get(f"REDQUEUE_{name}", "").strip().lower()
    if text in ("", "0", "false", "no", "off"):
        return False
    if text not in ("1", "true", "yes", "on"):
        parser.error(f"REDQUEUE_{name} must be yes or no, not {text!r}")
    return True


if __name__ == "__main__":
    sys.exit(main())
