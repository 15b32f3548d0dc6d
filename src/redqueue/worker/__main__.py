"""``python -m redqueue.worker MODULE[:REGISTRY] ...``: a worker of its own process.

Every option is also a variable, REDQUEUE_ and its name; the option wins. Exit codes: 0 stopped or, in a burst, done;
1 an error of redqueue's own; 2 the command line, a setting or the registry can't work; 3 Redis refuses (credentials,
permissions, format); 4 with --check, Redis is not reached; 5 too many threads or tasks were stuck, so that a fresh
process is better. With --processes a supervisor starts workers of the same options and ends with 0, or with the 2 or 3
of a worker.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from redqueue.defaults import DEFAULT_GRACE, DEFAULT_LEASE, DEFAULT_PREFIX, DEFAULT_UNKNOWN_GRACE, GENERIC_TASK
from redqueue.errors import BadInput, ConfigurationError, RedisRefused, RedisUnavailable, RegistrationError, WorkerStuck
from redqueue.registry.registry import ServiceRegistry
from redqueue.units import check_int, to_ms
from redqueue.worker.logs import set_up_logging
from redqueue.worker.loop import threads_left_behind
from redqueue.worker.supervised import Line
from redqueue.worker.worker import Worker

OK: Final = 0
BROKEN: Final = 1
USAGE: Final = 2
REFUSED: Final = 3
UNREACHED: Final = 4
STUCK: Final = 5

MOST_PROCESSES: Final = 64

logger = logging.getLogger("redqueue.worker")


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run the command line; answers the exit code."""
    parser = _parser()
    _take_variables(parser, environ)
    options = parser.parse_args(arguments)
    if not options.modules:
        parser.error("name a MODULE[:REGISTRY], or set REDQUEUE_MODULES")
    set_up_logging(options.log_format)
    try:
        if check_int("processes", options.processes, 1, MOST_PROCESSES) > 1 and not options.check:
            return _supervise(options, sys.argv[1:] if arguments is None else arguments)
        line = Line.from_env(os.environ)
        if line is not None:
            line.watch(to_ms("grace", options.grace) / 1000)
        worker, registry = _make(options)
        if options.check:
            return _check(worker, registry)
        if line is not None:
            worker._on_entered = line.tell
        worker.run()
        if threads_left_behind():
            _leave_at_once(OK)
    except (BadInput, ConfigurationError, RegistrationError) as error:
        logger.error("%s", error)
        return USAGE
    except RedisRefused as error:
        logger.error("%s", error)
        return REFUSED
    except WorkerStuck:
        _leave_at_once(STUCK)
    except Exception:
        logger.exception("the worker ended by an error")
        return BROKEN
    return OK


def _leave_at_once(code: int) -> NoReturn:
    """Threads and tasks that nothing ends would keep the process alive: the log is written, and it ends."""
    logging.shutdown()
    os._exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m redqueue.worker",
        description="Run the jobs of some queues.",
        epilog="Every option is also an environment variable: --log-format is REDQUEUE_LOG_FORMAT. "
        "Exit codes: 0 stopped or done, 1 internal error, 2 usage or registry, 3 refused by Redis, 4 not reached, "
        "5 too many threads or tasks were stuck.",
    )
    parser.add_argument("modules", nargs="*", metavar="MODULE[:REGISTRY]", help="what registers the processors")
    add = parser.add_argument
    add("-q", "--queues", metavar="NAME[:CONCURRENCY],...", help="default: all that the registry names")
    add("-c", "--concurrency", type=int, metavar="N", help="jobs that run at once (10)")
    add("--processes", type=int, default=1, metavar="N", help="workers, started again when they die (1)")
    add("--url", help="of Redis (REDIS_URL, or redis://localhost:6379/0)")
    add("--burst", action="store_true", help="end when nothing is left")
    add("--grace", type=float, default=DEFAULT_GRACE, metavar="SECONDS", help="for running jobs, when stopped (25)")
    wait = "until a dead worker's jobs run again (30)"
    add("--lease", type=float, default=DEFAULT_LEASE, metavar="SECONDS", help=wait)
    add("--prefetch", type=int, metavar="N", help="jobs claimed ahead; 0: none (as many as 100 ms of work)")
    wait = "for which a job waits whose name nobody knows (3600)"
    add("--unknown-grace", type=float, default=DEFAULT_UNKNOWN_GRACE, metavar="SECONDS", help=wait)
    add("--max-jobs-per-child", type=int, metavar="N", help="after which a child process is replaced (never)")
    add("--max-memory-per-child", type=int, metavar="BYTES", help="beyond which it is replaced (never)")
    add("--ready-file", metavar="PATH", help="a file that is there while the worker can take jobs (none)")
    add("--prefix", default=DEFAULT_PREFIX, help="of all keys (redqueue)")
    add("--app-dir", default=".", metavar="FOLDER", help="where the modules are (the current one)")
    add("--log-format", choices=("text", "json"), default="text")
    add("--check", action="store_true", help="connect, print the registry, queues and seal, and leave")
    return parser


