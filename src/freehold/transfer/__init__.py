"""Files of records: import and export by the declarations.

`formats` says what a file looks like, `source` reads its lines, `rows` its rows; `cells` and `mapping` turn a row into an entity's
input, `lookups` find what it refers to; `chunks` writes many rows exactly once, `importing` does all of it for a file.
"""

from freehold.transfer.exporting import ExportResult, export_file, export_parts
from freehold.transfer.formats import Format, format_of
from freehold.transfer.importing import ImportProgress, ImportResult, import_file
from freehold.transfer.report import Refused

__all__ = [
    "ExportResult",
    "Format",
    "ImportProgress",
    "ImportResult",
    "Refused",
    "export_file",
    "export_parts",
    "format_of",
    "import_file",
]
