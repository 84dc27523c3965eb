"""What a receipt of very many verifiers says of them without naming each."""

from rescind.core.receipt import (
    MAX_GRACE,
    MAX_LAPSED,
    MAX_SERVICES,
    MAX_SLOWEST,
    EnforcingVerifier,
    Outcome,
    Receipt,
    ServiceTotals,
    VerifierInGrace,
    notable,
    summarised,
    summary_of,
)


def receipt_of(*verifiers: EnforcingVerifier, grace: tuple[VerifierInGrace, ...] = ()) -> Receipt:
    return Receipt("rev_1", 1, 7, 5_000_000, 5_100_000, verifiers, grace)


def verifier(
    number: int, outcome: Outcome = Outcome.ACKNOWLEDGED, **changed: object
) -> EnforcingVerifier:
    facts = {"service": "search", "latency_us": number} | changed
    return EnforcingVerifier(number.to_bytes(16), outcome=outcome, **facts)  # type: ignore[arg-type]


def test_every_verifier_is_counted_by_its_outcome_and_its_service() -> None:
    summary = summary_of(
        receipt_of(
            verifier(1),
            verifier(9),
            verifier(2, Outcome.LAPSED),
            verifier(3, Outcome.RELEASED, service="billing"),
            grace=(
                VerifierInGrace(bytes(16), "billing", 70),
                VerifierInGrace(bytes(16), "edge", 90),
            ),
        )
    )
    assert (summary.acknowledged, summary.released, summary.lapsed) == (2, 1, 1)
    assert (summary.verifiers, summary.grace, summary.grace_until_us) == (4, 2, 90)
    assert summary.services == (
        ServiceTotals("search", 2, 0, 1, 0, slowest_us=9),
        ServiceTotals("billing", 0, 1, 0, 1, slowest_us=3),
        ServiceTotals("edge", 0, 0, 0, 1, slowest_us=0),
    )


def test_lapsed_verifiers_are_named_first_and_then_the_slowest() -> None:
    lapsed = [verifier(number, Outcome.LAPSED) for number in range(MAX_LAPSED + 10)]
    others = [verifier(10_000 + number) for number in range(MAX_SLOWEST + 10)]
    named = notable([*others, *lapsed])
    assert list(named[:MAX_LAPSED]) == lapsed[:MAX_LAPSED]
    assert list(named[MAX_LAPSED:]) == list(reversed(others[10:]))
    assert notable(named) == named


def test_services_beyond_the_bound_are_counted_and_those_with_most_verifiers_are_named() -> None:
    many = [verifier(number, service=f"one-{number}") for number in range(MAX_SERVICES + 5)]
    large = [verifier(number, service="large") for number in range(3)]
    summary = summary_of(receipt_of(*many, *large))
    assert len(summary.services) == MAX_SERVICES
    assert summary.services[0].service == "large"
    assert summary.services_left == 6
    assert summary.verifiers == MAX_SERVICES + 8  # those without a tally too


def test_a_summary_contains_the_enforcement_and_the_first_verifiers_in_grace() -> None:
    grace = tuple(
        VerifierInGrace(number.to_bytes(16), "edge", 90) for number in range(MAX_GRACE + 1)
    )
    complete = receipt_of(verifier(1), grace=grace)
    stated = summarised(complete, (b"h" * 32,))
    assert (stated.revocation_id, stated.seq, stated.enforced_at_us) == ("rev_1", 7, 5_100_000)
    assert stated.grace == grace[:MAX_GRACE]
    assert stated.summary is not None
    assert (stated.summary.grace, stated.summary.hashes) == (MAX_GRACE + 1, (b"h" * 32,))
    assert summary_of(stated) is stated.summary
