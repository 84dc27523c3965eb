"""The page on versions names the versions of the code, and every migration."""

import re

from tests.support import documents
from tests.support.documents import DOCS

from rescind.core import generation_table
from rescind.wire import nats_subjects, socket_protocol
from rescind_authority.postgres import migrate

PAGE = DOCS / "versions.md"


def test_the_table_has_every_migration_in_its_order() -> None:
    named = [row[0].strip("`") for row in documents.table(PAGE, headed="migration")]
    assert named == [step.name for step in migrate.known()]


def test_the_versions_of_the_interfaces_are_those_of_the_code() -> None:
    rows = {row[0]: row[1] for row in documents.table(PAGE, headed="interface")}
    newest = migrate.known()[-1].name.partition("_")[0]
    assert (
        rows["socket between a workload and its sidecar"] == f"protocol {socket_protocol.PROTOCOL}"
    )
    assert rows["shared table"] == f"layout {generation_table.LAYOUT}"
    assert rows["database schema"] == f"migration {newest}"
    assert rows["HTTP API"] == "`/v1`"
    prefix = re.match(r"\w+\.v\d+", nats_subjects.RESOLVE)
    path = re.match(r"/link/v\d+", nats_subjects.path(nats_subjects.RESOLVE))
    assert prefix
    assert path
    assert rows["messages over NATS and over the HTTP link"] == f"`{prefix[0]}`, `{path[0]}`"
