"""A function as it is declared: its name, its parameters, its result, and what it needs.

The signature is the contract. Parameters become a Pydantic model, so that all that is wrong with a call is told at once; the
result is written by its type; the docstring tells people. A wrong declaration fails when the module is imported.
"""

import inspect
import re
import warnings
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from uuid import UUID

from docstring_parser import Docstring, DocstringStyle, parse
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from freehold.errors import DeclarationError
from freehold.functions.results import Result, result_of
from freehold.identity.system import System
from freehold.model.inputs import prepared
from freehold.model.permissions import pattern_problem
from freehold.store.reads import Reads
from freehold.store.session import Session, Transaction
from freehold.store.unit import UnitOfWork

__all__ = ["OWN_NAME", "Function", "Idempotent", "Kind", "Options", "Parameters", "Rate", "Takes", "declare"]

Kind = Literal["query", "command"]
Takes = Literal["session", "unit", "transaction", "system", "nothing"]
"""What a function works with: a session that only reads, a unit of work, a transaction, work across organizations, or nothing."""

Idempotent = Literal[True, False, "key"]
OWN_NAME: Any = object()
"""Stands for the permission of the function's own name."""

LONGEST_TIMEOUT = 300.0
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}(\.[a-z][a-z0-9_]{0,62})?")


@dataclass(frozen=True, slots=True)
class Rate:
    """How often a function may be called.

    Args:
        requests: so many.
        per: in so many seconds.
        by: whose calls are counted together: an organization's, or an actor's (a user's or a key's).
    """

    requests: int
    per: float = 60.0
    by: Literal["organization", "actor"] = "actor"

    def __post_init__(self) -> None:
        if self.requests < 1 or not 0 < self.per <= 86_400 or self.by not in ("organization", "actor"):
            raise DeclarationError(
                f"{self!r} is no rate; write Rate(requests=100, per=60, by='actor'): at least 1 request, per at most 86,400 seconds"
            )


