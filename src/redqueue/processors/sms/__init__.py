"""Texts to many numbers: the processor, its providers, and what a provider of your own needs."""

from redqueue.processors.sms.gateway import GatewayProvider
from redqueue.processors.sms.local import ConsoleProvider, FileProvider
from redqueue.processors.sms.processor import SmsProcessor
from redqueue.processors.sms.provider import (
    NumberRefused,
    ProviderBusy,
    ProviderDown,
    ProviderError,
    ProviderMisconfigured,
    SmsMessage,
    SmsProvider,
    SmsSession,
)
from redqueue.processors.sms.segments import count_segments
from redqueue.processors.sms.twilio import TwilioProvider

__all__ = [
    "ConsoleProvider",
    "FileProvider",
    "GatewayProvider",
    "NumberRefused",
    "ProviderBusy",
    "ProviderDown",
    "ProviderError",
    "ProviderMisconfigured",
    "SmsMessage",
    "SmsProcessor",
    "SmsProvider",
    "SmsSession",
    "TwilioProvider",
    "count_segments",
]
