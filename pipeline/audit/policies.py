"""Is every policy that judged kept, as it was, with the first journal record that was made under it?

Each is named by the digest of its text, and the journal's records name the digest of the policy that judged them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.audit.faults import Fault, Kind, Report
from pipeline.audit.stored import quoted, rows_of
from pipeline.policy.api import EmptyPolicy

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def check_policies(client: Client, control: str, report: Report) -> None:
    """Hold each policy's text against its digest, and the changes of policy in the journal against those on record.

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
    place = "lineage, partition, sequence, digest"
    judged = (
        f"SELECT lineage, partition, sequence, policy AS digest FROM {quoted(control)}.journal FINAL "
        f"WHERE (status = 'accepted' OR notEmpty(new_recipients)) AND policy NOT IN ('{EmptyPolicy.digest}', '')"
    )
    over = "PARTITION BY lineage, partition ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    changes = f"SELECT {place} FROM (SELECT *, lagInFrame(digest) OVER ({over}) AS before FROM ({judged})) WHERE digest != before"
    kept = f"SELECT {place} FROM {quoted(control)}.policies FINAL"
    kind: Kind
    for kind, these, those in (("missing", changes, kept), ("extra", kept, changes)):
        for lineage, partition, sequence, digest in rows_of(
            client,
            f"SELECT toString(lineage), partition, sequence, toString(digest) FROM ({these}) "
            f"WHERE ({place}) NOT IN ({those}) ORDER BY lineage, partition, sequence",
        ):
            report.add(Fault(kind, table, lineage, partition, sequence, detail=f"the policy with the digest {digest}"))
