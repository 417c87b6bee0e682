"""The documentation page: from the package, strict about anything else, below any prefix."""

import gzip
import re
from pathlib import Path

import httpx
import pytest

from freehold import Database, Principal
from freehold.server import Settings
from freehold.server.documentation import ASSETS, FILES
from tests.functions.shop import shop
from tests.server.calling import Callers, calling


async def test_the_page_loads_nothing_from_elsewhere(call: Callers) -> None:
    page = await call(None, "GET", "/api/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert set(loaded) == {"data:,", "openapi.json", *(f"docs/{name}" for name in FILES)}
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for name, media in FILES.items():
        file = await call(None, "GET", f"/api/docs/{name}")
        assert (file.status_code, file.headers["content-type"]) == (200, media)
        assert file.content == (ASSETS / name).read_bytes()


async def test_the_document_has_a_tag_and_is_made_once(call: Callers) -> None:
    first = await call(None, "GET", "/api/openapi.json", headers={"accept-encoding": "identity"})
    assert first.headers["content-type"] == "application/json"
    assert first.json()["info"]["title"] == shop.name
    tag = first.headers["etag"]
    again = await call(None, "GET", "/api/openapi.json", headers={"if-none-match": f'"x", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    head = await call(None, "HEAD", "/api/openapi.json", headers={"accept-encoding": "identity"})
    assert (head.content, head.headers["content-length"]) == (b"", str(len(first.content)))
    packed = await call(None, "GET", "/api/openapi.json", headers={"accept-encoding": "gzip"})
    assert (packed.headers["content-encoding"], packed.headers["etag"]) == ("gzip", f"W/{tag}")
    assert packed.json() == first.json()


async def test_below_a_prefix_the_document_says_so(shop_database: Database, ada: Principal) -> None:
    async with calling(shop_database, root_path="/crm", ada=ada) as call:
        document = (await call(None, "GET", "/crm/api/openapi.json")).json()
        assert document["servers"] == [{"url": "/crm"}]
        assert (await call(None, "GET", "/crm/api/docs")).status_code == 200
        slash = await call(None, "GET", "/crm/api/docs/")
        assert (slash.status_code, str(slash.url.join(slash.headers["location"]).path)) == (308, "/crm/api/docs")


@pytest.mark.parametrize(
    "path",
    ["docs/nothing.js", "docs/page.html", "docs/../secret", "docs/%2e%2e/documentation.py", "docs/swagger-ui.LICENSE"],
)
async def test_nothing_else_of_the_package_is_served(call: Callers, path: str) -> None:
    response = await call(None, "GET", f"/api/{path}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_it_can_only_be_read(call: Callers) -> None:
    response = await call(None, "POST", "/api/openapi.json")
    assert (response.status_code, response.json()["code"]) == (405, "FH103")
    assert response.headers["allow"] == "GET, HEAD"


async def test_it_is_not_there_where_it_is_switched_off(shop_database: Database, ada: Principal) -> None:
    async with calling(shop_database, Settings(docs=False), ada=ada) as call:
        for path in ("/api/docs", "/api/openapi.json", "/api/docs/page.js"):
            response: httpx.Response = await call(None, "GET", path)
            assert response.status_code == 404


def test_the_viewer_is_the_pinned_one_with_its_licence() -> None:
    script = (Path(__file__).parents[2] / "scripts" / "swagger-ui.sh").read_text()
    version = re.findall(r"^version=(.+)$", script, re.MULTILINE)
    assert version
    assert version[0].encode() in (ASSETS / "swagger-ui-bundle.js").read_bytes()
    assert "Apache License" in (ASSETS / "swagger-ui.LICENSE").read_text()
    assert len(gzip.compress((ASSETS / "swagger-ui-bundle.js").read_bytes())) < 600_000


def test_the_page_s_script_keeps_no_key_and_asks_nobody_else() -> None:
    script = (ASSETS / "page.js").read_text()
    assert "persistAuthorization: false" in script
    assert "validatorUrl: null" in script
    assert not re.findall(r"https?://", script)
