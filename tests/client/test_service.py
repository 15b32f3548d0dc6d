from __future__ import annotations

from typing import Any, ClassVar

import pytest

from redqueue import (
    InvalidName,
    InvalidOption,
    JobData,
    NotRegistered,
    RedisUnavailable,
    ServiceRegistry,
    Settings,
    job_method,
)
from redqueue.client.patience import Patience
from redqueue.embedded import PrivateServer
from redqueue.errors import BadInput, ConfigurationError


class Note(JobData[int]):
    job_type: ClassVar[str] = "note"
    text: str


class Finder:
    @job_method()
    def find(self, words: str, limit: int = 3) -> list[str]:
        return [words] * limit


def stored(do: Any, service: Any, job_id: str, queue: str = "generic-task") -> Any:
    return do(service.queue(queue).get_data(job_id))


def test_a_job_type_is_the_name_of_its_queue(handles: Any, server: PrivateServer) -> None:
    service, do = handles.service(server.url), handles.do
    job_id = do(service.add_job("sms", {"to": 1}, delay=60))
    job = do(service.add(Note(text="x")))
    assert do(service.get_job_status("sms", job_id)).state == "delayed"
    assert (job.queue, job.job_type) == ("note", "note")
    assert do(service.get_queue_stats("note")).waiting == 1
    assert service.queue("sms") is service.queue("sms")
    assert do(service.get_job_status("sms", "nobody")) is None
    do(service.close())


def test_a_generic_job_says_what_to_run_and_for_whom(handles: Any, server: PrivateServer) -> None:
    service, do = handles.service(server.url), handles.do
    method = do(
        service.execute_service_method("Search", "Finder", "find", ["x"], delay=2, sub_account_id="s", queue="slow")
    )
    task = do(service.execute_task("Data", "process", {"a": 1}, user_id="u", context={"source": "upload"}))
    assert stored(do, service, method, "slow") == {
        "label": "Search",
        "service": "Finder",
        "method": "find",
        "parameters": ["x"],
        "subAccountId": "s",
    }
    assert stored(do, service, task) == {
        "label": "Data",
        "function": "process",
        "parameters": {"a": 1},
        "context": {"source": "upload"},
        "userId": "u",
    }
    status = do(service.get_job_status("slow", method))
    assert (status.label, status.job_type, status.state) == ("Search", "generic-task", "delayed")
    do(service.close())


def test_execute_takes_a_registered_function_and_its_own_arguments(handles: Any, server: PrivateServer) -> None:
    registry, finder = ServiceRegistry(), Finder()
    registry.register_service("Finder", finder)

    @registry.task("sum")
    def add_up(one: int, two: int) -> int:
        return one + two

    service, do = handles.service(server.url, registry=registry), handles.do
    job = do(service.with_options(user_id="u", delay=60).execute(finder.find, "x", limit=2))
    assert stored(do, service, job.id) == {
        "label": "Finder.find",
        "service": "Finder",
        "method": "find",
        "parameters": {"words": "x", "limit": 2},
        "userId": "u",
    }
    assert do(job.status()).state == "delayed"
    job = do(service.execute(add_up, 1, 2))
    assert stored(do, service, job.id) == {"label": "sum", "function": "sum", "parameters": [1, 2]}
    with pytest.raises(NotRegistered):
        do(service.execute(len, "x"))
    assert do(service.get_queue_stats("generic-task")).waiting == 1
    do(service.close())


def test_options_of_before_yield_to_those_of_the_call(handles: Any, server: PrivateServer) -> None:
    service, do = handles.service(server.url), handles.do
    late = service.with_options(delay=60, user_id="u").with_options(user_id="v")
    one, two = do(late.execute_task("l", "f")), do(late.execute_task("l", "f", delay=0, user_id="w"))
    assert do(service.get_job_status("generic-task", one)).state == "delayed"
    assert do(service.get_job_status("generic-task", two)).state == "waiting"
    assert [stored(do, service, job_id)["userId"] for job_id in (one, two)] == ["v", "w"]
    assert do(late.add_job("sms", 1)) and do(service.get_queue_stats("sms")).delayed == 1
    do(service.close())


def test_what_is_wrong_is_told_before_anything_is_sent(handles: Any) -> None:
    service, do = handles.service("redis://127.0.0.1:1"), handles.do
    for wrong, option in (
        ({"parameters": "abc"}, "parameters"),
        ({"parameters": {1, 2}}, "parameters"),
        ({"prioritty": 1}, "prioritty"),
        ({"user_id": 7}, "user_id"),
        ({"context": ["x"]}, "context"),
        ({"delay": -1}, "delay"),
    ):
        with pytest.raises(InvalidOption) as raised:
            do(service.execute_task("label", "function", **wrong))
        assert raised.value.option == option
    with pytest.raises(BadInput):
        do(service.execute_task("label", ""))
    with pytest.raises(BadInput):
        do(service.execute_service_method("label", "s", "m\n"))
    with pytest.raises(BadInput):
        do(service.execute_task("l" * 300, "f"))
    with pytest.raises(BadInput):
        do(service.execute_task("label", "f", queue="a b"))
    with pytest.raises(BadInput):
        do(service.add_job("a b", 1))
    with pytest.raises(InvalidOption):
        service.with_options(retrys=1)
    with pytest.raises(InvalidOption):
        service.with_options(delay=-1)
    with pytest.raises(InvalidName):
        service.queue("a b")


def test_what_cannot_work_is_refused_at_construction(handles: Any) -> None:
    with pytest.raises(ConfigurationError):
        handles.service("amqp://h")
    with pytest.raises(ConfigurationError):
        handles.service(client=object())


def test_the_environment_and_the_settings_say_where_redis_is(
    handles: Any, server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    do = handles.do
    for service in (
        handles.service(),
        handles.service.from_env(),
        handles.service.from_env({"REDIS_URL": server.url}),
        handles.service(settings=Settings(url=server.url)),
    ):
        assert do(service.get_queue_stats("sms")).waiting == 0
        do(service.close())


def test_health_tells_whether_a_queue_moves(handles: Any, server: PrivateServer) -> None:
    service, do = handles.service(server.url), handles.do
    idle = do(service.get_queue_health("sms"))
    assert (idle.healthy, idle.reachable, idle.problem) == (True, True, None)
    do(service.add_job("sms", 1))
    stuck = do(service.get_queue_health("sms"))
    assert (stuck.healthy, stuck.reachable, stuck.waiting) == (False, True, 1)
    assert "worker" in stuck.problem
    do(service.queue("sms").pause())
    assert "paused" in do(service.get_queue_health("sms")).problem
    do(service.close())


def test_health_tells_that_redis_is_not_reached(handles: Any) -> None:
    service, do = handles.service("redis://127.0.0.1:1"), handles.do
    service.queue("sms")._runner.patience = Patience(unsent=0.01)
    health = do(service.get_queue_health("sms"))
    assert (health.healthy, health.reachable) == (False, False)
    assert "127.0.0.1:1" in health.problem
    with pytest.raises(RedisUnavailable):
        do(service.get_queue_stats("sms"))
