"""A sender without a job: how it connects, logs in and hands over, and what it says when it can't."""

from __future__ import annotations

import asyncio
import logging
import pickle
import ssl
import traceback
from typing import Any

import pytest
import trustme

from redqueue import ConfigurationError
from redqueue.processors.email import (
    Mailbox,
    MailError,
    MailRefused,
    MailUnavailable,
    Refusal,
    Sent,
    SmtpSender,
    UnsafeText,
    compose,
    parse_address,
)

from .conftest import MakeServer
from .servers import PASSWORD, RealServer, Reply, authenticate, base64_of, scripted, sender_to

ADA = parse_address("ada@example.com")
LOGIN = {"username": "shop", "password": PASSWORD}


def letter(*to: Mailbox) -> Any:
    return compose(parse_address("Shop <shop@example.com>"), "Hello", ".text\n..\nend", to=to or [ADA])


async def test_a_message_is_handed_over(plain_server: RealServer) -> None:
    sent = await sender_to(plain_server).send(letter(), ["Ada <ada@example.com>", "bob@example.com"])
    assert sent == Sent(["ada@example.com", "bob@example.com"], {})
    (mail,) = plain_server.mails
    assert (mail.sender, mail.recipients) == ("shop@example.com", ["ada@example.com", "bob@example.com"])
    assert mail.message["Subject"] == "Hello" and mail.message.get_content() == ".text\r\n..\r\nend\r\n"


def test_a_sender_works_in_one_event_loop_after_the_other(plain_server: RealServer) -> None:
    sender = pickle.loads(pickle.dumps(sender_to(plain_server)))
    for _ in range(2):
        assert asyncio.run(sender.send(letter(), ["ada@example.com"])).accepted == ["ada@example.com"]


async def test_many_at_once_have_a_connection_each(plain_server: RealServer) -> None:
    sender = sender_to(plain_server)
    await asyncio.gather(*(sender.send(letter(), [f"a{n}@example.com"]) for n in range(5)))
    assert len(plain_server.mails) == plain_server.connections == 5


async def test_a_blind_copy_is_in_no_header(plain_server: RealServer) -> None:
    message = letter()
    message["Bcc"] = "secret@example.com"
    await sender_to(plain_server).send(message, ["ada@example.com", "secret@example.com"])
    (mail,) = plain_server.mails
    assert mail.recipients == ["ada@example.com", "secret@example.com"]
    assert "Bcc" not in mail.message and b"secret" not in mail.raw and message["Bcc"] == "secret@example.com"


@pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS:UserWarning"
)  # it doesn't see that it has TLS
@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_encrypted_and_logged_in(
    make_server: MakeServer, server_tls: ssl.SSLContext, ca_file: str, security: str
) -> None:
    options: dict[str, Any] = {"authenticator": authenticate, "auth_required": True}
    if security == "tls":
        options |= {"ssl_context": server_tls, "auth_require_tls": False}
    else:
        options |= {"tls_context": server_tls, "require_starttls": True}
    server = make_server(**options)
    sender = sender_to(server, security=security, ca_file=ca_file, **LOGIN)
    assert (await sender.send(letter(), ["ada@example.com"])).accepted == ["ada@example.com"]
    wrong = sender_to(server, security=security, ca_file=ca_file, username="shop", password="wrong-" + PASSWORD)
    with pytest.raises(MailRefused, match=r"refused the login \(535\): check username and password") as refused:
        await wrong.send(letter(), ["ada@example.com"])
    assert refused.value.code == 535 and PASSWORD not in shown(refused.value)
    assert len(server.mails) == 1


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("wrong", ["stranger", "name"])
async def test_a_certificate_that_is_not_trusted(
    make_server: MakeServer, authority: tuple[trustme.CA, str], security: str, wrong: str
) -> None:
    signer = trustme.CA() if wrong == "stranger" else authority[0]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert("127.0.0.1" if wrong == "stranger" else "elsewhere.example").configure_cert(context)
    server = make_server(**({"ssl_context": context} if security == "tls" else {"tls_context": context}))
    sender = sender_to(server, security=security, ca_file=authority[1], **LOGIN)
    with pytest.raises(MailUnavailable, match="its certificate isn't trusted"):
        await sender.send(letter(), ["ada@example.com"])
    assert server.mails == []


