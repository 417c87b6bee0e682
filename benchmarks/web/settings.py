"""What the process of a contender is told: a file of JSON that only its owner reads."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ALGORITHM", "AUDIENCE", "ISSUER", "Settings"]

ISSUER = "https://issuer.example"
AUDIENCE = "benchmarks"
ALGORITHM = "RS256"
"""The cheapest signatures to verify: 40 us with PyJWT and a key of 2,048 bits; ES256 takes 60 us and EdDSA 75."""


@dataclass(frozen=True)
class Settings:
    """How to serve.

    Args:
        listen: the port on the loopback address.
        host, port, user, password, database: of PostgreSQL, as the application's role; the host is the socket's folder.
        pool: connections.
        seal: the key that contexts are sealed with, in hex.
        public_key: the file of the issuer's public key (PEM).
        jwks: the same as a JSON Web Key Set.
        issuer, audience, algorithm: of the tokens.
        keep_tokens: seconds for which a verified token is not verified again.
    """

    listen: int
    host: str
    port: int
    user: str
    password: str
    database: str
    pool: int
    seal: str
    public_key: str
    jwks: str
    issuer: str = ISSUER
    audience: str = AUDIENCE
    algorithm: str = ALGORITHM
    keep_tokens: float = 0.0

    @property
    def connection(self) -> dict[str, Any]:
        """The arguments of `asyncpg.connect`."""
        return {name: getattr(self, name) for name in ("host", "port", "user", "password", "database")}

    def write(self, path: Path) -> Path:
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path | str) -> "Settings":
        return cls(**json.loads(Path(path).read_text()))
