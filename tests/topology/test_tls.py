"""Servers that take TLS only: whom we trust, and what is said when we don't."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from redqueue import ConfigurationError, RedisRefused, RedisUnavailable
from redqueue.embedded import PrivateServer
from redqueue.errors import RedisError

from .conftest import Handles, Ledger
from .servers import Authority, admin, start, until

MakeUrl = Callable[..., str]


def test_jobs_are_added_and_run_over_tls(
    tls_server: PrivateServer, tls_url: MakeUrl, authority: Authority, handles: Handles, ledger: Ledger
) -> None:
    """X18: Also after all connections were cut."""
    url = tls_url(ssl_ca_certs=authority.certificate)
    with handles.open("q", url, backoff=0) as queue, ledger.worker(["q"], url).in_thread():
        handles.do(queue.add_many([("count", n) for n in range(100)]))
        handles.do(queue.add("flaky", 100))
        until(lambda: handles.do(queue.get_stats()).succeeded == 101, "the jobs")
        with admin(tls_server) as client:
            assert client.client_kill_filter(_type="normal", skipme=True) > 0
        handles.do(queue.add("count", 101))
        until(lambda: handles.do(queue.get_stats()).succeeded == 102, "the job after the cut")
        assert handles.do(queue.audit()) == []
        handles.do(queue.obliterate())


def refusal(handles: Handles, url: str) -> RedisError:
    """What an add comes to; nothing was sent."""
    queue = handles.impatient(url)
    with pytest.raises(RedisError) as refused:
        handles.do(queue.add("t"))
    handles.do(queue.close())
    assert isinstance(refused.value, RedisUnavailable | RedisRefused)
    assert getattr(refused.value, "sent", False) is False
    return refused.value


def test_an_authority_that_nobody_named_is_not_trusted(tls_url: MakeUrl, handles: Handles) -> None:
    """X18: by default."""
    error = refusal(handles, tls_url())
    assert "its TLS certificate is not trusted, or is for another host: give its authority as ssl_ca_certs" in str(
        error
    )
    assert "certificate verify failed" in str(error)


def test_another_authority_is_not_trusted(tls_url: MakeUrl, handles: Handles, tmp_path: Path) -> None:
    error = refusal(handles, tls_url(ssl_ca_certs=Authority(tmp_path).certificate))
    assert "its TLS certificate is not trusted" in str(error)


def test_a_certificate_for_another_host_is_refused(tls_url: MakeUrl, authority: Authority, handles: Handles) -> None:
    """X18: the host's name is checked."""
    error = refusal(handles, tls_url("127.0.0.1", ssl_ca_certs=authority.certificate))
    assert "its TLS certificate is not trusted, or is for another host" in str(error)
    assert "IP address mismatch" in str(error)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_anybody_is_trusted_only_when_the_url_says_so(tls_url: MakeUrl, handles: Handles, host: str) -> None:
    with handles.open("q", tls_url(host, ssl_cert_reqs="none")) as queue:
        assert handles.do(queue.add("t", job_id="trusting")).answer == "created"
        assert handles.do(queue.remove("trusting")) is True


def test_the_host_alone_may_be_left_unchecked(tls_url: MakeUrl, authority: Authority, handles: Handles) -> None:
    url = tls_url("127.0.0.1", ssl_ca_certs=authority.certificate, ssl_check_hostname="false")
    with handles.open("q", url) as queue:
        assert handles.do(queue.get_stats()).waiting == 0
    assert "not trusted" in str(refusal(handles, tls_url("127.0.0.1", ssl_check_hostname="false")))


def test_a_server_that_wants_a_certificate_gets_ours(
    tls_server: PrivateServer, tls_url: MakeUrl, authority: Authority, handles: Handles
) -> None:
    certificate, key = authority.sign("client", "DNS:client")
    with admin(tls_server) as client:
        client.config_set("tls-auth-clients", "yes")
        try:
            error = refusal(handles, tls_url(ssl_ca_certs=authority.certificate))
            url = tls_url(ssl_ca_certs=authority.certificate, ssl_certfile=certificate, ssl_keyfile=key)
            with handles.open("q", url) as queue:
                assert handles.do(queue.get_stats()).waiting == 0
        finally:
            client.config_set("tls-auth-clients", "no")
    assert "it can't be connected to" in str(error)


def test_a_file_that_is_missing_is_told(tls_url: MakeUrl, handles: Handles, tmp_path: Path) -> None:
    """At once: it doesn't mend itself."""
    with pytest.raises(ConfigurationError, match=r"option ssl_ca_certs: the file .*nowhere\.crt can't be read"):
        handles.queue("q", tls_url(ssl_ca_certs=tmp_path / "nowhere.crt"))


def test_plain_calls_to_a_tls_port_are_refused(tls_server: PrivateServer, handles: Handles) -> None:
    said = str(refusal(handles, f"redis://localhost:{tls_server.port}"))
    assert "it can't be connected to" in said
    assert "if that port speaks TLS, the URL begins with rediss://" in said


def test_tls_calls_to_a_plain_port_are_refused(handles: Handles) -> None:
    """The server waits for the end of what it takes for a command."""
    with start(lambda port: PrivateServer(port=port)) as server:
        error = refusal(handles, f"rediss://localhost:{server.port}?socket_timeout=0.3&socket_connect_timeout=0.3")
    assert "it can't be connected to: Timeout" in str(error)
    assert "or that port not speak TLS" in str(error)
