"""Whether the store has come to hold the ledger, with its verdicts."""

from ops.query import connect
from schemas import Result

from .load import LATE
from .senders import Ledger

_STORE_S = 30.0
_UNTRACED = f"""
SELECT count() FROM trajectories AS t LEFT ANTI JOIN verdicts AS v
ON t.trajectory_id = v.trajectory_id AND t.opened_at = v.opened_at AND t.revision = v.revision
WHERE t.result = '{Result.FAILURE}'
"""


def missing(clickhouse: str, ledger: Ledger, *, late: bool, failed: int | None = None) -> list[str]:
    """Name what the store lacks: with `late` every run's late outcome too, with `failed` that many verdicts."""
    runs = len({trajectory_id for trajectory_id, _ in ledger.steps})
    which = f" WHERE evaluator = '{LATE}'" if late else ""
    expected = {
        "steps": (len(ledger.steps), "SELECT count() FROM steps"),
        "trajectories": (runs, f"SELECT count() FROM trajectories{which}"),
        "outcomes": (len(ledger.outcomes), "SELECT count() FROM outcomes"),
        "dead letters": (len(ledger.letters), "SELECT count() FROM dead_letters"),
        "untraced": (0, _UNTRACED),
    }
    if failed is not None:
        expected["verdicts"] = (failed, "SELECT count() FROM verdicts")
    with connect(clickhouse, within_s=_STORE_S) as client:
        found = {name: (want, int(client.query(query).result_rows[0][0])) for name, (want, query) in expected.items()}
    return [f"{name} {have} of {want}" for name, (want, have) in found.items() if have != want]
