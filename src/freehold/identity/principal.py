"""Who calls, as a verified credential says, and where the call comes from. Together they make the context."""

from dataclasses import dataclass, field
from uuid import UUID

from freehold.model.context import Context, new_id

__all__ = ["Origin", "Principal"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from.

    Args:
        request_id: ties together what one request does; made when not given.
        client_ip: the address of the client.
        user_agent: the client's software, as it said.
    """

    request_id: str = field(default_factory=lambda: str(new_id()))
    client_ip: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose credential was verified.

    Args:
        organization_id: the tenant that the call is about.
        user_id: the acting user; None for a key that acts for nobody.
        role: the caller's role in the organization.
        permissions: what the role grants, narrowed to the credential's scopes.
        credential: names what was presented, without any secret: `"key:<id>"`, `"user:<id>"`, `"development:<name>"`. Limits
            and logs tell callers apart by it.
        key_id: of the key that was presented, where it was one. Where it acts for no user, the log names it as the actor.
    """

    organization_id: UUID
    user_id: UUID | None
    role: str
    permissions: frozenset[str]
    credential: str
    key_id: UUID | None = None

    def context(self, origin: Origin) -> Context:
        """The context of a call of this caller."""
        return Context(
            organization_id=self.organization_id,
            user_id=self.key_id if self.user_id is None else self.user_id,
            role=self.role,
            permissions=self.permissions,
            request_id=origin.request_id,
            client_ip=origin.client_ip,
            user_agent=origin.user_agent,
        )