async def test_encryption_is_never_left_out(plain_server: RealServer) -> None:
    with pytest.raises(MailRefused, match="offers no STARTTLS"):
        await sender_to(plain_server, security="starttls", **LOGIN).send(letter(), ["ada@example.com"])
    async with scripted() as server:
        with pytest.raises(MailRefused, match="offers no STARTTLS"):
            await sender_to(server, security="starttls", **LOGIN).send(letter(), ["ada@example.com"])
        assert [command.split()[0] for command in server.commands] == ["EHLO"]
        with pytest.raises(MailUnavailable, match="no TLS"):
            await sender_to(server, security="tls").send(letter(), ["ada@example.com"])


async def test_a_server_without_a_login() -> None:
    async with scripted(EHLO="250 here") as server:
        with pytest.raises(MailRefused, match="offers no login"):
            await sender_to(server, insecure_login=True, **LOGIN).send(letter(), ["ada@example.com"])


async def test_a_server_that_echoes_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = base64_of(f"\0shop\0{PASSWORD}")
    for code in (535, 454):
        async with scripted(AUTH=f"{code} no: {PASSWORD} {token}") as server:
            sender = sender_to(server, insecure_login=True, **LOGIN)
            with pytest.raises(MailError) as refused:
                await sender.send(letter(), ["ada@example.com"])
            assert any(token in command for command in server.commands)
        for text in (shown(refused.value), repr(sender), repr(vars(sender)), caplog.text):
            assert PASSWORD not in text and token not in text


@pytest.mark.parametrize(
    ("replies", "kind", "message"),
    [
        ({"connect": "421 busy"}, MailUnavailable, "connecting: 421 busy"),
        ({"connect": "554 go away"}, MailUnavailable, "connecting: 554 go away"),
        ({"connect": None}, MailUnavailable, "connecting: it hung up"),
        ({"connect": "hello?"}, MailUnavailable, "connecting: -1 Malformed"),
        ({"EHLO": "421 later"}, MailUnavailable, "EHLO: 421 later"),
        ({"EHLO": "550 who?", "HELO": "550 who?"}, MailUnavailable, "EHLO: 550 who?"),
        ({"EHLO": None}, MailUnavailable, "EHLO: it hung up"),
        ({"AUTH": "454 try later"}, MailUnavailable, "AUTH: 454"),
        ({"AUTH": "535 no"}, MailRefused, r"refused the login \(535\)"),
        ({"AUTH": "534 use a token"}, MailRefused, r"refused the login \(534\)"),
        ({"AUTH": None}, MailUnavailable, "AUTH: it hung up"),
        ({"MAIL": "451 not now"}, MailUnavailable, "MAIL FROM: 451 not now"),
        ({"MAIL": "550 not you"}, MailRefused, "MAIL FROM: 550 not you"),
        ({"MAIL": "552 too large"}, MailRefused, "MAIL FROM: 552 too large"),
        ({"MAIL": None}, MailUnavailable, "MAIL FROM: it hung up"),
        ({"RCPT": "421 bye"}, MailUnavailable, "RCPT TO: 421 bye"),
        ({"RCPT": None}, MailUnavailable, "RCPT TO: it hung up"),
        ({"DATA": "451 full"}, MailUnavailable, "DATA: 451 full"),
        ({"DATA": "554 spam"}, MailRefused, "DATA: 554 spam"),
        ({"DATA": None}, MailUnavailable, "DATA: it hung up"),
        ({"end": "452 full"}, MailUnavailable, "DATA: 452 full"),
        ({"end": "554 5.7.1 virus\r\n"}, MailRefused, "DATA: 554 5.7.1 virus"),
        ({"end": None}, MailUnavailable, "DATA: it hung up"),
        ({"end": "354-one\r\n354 two"}, MailUnavailable, "DATA: 354 one two"),
    ],
)
async def test_what_a_server_says(replies: dict[str, Reply], kind: type[MailError], message: str) -> None:
    async with scripted(**replies) as server:
        with pytest.raises(kind, match=message) as told:
            await sender_to(server, insecure_login=True, **LOGIN).send(letter(), ["ada@example.com"])
        assert type(told.value) is kind and f"127.0.0.1:{server.port}" in str(told.value)
        assert told.value.__cause__ is None and told.value.__suppress_context__


@pytest.mark.parametrize("verb", ["connect", "EHLO", "AUTH", "MAIL", "RCPT", "DATA", "end"])
async def test_a_server_that_never_answers(verb: str) -> None:
    async with scripted(**{verb: ""}) as server:
        sender = sender_to(server, insecure_login=True, timeout=0.3, data_timeout=0.3, **LOGIN)
        with pytest.raises(MailUnavailable, match="no answer in time") as told:
            await sender.send(letter(), ["ada@example.com"])
        assert server.silent.is_set() and told.value.code is None


