"""Is every policy that judged kept, as it was? Each is named by the digest of its text, and the journal names the digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.audit.faults import Fault, Report
from pipeline.audit.stored import quoted, rows_of
from pipeline.policy.api import EmptyPolicy

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def check_policies(client: Client, control: str, report: Report) -> None:
    """Hold each policy's text against its digest, and the journal's digests against the policies.

    Args:
        client: of the archive.
        control: the control database.
        report: takes the faults.
    """
    table = f"{control}.policies"
    whole = "if(empty(groups), content, concat(content, char(0), groups))"
    altered = rows_of(
        client,
        f"SELECT toString(lineage), partition, sequence FROM {quoted(control)}.policies FINAL "
        f"WHERE lower(hex(SHA256({whole}))) != digest ORDER BY lineage, partition, sequence",
    )
    for lineage, partition, sequence in altered:
        report.add(
            Fault("altered", table, lineage, partition, sequence, column="digest", detail="not that of its text")
        )
    missing = rows_of(
        client,
        f"SELECT toString(lineage), partition, min(sequence), toString(policy) FROM {quoted(control)}.journal FINAL "
        f"WHERE status = 'accepted' AND policy NOT IN ('{EmptyPolicy.digest}', '') AND policy NOT IN "
        f"(SELECT digest FROM {quoted(control)}.policies) GROUP BY lineage, partition, policy "
        "ORDER BY lineage, partition, 3",
    )
    for lineage, partition, sequence, digest in missing:
        report.add(Fault("missing", table, lineage, partition, sequence, detail=f"no policy has the digest {digest}"))
