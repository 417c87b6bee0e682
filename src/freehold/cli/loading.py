"""Finds the application that a command is about."""

import importlib
import sys
from pathlib import Path

from freehold.app import Application
from freehold.errors import ConfigurationError

__all__ = ["load", "load_application"]


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
