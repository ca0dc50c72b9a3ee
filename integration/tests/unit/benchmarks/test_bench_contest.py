from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.contest import Contest, Contestant, Kind, Sample, UnableError, hold, order
from benchmarks.outcome import Goal


class Fake(Contestant):
    kind: Kind = "peer"
    about = ""

    def __init__(self, name: str, diary: list[str], *, breaks: str = "") -> None:
        self.name = name
        self._diary = diary
        self._breaks = breaks
        self._times = 0

    def _do(self, what: str) -> None:
        self._diary.append(f"{self.name} {what}")
        if what == self._breaks:
            raise UnableError(f"no {what} \n here")
        if self._breaks == f"Ctrl-C in {what}":
            raise KeyboardInterrupt

    def set_up(self) -> None:
        self._do("set up")

    def run(self) -> Sample:
        self._times += 1
        self._do(f"run {self._times}")
        return Sample(float(self._times), {"part": 0.5})

    def tear_down(self) -> None:
        self._do("torn down")


def contest(*fakes: Fake, warm_up: bool = False, rounds: int | None = None) -> Contest:
    return Contest("key", "title", "note", fakes, (), rounds=rounds, warm_up=warm_up)


def ignore(_line: str) -> None:
    pass


@pytest.mark.parametrize("many", [1, 2, 3, 5])
def test_everybody_runs_once_a_round(many: int) -> None:
    for number in range(2 * many):
        assert sorted(order(range(many), number)) == list(range(many))


def test_everybody_is_first_and_last_equally_often() -> None:
    rounds = [order("abc", number) for number in range(6)]
    assert set(Counter(one[0] for one in rounds).values()) == {2}
    assert set(Counter(one[-1] for one in rounds).values()) == {2}


def test_neighbours_change_sides() -> None:
    before = [order("abc", number) for number in range(6)]
    follows = {tuple(one[place : place + 2]) for one in before for place in range(2)}
    assert {("a", "b"), ("b", "a")} <= follows


def test_nobody_runs() -> None:
    assert order([], 3) == []


def test_contestants_run_in_turns_between_all_set_up_and_all_torn_down() -> None:
    diary: list[str] = []
    outcome = hold(contest(Fake("a", diary), Fake("b", diary)), 2, ignore)
    assert diary == [
        "a set up",
        "b set up",
        "a run 1",
        "b run 1",
        "a run 2",
        "b run 2",
        "b torn down",
        "a torn down",
    ]
    assert outcome.entries[0].values == (1.0, 2.0)
    assert outcome.entries[0].parts == ({"part": 0.5}, {"part": 0.5})


def test_warm_up_is_not_counted() -> None:
    outcome = hold(contest(Fake("a", []), warm_up=True), 2, ignore)
    assert outcome.entries[0].values == (2.0, 3.0)


def test_contest_may_say_how_many_rounds() -> None:
    assert len(hold(contest(Fake("a", []), rounds=1), 5, ignore).entries[0].values) == 1


def test_who_takes_long_may_do_it_once() -> None:
    diary: list[str] = []
    held = replace(contest(Fake("a", diary), Fake("b", diary)), once=frozenset({"b"}))
    outcome = hold(held, 3, ignore)
    assert [len(entry.values) for entry in outcome.entries] == [3, 1]


@pytest.mark.parametrize("breaks", ["set up", "run 1", "run 2"])
def test_who_fails_is_listed_with_the_reason_and_torn_down(breaks: str) -> None:
    diary: list[str] = []
    told: list[str] = []
    fakes = Fake("a", diary, breaks=breaks), Fake("b", diary)
    broken, whole = hold(contest(*fakes), 3, told.append).entries
    assert (broken.name, broken.reason, broken.median) == ("a", f"no {breaks} here", None)
    assert "run 3" not in " ".join(line for line in diary if line.startswith("a"))
    assert "a torn down" in diary
    assert whole.values == (1.0, 2.0, 3.0)
    assert f"a can't: no {breaks} here" in told


@pytest.mark.parametrize("moment", ["set up", "run 1"])
def test_ctrl_c_tears_everybody_down(moment: str) -> None:
    diary: list[str] = []
    fakes = Fake("a", diary), Fake("b", diary, breaks=f"Ctrl-C in {moment}")
    with pytest.raises(KeyboardInterrupt):
        hold(contest(*fakes), 3, ignore)
    assert {"a torn down", "b torn down"} <= set(diary)


def test_failed_tear_down_is_told_and_hides_nothing() -> None:
    diary: list[str] = []
    told: list[str] = []
    fakes = Fake("a", diary), Fake("b", diary, breaks="torn down")
    outcome = hold(contest(*fakes), 1, told.append)
    assert "a torn down" in diary
    assert outcome.entries[1].values == (1.0,)
    assert any("left something behind" in line for line in told)


def test_goals_are_judged() -> None:
    one = Contest("key", "t", "n", [Fake("a", [])], (Goal("a", "at_most", 1),), warm_up=False)
    assert [goal.met for goal in hold(one, 1, ignore).goals] == [True]
