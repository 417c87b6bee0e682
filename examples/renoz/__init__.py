"""Renoz, a CRM for companies that sell to companies: the reference application and the demo.

Read `entities` first (what is declared), then `calls` (what is done with it), then `analytics` (hand-written SQL).
"""

from examples.renoz.entities import application

__all__ = ["application"]
