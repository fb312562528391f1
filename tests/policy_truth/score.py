"""Precision and recall of each detector, over spans, and what it got wrong.

exclusions.jsonl beside this file lists the rows that are left out, each with its reason: {"entity", "text", "reason"}.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.policy.detectors import DETECTORS, spans_in
from tests.support import shared

TRUTH = shared.DIRECTORY / "corpora" / "policy-truth"
EXCLUSIONS = Path(__file__).with_name("exclusions.jsonl")
EXCLUDED_AT_MOST = 0.05
"""Of an entity's rows."""


@dataclass
class Score:
    """One entity's."""

    entity: str
    rows: int = 0
    excluded: int = 0
    right: int = 0
    wrong: int = 0
    missed: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / ((self.right + self.wrong) or 1)

    @property
    def recall(self) -> float:
        return self.right / ((self.right + self.missed) or 1)

    def fields(self) -> dict[str, Any]:
        return {
            "entity": self.entity,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "spans": self.right + self.missed,
            "rows": self.rows,
            "excluded": self.excluded,
        }


def exclusions() -> dict[tuple[str, str], str]:
    """The reason, by entity and text."""
    lines = (json.loads(line) for line in EXCLUSIONS.read_text().splitlines())
    return {(line["entity"], line["text"]): line["reason"] for line in lines}


def rows(entity: str) -> Iterator[dict[str, Any]]:
    with (TRUTH / f"{entity}.jsonl").open() as file:
        for line in file:
            yield json.loads(line)


def score(entity: str, *, exclude: bool = True) -> Score:
    left_out = exclusions() if exclude else {}
    result = Score(entity)
    for row in rows(entity):
        result.rows += 1
        if (entity, row["text"]) in left_out:
            result.excluded += 1
            continue
        got = {(span.start, span.end) for span in spans_in(entity, row["text"])}
        expected = {(start, end) for start, end in row["expected"]}
        result.right += len(got & expected)
        result.wrong += len(got - expected)
        result.missed += len(expected - got)
        if got != expected:
            error = {"text": row["text"], "expected": sorted(expected), "got": sorted(got)}
            result.errors.append(error | {"subtype": row.get("subtype", ""), "source": row["source"]})
    return result


def scores(*, exclude: bool = True) -> list[Score]:
    return [score(entity, exclude=exclude) for entity in DETECTORS]