def _take_variables(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
    """Make what the environment says the parser's defaults, checked as if it were typed."""
    for action in parser._actions:
        variable = f"REDQUEUE_{action.dest.upper()}"
        text = environ.get(variable, "").strip()
        if not text or action.dest == "help":
            continue
        if action.nargs == 0:
            value: object = _yes_or_no(parser, variable, text)
        elif action.nargs == "*":
            value = text.split()
        else:
            value = _as_typed(parser, action, variable, text)
        parser.set_defaults(**{action.dest: value})


def _as_typed(parser: argparse.ArgumentParser, action: argparse.Action, variable: str, text: str) -> object:
    try:
        value: object = action.type(text) if callable(action.type) else text
    except ValueError:
        kind = "a whole number" if action.type is int else "a number"
        parser.error(f"{variable} must be {kind}, not {text!r}")
    if action.choices is not None and value not in action.choices:
        parser.error(f"{variable} must be one of {', '.join(action.choices)}, not {text!r}")
    return value


def _yes_or_no(parser: argparse.ArgumentParser, variable: str, text: str) -> bool:
    if text.lower() in ("0", "false", "no", "off"):
        return False
    if text.lower() not in ("1", "true", "yes", "on"):
        parser.error(f"{variable} must be yes or no, not {text!r}")
    return True


def _make(options: argparse.Namespace) -> tuple[Worker, ServiceRegistry]:
    folder = Path(options.app_dir).resolve()
    if not folder.is_dir():
        raise ConfigurationError(f"--app-dir {options.app_dir} is no folder")
    sys.path.insert(0, str(folder))
    registries = [_load(name) for name in options.modules]
    if any(one is not registries[0] for one in registries):
        raise ConfigurationError("the modules name different registries; one worker has one")
    _refuse_empty(registries[0], options)
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
        max_jobs_per_child=options.max_jobs_per_child,
        max_memory_per_child=options.max_memory_per_child,
        ready_file=options.ready_file,
    )
    return worker, registries[0]


def _load(name: str) -> ServiceRegistry:
    """The registry of MODULE[:REGISTRY]: the named attribute, else the application's one."""
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise _broken(module_name, error) from error
        raise ConfigurationError(f"no module {module_name!r}: is --app-dir the folder that it is in?") from error
    except Exception as error:
        raise _broken(module_name, error) from error
    if not attribute:
        return ServiceRegistry.get_instance()
    registry = vars(module).get(attribute)
    if not isinstance(registry, ServiceRegistry):
        raise ConfigurationError(f"{module_name} has no ServiceRegistry of the name {attribute!r}")
    return registry


def _refuse_empty(registry: ServiceRegistry, options: argparse.Namespace) -> None:
    """A registry without anything runs the built-in tasks at most: one was meant that has a name of its own."""
    queues = _queues(options.queues, options.concurrency)
    if registry.job_types() or registry.has_generic_tasks or queues is None or GENERIC_TASK in queues:
        return
    names = [
        f"{module}:{name}"
        for module in (one.partition(":")[0] for one in options.modules)
        for name, value in vars(sys.modules[module]).items()
        if isinstance(value, ServiceRegistry) and value is not registry
    ]
    hint = f"; there is {', '.join(names)}" if names else ""
    raise ConfigurationError(f"the registry names no processor, service or task{hint}")


def _broken(module: str, error: Exception) -> ConfigurationError:
    """The user's module raised: shown from its own first frame on."""
    told = traceback.TracebackException.from_exception(error)
    frames = [frame for frame in told.stack if "importlib" not in frame.filename and frame.filename != __file__]
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return ConfigurationError(f"importing {module} raised {type(error).__name__}{where}: {error}")


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


def _supervise(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    from redqueue.worker.supervisor import Supervisor  # a worker starts sooner without

    if os.name != "posix":
        raise ConfigurationError("--processes needs a POSIX system: start each worker yourself")
    if options.ready_file:
        raise ConfigurationError("--ready-file tells of one worker, and --processes starts several: leave out either")
    command = [sys.executable, "-m", "redqueue.worker", *_without_processes(arguments)]
    grace = to_ms("grace", options.grace) / 1000
    return Supervisor(command, options.processes, grace=grace, burst=options.burst).run()


def _without_processes(arguments: Sequence[str]) -> list[str]:
    """What each of the processes is told; argparse takes a long option's beginning for it, too."""
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        name, given, _ = word.partition("=")
        if word == "--":
            return [*kept, word, *words]
        if len(name) <= len("--pr") or not "--processes".startswith(name):
            kept.append(word)
        elif not given:
            next(words, None)
    return kept


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


if __name__ == "__main__":
    sys.exit(main())
