"""Reads a small JSON object from an address that the configuration names."""

import asyncio
import importlib
import json
from typing import Any

__all__ = ["LARGEST", "UnreadableError", "fetch", "parse_object"]

LARGEST = 1_000_000
"""Bytes."""
SECONDS = 5.0
HEADERS = {"accept": "application/json", "accept-encoding": "identity"}


class UnreadableError(Exception):
    """What was asked for cannot be had."""


async def fetch(url: str, *, timeout: float = SECONDS) -> dict[str, Any]:
    """The JSON object at an address. Redirections are not followed: the address is what the configuration trusts.

    Args:
        url: https, or http on this machine.
        timeout: seconds for all of it.

    Raises:
        UnreadableError: it cannot be reached in time, answers something else than 200, is no JSON object, or larger than 1 MB.
    """
    # In a thread: importing the library and reading the certificates of authorities would hold up everybody's requests. And
    # here: a program whose keys are files needs no HTTP client.
    httpx = await asyncio.to_thread(importlib.import_module, "httpx")
    try:
        async with asyncio.timeout(timeout):
            client = await asyncio.to_thread(httpx.AsyncClient, follow_redirects=False, timeout=timeout)
            async with client, client.stream("GET", url, headers=HEADERS) as answer:
                if answer.status_code != 200:
                    raise UnreadableError(f"{url} answers {answer.status_code}")
                return parse_object(await _body(answer))
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        raise UnreadableError(f"{url}: {type(error).__name__}") from error


async def _body(answer: Any) -> bytes:  # Any: httpx.Response, which is imported where it is used
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > LARGEST:
            raise UnreadableError("the answer is larger than 1 MB")
    return bytes(body)


def parse_object(text: bytes) -> dict[str, Any]:
    """A JSON object in which no name comes twice.

    Raises:
        UnreadableError: it is none, or larger than 1 MB.
    """
    if len(text) > LARGEST:
        raise UnreadableError("it is larger than 1 MB")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("it is no JSON") from error
    if not isinstance(found, dict):
        raise UnreadableError("it is no JSON object")
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no number of JSON")
