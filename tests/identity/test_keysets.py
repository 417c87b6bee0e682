"""The keys of issuers: when they are read, what happens meanwhile, and when they cannot be."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from freehold import errors
from freehold.identity.fetching import LARGEST, UnreadableError, fetch, parse_object
from freehold.identity.issuers import Issuer
from freehold.identity.keysets import COOLDOWN, KEPT, PAUSE, KeySet
from freehold.identity.tokens import InvalidTokenError, TokenVerifier
from tests.identity.issuing import KEYS, NOW, OTHER, issuer, jwk, jwks, token

INTERVAL = 300.0


class Published:
    """What an issuer publishes, and a clock."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.keys: Any = jwks()
        self.reads = 0
        self.gate: asyncio.Event | None = None
        self.issuer = issuer(jwks="https://id.example/jwks.json", **options)
        self.set = KeySet(self.issuer, clock=lambda: self.now, read=self.read)

    async def read(self) -> Any:
        self.reads += 1
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.keys, Exception):
            raise self.keys
        return self.keys

    async def settle(self) -> None:
        """Lets a read behind the requests end."""
        if self.set._reading is not None:
            await self.set._reading


@pytest.fixture
def published() -> Published:
    return Published()


async def test_keys_are_read_once_at_the_first_use(published: Published) -> None:
    found = await asyncio.gather(*(published.set.find(name, name) for name in KEYS for _ in range(10)))
    assert all(found)
    assert published.reads == 1


async def test_they_are_read_again_behind_the_requests(published: Published) -> None:
    before = await published.set.find("ES256", "ES256")
    published.gate = asyncio.Event()
    published.now = INTERVAL / 2
    await published.set.find("ES256", "ES256")
    assert published.reads == 1
    published.now += 1
    for _ in range(5):  # nobody waits for the address, which does not answer
        assert await published.set.find("ES256", "ES256") is before
    await asyncio.sleep(0)
    assert published.reads == 2
    published.gate.set()
    await published.settle()
    assert await published.set.find("ES256", "ES256") is before  # the same key, so that what it verified stays so
    assert published.reads == 2


async def test_a_new_key_is_found_and_an_old_one_goes(published: Published) -> None:
    verifier = TokenVerifier([published.issuer], now=lambda: NOW, key_sets={published.issuer.issuer: published.set})
    old = token()
    await verifier.verify(old)
    published.now = COOLDOWN
    published.keys = {"keys": [jwk(OTHER["ES256"], "new")]}
    await verifier.verify(old)  # nothing has told yet
    new = token(key=OTHER["ES256"], header={"kid": "new"})
    assert (await verifier.verify(new)).subject == "user-1"
    assert published.reads == 2
    with pytest.raises(InvalidTokenError):  # though it was verified, and has not expired
        await verifier.verify(old)


async def test_a_key_that_is_replaced_under_its_name_verifies_no_more(published: Published) -> None:
    verifier = TokenVerifier([published.issuer], now=lambda: NOW, key_sets={published.issuer.issuer: published.set})
    old = token()
    await verifier.verify(old)
    published.keys = {"keys": [jwk(OTHER["ES256"], "ES256")]}
    published.now = INTERVAL
    await verifier.verify(old)
    await published.settle()
    with pytest.raises(InvalidTokenError):
        await verifier.verify(old)
    assert (await verifier.verify(token(key=OTHER["ES256"]))).subject == "user-1"


async def test_hostile_ids_do_not_make_traffic(published: Published) -> None:
    await published.set.find("ES256", "ES256")
    published.now = COOLDOWN
    for number in range(1_000):
        assert await published.set.find(f"hostile-{number}", "ES256") is None
    assert published.reads == 2
    published.now += COOLDOWN - 0.1
    await published.set.find("hostile", "ES256")
    assert published.reads == 2
    published.now += 0.1
    await asyncio.gather(*(published.set.find(f"again-{number}", "ES256") for number in range(100)))
    assert published.reads == 3


async def test_a_failing_address_stops_nobody_whose_key_is_known(published: Published) -> None:
    before = await published.set.find("ES256", "ES256")
    published.keys = UnreadableError("it is down")
    for _ in range(20):
        published.now += INTERVAL
        assert await published.set.find("ES256", "ES256") is before
        await published.settle()
        assert await published.set.find("nobody", "ES256") is None
    assert published.reads == 1 + 20


async def test_keys_that_cannot_be_read_for_a_day_count_no_longer(published: Published) -> None:
    before = await published.set.find("ES256", "ES256")
    assert before is not None
    published.keys = UnreadableError("it is down")
    published.now = KEPT
    assert await published.set.find("ES256", "ES256") is before
    await published.settle()
    published.now = KEPT + PAUSE + 1
    assert not published.set.holds("ES256", "ES256", before)
    with pytest.raises(errors.UnavailableError):
        await published.set.find("ES256", "ES256")
    published.keys = jwks()
    published.now += PAUSE
    assert await published.set.find("ES256", "ES256")


async def test_without_any_key_there_is_an_error_and_then_a_pause(published: Published) -> None:
    published.keys = UnreadableError("it is down")
    for _ in range(10):
        with pytest.raises(errors.UnavailableError):
            await published.set.find("ES256", "ES256")
    assert published.reads == 1
    published.keys = jwks()
    published.now = PAUSE
    assert await published.set.find("ES256", "ES256")


