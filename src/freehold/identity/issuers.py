"""Who issues the tokens that are accepted, and what their claims mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from freehold.errors import ConfigurationError

__all__ = ["ALGORITHMS", "Algorithm", "Claims", "Issuer"]

Algorithm = Literal["RS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = get_args(Algorithm)
"""All that are accepted. Others sign with a shared secret, or not at all, or need not be known to this program."""

LEEWAY = timedelta(seconds=30)
MOST_LEEWAY = timedelta(minutes=5)
_LOCAL = ("localhost", "127.0.0.1", "::1")
_OWN_WORDS = ("user_metadata", "unsafe_metadata")
"""Claims that users write themselves."""

ClaimPath = str | tuple[str, ...]


@dataclass(frozen=True)
class Claims:
    """Where a token tells what.

    Each is a claim's name, a path with dots (`"app_metadata.organization_id"`), or several of them, of which the first counts that is
    there. None where tokens do not tell it.

    Args:
        subject: whom the token is about.
        email: the user's address.
        email_verified: that the issuer has checked it.
        name: the user's name, for users that are made.
        organization: the organization that the token is for: what `link_organization` was told, a slug, or an id of ours.
        role: the user's role there. It narrows what the member's own role grants, and never adds anything.
        role_prefix: is taken off the role: `"org:"` makes `"admin"` of `"org:admin"`.
        roles: our roles by the issuer's, where they are called differently.
        permissions: a list, or a text with spaces, of permissions and patterns to which the token is narrowed.

    Raises:
        ConfigurationError: what decides over rights would be read from claims that users write themselves.
    """

    subject: ClaimPath = "sub"
    email: ClaimPath | None = "email"
    email_verified: ClaimPath | None = "email_verified"
    name: ClaimPath | None = "name"
    organization: ClaimPath | None = None
    role: ClaimPath | None = None
    role_prefix: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    permissions: ClaimPath | None = None

    def __post_init__(self) -> None:
        for name in ("subject", "email_verified", "organization", "role", "permissions"):
            for path in paths(getattr(self, name)):
                if path.split(".")[0] in _OWN_WORDS:
                    raise ConfigurationError(
                        f"Claims.{name}: users write {path!r} themselves",
                        hint="choose a claim that only the issuer or your server sets, such as app_metadata",
                    )


def paths(told: ClaimPath | None) -> tuple[str, ...]:
    """The paths of a claim, in the order in which they are looked at."""
    return () if told is None else (told,) if isinstance(told, str) else tuple(told)


@dataclass(frozen=True)
class Issuer:
    """An issuer whose tokens are accepted.

    Args:
        issuer: what its tokens say in `iss`, exactly.
        audience: what they must say in `aud`, or one of several; None where `authorized_parties` holds them to this application.
        jwks: its public keys: the address of a JSON Web Key Set (https, but for localhost), a file, or the set itself.
        algorithms: some of RS256, ES256 and EdDSA.
        leeway: how far its clock may differ, at most 5 minutes.
        claims: where its tokens tell what.
        authorized_parties: what they must say in `azp`: the origins or client ids that obtained them. None asks for none.
        refused: claims that no accepted token has, with the value: `{"sts": "pending"}`.
        link_by_email: links a subject that is not known to the user with its address, once for each user, where the token says that
            the address is verified. Only for an issuer that you trust with the addresses of all your users.
        provision: makes users and memberships that a token tells of, in organizations that the issuer was linked to.
        refresh: how often the keys are read again.

    Raises:
        ConfigurationError: a value is not valid, or nothing would hold the tokens to this application.
    """

    issuer: str
    audience: str | Sequence[str] | None = None
    jwks: str | Path | Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    algorithms: Sequence[Algorithm] = ALGORITHMS
    leeway: timedelta = LEEWAY
    claims: Claims = field(default_factory=Claims)
    authorized_parties: Sequence[str] | None = None
    refused: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON
    link_by_email: bool = False
    provision: bool = False
    refresh: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        if not isinstance(self.issuer, str) or not 1 <= len(self.issuer) <= 400:
            raise ConfigurationError("Issuer: issuer is what the tokens say in iss", hint='issuer="https://id.example"')
        self._check_audience()
        if not self.algorithms or isinstance(self.algorithms, str) or set(self.algorithms) - set(ALGORITHMS):
            raise ConfigurationError(
                f"{self.issuer}: algorithms are some of {', '.join(ALGORITHMS)}, not {self.algorithms!r}"[:200],
                hint="let the issuer sign with a key pair; a shared secret would let this program issue tokens itself",
            )
        if not timedelta(0) <= self.leeway <= MOST_LEEWAY:
            raise ConfigurationError(f"{self.issuer}: the leeway is at most {MOST_LEEWAY}, not {self.leeway}")
        if self.refresh < timedelta(seconds=10):
            raise ConfigurationError(f"{self.issuer}: keys are read again after 10 s or more, not {self.refresh}")
        self._check_jwks()

    @property
    def audiences(self) -> frozenset[str]:
        """The audiences that are accepted."""
        told = self.audience
        return frozenset() if told is None else frozenset([told] if isinstance(told, str) else told)

    @property
    def parties(self) -> frozenset[str]:
        """The authorized parties that are accepted; empty where none is asked for."""
        return frozenset(self.authorized_parties or ())

    @classmethod
    def clerk(
        cls,
        issuer: str,
        *,
        authorized_parties: Sequence[str],
        jwks: str | Path | Mapping[str, Any] | None = None,
        **options: Any,  # Any: the other arguments of Issuer
    ) -> "Issuer":
        """Clerk's session tokens, of both versions.

        They have no audience: they are held to this application by the origins that may obtain them. A session that is pending is
        refused. Address and name are not in them unless you customise the session token with `email`, `email_verified` and `name`.

        Args:
            issuer: the Frontend API's address: `"https://clerk.example.com"`.
            authorized_parties: the origins of your application: `["https://app.example.com"]`.
            jwks: the keys; by default those at `/.well-known/jwks.json` of the issuer.
            options: other arguments of `Issuer`.
        """
        claims = Claims(organization=("o.id", "org_id"), role=("o.rol", "org_role"), role_prefix="org:")
        told = {"claims": claims, "refused": {"sts": "pending"}, "algorithms": ("RS256",), **options}
        return cls(
            issuer, jwks=_well_known(issuer) if jwks is None else jwks, authorized_parties=authorized_parties, **told
        )

    @classmethod
    def supabase(
        cls,
        issuer: str,
        *,
        audience: str | Sequence[str] = "authenticated",
        jwks: str | Path | Mapping[str, Any] | None = None,
        **options: Any,  # Any: the other arguments of Issuer
    ) -> "Issuer":
        """Supabase's access tokens. The project must sign with a key pair (ES256 or RS256), not with the legacy secret.

        The organization is `app_metadata.organization_id` and the role `app_metadata.role`, which only your server can set.
        Anonymous users are refused. Supabase tells of a verified address only where users can write it, so that it is not believed.

        Args:
            issuer: `"https://<project>.supabase.co/auth/v1"`.
            audience: of signed-in users.
            jwks: the keys; by default those at `/.well-known/jwks.json` of the issuer.
            options: other arguments of `Issuer`.
        """
        claims = Claims(
            email_verified=None, name=None, organization="app_metadata.organization_id", role="app_metadata.role"
        )
        told = {"claims": claims, "refused": {"is_anonymous": True}, "algorithms": ("ES256", "RS256"), **options}
        return cls(issuer, jwks=_well_known(issuer) if jwks is None else jwks, audience=audience, **told)

    def _check_audience(self) -> None:
        for name, told in (("audience", self.audiences), ("authorized_parties", self.parties)):
            if not all(isinstance(one, str) and one for one in told):
                raise ConfigurationError(f"{self.issuer}: {name} is a text, or several")
        if isinstance(self.authorized_parties, str):
            raise ConfigurationError(f"{self.issuer}: authorized_parties is a list")
        if not self.audiences and not self.parties:
            raise ConfigurationError(
                f"{self.issuer}: nothing holds its tokens to this application, so that those of another one would count",
                hint="give audience=, what aud must say, or authorized_parties=, what azp must say",
            )

    def _check_jwks(self) -> None:
        if isinstance(self.jwks, str):
            parts = urlsplit(self.jwks)
            secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
            if not secure or not parts.hostname or parts.username is not None:
                raise ConfigurationError(
                    f"{self.issuer}: keys are read from an https address, not {self.jwks!r}"[:200],
                    hint='jwks="https://…/.well-known/jwks.json", a Path of a file, or the set itself as a dict',
                )
        elif not isinstance(self.jwks, Path) and not (isinstance(self.jwks, Mapping) and self.jwks.get("keys")):
            raise ConfigurationError(
                f"{self.issuer}: there are no keys",
                hint='jwks="https://…/.well-known/jwks.json", a Path, or {"keys": […]}',
            )


def _well_known(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/.well-known/jwks.json"
