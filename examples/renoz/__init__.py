"""Renoz, a CRM for companies that sell to companies: the reference application and the demo.

Read `entities` first (what is declared), then `functions` (what can be called from outside), then `calls` (what is done from
Python), then `analytics` (hand-written SQL).
"""

from examples.renoz import functions
from examples.renoz.entities import application

__all__ = ["application", "functions"]
