"""The benchmark of floods: what is made of what the drivers saw."""

import json

import pytest

pytest.importorskip("rich")

from benchmarks.flood import Flood, Round
from benchmarks.web.driver import Load, RefusedError, parsed


def load(p95: float, refused: int = 0) -> Load:
    return Load(1_000, 2.0, 0, refused, 0, "", p95 / 2, p95, p95 * 2, p95 * 3)


def test_ratios_are_taken_within_rounds() -> None:
    flood = Flood("with limits", True)
    flood.rounds += [
        Round(load(100), load(150), load(9, 100)),
        Round(load(1_000), load(1_800), load(9, 300)),
        Round(load(10), load(40), load(9, 200)),
    ]
    assert flood.ratio == 1.8
    assert (flood.refused, flood.served) == (100, 400)
    assert flood.middle("p95", "beside") == 150


def test_refusals_end_a_run_where_they_are_not_expected() -> None:
    line = json.dumps({**{name: getattr(load(5, 7), name) for name in Load.__dataclass_fields__}})
    assert parsed(line, refusals=True).refused == 7
    with pytest.raises(RefusedError, match="7 of 1000"):
        parsed(line)