async def test_whoever_waits_for_keys_waits_so_long_only(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.identity.keysets.PATIENCE", 0.01)
    published.gate = asyncio.Event()
    with pytest.raises(errors.UnavailableError):
        await published.set.find("ES256", "ES256")
    published.gate.set()
    await published.settle()
    assert await published.set.find("ES256", "ES256")
    assert published.reads == 1


async def test_a_request_that_is_cancelled_leaves_the_read_to_the_others(published: Published) -> None:
    published.gate = asyncio.Event()
    first, second = [asyncio.create_task(published.set.find("ES256", "ES256")) for _ in "ab"]
    await asyncio.sleep(0)
    first.cancel()
    published.gate.set()
    assert await second
    assert first.cancelled() or await asyncio.gather(first, return_exceptions=True)
    assert published.reads == 1


async def test_a_read_ends_with_the_program(published: Published) -> None:
    published.gate = asyncio.Event()
    waiting = asyncio.create_task(published.set.find("ES256", "ES256"))
    await asyncio.sleep(0)
    await published.set.close()
    with pytest.raises(errors.UnavailableError):
        await waiting


async def test_a_file_is_read_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    now = [0.0]
    keys = KeySet(issuer(jwks=path), clock=lambda: now[0])
    with pytest.raises(errors.UnavailableError):
        await keys.find("ES256", "ES256")
    path.write_text(json.dumps(jwks()))
    now[0] = PAUSE
    assert await keys.find("ES256", "ES256")
    path.write_text(json.dumps({"keys": [jwk(OTHER["ES256"], "new")]}))
    now[0] += COOLDOWN
    assert await keys.find("new", "ES256")
    assert await keys.find("ES256", "ES256") is None


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b'{"a": 1, "a": 2}', b"\xff", b"[" * 100_000, b'{"a": NaN}', b" " * (LARGEST + 1)]
)
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(UnreadableError):
        parse_object(text)


@pytest.mark.parametrize("found", [{}, {"keys": {}}, {"keys": None}, {"keys": "x"}])
async def test_what_is_no_key_set_is_refused(published: Published, found: Any) -> None:
    published.keys = found
    with pytest.raises(errors.UnavailableError):
        await published.set.find("ES256", "ES256")


async def test_a_set_of_rubbish_has_no_keys(published: Published) -> None:
    published.keys = {"keys": [None, 5, "x", [], {}, {"kty": 5}, {"kty": "EC", "crv": []}, {"kid": "ES256"}]}
    assert await published.set.find("ES256", "ES256") is None


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(answer: Handler, **options: Any) -> AsyncIterator[str]:
    """An address at which a server does what a test says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    finally:
        server.close()


def answering(status: str, body: bytes = b"", *headers: str) -> Handler:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


async def test_keys_are_read_from_an_address() -> None:
    async with serving(answering("200 OK", json.dumps(jwks()).encode())) as url:
        keys = KeySet(issuer(jwks=url))
        assert await keys.find("ES256", "ES256")


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "302 Found"])
async def test_other_answers_are_refused_and_nothing_is_followed(status: str) -> None:
    followed = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        followed.append(1)

    async with serving(elsewhere) as other, serving(answering(status, b"", f"location: {other}")) as url:
        with pytest.raises(UnreadableError, match=status[:3]):
            await fetch(url)
    assert followed == []


async def test_an_answer_without_end_is_cut_off() -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" " * 65_536)
            await writer.drain()
            sent += 65_536

    async with serving(answer) as url:
        with pytest.raises(UnreadableError, match="larger"):
            await fetch(url)


async def test_a_compressed_answer_is_not_inflated() -> None:
    """A small body that would be gigabytes: it is read as it is."""
    import gzip

    body = gzip.compress(b'{"keys": []}' + b" " * LARGEST * 3)
    async with serving(answering("200 OK", body, "content-encoding: gzip")) as url:
        with pytest.raises(UnreadableError):
            await fetch(url)


async def test_a_silent_address_is_given_up() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side closes

    async with serving(answer) as url:
        with pytest.raises(UnreadableError):
            await fetch(url, timeout=0.05)


async def test_an_address_that_drips_is_given_up() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with serving(answer) as url:
        with pytest.raises(UnreadableError):
            await fetch(url, timeout=0.1)


async def test_nobody_at_the_address() -> None:
    async with serving(answering("200 OK")) as url:
        pass
    with pytest.raises(UnreadableError):
        await fetch(url)


def certified(folder: Path) -> ssl.SSLContext:
    """A server's TLS with a certificate that only it has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    begin = datetime.now(UTC) - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=9))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    file = folder / "both.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + builder.sign(key, SHA256()).public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def test_a_certificate_that_nobody_has_signed_is_refused(tmp_path: Path) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(1))

    async with serving(answer, ssl=certified(tmp_path)) as url:
        with pytest.raises(UnreadableError, match="ConnectError"):
            await fetch(url.replace("http://127.0.0.1", "https://localhost"))
    assert not any(asked)


def test_an_address_is_checked_when_it_is_configured() -> None:
    for url in ("https://id.example/jwks.json", "http://localhost:8000/x", "http://127.0.0.1/x", "http://[::1]/x"):
        assert Issuer(issuer="x", audience="y", jwks=url).jwks == url
