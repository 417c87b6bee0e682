"""The HTTP server: an ASGI application that serves functions, and what it needs to run by itself."""

from freehold.server.application import WebApplication, asgi
from freehold.server.settings import Cors, Settings

__all__ = ["Cors", "Settings", "WebApplication", "asgi"]
