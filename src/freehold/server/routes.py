"""Which function an address calls, and how a request becomes its arguments.

An address is looked up in dictionaries, by its parts; there are no patterns to try one after the other. What stands behind
`/api/customers` are the functions `customers.list` and so on: those that the entity offers, or those that take their places.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pydantic_core import to_json

from freehold.errors import ConfigurationError, NotFoundError, RequestError
from freehold.functions.arguments import NONE, Arguments
from freehold.functions.declaration import Function
from freehold.functions.registry import Functions
from freehold.model.description import EntityDescription
from freehold.model.issues import shown
from freehold.model.registry import Registry, suggestion
from freehold.server.reading import query_texts

__all__ = ["Asked", "Route", "Routes"]

RESERVED = ("functions", "batch", "docs")
"""What stands in the place of a table in addresses, and so cannot be one."""


@dataclass(slots=True)
class Asked:
    """What a request brings for its function.

    Args:
        id: of the record, from the address.
        query: the query string.
        body: JSON.
        version: from `If-Match`.
        media: the type of the body, with its parameters.
    """

    id: str = ""
    query: bytes = b""
    body: bytes = b""
    version: int | None = None
    media: bytes = b""


Reader = Callable[[Asked], Arguments]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """One method at one address.

    Args:
        function: that it calls.
        read: makes the arguments.
        action: of the entity's, or `"function"`.
        entity: whose table it is.
        has_body: whether it takes JSON.
        versioned: whether `If-Match` must name a version.
        wrapped: the parameter that a body becomes as a whole, whose name is no part of what callers wrote.
        exact: whether a record's version changes whenever anything of it does.
    """

    function: Function
    read: Reader
    action: str
    entity: EntityDescription | None = None
    has_body: bool = False
    versioned: bool = False
    wrapped: str | None = None
    exact: bool = False


Methods = dict[str, Route]

_PLACES: Mapping[str, tuple[str, str, str]] = {
    "list": ("collection", "", "GET"),
    "create": ("collection", "", "POST"),
    "get": ("record", "", "GET"),
    "update": ("record", "", "PATCH"),
    "delete": ("record", "", "DELETE"),
    "history": ("below", "history", "GET"),
    "restore": ("below", "restore", "POST"),
    "aggregate": ("beside", "aggregate", "GET"),
    "export": ("beside", "export", "GET"),
    "import": ("beside", "import", "POST"),
}
"""Where each action stands: of the table, of a record, below a record, or beside the records; the last part; the method."""


class _Table:
    """The addresses of one table."""

    def __init__(self) -> None:
        self.collection: Methods = {}
        self.record: Methods = {}
        self.below: dict[str, Methods] = {}
        self.beside: dict[str, Methods] = {}

    def add(self, route: Route) -> None:
        place, name, method = _PLACES[route.action]
        found = getattr(self, place)
        methods: Methods = found if not name else found.setdefault(name, {})
        methods[method] = route
        if method == "GET":
            methods["HEAD"] = route


class Routes:
    """All addresses below `/api`.

    Args:
        functions: of the application.
        registry: of its entities.

    Raises:
        ConfigurationError: a table has a name that addresses need, or a function of an action is of the wrong kind.
    """

    def __init__(self, functions: Functions, registry: Registry) -> None:
        self._functions = {function.name: _function_methods(function) for function in functions}
        self._tables: dict[str, _Table] = {}
        for entity in registry.entities.values():
            table = _table(entity, functions, registry)
            if table is not None:
                self._tables[entity.table] = table

    def find(self, path: str) -> tuple[Methods, str]:
        """The methods at an address, and the record's id in it.

        Args:
            path: below the server's prefix: `/api/customers/018f...`.

        Raises:
            RequestError: there is nothing (404).
            NotFoundError: there is no such function; with a suggestion.
        """
        parts = path.split("/")
        table = self._tables.get(parts[2]) if len(parts) > 2 else None
        methods: Methods | None = None
        id = ""
        if table is not None:
            if len(parts) == 3:
                methods = table.collection
            elif len(parts) == 4 and parts[3]:
                methods = table.beside.get(parts[3])
                if methods is None:
                    methods, id = table.record, parts[3]
            elif len(parts) == 5 and parts[3]:
                methods, id = table.below.get(parts[4]), parts[3]
        elif len(parts) == 4 and parts[2] == "functions":
            methods = self._functions.get(parts[3])
            if methods is None:
                raise NotFoundError("function", shown(parts[3]), hint=_close(parts[3], self._functions))
        if not methods:
            hint = (
                "leave out the slash at the end" if path.endswith("/") else _close("/".join(parts[2:3]), self._tables)
            )
            raise RequestError("there is nothing at this address", status=404, hint=hint)
        return methods, id


def _close(name: str, names: Iterable[str]) -> str | None:
    told = suggestion(name, names)
    return told.removeprefix("; ") if "did you mean" in told else None


def _function_methods(function: Function) -> Methods:
    if function.content:
        return {"POST": Route(function, _read_file, "function")}
    posted = Route(function, _read_posted, "function", has_body=True)
    if function.kind == "command":
        return {"POST": posted}
    got = Route(function, _read_query, "function")
    return {"GET": got, "HEAD": got, "POST": posted}


def _read_posted(asked: Asked) -> Arguments:
    return Arguments.of_json(asked.body)


def _table(entity: EntityDescription, functions: Functions, registry: Registry) -> _Table | None:
    table = _Table()
    served = False
    for action, (_, _, method) in _PLACES.items():
        function = functions.get(f"{entity.table}.{action}")
        if function is None:
            continue
        if (function.kind == "query") != (method == "GET"):
            raise ConfigurationError(
                f"{function.name} is a {function.kind}, and would stand at {method} /api/{entity.table}",
                hint="declare it as the other kind, or give it another name",
            )
        table.add(_route(function, action, entity, registry))
        served = True
    if served and entity.table in RESERVED:
        raise ConfigurationError(
            f"the table {entity.table!r} cannot be served: /api/{entity.table} is another address",
            hint='name the table otherwise: class Thing(Entity, table="things")',
        )
    return table if served else None


def _route(function: Function, action: str, entity: EntityDescription, registry: Registry) -> Route:
    names = function.parameters.model_fields
    method = _PLACES[action][2]
    versioned = "version" in names and action in ("update", "delete", "restore")
    wrapped = next((name for name in ("values", "changes") if name in names), None)
    if method == "GET":
        return Route(
            function,
            _read_query,
            action,
            entity,
            exact=_exact(function, entity, registry),
        )
    if function.content:
        return Route(function, _read_file, action, entity)
    if action in ("create", "update"):
        read = _body_reader(wrapped)
        return Route(function, read, action, entity, True, versioned, wrapped, _exact(function, entity, registry))
    return Route(function, _record_reader, action, entity, False, versioned, None, _exact(function, entity, registry))


def _exact(function: Function, entity: EntityDescription, registry: Registry) -> bool:
    """Whether the version tells all: increments and counters change records without making a version."""
    counted = any(counter.name.startswith(f"{entity.name}.") for counter in registry.counters)
    return function.action is not None and not entity.incrementable and not counted


def _read_query(asked: Asked) -> Arguments:
    """The query string as arguments, and the id in the address as one of them."""
    if not asked.query:
        return Arguments.of_values({"id": asked.id}) if asked.id else NONE
    texts = query_texts(asked.query)
    if asked.id:
        if "id" in texts:
            raise RequestError("id is in the address, and in the query string too", hint="leave it out there")
        texts["id"] = [asked.id]
    return Arguments.of_texts(texts)


def _read_file(asked: Asked) -> Arguments:
    """The same beside a body that is a file, whose type tells its format where the query string does not."""
    texts = query_texts(asked.query)
    media, _, parameters = asked.media.partition(b";")
    if media.strip().lower() in _LINES:
        texts.setdefault("format", ["jsonl"])
    charset = _CHARSET.search(parameters)
    if charset is not None:
        encoding = charset[1].decode("latin-1")
        if texts.setdefault("encoding", [encoding]) != [encoding]:
            raise RequestError("Content-Type names another charset than encoding does", hint="say it once")
    return Arguments.of_texts(texts)


_CHARSET = re.compile(rb"""(?:^|;)\s*charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)
_LINES = frozenset({b"application/x-ndjson", b"application/jsonl", b"application/x-jsonlines"})


def _record_reader(asked: Asked) -> Arguments:
    values: dict[str, object] = {"id": asked.id}
    if asked.version is not None:
        values["version"] = asked.version
    return Arguments.of_values(values)


def _body_reader(wrapped: str | None) -> Reader:
    def read(asked: Asked) -> Arguments:
        known: dict[str, object] = {}
        if asked.id:
            known["id"] = asked.id
        if asked.version is not None:
            known["version"] = asked.version
        return Arguments.of_record(to_json(known), wrapped, asked.body)

    return read
