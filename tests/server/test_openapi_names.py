"""Names in the document: what an application has declared keeps its schema, whatever it is called."""

from typing import Any

import pytest
from pydantic import BaseModel, create_model

from freehold import Application, Entity, Page, Session, field
from freehold.functions.schemas import references
from freehold.server.openapi import openapi

FIELD = "declared_by_the_application"


class Customer(Entity, expose="all"):
    name: str = field(max_length=100)


PLAIN = openapi(Application("plain", [Customer]).manifest())
OURS = sorted(PLAIN["components"]["schemas"])
NAMES = sorted(
    {*OURS, "Page", "Error", "Problem_", "CustomerPart_", "CustomerPage", "Problem400", "Organization", "RequestId"}
)


def named(name: str, module: str = "elsewhere") -> type[BaseModel]:
    return create_model(name, __module__=module, **{FIELD: (int, ...)})  # type: ignore[call-overload,no-any-return]  # by name


def document(*models: type[BaseModel], page: bool = False) -> dict[str, Any]:
    """The document of an application with these models as results and as parameters."""
    application = Application("names", [Customer])
    for place, model in enumerate(models):

        async def asked(session: Session, given: Any) -> Any: ...

        asked.__annotations__ |= {"given": model, "return": Page[model] if page else model}  # type: ignore[valid-type]  # made above
        application.query(name=f"things.ask{place}")(asked)
    return openapi(application.manifest())


def led(document: dict[str, Any], schema: Any) -> Any:
    """What a schema refers to."""
    assert set(schema) == {"$ref"}
    return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]


def check_references(document: dict[str, Any]) -> None:
    """Each leads to something, and each problem to what has a code."""
    there = document["components"]["schemas"]
    assert {name for name in references(document) if name not in there} - set(
        document["components"]["responses"]
    ) - set(document["components"]["parameters"]) <= set(document["components"]["headers"])
    problem = document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"]
    assert {"code", "issues"} <= led(document, problem)["properties"].keys()


@pytest.mark.parametrize("page", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_is_called_like_one_of_ours_keeps_its_schema(name: str, *, page: bool) -> None:
    """And ours are as they are without it."""
    made = document(named(name), page=page)
    check_references(made)
    post = made["paths"]["/api/functions/things.ask0"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]["properties"]["given"]
    assert list(led(made, body)["properties"]) == [FIELD]
    result = post["responses"]["200"]["content"]["application/json"]["schema"]
    if page:
        result = led(made, result)["properties"]["data"]["items"]
    assert list(led(made, result)["properties"]) == [FIELD]
    record = made["paths"]["/api/customers/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    whole, part = (led(made, each) for each in record["anyOf"])
    assert {"id", "name", "version"} <= whole["properties"].keys() & part["properties"].keys()
    assert (part["required"], "name" in whole["required"]) == (["id"], True)
    listed = made["paths"]["/api/customers"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    rows = led(made, listed)["properties"]["data"]["items"]["anyOf"]
    assert [led(made, row)["properties"].keys() for row in rows] == [whole["properties"].keys()] * 2
    created = made["paths"]["/api/customers"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(led(made, created)["properties"]) == ["name"]


def test_models_of_the_same_name_in_different_modules_keep_their_own_schemas() -> None:
    others = [create_model("Line", __module__=module, **{module: (int, ...)}) for module in ("one", "two")]  # type: ignore[call-overload]
    made = document(*others)
    for place, module in enumerate(("one", "two")):
        post = made["paths"][f"/api/functions/things.ask{place}"]["post"]
        result = post["responses"]["200"]["content"]["application/json"]["schema"]
        assert list(led(made, result)["properties"]) == [module]


def test_without_such_names_the_document_has_the_usual_ones() -> None:
    assert {"Customer", "CustomerPart", "CustomerPage", "CustomerCreate", "CustomerPatch", "Problem"} <= set(OURS)
