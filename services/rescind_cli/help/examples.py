"""An example or two of each command, as `--help` shows them. A test runs them.

`$ID` stands for the id of a revocation, `$TOKEN_ID` for that of a token.
"""

from collections.abc import Mapping, Sequence

import click

EXAMPLES: Mapping[str, Sequence[str]] = {
    "up": ["rescind up --sidecars 2"],
    "demo": ["rescind demo partition"],
    "bench": ["rescind bench check http --quick"],
    "issue": [
        "rescind issue --subject agent:billing-bot --kind agent --scope 'invoices:*' > token"
    ],
    "delegate": ["rescind delegate --subject agent:billing-bot/ocr --scope invoices:read < token"],
    "check": ["rescind check --require invoices:read < token"],
    "suspend": ["rescind suspend subject:agent:billing-bot --until 2h"],
    "narrow": ["rescind narrow subject:agent:billing-bot --remove invoices:pay --wait"],
    "lift": ["rescind lift $ID"],
    "revoke": [
        "rescind revoke tenant:acme --dry-run",
        "rescind revoke subject:agent:old-bot --reason 'went rogue' --wait",
    ],
    "kill": ["rescind kill agent:rogue-bot --reason 'prompt injection' --wait"],
    "revocations ls": ["rescind revocations ls --standing --handle subject:agent:billing-bot"],
    "revocations show": ["rescind revocations show $ID"],
    "receipt": [
        "rescind receipt $ID --json > receipt.json",
        "rescind receipt --verify receipt.json",
    ],
    "tokens ls": ["rescind tokens ls --subject agent:billing-bot --state active"],
    "tokens show": ["rescind tokens show $TOKEN_ID"],
    "tokens rotate": ["rescind tokens rotate $TOKEN_ID --overlap 5m > token"],
    "tokens expire": ["rescind tokens expire $TOKEN_ID --reason 'the job is done'"],
    "subjects show": ["rescind subjects show agent:billing-bot --all"],
    "tree": ["rescind tree agent:billing-bot"],
    "clients ls": ["rescind clients ls"],
    "clients add": [
        "rescind clients add billing --grant client_credentials --scope invoices:read > secret"
    ],
    "clients show": ["rescind clients show billing"],
    "clients rotate": ["rescind clients rotate billing --overlap 1h > secret"],
    "clients rm": ["rescind clients rm billing --yes"],
    "fleet": ["rescind fleet --ended"],
    "fleet evict": ["rescind fleet evict 3f9c1a2b --reason 'its host was stolen'"],
    "canary": ["rescind canary --once"],
    "term": ["rescind term"],
    "term set": ["rescind term set 10"],
    "events": ["rescind events --limit 5"],
    "explain": ["rescind explain $TOKEN_ID"],
    "doctor": ["rescind doctor --json"],
    "authority": ["rescind authority --data /var/lib/rescind"],
    "sidecar": ["RESCIND_SERVICE=search rescind sidecar"],
    "sidecar enrol": ["rescind sidecar enrol --service search --file credential"],
    "migrate": ["rescind migrate"],
    "keys show": ["rescind keys show"],
    "keys rotate": ["rescind keys rotate events"],
    "keys renew": ["rescind keys renew"],
    "keys retire": ["rescind keys retire all --timeout 1m"],
    "keys heard": ["rescind keys heard --timeout 30s"],
    "ledger show": ["rescind ledger show"],
    "ledger accept": ["rescind ledger accept"],
    "ledger new-epoch": ["rescind ledger new-epoch --longest-grace 0"],
    "recover admin": ["rescind recover admin"],
    "completion": ["rescind completion bash"],
}


def add(command: click.Command, path: str) -> None:
    """Add the examples of a command, and of those in a group, to the end of their `--help`."""
    if found := EXAMPLES.get(path):
        lines = "\n".join(f"  {each}" for each in found)
        command.epilog = f"\b\nExample{'s' if len(found) > 1 else ''}:\n{lines}"
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            add(each, f"{path} {name}")
