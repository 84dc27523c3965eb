"""Which module holds each command, and what `rescind --help` says of it.

A command is imported when it is called: the modules stand here by name alone. `demo` and `bench`
are those of `rescind_lab`, which nothing else in the command line knows.
"""

from collections.abc import Mapping

# In the order of `--help`; a test compares the summaries with what the commands say themselves.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": (
        "rescind_cli.commands.operations.up",
        "Run the whole system on this machine, until Ctrl-C.",
    ),
    "demo": (
        "rescind_lab.demo.command",
        "Show a revocation arrive at three services, measured, in under a minute.",
    ),
    "bench": (
        "rescind_lab.bench.command",
        "Measure rescind against its real alternatives, in the same run on this machine.",
    ),
    "issue": (
        "rescind_cli.commands.tokens.issue",
        "Issue a token, and print it this once.",
    ),
    "delegate": (
        "rescind_cli.commands.tokens.delegate",
        "Delegate a part of a token's power, and print the new token this once.",
    ),
    "check": (
        "rescind_cli.commands.tokens.check",
        "Check the token on stdin, or else RESCIND_TOKEN, with the local sidecar.",
    ),
    "revoke": (
        "rescind_cli.commands.revocations.revoke",
        "Revoke every token that has all of these handles.",
    ),
    "suspend": (
        "rescind_cli.commands.revocations.suspend",
        "Suspend every token that has all of these handles, until it is lifted.",
    ),
    "narrow": (
        "rescind_cli.commands.revocations.narrow",
        "Remove scopes from every token that has all of these handles.",
    ),
    "lift": (
        "rescind_cli.commands.revocations.lift",
        "End a suspension or a narrowing; of a kill, the suspension.",
    ),
    "kill": (
        "rescind_cli.commands.revocations.kill",
        "End all that speaks for a subject, and let it have nothing new.",
    ),
    "revocations": (
        "rescind_cli.commands.revocations.revocations",
        "List what was revoked, or what stands and can be lifted; look at one.",
    ),
    "receipt": (
        "rescind_cli.commands.revocations.receipt",
        "Show the receipt of a revocation once it is enforced, or check one.",
    ),
    "tokens": (
        "rescind_cli.commands.tokens.tokens",
        "List tokens, look at one, rotate or expire it.",
    ),
    "subjects": (
        "rescind_cli.commands.tokens.subjects",
        "Show all that speaks for a subject, and what holds it.",
    ),
    "tree": (
        "rescind_cli.commands.tokens.tree",
        "Show who delegated what to whom, and what has become of each.",
    ),
    "fleet": (
        "rescind_cli.commands.operations.fleet",
        "Show who verifies, and how fresh each is.",
    ),
    "canary": (
        "rescind_cli.commands.operations.canary",
        "Revoke a token of no power, and see that no verifier accepts it after the receipt.",
    ),
    "term": (
        "rescind_cli.commands.operations.term",
        "Show how long a lease lasts, or change it.",
    ),
    "events": (
        "rescind_cli.commands.revocations.events",
        "Show what was revoked, and with --follow what is being revoked.",
    ),
    "explain": (
        "rescind_cli.commands.tokens.explain",
        "Explain why a token is denied, since when, by whom, and what it may still do.",
    ),
    "doctor": (
        "rescind_cli.commands.operations.doctor",
        "Report what is wrong with this installation, and what to do.",
    ),
    "authority": (
        "rescind_cli.commands.operations.authority",
        "Run an authority, configured by the environment.",
    ),
    "sidecar": (
        "rescind_cli.commands.operations.sidecar",
        "Run a sidecar, configured by the environment.",
    ),
    "migrate": (
        "rescind_cli.commands.operations.migrate",
        "Bring the authority's schema up to date.",
    ),
    "keys": (
        "rescind_cli.commands.operations.keys",
        "Show the keys, rotate or retire one.",
    ),
    "ledger": (
        "rescind_cli.commands.operations.ledger",
        "Show the ledger, accept it, or begin a new epoch after a restore.",
    ),
    "recover": (
        "rescind_cli.commands.operations.recover",
        "Get back in when the last admin token is lost.",
    ),
    "completion": (
        "rescind_cli.commands.operations.completion",
        "Print the completion script of a shell.",
    ),
}

VERBS = {verb: summary for verb, (_, summary) in COMMANDS.items()}
