"""JSON Schemas (2020-12) of what functions take and answer, as the wire has it.

Pydantic writes them. What is different here is what Pydantic cannot know: numbers that travel as texts have a pattern, a time of day
has no zone, durations are seconds, bytes are hexadecimal, and a record has all of its fields and perhaps relations.
"""

from collections.abc import Container, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode
from pydantic_core import core_schema

from freehold.functions.declaration import Function
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.inputs import MAXIMUM_DURATION
from freehold.model.moments import TIME
from freehold.model.registry import Registry

__all__ = ["Schemas", "free_name", "references", "schemas_of", "with_references"]

PREFIX = "#/schemas/"
"""Where the manifest keeps what its schemas refer to."""

DECIMAL = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"

Schema = dict[str, Any]  # Any: JSON


class Schemas:
    """The schemas of one application.

    Args:
        shared: by name: what others refer to as `#/schemas/<name>`.
        parameters, results: by function.
        inputs: of `Create` and `Patch`, by (entity, "create" or "patch").
    """

    def __init__(
        self,
        shared: dict[str, Schema],
        parameters: dict[str, Schema],
        results: dict[str, Schema],
        inputs: dict[tuple[str, str], Schema],
    ) -> None:
        self.shared = shared
        self.parameters = parameters
        self.results = results
        self.inputs = inputs


def schemas_of(registry: Registry, functions: Sequence[Function]) -> Schemas:
    """The schemas of all that an application offers.

    Args:
        registry: its entities.
        functions: in a fixed order, by which names that are there twice are told apart.
    """
    wanted: list[tuple[tuple[str, str], JsonSchemaMode, TypeAdapter[Any]]] = []
    offered = {(function.entity, function.action): function for function in functions if function.action}
    for entity in registry.entities.values():
        wanted.append(((entity.name, "record"), "serialization", TypeAdapter(entity.cls)))
        for what, action, _, model in _inputs(entity):
            if (entity.name, action) not in offered:
                wanted.append(((entity.name, what), "validation", TypeAdapter(model)))
    for function in functions:
        wanted.append(((function.name, "parameters"), "validation", TypeAdapter(function.parameters)))
        annotation = function.result.annotation
        wanted.append(((function.name, "result"), "serialization", TypeAdapter(annotation)))
    writer = type("_Writer", (_ContractSchema,), {"stored": _documents(registry)})
    made, whole = TypeAdapter.json_schemas(wanted, schema_generator=writer, ref_template=PREFIX + "{model}")
    shared: dict[str, Schema] = dict(whole.get("$defs", {}))
    found = {key: schema for (key, _), schema in made.items()}
    # Parameters belong to one function each: they stand where the function is told of.
    parameters = {function.name: _taken(found[function.name, "parameters"], shared) for function in functions}
    records = {references(found[name, "record"])[0]: name for name in registry.entities}
    names = _short_names(shared, records)
    shared = {names[name]: with_references(schema, names) for name, schema in shared.items()}
    found = {key: with_references(schema, names) for key, schema in found.items()}
    _relate(shared, registry, {name: references(found[name, "record"]) for name in registry.entities})
    pages: dict[str, str] = {}
    results = {
        function.name: _result(function, found[function.name, "result"], shared, pages) for function in functions
    }
    parameters = {name: with_references(schema, names) for name, schema in parameters.items()}
    inputs = {}
    for entity in registry.entities.values():
        for what, action, parameter, _ in _inputs(entity):
            maker = offered.get((entity.name, action))
            given = None if maker is None else parameters[maker.name]["properties"][parameter]
            taken = given or found[entity.name, what]
            inputs[entity.name, what] = {"$ref": taken["$ref"]}
            if what == "patch":  # what is not given stays as it is
                for each in shared[references(taken)[0]]["properties"].values():
                    each.pop("default", None)
    return Schemas(dict(sorted(shared.items())), parameters, results, inputs)


def _inputs(entity: EntityDescription) -> list[tuple[str, str, str, type[BaseModel]]]:
    """The inputs of an entity: what each is called, the action and parameter that take it, and its model."""
    return [("create", "create", "values", entity.cls.Create), ("patch", "update", "changes", entity.cls.Patch)]


