"""The arguments of a call as they arrive, and the parameters that they are validated into."""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import pydantic
from pydantic import TypeAdapter
from pydantic_core import SchemaValidator, to_json

from freehold.errors import Issue, RequestError, ValidationError
from freehold.functions.declaration import Function, Parameters
from freehold.functions.query_values import Reader, reader_of
from freehold.model.issues import validation_error
from freehold.model.numbers import exact, lossy, parsed
from freehold.model.schemas import validator

__all__ = ["THREADED", "Arguments", "checked_json"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments by name, in one of three forms.

    Make them with `of_json`, `of_record`, `of_values` or `of_texts`.
    """

    form: Literal["json", "record", "values", "texts"]
    given: Any  # Any: bytes, or a mapping

    @classmethod
    def of_json(cls, body: bytes) -> "Arguments":
        """A JSON object; nothing is no arguments."""
        return cls("json", body) if body else NONE

    @classmethod
    def of_record(cls, known: bytes, name: str | None, body: bytes) -> "Arguments":
        """What is known of a record, and a JSON object that somebody has sent for it.

        Args:
            known: a JSON object: of the id, say.
            name: the parameter that the body becomes; None where its names are parameters themselves.
            body: the JSON object. It cannot name what is known.
        """
        return cls("record", (known, name, body))

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Arguments":
        """Python values."""
        return cls("values", values)

    @classmethod
    def of_texts(cls, texts: Mapping[str, Sequence[str]]) -> "Arguments":
        """Texts, as query strings and command lines have them: each name with all texts that were given for it."""
        return cls("texts", texts)

    async def parsed(self, function: Function) -> Parameters:
        """The same as `parse`; in a thread where there is much to read."""
        size = sum(len(part) for part in self.given if isinstance(part, bytes)) if self.form == "record" else 0
        if self.form == "json":
            size = len(self.given)
        return await asyncio.to_thread(self.parse, function) if size >= THREADED else self.parse(function)

    def parse(self, function: Function) -> Parameters:
        """The parameters of a function.

        Raises:
            ValidationError: with all that is wrong.
            RequestError: the JSON is none, or has a name twice.
        """
        try:
            if self.form == "json":
                checked_json(self.given)
                return _of_json(function, self.given)
            if self.form == "record":
                return _of_json(function, _joined(*self.given))
            values = self.given if self.form == "values" else self._typed(function)
            return cast("Parameters", _validator(function).validate_python(dict(values)))
        except pydantic.ValidationError as error:
            raise validation_error(error, function.name) from None

    def _typed(self, function: Function) -> dict[str, Any]:
        if function.texts is not None:
            return function.texts(self.given)
        readers, issues, values = _readers(function), [], {}
        for name, texts in self.given.items():
            reader = readers.get(name)
            if reader is None:
                values[name] = list(texts)  # unknown; the model says so together with all else that is wrong
                continue
            try:
                values[name] = reader(texts)
            except ValueError as error:
                issues.append(Issue((name,), str(error), "text"))
        if issues:
            raise ValidationError(issues, subject=function.name)
        return values


NONE = Arguments("values", {})


def _of_json(function: Function, text: bytes) -> Parameters:
    return cast("Parameters", _validator(function).validate_json(text, context=lossy(text)))


@lru_cache(maxsize=4096)
def _validator(function: Function) -> SchemaValidator:
    """What validates a function's parameters, its numbers as they were written, in the application's models too."""
    return validator(exact(TypeAdapter(function.parameters).core_schema))


def _joined(known: bytes, name: str | None, body: bytes) -> bytes:
    """One JSON object of two. Each is whole by itself, so that nothing in the body can reach what is known."""
    sent = checked_json(body)
    start = known[:-1] if known == b"{}" else known[:-1] + b","
    if name is not None:
        return b"%b%b:%b}" % (start, to_json(name), body)
    if not isinstance(sent, dict):
        raise RequestError("the body must be a JSON object", hint="send a JSON object such as {}")
    for twice in sent.keys() & json.loads(known).keys():
        raise RequestError(f"{twice} is in the address or a header, and in the body too", hint="leave it out there")
    return b"%b%b" % (start, body.lstrip()[1:]) if sent else known


THREADED = 16_384
"""Bytes of JSON from which on a thread reads it."""
MOST_VALUES = 100_000
"""Values in one body. A list or an object counts for five: it takes as much longer to make, and to clear away."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def _values(body: bytes) -> int:
    """How many values a JSON text has, about."""
    return body.count(b",") + 5 * (body.count(b"[") + body.count(b"{"))


def checked_json(body: bytes) -> Any:
    """A body as JSON that means the same to everybody: each name once, no NaN, no nesting without end. Numbers are exact: see `parsed`.

    Raises:
        RequestError: it is not, or has more values than are read.
    """
    # Reading takes as long as there are values, and holds up all else. Only where there may be too many are those in texts left out.
    if _values(body) > MOST_VALUES and _values(_TEXT.sub(b"", body)) > MOST_VALUES:
        raise RequestError(
            f"the JSON has more than {MOST_VALUES:,} values",
            status=413,
            hint="send less at once; files come in by the import",
        )
    try:
        return parsed(body.decode(), object_pairs_hook=_once, parse_constant=_refused)
    except _RepeatedNameError as error:
        raise RequestError(
            f"the JSON names {error.args[0]!r} twice in one object"[:200], hint="write it once"
        ) from None
    except RecursionError:
        raise RequestError("the JSON is nested too deeply", hint="a hundred levels are plenty") from None
    except UnicodeDecodeError:
        raise RequestError("the body is no UTF-8", hint="send JSON in UTF-8") from None
    except ValueError as error:
        told = str(error).split(" (char")[0]
        raise RequestError(f"the body is no JSON: {told}"[:200], hint="send a JSON object such as {}") from None


class _RepeatedNameError(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen = set()
        for name, _ in pairs:
            if name in seen:
                raise _RepeatedNameError(name)
            seen.add(name)
    return made


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


@lru_cache(maxsize=4096)
def _readers(function: Function) -> dict[str, Reader]:
    """What reads the texts of each parameter."""
    schema = function.parameters.model_json_schema()
    shared = schema.get("$defs", {})
    return {name: reader_of(each, shared, _json) for name, each in schema.get("properties", {}).items()}


def _json(text: str) -> Any:
    try:
        return checked_json(text.encode())
    except RequestError as error:
        raise ValueError(f"must be JSON: {error.message}") from None
    except UnicodeEncodeError:
        raise ValueError("must be text that UTF-8 can hold") from None
