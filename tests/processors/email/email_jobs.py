"""A worker module, as an application has it: for workers that are killed."""

from redqueue import ServiceRegistry
from redqueue.processors.email import EmailProcessor, SmtpSender

registry = ServiceRegistry()
sender = SmtpSender.from_env()
registry.register_processor("email", EmailProcessor(sender, {"welcome": {"text": "Hello {{ name }}"}}))
