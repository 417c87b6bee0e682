"""Whatever is sent as a token, or published as a key, is refused or believed: nothing else happens."""

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.identity.issuers import Claims
from freehold.identity.keysets import KeySet
from freehold.identity.tokens import InvalidTokenError, Token, TokenVerifier
from tests.identity.issuing import KEYS, NOW, claims, encoded, issuer, jwk, packed, token

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
VERIFIER = TokenVerifier(
    [issuer(claims=Claims(organization=("o.id", "org"), role="role", permissions="permissions"))], now=lambda: NOW
)


def tried(text: str) -> Token | None:
    try:
        return asyncio.run(VERIFIER.verify(text))
    except InvalidTokenError:
        return None


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200) | st.lists(st.binary(max_size=60).map(encoded), min_size=2, max_size=4).map(".".join))
def test_any_text_is_refused(text: str) -> None:
    assert tried(text) is None


@settings(max_examples=150, deadline=None)
@given(JSON, JSON)
def test_any_header_and_claims_without_a_signature_are_refused(header: Any, payload: Any) -> None:
    assert tried(f"{packed(header)}.{packed(payload)}.{encoded(bytes(64))}") is None


NAMES = [
    "iss",
    "aud",
    "sub",
    "exp",
    "nbf",
    "iat",
    "org",
    "o",
    "role",
    "permissions",
    "email",
    "email_verified",
    "name",
    "azp",
]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
def test_any_claims_that_the_issuer_has_signed_are_believed_as_they_should_be(strange: dict[str, Any]) -> None:
    found = tried(token({**claims(), **strange}, algorithm="EdDSA"))
    if found is None:
        return
    assert isinstance(found.subject, str)
    for text in (found.organization, found.role, found.email, found.name):
        assert text is None or (isinstance(text, str) and text.encode().decode() == text and "\x00" not in text)
    assert found.email is None or strange.get("email_verified") in (True, "true")
    assert found.permissions is None or all(isinstance(one, str) for one in found.permissions)
    assert found.expires_at > NOW - 30


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["RS256", "ES256", "EdDSA"]),
    st.dictionaries(
        st.sampled_from(["kty", "crv", "n", "e", "x", "y", "kid", "use", "alg", "key_ops", "d"]), JSON, max_size=3
    ),
    st.lists(JSON, max_size=2),
)
def test_any_key_set_can_be_read(algorithm: str, strange: dict[str, Any], others: list[Any]) -> None:
    published = {"keys": [{**jwk(KEYS[algorithm], algorithm), **strange}, *others]}

    async def read() -> Any:
        return published

    async def found() -> None:
        keys = KeySet(issuer(jwks="https://id.example/jwks.json"), read=read)
        await keys.find(algorithm, algorithm)  # it would be an UnavailableError if the read had ended in any other way

    asyncio.run(found())