class Parameters(BaseModel):
    """The base of what calls are validated into: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=False, protected_namespaces=())


@dataclass(frozen=True, slots=True)
class Options:
    """What a declaration says besides the signature. See `Application.query` and `Application.command`."""

    name: str | None = None
    requires: Any = OWN_NAME  # Any: a permission's name, None, or OWN_NAME
    public: bool = False
    cache: float | None = None
    live: bool = False
    idempotent: Idempotent = False
    timeout: float | None = None
    rate_limit: Rate | Sequence[Rate] = ()
    stream: bool = False
    attempts: int = 1


@dataclass(frozen=True, eq=False)
class Function:
    """A query or command.

    Args:
        name: by which it is called: `"customers.summary"`.
        kind: whether it reads or writes.
        call: the coroutine function, or the asynchronous generator of a stream.
        takes: what its first argument is.
        parameters: the model of the others.
        result: how its result is written.
        permission: that a caller needs; None where every member may call it.
        public: whether it is called without a credential.
        cache: seconds for which a client may keep the answer; None is not at all.
        live: whether it may be subscribed to.
        idempotent: whether calling it twice does what calling it once does; `"key"`: a call must bring an idempotency key.
        timeout: seconds that it may take; None is the server's bound.
        rates: how often it may be called.
        attempts: how often a transaction is tried that loses against another one.
        summary, description: of its docstring.
        entity, action: of a function that an entity offers by its declaration.
        stream: whether it answers item by item.
        media: the types of its answer's body, where that is a file and no JSON.
        content: whether it takes a file, beside its arguments: an asynchronous iterator of bytes, after the session.
        texts: reads the texts of a query string or a command line, where these say more than the names of parameters.
    """

    name: str
    kind: Kind
    call: Callable[..., Any]
    takes: Takes
    parameters: type[Parameters]
    result: Result
    permission: str | None
    public: bool = False
    cache: float | None = None
    live: bool = False
    idempotent: Idempotent = False
    timeout: float | None = None
    rates: tuple[Rate, ...] = ()
    attempts: int = 1
    summary: str = ""
    description: str = ""
    entity: str | None = None
    action: str | None = None
    stream: bool = False
    media: tuple[str, ...] = ()
    content: bool = False
    texts: Callable[[Mapping[str, Sequence[str]]], dict[str, Any]] | None = None
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.parameters.model_fields))

    def values(self, parameters: Parameters) -> dict[str, Any]:
        """Validated parameters as the arguments of the call."""
        said = parameters.__dict__
        return {name: said[name] for name in self.names}


_FIRST: Mapping[str, Mapping[Any, Takes]] = {
    "query": {Session: "session", Reads: "session"},
    "command": {UnitOfWork: "unit", Transaction: "transaction", Session: "transaction"},
}


def declare(call: Callable[..., Any], kind: Kind, options: Options = Options()) -> Function:
    """Reads a function's declaration.

    Args:
        call: `async def name(session: Session, ...typed parameters...) -> Result`.
        kind: whether it is a query or a command.
        options: what was said besides.

    Raises:
        DeclarationError: it cannot be called from outside as it is; says what to write instead.
    """
    where = f"{kind} {getattr(call, '__qualname__', call)}"
    problem = _problem(call, kind, options)
    if problem:
        raise DeclarationError(f"{where}: {problem}")
    name = options.name or call.__name__
    try:
        hints = get_type_hints(call, include_extras=True)
    except NameError as error:
        raise DeclarationError(f"{where}: {error}; types of a signature must be known in its module") from None
    documented = parse(inspect.getdoc(call) or "", style=DocstringStyle.GOOGLE)
    takes, names = _first(call, kind, options, hints, where)
    return Function(
        name=name,
        kind=kind,
        call=call,
        takes=takes,
        parameters=_parameters(call, names, hints, documented, where),
        result=_result(hints, options, where),
        permission=None if options.public else name if options.requires is OWN_NAME else options.requires,
        public=options.public,
        cache=options.cache,
        live=options.live,
        idempotent=options.idempotent,
        timeout=options.timeout,
        rates=(options.rate_limit,) if isinstance(options.rate_limit, Rate) else tuple(options.rate_limit),
        attempts=options.attempts,
        summary=documented.short_description or "",
        description=documented.long_description or "",
        stream=options.stream,
    )


def _problem(call: Any, kind: Kind, options: Options) -> str | None:
    """What is wrong with the options, and what to write instead."""
    if options.stream and not inspect.isasyncgenfunction(call):
        return "a stream is an asynchronous generator; write async def with yield, or leave stream out"
    if not options.stream and not inspect.iscoroutinefunction(call):
        return "must be async def, without yield; a generator needs stream=True"
    if not NAME.fullmatch(options.name or call.__name__):
        return f"{options.name or call.__name__!r} is no name; write one in snake case such as 'customers.summary', with one dot at most"
    if options.timeout is not None and not 0 < options.timeout <= LONGEST_TIMEOUT:
        return f"timeout must be more than 0 and at most {LONGEST_TIMEOUT:g} seconds"
    if options.cache is not None and (kind == "command" or not 0 < options.cache <= 86_400):
        return "cache is for queries: more than 0 and at most 86,400 seconds"
    if (options.live or options.stream) and kind == "command":
        return f"{'live' if options.live else 'stream'} is for queries; leave it out"
    if options.idempotent not in (True, False, "key") or (options.idempotent and kind == "query"):
        return "idempotent is for commands: True, or 'key' where each call must bring an idempotency key"
    if not 1 <= options.attempts <= 10:
        return "attempts must be 1 to 10"
    return _permission_problem(options)


def _permission_problem(options: Options) -> str | None:
    if options.requires is OWN_NAME or options.requires is None:
        return None
    if options.public:
        return "is public: nobody is known who could have a permission; leave out requires or public"
    if pattern_problem(options.requires) or "*" in options.requires:
        return f"requires={options.requires!r} is no permission; write a name such as 'customers.update'"
    return None


def _first(
    call: Callable[..., Any], kind: Kind, options: Options, hints: Mapping[str, Any], where: str
) -> tuple[Takes, list[str]]:
    """What the function works with, and the names of its parameters."""
    signature = inspect.signature(call)
    names = list(signature.parameters)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise DeclarationError(f"{where}: {parameter} cannot be called by name; write a typed parameter")
    given = hints.get(names[0]) if names else None
    if options.public:
        return ("system", names[1:]) if given is System else ("nothing", names)
    takes = _FIRST[kind].get(given)
    if takes is None:
        wanted = "session: Session" if kind == "query" else "unit: UnitOfWork, or transaction: Transaction"
        reason = "" if kind == "command" or given is not UnitOfWork else " (a query does not write)"
        raise DeclarationError(f"{where}: the first parameter must be {wanted}{reason}")
    return takes, names[1:]


def _parameters(
    call: Callable[..., Any], names: Sequence[str], hints: Mapping[str, Any], documented: Docstring, where: str
) -> type[Parameters]:
    told = {parameter.arg_name: parameter.description for parameter in documented.params}
    signature = inspect.signature(call)
    fields: dict[str, Any] = {}
    for name in names:
        if name not in hints:
            raise DeclarationError(f"{where}: {name} has no type; write {name}: str, say")
        if name.startswith(("_", "model_")):
            raise DeclarationError(f"{where}: {name} is reserved; name the parameter otherwise")
        default = signature.parameters[name].default
        fields[name] = (
            _bounded(hints[name]),
            Field(default=... if default is inspect.Parameter.empty else default, description=told.get(name)),
        )
    try:
        with warnings.catch_warnings():
            # A parameter may be called like an attribute of Pydantic's models: arguments are read past them (`Function.values`).
            warnings.filterwarnings("ignore", message="Field name .* shadows an attribute")
            return create_model(
                f"{_title(call.__name__)}Parameters", __base__=Parameters, __module__=call.__module__, **fields
            )
    except (PydanticUserError, NameError, TypeError) as error:
        raise DeclarationError(f"{where}: {str(error).splitlines()[0]}") from error


def _bounded(annotation: Any) -> Any:
    """The annotation with the bounds that every input has, such as no NUL in a str, where it says none itself."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        if any(isinstance(item, FieldInfo) for item in more):
            # What the declaration says stands; what it is about is checked beside it.
            return Annotated[(inner, *more, *_checks(inner))]
        return annotation
    members = get_args(annotation)
    if type(None) in members and len(members) == 2:
        inner = next(member for member in members if member is not type(None))
        return _bounded(inner) | None
    if annotation is dict or get_origin(annotation) is dict:
        return annotation
    return prepared(annotation) if annotation in _SCALARS or get_origin(annotation) is list else annotation


def _checks(inner: Any) -> tuple[Any, ...]:
    made = prepared(inner) if inner in _SCALARS else inner
    return tuple(item for item in get_args(made)[1:] if not isinstance(item, FieldInfo)) if made is not inner else ()


_SCALARS = frozenset({str, int, float, bool, bytes, Decimal, date, datetime, time, timedelta, UUID})


def _result(hints: Mapping[str, Any], options: Options, where: str) -> Result:
    if "return" not in hints:
        raise DeclarationError(f"{where}: says no result; write -> the type of what it returns, or -> None")
    annotation = hints["return"]
    if options.stream:
        items = get_args(annotation)
        if get_origin(annotation) is None or not issubclass(get_origin(annotation), AsyncIterator) or not items:
            raise DeclarationError(f"{where}: a stream's result is AsyncIterator[Row]; write that")
        annotation = items[0]
    try:
        return result_of(annotation)
    except PydanticUserError as error:
        raise DeclarationError(
            f"{where}: the result cannot be written as JSON: {str(error).splitlines()[0]}"
        ) from error


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