class _ContractSchema(GenerateJsonSchema):
    """Writes schemas as the wire has the values."""

    stored: frozenset[type[BaseModel]] = frozenset()
    """Models that records keep as documents: an old document lacks what was declared after it was stored."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._within: list[type[Any]] = []

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # Pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        if self.mode == "serialization":
            return self.generate_inner(schema["schema"])
        if schema.get("default", ...) is None and schema["schema"]["type"] != "nullable":
            return self.generate_inner(schema["schema"])  # nothing is given: a patch leaves the field as it is
        return super().default_schema(schema)

    def encode_default(self, dft: Any) -> Any:
        made = super().encode_default(dft)
        return sorted(made, key=str) if isinstance(dft, set | frozenset) else made

    def field_is_required(self, field: Any, total: bool) -> bool:
        kept = bool(self._within) and self._within[-1] in self.stored
        if self.mode == "serialization" and field["type"] != "typed-dict-field" and not kept:
            return True
        return super().field_is_required(field, total)

    def model_schema(self, schema: core_schema.ModelSchema) -> Schema:
        cls = schema["cls"]
        self._within.append(cls)
        try:
            made = super().model_schema(schema)
        finally:
            self._within.pop()
        if self.mode == "serialization" and made.get("additionalProperties") is False:
            del made["additionalProperties"]  # what is answered may have more, one day
        if issubclass(cls, Entity) and self.mode == "serialization":
            _as_record(made, cls)
        return made

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> Schema:
        if self.mode == "serialization":
            return {"type": "string", "pattern": DECIMAL}
        return _decimal(schema)

    def time_schema(self, schema: core_schema.TimeSchema) -> Schema:  # noqa: ARG002  # Pydantic's signature
        return {"type": "string", "pattern": TIME}

    def timedelta_schema(self, schema: core_schema.TimedeltaSchema) -> Schema:
        if self.mode == "serialization" and self._config.ser_json_timedelta != "float":
            return {"type": "string", "format": "duration"}
        if self.mode == "serialization":
            return {"type": "number"}
        most = MAXIMUM_DURATION.total_seconds()
        least = schema.get("ge", schema.get("gt"))
        highest = schema.get("le", schema.get("lt"))
        return {
            "type": "number",
            "minimum": -most if least is None else least.total_seconds(),
            "maximum": most if highest is None else highest.total_seconds(),
            "description": "seconds",
        }

    def bytes_schema(self, schema: core_schema.BytesSchema) -> Schema:
        said = self._config.ser_json_bytes if self.mode == "serialization" else self._config.val_json_bytes
        if said != "hex":
            return super().bytes_schema(schema)
        made: Schema = {"type": "string", "pattern": "^([0-9a-fA-F]{2})*$"}
        for keyword, bound in (("minLength", "min_length"), ("maxLength", "max_length")):
            if schema.get(bound) is not None:
                made[keyword] = 2 * schema[bound]  # type: ignore[literal-required]  # one of two names
        return made


def _decimal(schema: core_schema.DecimalSchema) -> Schema:
    """A decimal as input: a text with its digits, or a whole number where a number with a point could lose some."""
    digits, places = schema.get("max_digits"), schema.get("decimal_places")
    least, above, highest, below = schema.get("ge"), schema.get("gt"), schema.get("le"), schema.get("lt")
    positive = (least is not None and least >= 0) or (above is not None and above >= 0)
    pattern = DECIMAL
    number: Schema = {"type": "number"}
    if digits is not None and places is not None:
        fraction = rf"(\.\d{{1,{places}}})?" if places else ""
        whole = rf"\d{{1,{digits - places}}}" if digits > places else "0"
        pattern = f"^{'' if positive else '-?'}{whole}{fraction}$"
        reach = 10 ** (digits - places) - 1
        number = {"type": "integer", "minimum": -reach, "maximum": reach}
    for keyword, bound in (
        ("minimum", least),
        ("exclusiveMinimum", above),
        ("maximum", highest),
        ("exclusiveMaximum", below),
    ):
        if bound is not None:
            tighter = keyword in number and abs(bound) > abs(number[keyword])
            number[keyword] = number[keyword] if tighter else int(bound) if bound == int(bound) else float(bound)
    return {"anyOf": [{"type": "string", "pattern": pattern}, number]}


def _as_record(made: Schema, cls: type[Entity]) -> None:
    """Makes the schema of an entity's class one of its records."""
    entity = cls.__entity__
    names = [field.name for field in entity.public]
    made["properties"] = {name: schema for name, schema in made["properties"].items() if name in names}
    made["required"] = [name for name in made["properties"] if name in names]
    for name, schema in made["properties"].items():
        described = entity.fields[name].declaration.description
        if described and "description" not in schema:
            schema["description"] = described


