"""A ledger as in an older backup: everything after a position is missing."""

from tests.support import rows
from tests.support.authority import System

from rescind_authority.postgres import pool
from rescind_authority.postgres.integrity.row_rewriter import RowRewriter
from rescind_runtime.crypto.signing import Keyring

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


async def set_back(system: System, seq: int, keyring: Keyring | None = None) -> None:
    """Delete every event, revocation, receipt and key after `seq`, as a restored backup lacks them.

    Call it while no authority runs. The rows of tokens and leases stay as they are.
    """
    for statement in _STATEMENTS:
        await system.tamper(statement, seq)
    # The end had this MAC then, with the keys of the authority, or with a test's other keys.
    used = keyring or rows.keys(system.settings)
    async with pool.connect(system.dsn) as postgres:
        await RowRewriter(postgres, rows.guard_of(used), used).head(adopting=True)
