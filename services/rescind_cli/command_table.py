"""The module of each command, and its summary in `rescind --help`.

A command is imported when it is called, so its module appears here by name alone. `demo` and
`bench` are in `rescind_lab`, which the rest of the command line does not use.
"""

from collections.abc import Mapping

# In the order of `--help`; a test compares the summaries with the commands' docstrings.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": (
        "rescind_cli.commands.operations.up",
        "Run the whole system on this machine, until Ctrl-C.",
    ),
    "demo": (
        "rescind_lab.demo.command",
        "Measure how a revocation arrives at three services, in less than a minute.",
    ),
    "bench": (
        "rescind_lab.bench.command",
        "Measure rescind against its real alternatives, in the same run on this machine.",
    ),
    "issue": (
        "rescind_cli.commands.tokens.issue",
        "Issue a token, and print it once.",
    ),
    "delegate": (
        "rescind_cli.commands.tokens.delegate",
        "Delegate a part of a token's permissions, and print the new token once.",
    ),
    "check": (
        "rescind_cli.commands.tokens.check",
        "Check the token on stdin, or else in RESCIND_TOKEN, with the local sidecar.",
    ),
    "revoke": (
        "rescind_cli.commands.revocations.revoke",
        "Revoke every token that matches a selector.",
    ),
    "suspend": (
        "rescind_cli.commands.revocations.suspend",
        "Suspend every token that matches a selector, until the suspension is lifted.",
    ),
    "narrow": (
        "rescind_cli.commands.revocations.narrow",
        "Remove scopes from every token that matches a selector.",
    ),
    "lift": (
        "rescind_cli.commands.revocations.lift",
        "End a suspension or a narrowing, or the suspension of a kill.",
    ),
    "kill": (
        "rescind_cli.commands.revocations.kill",
        "Revoke all tokens of a subject, and prevent new ones.",
    ),
    "revocations": (
        "rescind_cli.commands.revocations.revocations",
        "List revocations, or show one.",
    ),
    "receipt": (
        "rescind_cli.commands.revocations.receipt",
        "Wait for the receipt of a revocation and show it, or verify a receipt.",
    ),
    "tokens": (
        "rescind_cli.commands.tokens.tokens",
        "List, show, rotate or expire tokens.",
    ),
    "subjects": (
        "rescind_cli.commands.tokens.subjects",
        "Show a subject's tokens, and the revocations that apply to them.",
    ),
    "tree": (
        "rescind_cli.commands.tokens.tree",
        "Show a delegation tree and the state of each token.",
    ),
    "clients": (
        "rescind_cli.commands.operations.clients",
        "List, show, add, rotate or remove OAuth clients.",
    ),
    "fleet": (
        "rescind_cli.commands.operations.fleet",
        "Show the sidecars and how up to date each is.",
    ),
    "canary": (
        "rescind_cli.commands.operations.canary",
        "Revoke a token without permissions, and check that verifiers deny it after the receipt.",
    ),
    "term": (
        "rescind_cli.commands.operations.term",
        "Show how long a lease lasts, or change it.",
    ),
    "events": (
        "rescind_cli.commands.revocations.events",
        "Show the latest revocations and, with --follow, new ones.",
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
        "Create a new admin token after the last one was lost.",
    ),
    "completion": (
        "rescind_cli.commands.operations.completion",
        "Print the completion script of a shell.",
    ),
}

VERBS = {verb: summary for verb, (_, summary) in COMMANDS.items()}
