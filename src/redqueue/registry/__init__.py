"""What jobs may name, and how a name becomes a call."""

from redqueue.registry.binding import Binding, Prepared, job_type_of
from redqueue.registry.methods import job_method
from redqueue.registry.names import check_name
from redqueue.registry.registry import ServiceRegistry

__all__ = ["Binding", "Prepared", "ServiceRegistry", "check_name", "job_method", "job_type_of"]
