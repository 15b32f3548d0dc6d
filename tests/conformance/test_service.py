"""Many queues behind one object: jobs by their type, service methods and tasks by their names."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from redqueue.client.aio.service import AsyncJobQueueService
from redqueue.client.sync.service import JobQueueService
from redqueue.context import INJECTED, JobContext
from redqueue.defaults import GENERIC_TASK
from redqueue.errors import BadInput, InvalidName, InvalidOption, NotRegistered
from redqueue.records import JobStatus
from redqueue.registry import ServiceRegistry
from redqueue.settings import Settings
from redqueue.shapes import JobData
from redqueue.testing import run_until_idle_async
from redqueue.worker.worker import Worker

from .conftest import Shell


class SmsData(JobData[bool]):
    job_type: ClassVar[str] = "sms"

    phone_numbers: list[str]
    user_id: str | None = None


class Finder:
    def search_businesses(self, search: dict[str, Any], user_id: str, *, limit: int = 10) -> list[Any]:
        return [search, user_id, limit]

    async def who_asks(self, context: JobContext = INJECTED) -> list[Any]:
        return [context.label, context.sub_account_id, context.user_id, dict(context.given)]

    def secret(self) -> str:
        return "secret"


FINDER = Finder()


async def double(n: int) -> int:
    return 2 * n


@pytest.fixture
def registry() -> ServiceRegistry:
    registry = ServiceRegistry()
    registry.register_service("BusinessFinderService", FINDER, ["search_businesses", "who_asks"])
    registry.register_task("double", double)
    return registry


@pytest.fixture
def outcome(url: str, registry: ServiceRegistry, service: AsyncJobQueueService) -> Any:
    """Runs what waits and answers the status of one job."""

    async def run(job_id: str, queue: str = GENERIC_TASK) -> JobStatus:
        await run_until_idle_async(Worker([queue], url, registry=registry))
        status = await service.get_job_status(queue, job_id)
        assert status is not None
        return status

    return run


async def test_a_job_type_is_the_name_of_its_queue(service: AsyncJobQueueService) -> None:
    job_id = await service.add_job("sms", {"phoneNumbers": []}, retries=3, delay=5)
    status = await service.get_job_status("sms", job_id)
    assert status is not None
    assert (status.queue, status.job_type, status.state) == ("sms", "sms", "delayed")
    assert (await service.get_queue_stats("sms")).delayed == 1
    assert (await service.get_queue_stats("email")).delayed == 0
    assert service.queue("sms").name == "sms"


async def test_data_that_names_its_type_finds_its_queue(service: AsyncJobQueueService) -> None:
    job = await service.add(SmsData(phone_numbers=["+31"]), job_id="x")
    assert (job.id, job.queue, job.job_type) == ("x", "sms", "sms")


async def test_a_service_method_runs_by_its_name(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_service_method(
        "Business Search",
        "BusinessFinderService",
        "search_businesses",
        [{"city": "Rome"}, "u1"],
        retries=3,
        delay=2,
    )
    status = await outcome(job_id)
    assert (status.label, status.job_type) == ("Business Search", GENERIC_TASK)
    assert status.result == [{"city": "Rome"}, "u1", 10]


async def test_parameters_may_be_given_by_name(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_service_method(
        "Search", "BusinessFinderService", "search_businesses", {"user_id": "u", "search": {}, "limit": 3}
    )
    assert (await outcome(job_id)).result == [{}, "u", 3]


async def test_parameters_may_be_a_tuple(service: AsyncJobQueueService, outcome: Any) -> None:
    assert (await outcome(await service.execute_task("Twice", "double", (21,)))).result == 42


async def test_a_built_in_task_runs_without_registration(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_task("Data Processing", "process_data", [[" a ", None], "transform"])
    assert (await outcome(job_id)).result == ["a", None]


async def test_the_function_learns_who_asked_and_what_came_along(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_service_method(
        "Who?",
        "BusinessFinderService",
        "who_asks",
        sub_account_id="sub_123",
        user_id="user_456",
        context={"source": "upload"},
    )
    assert (await outcome(job_id)).result == ["Who?", "sub_123", "user_456", {"source": "upload"}]


async def test_a_generic_job_may_go_to_another_queue(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_task("Twice", "double", [1], queue="slow")
    assert await service.get_job_status(GENERIC_TASK, job_id) is None
    assert (await outcome(job_id, "slow")).result == 2


async def test_a_method_that_is_not_allowed_fails_its_job_at_once(service: AsyncJobQueueService, outcome: Any) -> None:
    job_id = await service.execute_service_method("Bad", "BusinessFinderService", "secret", [], retries=5)
    status = await outcome(job_id)
    assert (status.status, status.attempts) == ("failed", 1)
    assert "Service method 'BusinessFinderService.secret' not found in registry" in (status.error or "")
    assert "search_businesses, who_asks" in (status.error or "")


@pytest.mark.parametrize("parameters", [[], [1, 2], ["x"], {"m": 1}, {"n": 1, "m": 1}])
async def test_arguments_that_do_not_fit_fail_the_job_at_once(
    service: AsyncJobQueueService, outcome: Any, parameters: Any
) -> None:
    status = await outcome(await service.execute_task("Bad", "double", parameters, retries=5))
    assert (status.status, status.attempts) == ("failed", 1)
    assert (status.error or "").startswith("InvalidArguments: double")


async def test_a_registered_method_is_executed_as_it_would_be_called(
    service: AsyncJobQueueService, outcome: Any
) -> None:
    job = await service.execute(FINDER.search_businesses, {}, "u", limit=4)
    status = await outcome(job.id)
    assert (status.result, status.label) == ([{}, "u", 4], "BusinessFinderService.search_businesses")
    doubled = await service.execute(double, 4)
    assert (await outcome(doubled.id)).result == 8


async def test_executing_what_is_not_registered_sends_nothing(service: AsyncJobQueueService, unchanged: Any) -> None:
    functions: list[Any] = [FINDER.secret, Finder().search_businesses, len]
    for function in functions:
        with pytest.raises(NotRegistered):
            await service.execute(function)
    assert unchanged()


async def test_options_are_for_one_handle_only(service: AsyncJobQueueService) -> None:
    later = service.with_options(retries=3, delay=60).with_options(delay=120, user_id="u")
    job = await later.execute(double, 1)
    status = await job.status()
    assert status is not None
    assert status.state == "delayed"
    job = await service.execute(double, 1)
    status = await job.status()
    assert status is not None
    assert status.state == "waiting"
    job_id = await later.execute_task("Now", "double", [1], delay=0)
    status = await service.get_job_status(GENERIC_TASK, job_id)
    assert status is not None
    assert status.state == "waiting"


async def test_health_says_whether_a_queue_moves(
    service: AsyncJobQueueService, url: str, registry: ServiceRegistry
) -> None:
    health = await service.get_queue_health(GENERIC_TASK)
    assert (health.healthy, health.reachable, health.workers, health.waiting) == (True, True, 0, 0)
    await service.execute_task("x", "double", [1])
    health = await service.get_queue_health(GENERIC_TASK)
    assert (health.healthy, health.waiting) == (False, 1)
    assert "worker" in (health.problem or "")
    assert health.oldest_waiting_s is not None
    await service.queue(GENERIC_TASK).pause()
    assert (await service.get_queue_health(GENERIC_TASK)).paused
    async with Worker([GENERIC_TASK], url, registry=registry):
        assert (await service.get_queue_health(GENERIC_TASK)).workers == 1
        await service.queue(GENERIC_TASK).resume()
        assert (await service.get_queue_health(GENERIC_TASK)).healthy
    assert set(health.to_wire()) >= {"healthy", "reachable", "oldestWaitingS"}


async def test_the_environment_names_the_server(url: str, shell: Shell) -> None:
    kind: Any = AsyncJobQueueService if shell == "async" else JobQueueService
    for service in (
        kind.from_env({"REDIS_URL": url}) if not url.startswith("unix") else kind(settings=Settings(url=url)),
        kind(settings=Settings(url=url)),
    ):
        answer = service.add_job("sms", 1)
        assert await answer if shell == "async" else answer
        closing = service.close()
        if shell == "async":
            await closing


@pytest.mark.parametrize(
    ("option", "call"),
    [
        ("parameters", lambda s: s.execute_task("x", "double", "abc")),
        ("parameters", lambda s: s.execute_task("x", "double", {1, 2})),
        ("parameters", lambda s: s.execute_task("x", "double", 7)),
        ("label", lambda s: s.execute_task(7, "double", [])),
        ("user_id", lambda s: s.execute_task("x", "double", [], user_id=7)),
        ("sub_account_id", lambda s: s.execute_task("x", "double", [], sub_account_id=7)),
        ("context", lambda s: s.execute_task("x", "double", [], context=[1])),
        ("unique", lambda s: s.execute_task("x", "double", [], unique="a")),
        ("retries", lambda s: s.execute_service_method("x", "S", "m", [], retries=-1)),
        ("user_id", lambda s: s.add_job("sms", 1, user_id="u")),
        ("data", lambda s: s.add({"no": "JobData"})),
    ],
)
async def test_a_bad_call_names_its_option_and_sends_nothing(
    service: AsyncJobQueueService, unchanged: Any, option: str, call: Any
) -> None:
    with pytest.raises(InvalidOption) as raised:
        await call(service)
    assert raised.value.option == option
    assert unchanged()


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.execute_task("x", ""),
        lambda s: s.execute_task("x", "a\nb"),
        lambda s: s.execute_task("x", "n" * 129),
        lambda s: s.execute_service_method("x", "", "m"),
        lambda s: s.execute_service_method("x", "S", 7),
        lambda s: s.add_job("no queue", 1),
        lambda s: s.add_job("", 1),
        lambda s: s.execute_task("x", "double", queue="a b"),
        lambda s: s.get_job_status("sms", "no id"),
        lambda s: s.get_queue_stats("a/b"),
        lambda s: s.get_queue_health("a/b"),
    ],
)
async def test_a_bad_name_sends_nothing(service: AsyncJobQueueService, unchanged: Any, call: Any) -> None:
    with pytest.raises(InvalidName):
        await call(service)
    assert unchanged()


async def test_a_label_that_is_too_long_sends_nothing(service: AsyncJobQueueService, unchanged: Any) -> None:
    with pytest.raises(BadInput, match="label"):
        await service.execute_task("x" * 257, "double", [1])
    assert unchanged()
