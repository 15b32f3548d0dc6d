"""Jobs over HTTP: an ASGI app to mount in yours, and the script for its pages."""

from redqueue.web.app import JobsApp, jobs_app
from redqueue.web.permission import Action, Authorize

__all__ = ["Action", "Authorize", "JobsApp", "jobs_app"]
