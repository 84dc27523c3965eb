"""The delegation tree over HTTP: a part at a time, with the state of each node."""

from typing import Any

import httpx2
from tests.support.authority import Running, System, serving

from rescind_authority.postgres import queries


async def child_of(authority: Running, parent: dict[str, Any], name: str, **asked: Any) -> Any:
    async with authority.as_bearer(parent["token"]) as client:
        answer = await client.post(
            "/v1/delegations", json={"subject": f"{parent['subject']}/{name}", **asked}
        )
    assert answer.status_code == httpx2.codes.CREATED, answer.text
    return answer.json()


async def tree(authority: Running, token: dict[str, Any], **query: int) -> dict[str, Any]:
    answer = await authority.http.get(f"/v1/tokens/{token['token_id']}/tree", params=query)
    assert answer.status_code == httpx2.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


def drawn(found: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(each["depth"], each["subject"], each["state"]) for each in found["nodes"]]


async def test_a_tree_shows_parents_before_children_with_the_state_of_each(system: System) -> None:
    async with serving(system) as authority:
        root = await authority.issue("agent:o", scopes=["tools:*"])
        one = await child_of(authority, root, "one", scopes=["tools:a"])
        two = await child_of(authority, root, "two")
        three = await child_of(authority, one, "three")
        await authority.revoke(f"tree:{one['token_id']}")
        found = await tree(authority, root)
        assert drawn(found) == [
            (0, "agent:o", "active"),
            (1, "agent:o/one", "revoked"),
            (2, "agent:o/one/three", "revoked"),
            (1, "agent:o/two", "active"),
        ]
        assert (found["size"], found["exact"], found["ancestors"]) == (3, True, [])
        assert found["nodes"][2]["parent"] == one["token_id"]
        below = await tree(authority, three)
        assert [each["token_id"] for each in below["ancestors"]] == [
            root["token_id"],
            one["token_id"],
        ]
        assert drawn(await tree(authority, two)) == [(1, "agent:o/two", "active")]


async def test_omitted_nodes_are_counted_and_can_be_read_page_by_page(system: System) -> None:
    async with serving(system) as authority:
        root = await authority.issue("agent:o")
        made = [await child_of(authority, root, f"c{number}") for number in range(5)]
        deep = await child_of(authority, made[0], "deep")
        found = await tree(authority, root, depth=1, children=2)
        assert [each["subject"] for each in found["nodes"]] == [
            "agent:o",
            "agent:o/c0",
            "agent:o/c1",
        ]
        top, first, second = found["nodes"]
        assert top["next"] == made[1]["token_id"]
        assert (first["next"], second["next"]) == ("", None)  # c0 has children that are not shown
        assert found["size"] == 6

        subjects: list[str] = []
        cursor = top["next"]
        while cursor is not None:
            page = (
                await authority.http.get(
                    f"/v1/tokens/{root['token_id']}/children",
                    params={"cursor": cursor, "limit": 2},
                )
            ).json()
            subjects += [each["subject"] for each in page["nodes"]]
            cursor = page["next"]
        assert subjects == ["agent:o/c2", "agent:o/c3", "agent:o/c4"]
        page = (await authority.http.get(f"/v1/tokens/{made[0]['token_id']}/children")).json()
        assert [each["token_id"] for each in page["nodes"]] == [deep["token_id"]]


async def test_an_unknown_token_has_no_tree(system: System) -> None:
    async with serving(system) as authority:
        for path in ("tree", "children"):
            answer = await authority.http.get(f"/v1/tokens/tok_{'0' * 26}/{path}")
            assert answer.status_code == httpx2.codes.NOT_FOUND
        answer = await authority.http.get("/v1/tokens/tok_x/tree", params={"depth": 99})
        assert answer.status_code == httpx2.codes.UNPROCESSABLE_CONTENT


_CHILDREN = """
INSERT INTO tokens (
    token_hash, token_id, kind, subject, scopes, audience, labels, lineage, chain,
    handles, issued_at, issued_seq, expires_at, created_by
)
SELECT
    sha256(n::text::bytea), 'tok_' || lpad(n::text, 26, '0'), kind, subject, scopes,
    audience, labels, ARRAY[token_id], ARRAY[subject],
    handles || ('tree:tok_' || lpad(n::text, 26, '0')), issued_at, issued_seq,
    expires_at, created_by
FROM tokens, generate_series($2::integer, $3::integer) AS n
WHERE token_id = $1
"""


async def test_a_tree_of_a_hundred_thousand_nodes_is_read_through_an_index(system: System) -> None:
    async with serving(system) as authority:
        root = await authority.issue("agent:o")
        # The first hundred have MACs, and no other child is shown: a MAC costs more than its row.
        await system.rows(_CHILDREN, root["token_id"], 1, 100)
        await system.tamper(_CHILDREN, root["token_id"], 101, 100_000)
        await system.rows("ANALYZE tokens")
        plan = await system.rows(
            f"EXPLAIN {queries.read('children')}", [root["token_id"]], None, 21
        )
        text = "\n".join(row[0] for row in plan)
        assert "tokens_parent" in text, text
        found = await tree(authority, root)
        assert len(found["nodes"]) == 21
        assert (found["size"], found["exact"]) == (10_000, False)
