"""The calls of the demo's agent, and the files that pass them between processes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from rescind_lab.errors import LabError
from rescind_runtime.data_dir import write_private


@dataclass(frozen=True, slots=True)
class MeasuredCall:
    """A call that was answered: when it began and ended (CLOCK_BOOTTIME), and how.

    `token` is the name of the token in the scenario; `reason` is empty when the call was accepted.
    """

    service: str
    token: str
    began_ns: int
    ended_ns: int
    status: int
    reason: str

    @property
    def accepted(self) -> bool:
        """Return True if the service accepted the call."""
        return self.status == 200  # noqa: PLR2004 - HTTP's own number


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The configuration of an agent: the services, the tokens, and where to write the calls.

    They are passed in a file of mode 0600: tokens appear neither in argv nor in the environment.
    """

    services: Mapping[str, str]
    tokens: Mapping[str, str]
    period_s: float
    report: Path


def write_config(path: Path, config: AgentConfig) -> None:
    """Write the configuration of an agent."""
    write_private(path, json.dumps(asdict(config) | {"report": str(config.report)}))


def read_config(path: Path) -> AgentConfig:
    """Read the configuration of an agent."""
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return AgentConfig(
        services=document["services"],
        tokens=document["tokens"],
        period_s=document["period_s"],
        report=Path(document["report"]),
    )


def write_calls(path: Path, calls: Iterable[MeasuredCall]) -> None:
    """Write the calls, one a line."""
    write_private(path, "".join(f"{json.dumps(astuple(call))}\n" for call in calls))


def read_calls(path: Path) -> tuple[MeasuredCall, ...]:
    """Read the calls. Raises LabError if the agent wrote no file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise LabError("the agent stopped, and did not write its calls") from None
    return tuple(MeasuredCall(*json.loads(line)) for line in lines)
