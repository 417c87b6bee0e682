"""The Python of README and manual runs, on the real database, and prints what the page says.

A page's blocks run in order in one namespace, with `await` at the top level. When a block has declared `application`, the
page gets a database of its own: `database`, and `context` and `session` of Ada in the organization Acme. A printed line is shown as
a comment that starts with `# ->`. A block whose first line is `# name.py` is saved as that file, and run if it calls `asyncio.run`.
`<!-- notest -->` before a block leaves it out.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freehold import Application, Database
from tests.conftest import Server

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^(?P<skip><!-- notest -->\n+)?```python\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    text: str

    @property
    def said(self) -> list[str]:
        return re.findall(r"# -> ?(.*)", self.text)

    @property
    def file(self) -> str | None:
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named else "program.py" if self.is_program else None

    @property
    def is_program(self) -> bool:
        return "asyncio.run(" in self.text


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if not found["skip"]:
            yield Block(page, text.count("\n", 0, found.start("text")), found["text"])


async def executed(block: Block, namespace: dict[str, Any]) -> None:
    """Runs a block; its lines have the page's numbers in a traceback."""
    code = compile("\n" * block.line + block.text, str(block.page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)
    if inspect.isawaitable(result):
        await result


async def opened(application: Application, page: Path, server: Server, stack: AsyncExitStack) -> dict[str, Any]:
    """A database of the page's own, and a member's session."""
    name = f"docs_{page.stem}_{os.getpid()}"
    await server.create_database(name, application)
    database = await stack.enter_async_context(Database.open(server.address(name), application, size=3))
    system = database.system("the manual")
    organization = await system.create_organization(name="Acme", slug="acme")
    user = await system.create_user(email="ada@acme.example", name="Ada")
    await system.add_member(organization.id, user.id, role="admin")
    context = await system.context(organization="acme", user="ada@acme.example", client_ip="192.0.2.7")
    session = await stack.enter_async_context(database.session(context))
    return {"database": database, "context": context, "session": session}


def run_program(folder: str, file: str) -> str:
    result = subprocess.run(
        [sys.executable, file], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "page", [page for page in pages() if any(blocks(page))], ids=lambda page: str(page.relative_to(ROOT))
)
async def test_the_examples_of_a_page_run(page: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {"__name__": f"docs.{page.stem}"}
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        Path(folder).chmod(0o711)  # the embedded server's account passes through
        for block in blocks(page):
            if block.file:
                Path(folder, block.file).write_text(block.text, encoding="utf-8")
            if block.is_program:
                printed = await asyncio.to_thread(run_program, folder, str(block.file))
            elif block.file:
                continue
            else:
                capsys.readouterr()
                await executed(block, namespace)
                printed = capsys.readouterr().out
            if block.said or not block.is_program:
                assert printed.splitlines() == block.said, f"{page.name}, line {block.line}"
            if isinstance(namespace.get("application"), Application) and "database" not in namespace:
                namespace |= await opened(namespace["application"], page, server, stack)
