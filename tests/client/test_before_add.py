"""Jobs pass the registry's middlewares before they are checked and sent."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import msgspec
import pytest

from redqueue import InvalidOption, JobData, JobToAdd, PayloadNotSerializable, RegistrationError, ServiceRegistry
from redqueue.embedded import PrivateServer


class Note(JobData[int]):
    job_type: ClassVar[str] = "note"
    text: str


def noting(seen: list[JobToAdd]) -> ServiceRegistry:
    registry = ServiceRegistry()

    @registry.middleware("add")
    def note(job: JobToAdd) -> JobToAdd:
        seen.append(job)
        return job

    return registry


@pytest.fixture
def seen() -> list[JobToAdd]:
    return []


@pytest.fixture
def registry(seen: list[JobToAdd]) -> ServiceRegistry:
    return noting(seen)


@pytest.fixture
def application(registry: ServiceRegistry, monkeypatch: pytest.MonkeyPatch) -> ServiceRegistry:
    """The registry, as the application's one."""
    monkeypatch.setattr(ServiceRegistry, "_instance", registry)
    return registry


@pytest.fixture
def nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServiceRegistry, "_instance", None)


def facts(job: JobToAdd) -> tuple[Any, ...]:
    return job.queue, job.job_type, job.data, dict(job.options)


def test_all_that_a_queue_adds_passes_the_applications(
    handles: Any, server: PrivateServer, application: ServiceRegistry, seen: list[JobToAdd]
) -> None:
    queue, do = handles.queue("q", server.url, retries=7), handles.do
    do(queue.add("sms", {"n": 1}, priority=3))
    do(queue.add(Note(text="x")))
    do(queue.add_many([("sms", 1), ("sms", 2, {"delay": 5}), Note(text="y")], priority=4))
    assert [facts(job) for job in seen] == [
        ("q", "sms", {"n": 1}, {"priority": 3}),
        ("q", "note", Note(text="x"), {}),
        ("q", "sms", 1, {"priority": 4}),
        ("q", "sms", 2, {"priority": 4, "delay": 5}),
        ("q", "note", Note(text="y"), {"priority": 4}),
    ]
    do(queue.close())


def test_no_registry_is_made_for_a_queue(handles: Any, server: PrivateServer, nobodys: None) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    assert do(do(queue.add("sms", 1)).status()).state == "waiting"
    assert ServiceRegistry._instance is None
    do(queue.close())


def test_what_was_changed_is_stored(handles: Any, server: PrivateServer, application: ServiceRegistry) -> None:
    @application.middleware("add")
    def stamp(job: JobToAdd) -> JobToAdd:
        return msgspec.structs.replace(
            job, job_type="stamped", data={**job.data, "by": "me"}, options={**job.options, "delay": 60}
        )

    queue, do = handles.queue("q", server.url), handles.do
    job = do(queue.add("sms", {"n": 1}))
    many = do(queue.add_many([("sms", {"n": 2})]))
    for one, n in ((job, 1), *((one, 2) for one in many)):
        status = do(one.status())
        assert (one.job_type, status.job_type, status.state) == ("stamped", "stamped", "delayed")
        assert do(queue.get_data(one.id)) == {"n": n, "by": "me"}
    do(queue.close())


def test_all_that_a_service_adds_passes_its_own(
    handles: Any, server: PrivateServer, registry: ServiceRegistry, seen: list[JobToAdd], monkeypatch: Any
) -> None:
    others: list[JobToAdd] = []
    monkeypatch.setattr(ServiceRegistry, "_instance", noting(others))

    @registry.task("sum")
    def add_up(one: int, two: int) -> int:
        return one + two

    service, do = handles.service(server.url, registry=registry), handles.do
    late = service.with_options(priority=2)
    do(late.add_job("sms", 1))
    do(service.add(Note(text="x")))
    do(service.execute_service_method("Find", "Finder", "find", ["x"], queue="slow"))
    do(service.execute_task("Sum", "sum", [1, 2]))
    do(late.execute(add_up, 1, 2))
    do(service.queue("sms").add_many([("sms", 2)]))
    assert [(job.queue, job.job_type, dict(job.options)) for job in seen] == [
        ("sms", "sms", {"priority": 2}),
        ("note", "note", {}),
        ("slow", "generic-task", {}),
        ("generic-task", "generic-task", {}),
        ("generic-task", "generic-task", {"priority": 2}),
        ("sms", "sms", {}),
    ]
    assert (seen[2].data.label, seen[2].data.service) == ("Find", "Finder") and others == []
    do(service.close())


def test_a_generic_jobs_label_is_that_of_its_data(
    handles: Any, server: PrivateServer, registry: ServiceRegistry
) -> None:
    @registry.middleware("add")
    def relabel(job: JobToAdd) -> JobToAdd:
        data = msgspec.structs.replace(job.data, label="Mine", user_id="u")
        return msgspec.structs.replace(job, data=data)

    service, do = handles.service(server.url, registry=registry), handles.do
    job_id = do(service.execute_task("Yours", "sum"))
    assert do(service.get_job_status("generic-task", job_id)).label == "Mine"
    assert do(service.queue("generic-task").get_data(job_id))["userId"] == "u"
    do(service.close())


def test_what_one_raises_goes_to_the_caller_and_nothing_is_sent(
    handles: Any, server: PrivateServer, application: ServiceRegistry
) -> None:
    @application.middleware("add")
    def refuse(job: JobToAdd) -> JobToAdd:
        if job.data == "bad":
            raise PermissionError("not here")
        return job

    queue, do = handles.queue("q", server.url), handles.do
    with pytest.raises(PermissionError):
        do(queue.add("sms", "bad"))
    with pytest.raises(PermissionError) as caught:
        do(queue.add_many([("sms", "good"), ("sms", "bad")]))
    assert caught.value.__notes__ == ["in the job at index 1"]
    assert do(queue.get_stats()).waiting == 0
    do(queue.close())


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"queue": "other"}, RegistrationError),
        ({"options": {"prioritty": 1}}, InvalidOption),
        ({"options": {"retries": -1}}, InvalidOption),
        ({"data": {1, 2}}, PayloadNotSerializable),
        ({"job_type": ""}, ValueError),
    ],
)
def test_what_comes_out_is_checked_like_any(
    handles: Any, server: PrivateServer, application: ServiceRegistry, changes: dict[str, Any], error: type[Exception]
) -> None:
    application.middleware("add")(lambda job: msgspec.structs.replace(job, **changes))
    queue, do = handles.queue("q", server.url), handles.do
    with pytest.raises(error):
        do(queue.add("sms", 1))
    assert do(queue.get_stats()).waiting == 0
    do(queue.close())


def test_one_that_returns_nothing_is_told(handles: Any, server: PrivateServer, application: ServiceRegistry) -> None:
    @application.middleware("add")
    def forgets(job: JobToAdd) -> Any:
        cast("Any", job)

    queue, do = handles.queue("q", server.url), handles.do
    with pytest.raises(RegistrationError, match="forgets returned no JobToAdd"):
        do(queue.add("sms", 1))
    assert do(queue.get_stats()).waiting == 0
    do(queue.close())
