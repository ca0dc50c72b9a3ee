import pytest

from metta_sandbox.verdict import Verdict, exit_status, worst

P, F, U, S, E = (Verdict(name) for name in ("passed", "failed", "inconclusive", "skipped", "error"))


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([E, F, U, P, S], E),
        ([F, U, P, S], F),
        ([U, P, S], U),
        ([P, S], P),
        ([S, S], S),
        ([], S),
    ],
)
def test_the_worst_verdict_wins_and_skipped_counts_only_alone(
    verdicts: list[Verdict], expected: Verdict
) -> None:
    assert worst(verdicts) is expected
    assert worst(reversed(verdicts)) is expected


@pytest.mark.parametrize(
    ("verdicts", "ci", "status"),
    [
        ([P, P], False, 0),
        ([P, S], True, 0),
        ([P, F], False, 1),
        ([P, U], False, 1),
        ([P, E], True, 1),
        ([S, S], False, 0),
        ([S, S], True, 3),
        ([], False, 0),
        ([], True, 3),
        ([S, U], True, 1),
    ],
)
def test_exit_status_follows_the_contract(verdicts: list[Verdict], ci: bool, status: int) -> None:
    assert exit_status(verdicts, ci=ci) == status


def test_a_verdict_is_written_as_its_word() -> None:
    assert f"{P}" == "passed"
    assert Verdict("inconclusive") is U