def _relate(shared: dict[str, Schema], registry: Registry, records: Mapping[str, Sequence[str]]) -> None:
    """Adds to the records what reads include: relations, and counts of them."""
    for name in registry.entities:
        properties = shared[records[name][0]]["properties"]
        for relation in registry.relations[name].values():
            target: Schema = {"$ref": PREFIX + records[relation.target.name][0]}
            where = f"where the call includes `{relation.name}`"
            if relation.many:
                properties[relation.name] = {"type": "array", "items": target, "description": where}
                properties[f"{relation.name}_count"] = {
                    "type": "integer",
                    "minimum": 0,
                    "description": f"{where} as a count",
                }
            else:
                properties[relation.name] = {"anyOf": [target, {"type": "null"}], "description": where}


def _result(function: Function, schema: Schema, shared: dict[str, Schema], pages: dict[str, str]) -> Schema:
    """What a function answers; a page of items as a schema of its own where the items have a name.

    Args:
        function, schema: of which function, and what its result or its items are.
        shared: gets the pages' schemas.
        pages: their names by that of the items. One that the application has given away is not taken.
    """
    if not function.result.page:
        return schema
    cursor = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    page: Schema = {
        "type": "object",
        "properties": {
            "data": {"type": "array", "items": schema},
            "next": {**cursor, "description": "gives the next page as `after`; null on the last one"},
            "previous": {**cursor, "description": "gives the page before as `before`; null on the first one"},
            "total": {"type": "integer", "minimum": 0, "description": "of all pages, where the call asks for it"},
        },
        "required": ["data", "next", "previous"],
    }
    item = schema.get("$ref")
    if item is None:
        return page
    name = pages.get(item)
    if name is None:
        name = pages[item] = free_name(f"{item.removeprefix(PREFIX)}Page", shared)
        shared[name] = {"title": name, **page}
    return {"$ref": PREFIX + name}


def free_name(name: str, taken: Container[str]) -> str:
    """A name for a schema of ours beside those that an application has declared."""
    while name in taken:
        name += "_"
    return name


def _documents(registry: Registry) -> frozenset[type[BaseModel]]:
    found: set[type[BaseModel]] = set()
    waiting = [field.annotation for entity in registry.entities.values() for field in entity.own]
    while waiting:
        annotation = waiting.pop()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
            found.add(annotation)
            waiting.extend(info.annotation for info in annotation.model_fields.values())
        waiting.extend(getattr(annotation, "__args__", ()))
    return frozenset(found)


def _taken(schema: Schema, shared: dict[str, Schema]) -> Schema:
    """The schema that a reference leads to, which is then nowhere else."""
    names = references(schema)
    return shared.pop(names[0]) if "$ref" in schema else schema


def _short_names(shared: Mapping[str, Schema], records: Mapping[str, str]) -> dict[str, str]:
    """Names without signs: `Line-Input` becomes `LineInput`, and `Line-Output` `Line` where that is free.

    Args:
        shared: by the names that Pydantic has given.
        records: the entities by these. A record has its entity's name, whatever else is called so.
    """
    names = dict(records)
    for name in sorted(shared.keys() - records.keys()):
        short = name.removesuffix("-Output").replace("-", "").replace(".", "_")
        while short in names.values() or (short != name and short in shared):
            short += "_"
        names[name] = short
    return names


def references(schema: Any) -> list[str]:
    """The names of the shared schemas that a schema refers to itself, in order of their appearance."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                found.append(value["$ref"].rpartition("/")[2])
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return list(dict.fromkeys(found))


def with_references(schema: Any, names: Mapping[str, str], prefix: str = PREFIX) -> Any:
    """A schema whose references are named otherwise."""
    if isinstance(schema, list):
        return [with_references(item, names, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: with_references(value, names, prefix) for key, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith(PREFIX):
        name = reference.removeprefix(PREFIX)
        made["$ref"] = prefix + names.get(name, name)
    if isinstance(schema.get("discriminator"), dict) and isinstance(made["discriminator"].get("mapping"), dict):
        mapping = made["discriminator"]["mapping"]
        made["discriminator"]["mapping"] = {
            key: prefix + names.get(name := target.rpartition("/")[2], name) for key, target in mapping.items()
        }
    return made
