"""The page that names every topic and stage is what the code does and what the README shows."""

from __future__ import annotations

import importlib
from pathlib import Path

from pipeline import topology
from pipeline.engines import drain

ROOT = Path(__file__).parents[2]


def test_the_readme_shows_the_diagram() -> None:
    shown = "\n".join(f"    {line}" for line in topology.diagram().splitlines())
    assert shown in (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_stage_reads_and_writes_topics_that_there_are() -> None:
    for stage in topology.STAGES:
        assert set(stage.reads + stage.writes) <= set(topology.ROUTES)
        importlib.import_module(stage.module)


def test_the_archive_worker_drains_what_the_page_says() -> None:
    archive = next(stage for stage in topology.STAGES if stage.name == "archive")
    assert set(drain.ROUTES) == set(archive.reads)
    assert set(archive.reads) == topology.UNTIL_ARCHIVED


def test_every_schema_named_is_in_the_schemas_folder() -> None:
    for topic in topology.TOPICS:
        assert topic.schema in {"OCSF JSON", "JSON"} or (ROOT / "schemas" / f"{topic.schema}.avsc").is_file()
