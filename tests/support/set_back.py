"""A ledger as an older backup of it would be: what came after a position is gone."""

from tests.support.authority import System

_STATEMENTS = (
    """
    DELETE FROM receipts WHERE revocation_id IN
        (SELECT revocation_id FROM revocations WHERE seq > $1)
    """,
    "DELETE FROM revocations WHERE seq > $1",
    "DELETE FROM events WHERE seq > $1",
    "DELETE FROM audit WHERE seq > $1",
    """
    UPDATE ledger_head AS h SET seq = kept.seq, head = kept.head
    FROM (
        SELECT seq, head FROM events WHERE seq = $1
        UNION ALL SELECT base_seq, base_head FROM ledger_epochs WHERE base_seq = $1
    ) AS kept
    """,
)


async def set_back(system: System, seq: int) -> None:
    """Delete every event, revocation, receipt and key after `seq`, as a restored backup lacks them.

    Call it while no authority runs. The rows of tokens and leases stay as they are.
    """
    for statement in _STATEMENTS:
        await system.rows(statement, seq)
