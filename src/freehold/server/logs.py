"""Logs: one line for each request, and what else the server tells, as JSON or as text.

The library only writes to the loggers `freehold.access` and `freehold.server`. `configure` is for programs that are ours
(`freehold serve`, `freehold dev`); an application that mounts the server arranges logging as it likes.

What is in a line is told here and nowhere else: no secrets, no paths (they hold ids), no query strings, no bodies, and no
address unless it is switched on.
"""

import logging
import sys
import threading
import time
import traceback
from time import perf_counter
from typing import Any, TextIO

from pydantic_core import to_json

from freehold.server.exchange import Exchange
from freehold.server.reply import AbortedError
from freehold.server.settings import Settings

__all__ = ["AccessLog", "JsonFormatter", "TextFormatter", "configure"]

_access = logging.getLogger("freehold.access")


class AccessLog:
    """Tells of each request when it has been answered.

    Args:
        settings: what is told.
    """

    def __init__(self, settings: Settings) -> None:
        self._addresses = settings.log_addresses

    def __call__(self, exchange: Exchange) -> None:
        """Writes the line of a request."""
        if not _access.isEnabledFor(logging.INFO):
            return
        milliseconds = round((perf_counter() - exchange.began) * 1_000, 2)
        name = exchange.function or "-"
        fields: dict[str, Any] = {
            "request_id": exchange.request_id,
            "method": exchange.method,
            "function": name,
            "status": exchange.status,
            "milliseconds": milliseconds,
            "bytes": exchange.sent,
        }
        principal = exchange.principal
        if principal is not None:
            fields["organization_id"] = str(principal.organization_id)
            fields["credential"] = principal.credential
        if self._addresses:
            fields["client_ip"] = exchange.client_ip
        # Not Logger.info: it looks through the stack for the caller, which costs more than all of the rest.
        text = f"{exchange.method} {name} {exchange.status} {milliseconds} ms"
        record = logging.LogRecord(_access.name, logging.INFO, "", 0, text, None, None)
        record.fields = fields
        _access.handle(record)


class JsonFormatter(logging.Formatter):
    """A line of JSON: time, level, logger, message, and the record's own fields."""

    _second = 0
    _moment = ""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        seconds = int(record.created)
        if seconds != self._second:
            self._second = seconds
            self._moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        line: dict[str, Any] = {
            "time": f"{self._moment}.{int(record.created % 1 * 1_000):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["message"] = _plain(record.getMessage())
        else:
            line.update(fields)
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = _plain("".join(traceback.format_exception(*record.exc_info)))
        return to_json(line, fallback=str).decode()


def _plain(text: str) -> str:
    """A text of characters that UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()


class TextFormatter(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class _Lines(logging.StreamHandler[TextIO]):
    """Writes lines of requests a moment later and several at once: a system call for each would cost more than the line."""

    def __init__(self, stream: TextIO, seconds: float) -> None:
        super().__init__(stream)
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def flush(self) -> None:
        """Arranges that what was written comes out soon."""
        if self._timer is None:
            timer = self._timer = threading.Timer(self._seconds, self._out)
            timer.daemon = True
            timer.start()

    def _out(self) -> None:
        self._timer = None
        with self.lock or threading.RLock():
            super().flush()

    def close(self) -> None:
        """Writes out what is left."""
        self._out()
        super().close()


def _told_already(record: logging.LogRecord) -> bool:
    """Leaves out what the web server says of answers that were broken off: the log has why."""
    return not (record.exc_info and isinstance(record.exc_info[1], AbortedError))


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Sends the logs of this program to standard error, and those of requests to standard output.

    Args:
        settings: in which format, and whether requests are told.
        stream: where both go instead.
    """
    # What these look up for each record nobody reads here.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    formatter: logging.Formatter = JsonFormatter() if settings.logs_json else TextFormatter()
    told = logging.StreamHandler(stream or sys.stderr)
    requests = _Lines(stream or sys.stdout, 0.2) if settings.logs_json else logging.StreamHandler(stream or sys.stdout)
    told.addFilter(_told_already)
    for handler in (told, requests):
        handler.setFormatter(formatter)
    for name, handler, level in (
        ("freehold", told, logging.INFO),
        ("uvicorn", told, logging.WARNING),
        ("freehold.access", requests, logging.INFO if settings.access_log else logging.CRITICAL),
    ):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
