"""Vrooli, a workspace in which people and teams share resources and run them: the second reference application.

Read `entities` first (what is declared), then `repositories` (what is asked), then `operations` (what is done), then `functions`
(what is offered over HTTP).
"""

from examples.vrooli import functions
from examples.vrooli.entities import application

__all__ = ["application", "functions"]
