"""`rescind tree`: an operator sees who delegated what to whom, and what has become of each."""

from tests.scenarios.conftest import System


def test_the_tree_shows_each_generation_with_its_state(system: System) -> None:
    root = system.issue("agent:planter", "--scope", "tools:*")
    child = system.run("delegate", "--subject", "agent:planter/oak", stdin=root["token"])
    system.run("delegate", "--subject", "agent:planter/oak/twig", stdin=child["token"])
    other = system.run("delegate", "--subject", "agent:planter/elm", stdin=root["token"])
    system.run("revoke", f"token:{child['token_id']}", "--wait")
    (found,) = system.run("tree", root["token_id"])["trees"]
    assert {node["subject"]: node["state"] for node in found["nodes"]} == {
        "agent:planter": "active",
        "agent:planter/oak": "revoked",
        "agent:planter/oak/twig": "revoked",
        "agent:planter/elm": "active",
    }
    (alone,) = system.run("tree", "agent:planter/elm")["trees"]
    assert [node["token_id"] for node in alone["nodes"]] == [other["token_id"]]
    assert [each["subject"] for each in alone["ancestors"]] == ["agent:planter"]


def test_the_text_output_draws_the_tree(system: System) -> None:
    root = system.issue("agent:gardener", "--scope", "tools:*")
    system.run("delegate", "--subject", "agent:gardener/rose", stdin=root["token"])
    shown = system.shown("tree", "-", stdin=root["token"])
    first, second, *rest = shown.splitlines()
    assert first.startswith("agent:gardener  active  tok_")
    assert second.startswith("└─ agent:gardener/rose  active  tok_")
    assert "1 token" in " ".join(rest)
    assert root["token"] not in shown
