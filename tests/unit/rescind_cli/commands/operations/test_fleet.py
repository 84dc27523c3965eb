"""Which instance `rescind fleet evict` means."""

from typing import cast

import click
import pytest

from rescind.client.admin.responses.operations import FleetInstance
from rescind_cli.commands.operations.fleet import instance_id

INSTANCES = [
    cast("FleetInstance", {"instance": each}) for each in ("ab" * 16, "ac" * 16, "00" * 16)
]


@pytest.mark.parametrize(
    ("text", "instance"),
    [("ab" * 16, "ab" * 16), ("AB", "ab" * 16), ("0", "00" * 16), ("ff" * 16, "ff" * 16)],
)
def test_an_instance_is_named_by_the_beginning_of_its_id(text: str, instance: str) -> None:
    """A whole id is sent as it is, also if it is not listed any more."""
    assert instance_id(INSTANCES, text) == instance


@pytest.mark.parametrize("text", ["a", "", "abc"])
def test_a_prefix_of_no_instance_or_of_several_is_refused(text: str) -> None:
    with pytest.raises(click.UsageError):
        instance_id(INSTANCES, text)
