"""Bringing an earlier version of a record back, as a new version.

The values come from the log, go through the same validation as any change, and are written as an update of the version
that the caller has seen. What would stand in their way is asked first, so that the error tells all of it; what happens
between that and the write is the write's own error.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pydantic

from freehold.errors import HistoryError, Issue, ValidationError
from freehold.model.description import EntityDescription
from freehold.model.entity import Entity
from freehold.model.issues import validation_error
from freehold.model.numbers import parsed
from freehold.model.values import from_json_shape, to_payload
from freehold.sql.changes import clashes_statement, version_statement
from freehold.store.messages import Messenger, checked_version
from freehold.store.writer import Writer

__all__ = ["revert"]


async def revert(messenger: Messenger, writer: Writer, target: Any, to_version: Any) -> Entity:
    """Writes a record's values of an earlier version. See `Session.revert`."""
    entity, id, version = writer.named(target)
    wanted = checked_version(to_version, entity.name)
    if wanted >= version:
        raise ValidationError.single(
            ("to_version",), f"must be earlier than the record's version, {version}", "version", subject="revert"
        )
    patch = _patch(entity, await _then(messenger, entity, id, wanted), wanted)
    issues = await _clashes(messenger, entity, id, patch)
    if issues:
        raise ValidationError(issues, subject=f"{entity.name} {id} as of version {wanted}")
    return await writer.update((entity.cls, id, version), patch, {})


async def _then(messenger: Messenger, entity: EntityDescription, id: UUID, version: int) -> dict[str, Any]:
    """The values of the changeable fields that a version had."""
    store = messenger.store
    shape = store.shapes.parse(entity, private=True)
    rows = await messenger.rows(version_statement(shape, id, version, store.schemas))
    if not rows:
        raise HistoryError(
            f"the log has no version {version} of {entity.name} {id}",
            hint="see session.history for the versions that it has; older ones may have been pruned",
        )
    row, had = parsed(rows[0]["row"]), rows[0]["had"]
    return {field.name: row[field.name] for field in entity.changeable if field.name in had}


def _patch(entity: EntityDescription, values: Mapping[str, Any], version: int) -> Any:
    """The values as the input of an update: today's declaration may not allow all of them any more."""
    subject, read, issues = f"{entity.name} as of version {version}", {}, []
    for name, value in values.items():
        try:
            read[name] = None if value is None else from_json_shape(entity.fields[name], value)
        except pydantic.ValidationError as error:
            issues += [
                Issue((name, *issue.path), issue.message, issue.code)
                for issue in validation_error(error, subject).issues
            ]
    try:
        patch = entity.cls.Patch.model_validate(read)
    except pydantic.ValidationError as error:
        issues += validation_error(error, subject).issues
    if issues:
        raise ValidationError(issues, subject=subject)
    return patch


async def _clashes(messenger: Messenger, entity: EntityDescription, id: UUID, patch: Any) -> list[Issue]:
    """References to what is gone, and unique values that other records have by now."""
    store = messenger.store
    relations = store.registry.relations[entity.name]
    targets = {field.name: relations[str(field.relation)].target for field in entity.references}
    payload = to_payload({name: getattr(patch, name) for name in patch.model_fields_set}, entity.name)
    named = [(name, target.table) for name, target in targets.items()]
    rows = await messenger.rows(clashes_statement(entity, named, id, payload, store.schemas))
    found = [name for name, clashes in rows[0].items() if clashes] if rows and (named or entity.unique_keys) else []
    return [
        Issue((name,), f"the {targets[name].name} that it referred to is gone", "reference")
        if name in targets
        else Issue(entity.unique_keys[name].fields, f"another {entity.name} has this value by now", "unique")
        for name in found
    ]