async def test_a_server_that_takes_its_time_over_the_message() -> None:
    async with scripted(end="") as server:
        sender = sender_to(server, timeout=0.3, data_timeout=30)
        sending = asyncio.create_task(sender.send(letter(), ["ada@example.com"]))
        await asyncio.wait_for(server.silent.wait(), 5)
        assert (await asyncio.wait([sending], timeout=0.6))[1] == {sending}
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_server_that_says_no_goodbye_has_the_message() -> None:
    for goodbye in (None, "500 what?", "421 bye"):
        async with scripted(QUIT=goodbye) as server:
            assert (await sender_to(server).send(letter(), ["ada@example.com"])).accepted == ["ada@example.com"]


async def test_nobody_listens() -> None:
    async with scripted() as server:
        pass
    with pytest.raises(MailUnavailable, match="can't be reached"):
        await sender_to(server).send(letter(), ["ada@example.com"])


async def test_what_a_server_says_is_clipped_and_escaped() -> None:
    async with scripted(MAIL="550 \x1b[31mred\u202e " + "x" * 4000) as server:
        with pytest.raises(MailRefused) as told:
            await sender_to(server).send(letter(), ["ada@example.com"])
    assert "\\x1b[31mred\\u202e xxx" in str(told.value) and len(str(told.value)) < 350


async def test_a_helo_server_is_spoken_to() -> None:
    async with scripted(EHLO="502 what?") as server:
        assert (await sender_to(server).send(letter(), ["ada@example.com"])).accepted
    assert server.commands[:3] == ["EHLO example.com", "HELO example.com", "MAIL FROM:<shop@example.com>"]


async def test_refused_recipients_come_with_the_reason(plain_server: RealServer) -> None:
    plain_server.refused = {"b@example.com": "550 no such user", "c@example.com": "450 busy"}
    sent = await sender_to(plain_server).send(letter(), ["a@example.com", "b@example.com", "c@example.com", "nobody"])
    assert sent.accepted == ["a@example.com"]
    assert sent.refused == {
        "nobody": Refusal(None, "no address: it has no @"),
        "b@example.com": Refusal(550, "550 no such user"),
        "c@example.com": Refusal(450, "450 busy", passing=True),
    }


async def test_recipients_beyond_ascii(make_server: MakeServer) -> None:
    zoe, needs = parse_address("zoë@example.com"), Refusal(None, "the server takes only ASCII before the @")
    plain, able = make_server(), make_server(enable_SMTPUTF8=True)
    assert await sender_to(plain).send(letter(zoe), [zoe.spec]) == Sent([], {zoe.spec: needs})
    assert await sender_to(plain).send(letter(), [ADA.spec, zoe.spec]) == Sent([ADA.spec], {zoe.spec: needs})
    with pytest.raises(UnsafeText, match="beyond ASCII"):
        await sender_to(plain).send(letter(zoe), [ADA.spec, zoe.spec])
    assert await sender_to(able).send(letter(zoe), [ADA.spec, zoe.spec]) == Sent([ADA.spec, zoe.spec], {})
    assert (len(plain.mails), able.utf8) == (1, [True])


async def test_nobody_to_send_to_needs_no_connection(plain_server: RealServer) -> None:
    assert (await sender_to(plain_server).send(letter(), ["nobody"])).accepted == []
    assert plain_server.connections == 0


async def test_too_many_recipients_are_sent_to_in_the_next_transaction() -> None:
    async with scripted(RCPT=["250 ok", "452 too many", "250 ok"]) as server:
        sent = await sender_to(server).send(letter(), ["a@example.com", "b@example.com", "c@example.com"])
        assert sorted(sent.accepted) == ["a@example.com", "b@example.com", "c@example.com"] and sent.refused == {}
        assert len(server.messages) == 2 and len([one for one in server.commands if one == "RSET"]) == 1


async def test_552_after_others_were_accepted_means_too_many_too() -> None:
    async with scripted(RCPT=["250 ok", "552 too many", "250 ok"]) as server:
        sent = await sender_to(server).send(letter(), [f"{name}@example.com" for name in "abc"])
        assert sorted(sent.accepted) == ["a@example.com", "b@example.com", "c@example.com"] and sent.refused == {}
    async with scripted(RCPT=["250 ok", "552 mailbox full"]) as server:
        sent = await sender_to(server).send(letter(), [f"{name}@example.com" for name in "abc"])
        assert sent.accepted == ["a@example.com"] and len(server.messages) == 1
        assert [(why.code, why.passing) for why in sent.refused.values()] == [(552, False)] * 2


