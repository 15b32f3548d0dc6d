from __future__ import annotations

import pytest
from redis import exceptions as redis_errors
from redis.sentinel import MasterNotFoundError

from redqueue.client.faults import CODES, Action, before_sending, classify, to_error, told
from redqueue.errors import RedisFull, RedisRefused, RedisUnavailable

OLD = "Error running script (call to f_62e6aac9c7520a78c28f012748b42ed670fff5d3): @user_script:1: "
NEW = "script: 62e6aac9c7520a78c28f012748b42ed670fff5d3, on @user_script:1."
VALKEY = "script: on @user_script:1."
RESEND, RELOAD, RECONNECT = Action.RESEND, Action.RELOAD, Action.RECONNECT
BACK_PRESSURE, GIVE_UP = Action.BACK_PRESSURE, Action.GIVE_UP
Answered = redis_errors.ResponseError
Lost = redis_errors.ConnectionError

# Texts as Redis 6.2, 7.0, 8.2 and Valkey 9.1 send them and redis-py hands them on.
REFUSALS = [
    (redis_errors.NoScriptError("No matching script. Please use EVAL."), RELOAD),
    (Answered("NOSCRIPT No matching script."), RELOAD),
    (redis_errors.BusyLoadingError("Redis is loading the dataset in memory"), RESEND),
    (Answered("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), RESEND),
    (Answered("BUSY Valkey is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."), RESEND),
    (Answered(f"Script killed by user with SCRIPT KILL... {NEW}"), RESEND),
    (Answered(f"{OLD}Script killed by user with SCRIPT KILL..."), RESEND),
    (redis_errors.TryAgainError("Multiple keys request during rehashing of slot"), RESEND),
    (redis_errors.ClusterDownError("The cluster is down"), RESEND),
    (Answered("CLUSTERDOWN Hash slot not served"), RESEND),
    (redis_errors.MaxConnectionsError("Too many connections"), RESEND),
    (Lost("Too many connections"), RESEND),
    (Lost("No connection available."), RESEND),
    (Lost("max number of clients reached"), RESEND),
    (redis_errors.ReadOnlyError("You can't write against a read only replica."), RECONNECT),
    (redis_errors.ReadOnlyError(f"You can't write against a read only replica. {NEW}"), RECONNECT),
    (Answered(f"{OLD}@user_script: 1: -READONLY You can't write against a read only replica."), RECONNECT),
    (Lost("The previous master is now a slave"), RECONNECT),
    (redis_errors.MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."), RECONNECT),
    (
        Answered("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"),
        RECONNECT,
    ),
    (Answered(f"NOREPLICAS Not enough good replicas to write. {VALKEY}"), RECONNECT),
    (Answered(f"{OLD}@user_script: 1: -NOREPLICAS Not enough good replicas to write."), RECONNECT),
    (redis_errors.MovedError("1234 127.0.0.1:7001"), RECONNECT),
    (redis_errors.AskError("1234 127.0.0.1:7001"), RECONNECT),
    (redis_errors.ClusterError("TTL exhausted."), RECONNECT),
    (redis_errors.RedisClusterException("Redis Cluster cannot be connected."), RECONNECT),
    (MasterNotFoundError("No master found for 'main'"), RECONNECT),
    (redis_errors.OutOfMemoryError(f"command not allowed when used memory > 'maxmemory'. {NEW}"), BACK_PRESSURE),
    (Answered(f"{OLD}@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'."), BACK_PRESSURE),
    (
        Answered(f"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist. {NEW}"),
        BACK_PRESSURE,
    ),
    (Answered(f"{OLD}@user_script: 1: -MISCONF Redis is configured to save RDB snapshots, but"), BACK_PRESSURE),
    (redis_errors.AuthenticationError("Authentication required."), GIVE_UP),
    (redis_errors.AuthenticationError("invalid username-password pair or user is disabled."), GIVE_UP),
    (Answered("NOAUTH Authentication required."), GIVE_UP),
    (redis_errors.NoPermissionError("User v has no permissions to run the 'evalsha' command"), GIVE_UP),
    (Answered(f"The user executing the script can't run this command or subcommand {NEW}"), GIVE_UP),
    (Answered(f"{OLD}@user_script: 1: The user executing the script can't run this command or subcommand"), GIVE_UP),
    (Answered(f"ACL failure in script: User u has no permissions to run the 'set' command {VALKEY}"), GIVE_UP),
    (Answered(f"{OLD}WRONGTYPE Operation against a key holding the wrong kind of value"), GIVE_UP),
    (Answered(f"WRONGTYPE Operation against a key holding the wrong kind of value {VALKEY}"), GIVE_UP),
    (Answered("unknown command `EVALSHA`, with args beginning with: `00`, `1`, `canary`, "), GIVE_UP),
    (Answered("unknown command 'EVALSHA', with args beginning with: '00' '1' 'canary' "), GIVE_UP),
    (Answered("DB index is out of range"), GIVE_UP),
    (redis_errors.ClusterCrossSlotError("Keys in request don't hash to the same slot"), GIVE_UP),
    (Lost("Error 111 connecting to localhost:6379. Connection refused."), RECONNECT),
    (Lost("Error -2 connecting to nope.invalid:6379. Name or service not known."), RECONNECT),
    (Lost("Error 2 connecting to /nope. No such file or directory."), RECONNECT),
    (redis_errors.TimeoutError("Timeout connecting to server"), RECONNECT),
    (
        Lost("Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed"),
        RECONNECT,
    ),
]

# Nobody knows what became of these.
UNKNOWN = [
    redis_errors.TimeoutError("Timeout reading from localhost:6379"),
    redis_errors.TimeoutError("Timeout writing to socket"),
    Lost("Connection closed by server."),
    Lost("Error while reading from localhost:6379 : (104, 'Connection reset by peer')"),
    Lost("Error 32 while writing to socket. Broken pipe."),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError(),
    OSError(113, "No route to host"),
]


@pytest.mark.parametrize(("error", "action"), REFUSALS, ids=str)
def test_what_redis_refused_was_not_carried_out(error: Exception, action: Action) -> None:
    fault = classify(error)
    assert (fault.action, fault.sent) == (action, False)


@pytest.mark.parametrize("error", UNKNOWN, ids=repr)
def test_what_got_no_answer_may_have_been_carried_out(error: Exception) -> None:
    fault = classify(error)
    assert (fault.action, fault.sent) == (RESEND, True)


@pytest.mark.parametrize(
    "error",
    [
        Answered(f"user_script:1: attempt to index local 'x' (a nil value) {NEW}"),
        Answered("Error compiling script (new function): user_script:1: '=' expected near '1'"),
        redis_errors.InvalidResponse("Protocol Error: b'HTTP/1.1 400 Bad Request'"),
        redis_errors.RedisError("something new"),
    ],
)
def test_what_nobody_foresaw_is_given_up(error: Exception) -> None:
    assert classify(error).action is GIVE_UP


@pytest.mark.parametrize("code", CODES)
def test_each_code_is_known_bare_and_inside_a_script(code: str) -> None:
    for text in (f"{code} some text", f"{code} some text {NEW}", f"{OLD}@user_script: 1: -{code} some text"):
        assert classify(Answered(text)) is CODES[code]


def test_our_errors_say_what_to_do() -> None:
    def ours(error: Exception, *, sent: bool = False) -> Exception:
        return to_error(classify(error), error, "redis://***@h", sent=sent)

    full = ours(redis_errors.OutOfMemoryError("command not allowed"))
    refused = ours(redis_errors.NoPermissionError("no permissions"))
    unsent = ours(Lost("Error 111 connecting to h:1. Connection refused."))
    sent = ours(redis_errors.TimeoutError("Timeout reading from h:1"), sent=True)
    assert isinstance(full, RedisFull) and "memory" in str(full)
    assert isinstance(refused, RedisRefused) and "ACL" in str(refused)
    assert isinstance(unsent, RedisUnavailable) and not unsent.sent and "Connection refused" in str(unsent)
    assert isinstance(sent, RedisUnavailable) and sent.sent and "same job_id" in str(sent)


@pytest.mark.parametrize(
    ("target", "text", "hint"),
    [
        ("redis://h:1", "Error connecting to it: (104, 'Connection reset by peer')", "the URL begins with rediss://"),
        ("redis://h:1", "Error connecting to it: Connection closed by server.", "the URL begins with rediss://"),
        ("rediss://h:1", "Timeout connecting to server", "or that port not speak TLS"),
    ],
)
def test_a_scheme_that_may_not_fit_the_port_is_told(target: str, text: str, hint: str) -> None:
    error = before_sending(Lost(text))
    assert hint in told(classify(error), error, target)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("redis://h:1", "Error 111 connecting to h:1. Connection refused."),
        ("redis://h:1", "Timeout connecting to server"),
        ("rediss://h:1", "Error connecting to it: (104, 'Connection reset by peer')"),
        ("redis://h:1", "Error while reading from h:1 : (104, 'Connection reset by peer')"),
    ],
)
def test_other_lost_connections_have_no_hint_of_tls(target: str, text: str) -> None:
    error = Lost(text)
    assert "TLS" not in told(classify(error), error, target)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("User v has no permissions to run the 'waitaof' command", "the 'waitaof' command"),
        ("this user has no permissions to run the 'zadd' command or its subcommand", "the 'zadd' command"),
        ("No permissions to access a key", "access a key"),
    ],
    ids=["7.0", "6.2", "key"],
)
def test_a_missing_right_is_told_in_the_servers_words(text: str, quoted: str) -> None:
    error = redis_errors.NoPermissionError(text)
    told = str(to_error(classify(error), error, "redis://h", sent=False))
    assert "ACL forbids a command or key" in told
    assert quoted in told
    assert "redqueue scripts" not in told


