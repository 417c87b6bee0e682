"""Finds the application that a command is about."""

import importlib
import os
import sys
import tomllib
from pathlib import Path

from freehold.app import Application
from freehold.errors import ConfigurationError

__all__ = ["default_application", "load", "load_application"]

VARIABLE = "FREEHOLD_APPLICATION"


def load_application(target: str) -> Application:
    """The application at `package.module:name`, imported from the current folder or the environment.

    Raises:
        ConfigurationError: there is no such module or name, or it is no application.
        DeclarationError: it is declared wrongly.
    """
    application = load(target)
    if not isinstance(application, Application):
        module, _, name = target.partition(":")
        raise ConfigurationError(
            f"{target!r} is no Application", hint=f"assign one in {module}: {name} = Application(...)"
        )
    return application


def load(target: str) -> object:
    """What is at `package.module:name`; None where the module has no such name.

    Raises:
        ConfigurationError: there is no such module.
    """
    module_name, _, name = target.partition(":")
    if not module_name or not name:
        raise ConfigurationError(
            f"{target!r} names no application",
            hint="write package.module:name, such as myapp.entities:application",
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"there is no module {error.name!r}", hint="run the command from the project's folder"
        ) from error
    return getattr(module, name, None)


def default_application() -> str:
    """The application that commands are about which name none: of the variable FREEHOLD_APPLICATION, or of the project.

    The project's is written in its pyproject.toml, in the current folder or the nearest one above it:

        [tool.freehold]
        application = "myapp.entities:application"

    Raises:
        ConfigurationError: neither is there, or the file cannot be read.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            found = _of_project(file)
            if found is not None:
                if str(folder) not in sys.path:
                    sys.path.insert(0, str(folder))
                return found
            break
    raise ConfigurationError(
        "no application is named",
        hint=f'name it package.module:name, or set {VARIABLE}, or write application = "..." under [tool.freehold] in pyproject.toml',
    )


def _of_project(file: Path) -> str | None:
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}"[:300]) from None
    section = settings.get("tool", {}).get("freehold", {})
    found = section.get("application") if isinstance(section, dict) else None
    if found is not None and not isinstance(found, str):
        raise ConfigurationError(
            f"{file}: tool.freehold.application must be a text such as 'myapp.entities:application'"
        )
    return found
