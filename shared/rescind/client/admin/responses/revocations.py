"""Revocations, previews, and the outcomes of batches."""

from typing import TypedDict

from rescind.client.admin.receipts import Timestamp
from rescind.client.admin.responses.problems import ProblemDocument
from rescind.client.admin.responses.progress import CommandProgress


class SweepProgress(TypedDict):
    """How far the lists show a revoke; verifiers deny long before."""

    tokens: int
    """Tokens that it ended, and that nothing had ended before."""
    done: bool
    """True: these are all of them."""


class RevocationDetails(CommandProgress):
    """A revocation at its place in the ledger."""

    id: str
    epoch: int
    seq: int
    effect: str
    """`revoke`, `suspend`, `narrow`, `lift`, `changed`, or `kill` where it is named by its id."""
    selector: list[str]
    exact: bool
    """True: descendants are not hit."""
    scopes: list[str]
    """Scope patterns that a `narrow` removes."""
    issued_before: Timestamp | None
    """The cutoff: tokens that were issued later are spared."""
    until: Timestamp | None
    """When it is lifted without a command; None: not at all."""
    lifts: str | None
    """The id of the revocation that a lift ends."""
    lifted_at: Timestamp | None
    reason: str
    actor: str
    committed_at: Timestamp
    hit: int | None
    """How many live tokens matched; None in lists, and where the count took over two seconds."""
    hit_subjects: int | None
    """How many subjects these tokens speak for; a lower bound unless `hit_exact`."""
    hit_exact: bool | None
    """False: `hit` is an estimate, of more than 10,000."""
    swept: SweepProgress | None
    """Only in the answer to `revocation`, and only of a revoke."""


class RevocationPage(TypedDict):
    """A page of revocations; `next` is the cursor of the next page, None at the end."""

    revocations: list[RevocationDetails]
    next: str | None


class RevocationPreview(TypedDict):
    """The tokens that a command would hit now. Nothing was changed."""

    selector: list[str]
    """The selector as the ledger would hold it: with `tree:` and `chain:`."""
    tokens: int
    exact: bool
    """False: `tokens` is an estimate, and the other counts are lower bounds."""
    subjects: int
    delegated: int
    """How many of the tokens were delegated."""
    used: int
    """How many of the tokens were used in the last day."""
    spared_credentials: int
    """Credentials of sidecars that match and are not hit."""
    services: list[str]
    """The services at which the tokens were used."""
    preview: str
    """The name of this dry run: the command may have to carry it as `preview`."""
    preview_needed: bool
    """True: the command is refused without `preview`."""


class BatchOutcome(TypedDict):
    """The outcome of one command of a batch: its place in the ledger, or the `problem`."""

    id: str | None
    epoch: int | None
    seq: int | None
    committed_at: Timestamp | None
    problem: ProblemDocument | None


class BatchResult(CommandProgress):
    """The outcomes of a batch, in the order of its commands; `receipt` covers all of them."""

    committed: int
    refused: int
    outcomes: list[BatchOutcome]