@pytest.mark.parametrize(
    "text",
    [
        "User v has no permissions to run the 'eval' command",
        "this user has no permissions to run the 'eval' command or its subcommand",
    ],
    ids=["7.0", "6.2"],
)
def test_who_may_not_send_scripts_is_told_who_loads_them(text: str) -> None:
    for error in (redis_errors.NoPermissionError(text), Answered(f"NOPERM {text}")):
        told = to_error(classify(error), error, "redis://h", sent=False)
        assert isinstance(told, RedisRefused)
        assert "load all by `redqueue scripts`" in str(told)


def test_no_argument_of_a_call_gets_into_a_message() -> None:
    error = Answered("unknown command 'EVALSHA', with args beginning with: '00' '1' 'canary' ")
    assert "canary" not in str(to_error(classify(error), error, "redis://h", sent=False))


def test_a_foreign_text_is_clipped() -> None:
    error = redis_errors.RedisError("x" * 10_000)
    assert len(str(to_error(classify(error), error, "redis://h", sent=False))) < 400


def test_what_happens_while_connecting_was_before_the_call() -> None:
    assert classify(before_sending(redis_errors.TimeoutError("Timeout reading from h:1"))).sent is False
    entry = redis_errors.AuthenticationError("invalid username-password pair")
    assert before_sending(entry) is entry
