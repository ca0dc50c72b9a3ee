"""Who gets which of the stacks that a run keeps."""

from __future__ import annotations

import threading
from typing import cast

import pytest

from metta_sandbox.stack.engines.base import Sharing
from metta_sandbox.stack.engines.compose.kept import KeptStack
from metta_sandbox.stack.engines.compose.pool import Pool


class Stack:
    def __init__(self, number: int) -> None:
        self.number = number
        self.is_down = False

    def down(self) -> None:
        self.is_down = True


def make(number: int) -> KeptStack:
    return cast("KeptStack", Stack(number))


def number(stack: KeptStack) -> int:
    return cast("Stack", stack).number


def is_down(stack: KeptStack) -> bool:
    return cast("Stack", stack).is_down


def test_a_stack_goes_to_the_next_of_the_same_needs() -> None:
    pool = Pool(Sharing(scenarios=4, stacks=3))
    one, two = pool.take("a", make), pool.take("a", make)
    assert [number(each) for each in (one, two)] == [1, 2]
    assert pool.put("a", one)
    assert pool.take("b", make) is not one
    assert pool.take("a", make) is one


def test_one_of_other_needs_makes_room() -> None:
    pool = Pool(Sharing(scenarios=3, stacks=1))
    one = pool.take("a", make)
    assert pool.put("a", one)
    other = pool.take("b", make)
    assert is_down(one)
    assert number(other) == 2


def test_nobody_is_to_come_so_none_is_kept() -> None:
    pool = Pool(Sharing(scenarios=2, stacks=2))
    one, two = pool.take("a", make), pool.take("a", make)
    assert not pool.put("a", one)
    pool.drop(one)
    pool.drop(two)
    assert is_down(one)
    assert is_down(two)


@pytest.mark.parametrize("kept", [True, False])
def test_whoever_comes_too_early_waits_for_one(kept: bool) -> None:
    pool = Pool(Sharing(scenarios=2, stacks=1))
    one = pool.take("a", make)
    got: list[KeptStack] = []
    waiting = threading.Thread(target=lambda: got.append(pool.take("a", make)))
    waiting.start()
    if kept:
        assert pool.put("a", one)
    else:
        pool.drop(one)
    waiting.join(60)
    assert [number(each) for each in got] == [1 if kept else 2]


def test_one_that_does_not_answer_is_replaced() -> None:
    pool = Pool(Sharing(scenarios=3, stacks=1))
    one = pool.take("a", make)
    pool.drop(one)
    assert number(pool.take_new(make)) == 2


def test_in_the_end_all_that_are_kept_go() -> None:
    pool = Pool(Sharing(scenarios=9, stacks=2))
    stacks = [pool.take("a", make) for _ in range(2)]
    for each in stacks:
        assert pool.put("a", each)
    pool.close()
    assert all(is_down(each) for each in stacks)
