"""Tokens: the right ones, and every way to make a wrong one that is known."""

import asyncio
import json
import warnings
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey

from freehold import errors
from freehold.identity.issuers import Claims, Issuer
from freehold.identity.keysets import KeySet
from freehold.identity.tokens import LONGEST, InvalidTokenError, TokenVerifier
from tests.identity.issuing import (
    AUDIENCE,
    ISSUER,
    KEYS,
    NOW,
    OTHER,
    claims,
    encoded,
    issuer,
    jwk,
    jwks,
    packed,
    token,
)

RIVAL = "https://rival.example"


def verifier(*issuers: Issuer, now: Any = lambda: NOW) -> TokenVerifier:
    other = Issuer(issuer=RIVAL, audience=AUDIENCE, jwks={"keys": [jwk(OTHER["ES256"], "rival")]})
    return TokenVerifier([*(issuers or (issuer(),)), other], now=now)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_good_token_is_believed(algorithm: str) -> None:
    found = await verifier().verify(token(algorithm=algorithm))
    assert (found.issuer.issuer, found.subject, found.expires_at) == (ISSUER, "user-1", NOW + 60)
    assert (found.organization, found.email, found.role, found.permissions) == (None, None, None, None)


GOOD: dict[str, Any] = {
    "several audiences": lambda: token(claims(aud=["other", AUDIENCE])),
    "no time of issue": lambda: token(claims(iat=None)),
    "just expired, within the leeway": lambda: token(claims(exp=NOW - 29)),
    "begins within the leeway": lambda: token(claims(nbf=NOW + 29)),
    "fractions of seconds": lambda: token(claims(exp=NOW + 0.5)),
    "an access token": lambda: token(header={"typ": "at+jwt"}),
    "no type": lambda: token(header={"typ": None}),
    "unknown members of the header": lambda: token(header={"cat": "cl_B7d4PD222AAA", "ver": 1}),
}


@pytest.mark.parametrize("name", GOOD)
async def test_what_the_standard_allows_is_believed(name: str) -> None:
    assert (await verifier().verify(GOOD[name]())).subject == "user-1"


def unsigned(header: dict[str, Any], signature: str = "") -> str:
    return f"{packed(header)}.{packed(claims())}.{signature}"


def edited(text: str, **more: Any) -> str:
    head, _, signature = text.split(".")
    return f"{head}.{packed(claims(**more))}.{signature}"


PUBLIC_PEM = KEYS["RS256"].as_pem(private=False)
PUBLIC_DER = KEYS["RS256"].as_der(private=False)
MINE = ECKey.generate_key("P-256")

