"""What both queues do with what they are handed; what becomes of a job is tested with the scripts."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import redis

from redqueue import (
    InvalidName,
    InvalidOption,
    JobData,
    NotRegistered,
    PayloadNotSerializable,
    RedisFull,
    RedisRefused,
    RedisUnavailable,
    ServiceRegistry,
)
from redqueue.client.patience import Patience
from redqueue.embedded import PrivateServer
from redqueue.errors import BadInput, ConfigurationError


class Note(JobData[int]):
    job_type: ClassVar[str] = "note"
    some_text: str


class Nameless(JobData[int]):
    text: str


def test_the_four_ways_to_add(handles: Any, server: PrivateServer) -> None:
    registry = ServiceRegistry()

    @registry.processor("double")
    def double(data: int) -> int:
        return data * 2

    queue, do = handles.queue("q", server.url), handles.do
    named = do(queue.add("anything", {"a": [1, None]}))
    bare = do(queue.add("anything"))
    typed = do(queue.add(Note(some_text="x"), priority=3))
    function = do(queue.add(double, 21, delay=60))
    assert [job.job_type for job in (named, bare, typed, function)] == ["anything", "anything", "note", "double"]
    assert {job.answer for job in (named, bare, typed, function)} == {"created"}
    assert do(queue.get_data(named.id)) == {"a": [1, None]}
    assert do(queue.get_data(bare.id)) is None
    assert do(queue.get_data(typed.id)) == {"someText": "x"}
    assert do(queue.get_data(typed.id, Note)) == Note(some_text="x")
    assert do(queue.get_data("nobody")) is None
    assert do(function.status()).state == "delayed"
    do(queue.close())


def test_a_job_id_makes_adding_again_safe(handles: Any, server: PrivateServer) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    first, second = do(queue.add("t", 1, job_id="a")), do(queue.add("t", 2, job_id="a"))
    assert (first.answer, second.answer) == ("created", "duplicate")
    assert (second.id, second.queue) == ("a", "q")
    assert do(queue.get_data("a")) == 1
    do(queue.close())


def test_defaults_are_for_jobs_that_do_not_say_otherwise(handles: Any, server: PrivateServer) -> None:
    queue, do = handles.queue("q", server.url, delay=60), handles.do
    assert do(do(queue.add("t")).status()).state == "delayed"
    assert do(do(queue.add("t", delay=0)).status()).state == "waiting"
    do(queue.close())


def test_many_jobs_keep_their_order_and_options(handles: Any, server: PrivateServer) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    own: dict[str, Any] = {"job_id": "c", "delay": 0}
    jobs = do(queue.add_many([("t", 1), Note(some_text="x"), ("u", 2, own), ("t", 3, {"job_id": "c"})], delay=60))
    assert [(job.job_type, job.answer) for job in jobs] == [
        ("t", "created"),
        ("note", "created"),
        ("u", "created"),
        ("t", "duplicate"),
    ]
    assert [do(job.status()).state for job in jobs] == ["delayed", "delayed", "waiting", "waiting"]
    assert do(queue.add_many([])) == []
    assert do(queue.add_many((("t", n) for n in range(2500)), priority=1))[2499].answer == "created"
    assert do(queue.get_stats()).waiting == 2501
    do(queue.close())


@pytest.mark.parametrize(
    "bad",
    [
        ("t", float("nan")),
        ("", 1),
        ("t", 1, {"prioritty": 1}),
        ("t", 1, {"job_id": "a b"}),
        ("t",),
        "t",
        7,
        Nameless(text=""),
    ],
)
def test_all_of_many_are_checked_before_the_first_is_sent(handles: Any, server: PrivateServer, bad: Any) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    with pytest.raises(BadInput) as raised:
        do(queue.add_many([("t", 1), bad]))
    assert raised.value.__notes__ == ["in the job at index 1"]
    assert do(queue.get_stats()).waiting == 0
    do(queue.close())


def test_what_is_wrong_is_told_before_anything_is_sent(handles: Any) -> None:
    queue, do = handles.queue("q", "redis://127.0.0.1:1"), handles.do
    with pytest.raises(InvalidOption, match="prioritty"):
        do(queue.add("t", prioritty=1))
    with pytest.raises(InvalidOption, match="the data already"):
        do(queue.add(Note(some_text=""), {"some": "data"}))
    with pytest.raises(InvalidOption, match="job_type"):
        do(queue.add(Nameless(text="")))
    with pytest.raises(NotRegistered):
        do(queue.add(len, 1))
    with pytest.raises(PayloadNotSerializable):
        do(queue.add("t", object()))
    with pytest.raises(InvalidOption, match="job_id"):
        do(queue.add_many([("t", 1)], job_id="a"))
    with pytest.raises(InvalidName):
        queue.job("a b")


def test_what_cannot_work_is_refused_at_construction(handles: Any) -> None:
    with pytest.raises(InvalidName):
        handles.queue("a b")
    with pytest.raises(InvalidName):
        handles.queue("q", prefix="{}")
    with pytest.raises(InvalidOption, match="retry"):
        handles.queue("q", retry=3)
    with pytest.raises(ConfigurationError, match="amqp"):
        handles.queue("q", "amqp://h")
    with pytest.raises(ConfigurationError, match="not both"):
        handles.queue("q", "redis://h", client=redis.Redis())


def test_the_environment_says_where_redis_is(
    handles: Any, server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", server.url)
    queue, do = handles.queue("q"), handles.do
    assert do(queue.get_stats()).waiting == 0
    do(queue.close())


def test_steering_reaches_the_queue(handles: Any, server: PrivateServer) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    one, two, three = do(queue.add("t", job_id="1")), do(queue.add("t", delay=60, job_id="2")), do(queue.add("t"))
    do(queue.pause())
    assert do(queue.get_stats()).paused
    do(queue.resume())
    assert do(one.cancel("enough")) == "cancelled"
    assert do(queue.cancel("nobody")) == "missing"
    assert do(queue.retry("1")) is True
    assert do(queue.promote("2")) is True
    assert do(queue.remove(three.id)) is True
    assert [status.job_id for status in do(queue.jobs("waiting", newest=False))] == ["1", "2"]
    assert do(queue.get_status("2")).state == do(two.status()).state == "waiting"
    assert do(queue.audit()) == []
    assert do(queue.clean("waiting", limit=1)) == 1
    do(queue.add("t", delay=60))
    assert do(queue.drain(delayed=True)) == 2
    do(queue.add("t"))
    assert do(queue.obliterate()) == 1
    do(queue.close())


def test_a_queue_is_a_context(server: PrivateServer, handles: Any) -> None:
    queue, do = handles.queue("q", server.url), handles.do
    enter = getattr(queue, "__enter__", None) or queue.__aenter__
    leave = getattr(queue, "__exit__", None) or queue.__aexit__
    assert do(enter()) is queue
    do(queue.add("t"))
    do(leave(None, None, None))
    assert queue._runner._transport._pool is None or not queue._runner._transport._pool.open


def test_nothing_shows_the_password(handles: Any) -> None:
    queue, do = handles.queue("q", "redis://me:hunter2@127.0.0.1:1"), handles.do
    queue._runner.patience = Patience(unsent=0.01)
    with pytest.raises(RedisUnavailable) as raised:
        do(queue.get_stats())
    error: BaseException | None = raised.value
    while error is not None:
        assert "hunter2" not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
    assert "hunter2" not in f"{queue!r} {queue._runner._transport!r}"
    assert "redis://***@127.0.0.1:1" in str(raised.value)


def test_a_server_that_was_restarted_is_used_again_without_an_error(handles: Any) -> None:
    with PrivateServer() as server:
        queue, do = handles.queue("q", server.url), handles.do
        do(queue.add("t"))
        server.kill()
        server.start()
        assert do(queue.add("t")).answer == "created"
        do(queue.close())


def test_a_server_that_does_not_answer_is_given_up(handles: Any, own_server: PrivateServer) -> None:
    """Faults: S13."""
    queue, do = handles.queue("q", f"{own_server.url}&socket_timeout=0.1"), handles.do
    queue._runner.patience = Patience(unsent=0.1, sent=0.3)
    do(queue.add("t"))
    own_server.pause()
    with pytest.raises(RedisUnavailable, match="same job_id") as raised:
        do(queue.add("t", job_id="a"))
    assert raised.value.sent
    own_server.resume()
    assert do(queue.add("t", job_id="a")).answer in ("created", "duplicate")
    assert do(queue.get_stats()).waiting == 2
    do(queue.close())


def test_a_full_server_says_so(handles: Any, own_server: PrivateServer) -> None:
    queue, do = handles.queue("q", own_server.url), handles.do
    do(queue.add("t"))
    with redis.Redis.from_url(own_server.url) as admin:
        admin.config_set("maxmemory", 1)
    with pytest.raises(RedisFull):
        do(queue.add("t"))
    do(queue.close())


def test_a_demoted_server_is_asked_again_until_it_is_a_primary(handles: Any, own_server: PrivateServer) -> None:
    queue, do = handles.queue("q", own_server.url), handles.do
    do(queue.add("t"))
    with redis.Redis.from_url(own_server.url) as admin:
        admin.replicaof("127.0.0.1", 1)
        queue._runner.patience = Patience(unsent=0.2)
        with pytest.raises(RedisUnavailable, match="replica") as raised:
            do(queue.add("t"))
        assert not raised.value.sent
        admin.replicaof("NO", "ONE")
    assert do(queue.add("t")).answer == "created"
    do(queue.close())


def test_a_user_without_permission_is_told_at_once(handles: Any, own_server: PrivateServer) -> None:
    with redis.Redis.from_url(own_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "u", "on", ">pw", "~*", "+@all", "-evalsha")
    for user, said in (("u:pw", "ACL"), ("u:wrong", "credentials")):
        queue, do = handles.queue("q", own_server.url.replace("unix://", f"unix://{user}@")), handles.do
        with pytest.raises(RedisRefused, match=said):
            do(queue.add("t"))
        do(queue.close())


def test_scripts_may_be_flushed_at_any_time(handles: Any, server: PrivateServer, admin: Any) -> None:
    """Faults: R03."""
    queue, do = handles.queue("q", server.url), handles.do
    for _ in range(20):
        admin.script_flush()
        assert do(queue.add("t")).answer == "created"
    do(queue.close())
