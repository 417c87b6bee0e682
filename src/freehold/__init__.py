"""Freehold: the multi-tenant data layer for Python on PostgreSQL.

Declare entities once; get tables whose tenants cannot see each other, optimistic concurrency, an audit trail, keyset
pages and one message per call.
"""

from freehold import errors
from freehold.app import Application
from freehold.database import Database
from freehold.errors import FreeholdError
from freehold.functions.declaration import Rate
from freehold.functions.results import Answer
from freehold.identity.credentials import Invitation, Key
from freehold.identity.issuers import Claims, Issuer
from freehold.identity.principal import Origin, Principal
from freehold.identity.records import Listing, Member, Membership, Organization, User
from freehold.identity.roles import Roles
from freehold.identity.system import System
from freehold.model.bounds import AnswerBounds
from freehold.model.context import Context
from freehold.model.entity import Entity
from freehold.model.fields import Index, Unique, counter, field, reference
from freehold.model.pages import Include, Order, Page
from freehold.model.words import Fragment, Segment
from freehold.postgres.connections import Address
from freehold.store.coalescer import IncrementFigures
from freehold.store.each import Each, Failure
from freehold.store.history import Change
from freehold.store.outcomes import BulkProgress, BulkResult, Outcome, Touched
from freehold.store.queries import Group
from freehold.store.repository import Repository
from freehold.store.search import Hit, SearchPage
from freehold.store.session import Session, Transaction
from freehold.store.unit import Commit, UnitOfWork

__all__ = [
    "Address",
    "Answer",
    "AnswerBounds",
    "Application",
    "BulkProgress",
    "BulkResult",
    "Change",
    "Claims",
    "Commit",
    "Context",
    "Database",
    "Each",
    "Entity",
    "Failure",
    "Fragment",
    "FreeholdError",
    "Group",
    "Hit",
    "Include",
    "IncrementFigures",
    "Index",
    "Invitation",
    "Issuer",
    "Key",
    "Listing",
    "Member",
    "Membership",
    "Order",
    "Organization",
    "Origin",
    "Outcome",
    "Page",
    "Principal",
    "Rate",
    "Repository",
    "Roles",
    "SearchPage",
    "Segment",
    "Session",
    "System",
    "Touched",
    "Transaction",
    "Unique",
    "UnitOfWork",
    "User",
    "counter",
    "errors",
    "field",
    "reference",
]
