"""An issuer of tokens, for tests: its keys, and tokens signed with them, right or wrong."""

import base64
import hmac
import json
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from freehold.identity.issuers import Issuer

ISSUER = "https://id.example"
AUDIENCE = "https://api.example"
NOW = 1_800_000_000.0
"""The time that tests give."""

KEYS: dict[str, Any] = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}
OTHER: dict[str, Any] = {"RS256": RSAKey.generate_key(2048), "ES256": ECKey.generate_key("P-256")}
"""Of another issuer."""


def jwk(key: Any, kid: str | None, **more: Any) -> dict[str, Any]:
    """The public key, as a set has it."""
    return {**key.as_dict(private=False), **({} if kid is None else {"kid": kid}), **more}


def jwks(keys: dict[str, Any] = KEYS) -> dict[str, Any]:
    """A set; each key's id is its algorithm's name."""
    return {"keys": [jwk(key, name) for name, key in keys.items()]}


def issuer(**options: Any) -> Issuer:
    return Issuer(**{"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks(), **options})


def claims(**more: Any) -> dict[str, Any]:
    """Those of a good token; None takes one away."""
    told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "user-1", "iat": NOW - 5, "exp": NOW + 60, **more}
    return {name: value for name, value in told.items() if value is not None}


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def packed(value: Any) -> str:
    return encoded(value if isinstance(value, bytes) else json.dumps(value).encode())


def token(payload: Any = None, *, algorithm: str = "ES256", key: Any = None, header: Any = None) -> str:
    """A signed token.

    Args:
        payload: its claims; those of a good one unless given.
        algorithm: that the header tells, and whose key signs.
        key: that signs; with bytes, a shared secret does.
        header: in place of the usual one; a dict is added to it.
    """
    head = {"alg": algorithm, "kid": algorithm, "typ": "JWT"}
    head = {**head, **header} if isinstance(header, dict) else header or head
    if isinstance(head, dict):
        head = {name: value for name, value in head.items() if value is not None}
    text = f"{packed(head)}.{packed(claims() if payload is None else payload)}"
    if isinstance(key, bytes):  # a shared secret: the library would refuse those that are no good ones
        return f"{text}.{encoded(hmac.digest(key, text.encode(), 'sha256'))}"
    signer = JWSRegistry.algorithms[algorithm]
    return f"{text}.{encoded(signer.sign(text.encode(), key or KEYS[algorithm]))}"
