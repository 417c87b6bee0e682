"""The HTTP server: an ASGI application that serves functions, and what it needs to run by itself."""

from freehold.server.application import WebApplication, asgi
from freehold.server.mounting import answer_problem
from freehold.server.problems import problem_details
from freehold.server.settings import Cors, Settings

__all__ = ["Cors", "Settings", "WebApplication", "answer_problem", "asgi", "problem_details"]