ATTACKS: dict[str, Any] = {
    "no algorithm": lambda: unsigned({"alg": "none", "typ": "JWT"}),
    "no algorithm, in capitals": lambda: unsigned({"alg": "NONE"}),
    "no algorithm, with a key": lambda: unsigned({"alg": "none", "kid": "ES256"}, "AAAA"),
    "an empty signature": lambda: token().rpartition(".")[0] + ".",
    "a signature of zeros": lambda: token().rpartition(".")[0] + "." + encoded(bytes(64)),
    "a signature that is too short": lambda: token().rpartition(".")[0] + "." + encoded(bytes(10)),
    "HS256 with the public key as PEM": lambda: token(algorithm="HS256", key=PUBLIC_PEM, header={"kid": "RS256"}),
    "HS256 with the public key as DER": lambda: token(algorithm="HS256", key=PUBLIC_DER, header={"kid": "RS256"}),
    "HS256 with the key's modulus": lambda: token(
        algorithm="HS256", key=jwk(KEYS["RS256"], None)["n"].encode(), header={"kid": "RS256"}
    ),
    "HS256 that claims RS256": lambda: token(algorithm="RS256", key=PUBLIC_PEM),
    "RS512": lambda: token(algorithm="RS512", key=KEYS["RS256"], header={"kid": "RS256"}),
    "PS256": lambda: token(algorithm="PS256", key=KEYS["RS256"], header={"kid": "RS256"}),
    "ES256K": lambda: token(algorithm="ES256K", key=ECKey.generate_key("secp256k1"), header={"kid": "ES256"}),
    "another algorithm than the key's": lambda: token(algorithm="ES256", header={"kid": "RS256"}),
    "no algorithm told": lambda: token(header={"alg": None}),
    "an algorithm that is no text": lambda: token(header={"alg": ["ES256"]}),
    "a key that nobody knows": lambda: token(key=MINE),
    "the kid of nobody": lambda: token(header={"kid": "nobody"}),
    "a key of another issuer": lambda: token(key=OTHER["ES256"]),
    "a key of another issuer, by its kid": lambda: token(key=OTHER["ES256"], header={"kid": "rival"}),
    "another issuer's name": lambda: token(claims(iss=RIVAL)),
    "an issuer that nobody knows": lambda: token(claims(iss="https://evil.example")),
    "an issuer with a slash more": lambda: token(claims(iss=f"{ISSUER}/")),
    "no issuer": lambda: token(claims(iss=None)),
    "several issuers": lambda: token(claims(iss=[ISSUER])),
    "another audience": lambda: token(claims(aud="https://other.example")),
    "no audience": lambda: token(claims(aud=None)),
    "an audience that begins so": lambda: token(claims(aud=f"{AUDIENCE}.evil.example")),
    "an audience in a dictionary": lambda: token(claims(aud={AUDIENCE: True})),
    "no expiry": lambda: token(claims(exp=None)),
    "expired": lambda: token(claims(exp=NOW - 31)),
    "expiry as text": lambda: token(claims(exp=str(NOW + 60))),
    "expiry as truth": lambda: token(claims(exp=True)),
    "expiry that is infinite": lambda: token(json.dumps(claims()).replace(str(NOW + 60), "1e999").encode()),
    "expiry that is no number": lambda: token(json.dumps(claims()).replace(str(NOW + 60), "NaN").encode()),
    "expiry far away": lambda: token(claims(exp=2**60)),
    "not valid yet": lambda: token(claims(nbf=NOW + 31)),
    "issued in the future": lambda: token(claims(iat=NOW + 31)),
    "a beginning as text": lambda: token(claims(nbf="soon")),
    "no subject": lambda: token(claims(sub=None)),
    "an empty subject": lambda: token(claims(sub="")),
    "a subject that is a number": lambda: token(claims(sub=1)),
    "a subject with NUL": lambda: token(claims(sub="user\x00-1")),
    "a subject that is no text": lambda: token(claims(sub="\ud800")),
    "a subject without end": lambda: token(claims(sub="x" * 401)),
    "crit": lambda: token(header={"crit": ["exp"]}),
    "crit of nothing": lambda: token(header={"crit": []}),
    "b64": lambda: token(header={"b64": True}),
    "an address of keys": lambda: token(key=MINE, header={"jku": "http://127.0.0.1:9/jwks.json"}),
    "an address of a certificate": lambda: token(key=MINE, header={"x5u": "http://127.0.0.1:9/cert.pem"}),
    "its own key": lambda: token(key=MINE, header={"jwk": jwk(MINE, "ES256")}),
    "its own certificate": lambda: token(header={"x5c": ["AAAA"]}),
    "compression": lambda: token(header={"zip": "DEF"}),
    "a kid with SQL": lambda: token(header={"kid": "x' or '1'='1"}),
    "a kid with a path": lambda: token(header={"kid": "../../../../dev/null"}),
    "a kid with a command": lambda: token(header={"kid": "|/bin/true"}),
    "a kid with a line": lambda: token(header={"kid": "ES256\n"}),
    "a kid that is a number": lambda: token(header={"kid": 1}),
    "an empty kid": lambda: token(header={"kid": ""}),
    "a kid without end": lambda: token(header={"kid": "x" * 201}),
    "a logout token": lambda: token(header={"typ": "logout+jwt"}),
    "a type that is a number": lambda: token(header={"typ": 1}),
    "edited claims": lambda: edited(token(), sub="admin"),
    "another header": lambda: packed({"alg": "ES256", "kid": "ES256", "x": 1}) + token()[token().index(".") :],
    "a claim twice": lambda: token(json.dumps(claims()).replace("{", '{"sub": "admin", ', 1).encode()),
    "a member of the header twice": lambda: token(header=b'{"alg":"none","alg":"ES256","kid":"ES256"}'),
    "claims that are a list": lambda: token([claims()]),
    "claims that are no JSON": lambda: token(b"iss=me"),
    "claims that are no UTF-8": lambda: token(b'{"iss": "\xff"}'),
    "claims that are deep": lambda: token(b"[" * 3_000),
    "a number without end": lambda: token(b'{"exp": ' + b"9" * 5_000 + b"}"),
    "a header that is a text": lambda: token(header=b'"ES256"'),
    "two parts": lambda: token().rpartition(".")[0],
    "four parts": lambda: token() + ".AAAA",
    "an encrypted token's five parts": lambda: token() + ".AAAA.AAAA",
    "padding": lambda: token() + "==",
    "characters of plain base64": lambda: token().replace("-", "+").replace("_", "/") + "+",
    "a line at the end": lambda: token() + "\n",
    "a blank within": lambda: token().replace(".", ". ", 1),
    "letters that only look so": lambda: token().replace("e", "е", 1),
    "huge": lambda: token(claims(junk="x" * LONGEST)),
    "nothing": lambda: "..",
    "an empty text": lambda: "",
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("nothing is fetched for a token")

    monkeypatch.setattr("freehold.identity.keysets.fetch", opened)
    tried = verifier()
    for _ in range(2):  # nor is what was refused believed the second time
        with pytest.raises(InvalidTokenError):
            await tried.verify(ATTACKS[name]())
    assert not tried._verified


async def test_a_signature_has_one_form() -> None:
    """The last character of base64url has bits that stand for nothing."""
    text = token()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    forms = [text[:-1] + letter for letter in letters]
    believed = []
    for form in forms:
        try:
            await verifier().verify(form)
        except InvalidTokenError:
            continue
        believed.append(form)
    assert believed == [text]


async def test_only_the_algorithms_that_are_configured() -> None:
    only = verifier(issuer(algorithms=["RS256"]))
    assert (await only.verify(token(algorithm="RS256"))).subject == "user-1"
    for algorithm in ("ES256", "EdDSA"):
        with pytest.raises(InvalidTokenError):
            await only.verify(token(algorithm=algorithm))


async def test_a_token_without_kid_needs_the_only_key_of_its_algorithm() -> None:
    assert (await verifier().verify(token(header={"kid": None}))).subject == "user-1"
    two = {"keys": [jwk(KEYS["ES256"], "a"), jwk(MINE, "b")]}
    for key in (KEYS["ES256"], MINE):
        with pytest.raises(InvalidTokenError):
            await verifier(issuer(jwks=two)).verify(token(key=key, header={"kid": None}))
    unnamed = {"keys": [jwk(KEYS["ES256"], None)]}
    assert (await verifier(issuer(jwks=unnamed)).verify(token(header={"kid": None}))).subject == "user-1"


with warnings.catch_warnings(action="ignore"):
    SHORT = RSAKey.generate_key(1024)

UNFIT: dict[str, dict[str, Any]] = {
    "for encryption": jwk(KEYS["ES256"], "ES256", use="enc"),
    "for signing only": jwk(KEYS["ES256"], "ES256", key_ops=["sign"]),
    "of another algorithm": jwk(KEYS["ES256"], "ES256", alg="ES384"),
    "on another curve": jwk(ECKey.generate_key("P-384"), "ES256"),
    "not on its curve": {**jwk(KEYS["ES256"], "ES256"), "x": jwk(MINE, None)["x"]},
    "private": KEYS["ES256"].as_dict(private=True) | {"kid": "ES256"},
    "a secret": {"kty": "oct", "k": "AAAA", "kid": "ES256", "alg": "HS256"},
    "for agreement": jwk(OKPKey.generate_key("X25519"), "ES256"),
    "without parts": {"kty": "EC", "crv": "P-256", "kid": "ES256"},
    "of numbers": {"kty": "EC", "crv": "P-256", "x": 1, "y": 2, "kid": "ES256"},
    "of nothing": {"kty": "EC", "crv": "P-256", "x": "", "y": "", "kid": "ES256"},
    "too short": jwk(SHORT, "RS256"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
async def test_a_key_that_is_not_fit_verifies_nothing(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="none of its keys"):
        KeySet(issuer(jwks={"keys": [UNFIT[name]]}))
    fit = jwk(KEYS["EdDSA"], "EdDSA")
    for algorithm in ("ES256", "RS256"):
        with pytest.raises(InvalidTokenError):
            await verifier(issuer(jwks={"keys": [UNFIT[name], fit]})).verify(token(algorithm=algorithm))


async def test_what_was_verified_is_kept_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [NOW]
    tried = verifier(now=lambda: now[0])
    text = token()
    first = await tried.verify(text)
    monkeypatch.setattr("freehold.identity.tokens._check_signature", None)  # a second verification would fail
    assert await tried.verify(text) is first
    now[0] = NOW + 90 + 1
    with pytest.raises(InvalidTokenError):
        await tried.verify(text)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.identity.tokens.KEPT", 3)
    tried = verifier()
    texts = [token(claims(sub=f"user-{n}"), algorithm="EdDSA") for n in range(5)]
    for text in texts:
        await tried.verify(text)
    assert len(tried._verified) == 3
    assert (await tried.verify(texts[0])).subject == "user-0"


async def test_many_tokens_are_verified_side_by_side() -> None:
    tried = verifier()
    texts = [token(claims(sub=f"user-{n}"), algorithm="EdDSA") for n in range(20)]
    found = await asyncio.gather(*(tried.verify(text) for text in texts))
    assert [one.subject for one in found] == [f"user-{n}" for n in range(20)]


async def test_claims_are_mapped() -> None:
    told = Claims(
        subject="uid",
        organization=("org.id", "org_id"),
        role="https://example.com/role",
        role_prefix="org:",
        roles={"org:boss": "admin"},
        permissions="scope",
    )
    tried = verifier(issuer(claims=told))
    found = await tried.verify(
        token(
            claims(
                uid="u1", org={"id": "o1"}, org_id="o2", scope="customers.* orders.list openid",
                email="Ada@Example.COM", email_verified=True, name="Ada", **{"https://example.com/role": "org:boss"},
            )
        )
    )  # fmt: skip
    assert (found.subject, found.organization, found.role) == ("u1", "o1", "admin")
    assert found.permissions == {"customers.*", "orders.list", "openid"}
    assert (found.email, found.name) == ("ada@example.com", "Ada")
    second = await tried.verify(token(claims(uid="u1", org_id="o2", **{"https://example.com/role": "org:member"})))
    assert (second.organization, second.role, second.permissions) == ("o2", "member", None)


@pytest.mark.parametrize("verified", [None, False, 1, "yes", "false", [True]])
async def test_an_address_counts_only_when_it_is_verified(verified: Any) -> None:
    found = await verifier().verify(token(claims(email="a@b.example", email_verified=verified)))
    assert found.email is None


@pytest.mark.parametrize("organization", [5, ["o1"], {"id": "o1"}, "", "x" * 401, "a\x00", True])
async def test_an_organization_that_is_none_is_not_taken_for_none_at_all(organization: Any) -> None:
    with pytest.raises(InvalidTokenError):
        await verifier(issuer(claims=Claims(organization="org"))).verify(token(claims(org=organization)))


@pytest.mark.parametrize(
    ("told", "expected"), [([], set()), ("", set()), (["no pattern!"], set()), (["a.b", 5], {"a.b"})]
)
async def test_permissions_that_grant_nothing_are_not_taken_for_none_at_all(told: Any, expected: set[str]) -> None:
    found = await verifier(issuer(claims=Claims(permissions="permissions"))).verify(token(claims(permissions=told)))
    assert found.permissions == expected


CLERK = "https://clerk.app.example"
CLERK_1 = {
    "azp": "https://app.example", "exp": NOW + 60, "fva": [5, -1], "iat": NOW, "iss": CLERK, "jti": "1b5ec2bb8c9a4ae3",
    "nbf": NOW - 10, "org_id": "org_2abc", "org_permissions": [], "org_role": "org:admin", "org_slug": "acme",
    "sid": "sess_2def", "sub": "user_2ghi",
}  # fmt: skip
CLERK_2 = {
    "azp": "https://app.example", "exp": NOW + 60, "fea": "o:invoices", "fva": [0, -1], "iat": NOW, "iss": CLERK,
    "nbf": NOW - 10, "o": {"fpm": "3", "id": "org_2abc", "per": "read,manage", "rol": "admin", "slg": "acme"},
    "pla": "o:pro", "sid": "sess_2def", "sts": "active", "sub": "user_2ghi", "v": 2,
}  # fmt: skip


@pytest.mark.parametrize("told", [CLERK_1, CLERK_2], ids=["version 1", "version 2"])
async def test_tokens_of_clerk_fit(told: dict[str, Any]) -> None:
    clerk = Issuer.clerk(
        CLERK, authorized_parties=["https://app.example"], jwks={"keys": [jwk(KEYS["RS256"], "ins_1")]}
    )
    tried = verifier(clerk)
    header = {"kid": "ins_1", "cat": "cl_B7d4PD222AAA"}
    found = await tried.verify(token(told, algorithm="RS256", header=header))
    assert (found.subject, found.organization, found.role) == ("user_2ghi", "org_2abc", "admin")
    personal = {name: value for name, value in told.items() if not name.startswith(("org_", "o"))}
    found = await tried.verify(token(personal, algorithm="RS256", header=header))
    assert (found.organization, found.role) == (None, None)
    for wrong in ({"azp": "https://evil.example"}, {"azp": None}, {"sts": "pending"}):
        with pytest.raises(InvalidTokenError):
            await tried.verify(token({**told, **wrong}, algorithm="RS256", header=header))
    assert Issuer.clerk(CLERK, authorized_parties=["x"]).jwks == f"{CLERK}/.well-known/jwks.json"


async def test_tokens_of_supabase_fit() -> None:
    url = "https://abcdefghij.supabase.co/auth/v1"
    told = {
        "aal": "aal1", "amr": [{"method": "password", "timestamp": int(NOW)}], "iss": url, "aud": "authenticated",
        "app_metadata": {"provider": "email", "providers": ["email"], "organization_id": "acme", "role": "admin"},
        "email": "ada@acme.example", "exp": NOW + 3600, "iat": NOW, "is_anonymous": False, "phone": "",
        "role": "authenticated", "session_id": "8b1f", "sub": "1f8e3b1e-5b0a-4c55-9a0e-0d7f5a2c9b11",
        "user_metadata": {"email_verified": True, "organization_id": "rival", "role": "owner"},
    }  # fmt: skip
    tried = verifier(Issuer.supabase(url, jwks={"keys": [jwk(KEYS["ES256"], "k1")]}))
    found = await tried.verify(token(told, header={"kid": "k1"}))
    assert (found.subject, found.organization, found.role) == (told["sub"], "acme", "admin")
    assert found.email is None  # users write user_metadata themselves
    for wrong in ({"aud": "anon"}, {"is_anonymous": True}):
        with pytest.raises(InvalidTokenError):
            await tried.verify(token({**told, **wrong}, header={"kid": "k1"}))
    assert Issuer.supabase(url).jwks == f"{url}/.well-known/jwks.json"


WRONG: dict[str, dict[str, Any]] = {
    "no issuer": {"issuer": ""},
    "nothing that holds tokens to the application": {"audience": None},
    "an empty audience": {"audience": ""},
    "no audiences": {"audience": []},
    "one party as a text": {"authorized_parties": "https://app.example"},
    "a shared secret": {"algorithms": ["HS256"]},
    "none": {"algorithms": ["none"]},
    "no algorithms": {"algorithms": []},
    "algorithms as a text": {"algorithms": "RS256"},
    "a long leeway": {"leeway": timedelta(hours=1)},
    "a negative leeway": {"leeway": -timedelta(seconds=1)},
    "keys read all the time": {"refresh": timedelta(0)},
    "plain http": {"jwks": "http://id.example/jwks.json"},
    "a file's address": {"jwks": "file:///etc/passwd"},
    "no address": {"jwks": "jwks.json"},
    "a password in the address": {"jwks": "https://me:secret@id.example/jwks.json"},
    "localhost only by name": {"jwks": "http://localhost.evil.example/jwks.json"},
    "no keys": {"jwks": {}},
    "an empty set": {"jwks": {"keys": []}},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_is_refused(name: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        issuer(**WRONG[name])


def test_what_users_write_decides_nothing() -> None:
    for name in ("subject", "email_verified", "organization", "role", "permissions"):
        for path in ("user_metadata.organization", ("org", "unsafe_metadata.x")):
            with pytest.raises(errors.ConfigurationError, match=name):
                Claims(**{name: path})


def test_two_issuers_of_one_name_are_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="same name"):
        TokenVerifier([issuer(), issuer(jwks=jwks(OTHER))])
