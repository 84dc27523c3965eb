"""The progress of a command: committed, or enforced with its receipt."""

from typing import Literal, TypedDict

from rescind.client.admin.receipts import ReceiptDocument, WaitProgress


class CommandProgress(TypedDict):
    """How far a command is: with `receipt` once it is enforced, with `progress` after a wait."""

    state: Literal["committed", "enforced"]
    receipt: ReceiptDocument | None
    progress: WaitProgress | None