async def test_a_connection_that_breaks_between_transactions_loses_no_outcome() -> None:
    async with scripted(end=["250 ok", None]) as server:
        sent = await sender_to(server, most=2).send(letter(), [f"{name}@example.com" for name in "abcd"])
        assert sent.accepted == ["a@example.com", "b@example.com"]
        assert {spec: why.passing for spec, why in sent.refused.items()} == {
            "c@example.com": True,
            "d@example.com": True,
        }
        assert "it hung up" in sent.refused["c@example.com"].reason


async def test_a_login_in_the_clear_is_only_made_when_asked_for(plain_server: RealServer) -> None:
    with pytest.raises(ConfigurationError, match="insecure_login=True") as told:
        sender_to(plain_server, **LOGIN)
    assert PASSWORD not in str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        {"host": "mail\r\nQUIT"},
        {"host": ""},
        {"host": "smtp://mail"},
        {"sender": "shop"},
        {"sender": "a@b\r\nBcc: c@d"},
        {"sender": "zoë@example.com"},
        {"security": "ssl"},
        {"username": "shop"},
        {"password": PASSWORD},
        {"port": 0},
        {"port": 65536},
        {"most": 0},
        {"hello": "a b"},
    ],
)
def test_settings_that_cannot_work(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as told:
        SmtpSender(options.pop("host", "mail.example"), options.pop("sender", "shop@example.com"), **options)
    assert PASSWORD not in str(told.value)


async def test_certificates_that_cannot_be_read(tmp_path: Any) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in ("missing.pem", "ca.pem"):
        with pytest.raises(ConfigurationError, match="can't be read"):
            await SmtpSender("127.0.0.1", "a@example.com", ca_file=str(tmp_path / path)).send(letter(), ["b@c"])


BASE = {"SMTP_HOST": "mail.example", "SMTP_FROM": "Shop <shop@example.com>"}
USER = {"SMTP_USERNAME": "shop", "SMTP_PASSWORD": PASSWORD}


@pytest.mark.parametrize(
    ("environ", "shown"),
    [
        (BASE | USER, "SmtpSender('mail.example', 'Shop <shop@example.com>', security='starttls', port=587)"),
        (
            BASE | {"SMTP_SECURITY": "tls"},
            "SmtpSender('mail.example', 'Shop <shop@example.com>', security='tls', port=465)",
        ),
        (
            BASE | USER | {"SMTP_SECURITY": "none", "SMTP_PORT": "1025", "SMTP_INSECURE_LOGIN": "1"},
            "SmtpSender('mail.example', 'Shop <shop@example.com>', security='none', port=1025)",
        ),
        (
            {"SMTP_FROM": "a@b", "SMTP_URL": f"smtps://sh%40op:{PASSWORD}@mail.example"},
            "SmtpSender('mail.example', 'a@b', security='tls', port=465)",
        ),
        (
            {"SMTP_FROM": "a@b", "SMTP_URL": "smtp://[::1]:2525"},
            "SmtpSender('::1', 'a@b', security='starttls', port=2525)",
        ),
    ],
)
def test_settings_from_the_environment(environ: dict[str, str], shown: str) -> None:
    assert repr(SmtpSender.from_env(environ)) == shown


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "SMTP_FROM is not set"),
        ({"SMTP_FROM": "a@b"}, "SMTP_HOST is not set"),
        (BASE | {"SMTP_PORT": "smtp"}, "SMTP_PORT='smtp' is no port"),
        (BASE | {"SMTP_SECURITY": "ssl"}, "security='ssl' is none of"),
        (BASE | {"SMTP_USERNAME": "shop"}, "username and password"),
        (BASE | USER | {"SMTP_SECURITY": "none"}, "insecure_login"),
        ({"SMTP_FROM": "a@b", "SMTP_URL": f"http://shop:{PASSWORD}@mail"}, "SMTP_URL must be"),
        ({"SMTP_FROM": "a@b", "SMTP_URL": f"smtp://shop:{PASSWORD}@mail:99999"}, "SMTP_URL must be"),
        ({"SMTP_FROM": "a@b", "SMTP_URL": f"smtp://shop:{PASSWORD}#@mail"}, "SMTP_URL must be|no name of a machine"),
    ],
)
def test_an_environment_that_cannot_work(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as told:
        SmtpSender.from_env(environ)
    assert PASSWORD not in str(told.value) and told.value.__cause__ is None


def test_the_environment_is_the_process_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)
    assert "mail.example" in repr(SmtpSender.from_env())


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(vars(error))
