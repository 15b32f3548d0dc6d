"""Sending e-mail: the processor of `email` jobs, and its parts, which work without a job, too."""

from redqueue.processors.email.addresses import Mailbox, parse_address
from redqueue.processors.email.errors import BadAddress, MailError, MailRefused, MailUnavailable, UnsafeText
from redqueue.processors.email.message import File, compose
from redqueue.processors.email.processor import EmailProcessor
from redqueue.processors.email.sender import SmtpSender
from redqueue.processors.email.session import Refusal, Sent
from redqueue.processors.email.templates import Templates

__all__ = [
    "BadAddress",
    "EmailProcessor",
    "File",
    "MailError",
    "MailRefused",
    "MailUnavailable",
    "Mailbox",
    "Refusal",
    "Sent",
    "SmtpSender",
    "Templates",
    "UnsafeText",
    "compose",
    "parse_address",
]
