"""The statement of an aggregation."""

from collections.abc import Mapping, Sequence

from freehold.model.description import EntityDescription, FieldDescription
from freehold.model.filters import Filter
from freehold.sql.filters import condition, visible
from freehold.sql.identifiers import Schemas, quoted
from freehold.sql.statements import Arguments, Statement, in_context

__all__ = ["aggregate_statement"]


def aggregate_statement(
    entity: EntityDescription,
    group_by: Sequence[FieldDescription],
    measures: Mapping[str, Sequence[FieldDescription]],
    filter_: Filter,
    limit: int,
    schemas: Schemas,
    *,
    deleted: bool = False,
) -> Statement:
    """Groups with their measures, each as a JSON array in column `j`: `[[keys...], count, [[sums...], [avgs...], ...]]`.

    Args:
        entity: whose records are aggregated.
        group_by: the keys; none makes one group of all.
        measures: the fields of each function: sum, avg, min, max.
        filter_: which records.
        limit: groups at most; one more is asked for, so that the caller can tell.
        deleted: whether deleted rows are in.
    """
    arguments = Arguments()
    keys = [field.kind.as_json(f"t.{quoted(field.name)}") for field in group_by]
    values = [
        f"json_build_array({', '.join(_measure(function, field) for field in fields)})"
        for function, fields in measures.items()
    ]
    names = ", ".join(f"t.{quoted(field.name)}" for field in group_by)
    grouping = f" group by {names} order by {names} limit {limit + 1}" if group_by else ""
    where = f"{visible(entity, 't', deleted=deleted)} and ({condition(filter_, 't', arguments, schemas)})"
    group = (
        f"select json_build_array(json_build_array({', '.join(keys)}), count(*), json_build_array({', '.join(values)})) as j "
        f"from {schemas.rows(entity)} as t where {where}{grouping}"
    )
    return Statement(in_context(schemas, group), tuple(arguments.values))


def _measure(function: str, field: FieldDescription) -> str:
    column = f"t.{quoted(field.name)}"
    measured = f"{function}({column})"
    if field.kind.name == "duration":
        return f"extract(epoch from {measured})::text"  # of sums, which may have more digits than a float
    # sum and avg of integers are numeric: text keeps their digits.
    exact = field.kind.name == "decimal" or (field.kind.name == "integer" and function in ("sum", "avg"))
    return f"{measured}::text" if exact else field.kind.as_json(measured)
