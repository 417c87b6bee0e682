"""A file of the same shape as the Online Retail data, as dirty as that, and the same on every machine."""

import gzip
import os
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from examples.renoz.retail.lines import COLUMNS

__all__ = ["DATA", "VARIABLE", "retail_file", "write_sample"]

VARIABLE = "RETAIL_DATA"
"""The environment variable that says where the real file is."""
DATA = Path("../shared/data/online_retail.csv.gz")
"""Where the real file is looked for, from the project's folder."""
ROOT = Path(__file__).parents[3]
LINES = 20_000

COUNTRIES = {"United Kingdom": 91, "Germany": 2, "France": 2, "EIRE": 2, "Channel Islands": 1, "Spain": 1, "USA": 1}
GOODS = ("HEART", "LANTERN", "TEA COSY", "BUNTING", "CAKE STAND", "RIBBON", "MUG", "CLOCK", "DOORMAT", "NAPKINS")
LOOKS = ("WHITE", "RED RETROSPOT", "VINTAGE", "SET OF 6", "HANGING", "CREAM", "PACK OF 12", "FELT", "GLASS", "“PARTY”")
START = datetime(2010, 12, 1, 8, 0)  # noqa: DTZ001  # the file tells no time zone


def retail_file(folder: Path) -> tuple[Path, bool]:
    """The file to import, and whether it is the real one: else one is made in a folder."""
    told = os.environ.get(VARIABLE)
    real = Path(told) if told else ROOT / DATA
    if told or real.exists():
        return real, True
    made = folder / "retail.csv.gz"
    if not made.exists():
        write_sample(made)
    return made, False


def write_sample(path: Path, *, lines: int = LINES, seed: int = 7) -> None:
    """Writes a file.

    Args:
        path: of the file; compressed.
        lines: how many, about.
        seed: of its chance.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with gzip.GzipFile(part, "wb", mtime=0) as file:
        file.write((",".join(COLUMNS) + "\n").encode())
        for line in _lines(random.Random(seed), lines):
            file.write(line + b"\n")
    part.replace(path)


def _lines(chance: random.Random, most: int) -> Iterator[bytes]:
    """Invoices, some of them cancelled later; broken lines among them, and lines that occur twice."""
    sold: list[list[str]] = []
    count = 0
    number = 536365
    while count < most:
        number += 1
        moment = START + timedelta(minutes=count)
        if sold and chance.random() < 0.1:
            invoice = [_cancelled(line, number, moment) for line in chance.choice(sold[-50:])[:3]]
        else:
            invoice = _invoice(chance, number, moment)
            sold.append(invoice)
        for line in invoice:
            count += 1
            yield _dirty(chance, line)
            if chance.random() < 0.01:
                count += 1
                yield line.encode()


def _invoice(chance: random.Random, number: int, moment: datetime) -> list[str]:
    (country,) = chance.choices(list(COUNTRIES), list(COUNTRIES.values()))
    customer = (
        "" if chance.random() < 0.2 else str(12_000 + 1_000 * list(COUNTRIES).index(country) + chance.randrange(200))
    )
    lines = []
    for _ in range(chance.randint(1, 40)):
        good = chance.randrange(len(GOODS) * len(LOOKS))
        stock = f"{20_000 + good}{chance.choice(('', '', 'A', 'b'))}"
        description = f"{LOOKS[good // len(GOODS)]} {GOODS[good % len(GOODS)]}"
        quantity, price = chance.choice((1, 2, 6, 12, 24)), chance.randint(19, 1995) / 100
        lines.append(f"{number},{stock},{description},{quantity},{moment.isoformat()},{price},{customer},{country}")
    return lines


def _cancelled(line: str, number: int, moment: datetime) -> str:
    cells = line.split(",")
    return ",".join([f"C{number}", cells[1], cells[2], f"-{cells[3]}", moment.isoformat(), *cells[5:]])


def _dirty(chance: random.Random, line: str) -> bytes:
    """The line, or one in fifty times one that is broken in some way."""
    if chance.random() >= 0.02:
        return line.encode()
    cells = line.split(",")
    match chance.randrange(8):
        case 0:
            cells[2] = ""
        case 1:
            cells[5] = f"-{cells[5]}"
        case 2:
            cells[3] = "a few"
        case 3:
            cells[4] = "yesterday"
        case 4:
            return line.rpartition(",")[0].encode()
        case 5:
            return ",".join(cells).replace(cells[2], cells[2] + " é").encode("latin-1", "replace")
        case 6:
            cells[0] = f"X{cells[0]}"
        case _:
            cells[2] = f'"{cells[2]}" LARGE'
    return ",".join(cells).encode()
