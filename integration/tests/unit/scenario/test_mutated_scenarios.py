"""Mutated scenario files: each is valid, or refused with places, and in less than a second."""

import collections
import copy
import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from metta_sandbox.cli.files import validate
from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import load_files, parse, to_yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
SEED = int(os.environ.get("MUTANTS_SEED", "13"))
#: Seconds of the processor's time.
LONGEST = 1.0
Mutation = Callable[[bytes, random.Random], bytes]

# Pieces that mean something to YAML or to us, so that mutations get past the scanner.
PIECES = [
    *": ,[]{}&*!|>'\"%@`#-?\n\t\\",
    *"\x00\x85\ufeff\u2028",
    *[
        "\n  ",
        "- ",
        "<<: *a",
        "&a ",
        "*a",
        "!!int ",
        "!!python/x ",
        "---\n",
        "null",
        "true",
        ".nan",
    ],
    *["1e999", "0x1F", "0o8", "0b", "1_0", "2024-01-01", "=", '"\\U00110000"', '"\\xZZ"', "? "],
    *["${steps}", "$${", "${", "extends: ", "matrix:\n  nodes: [1, 2]\n", "exclude", "variables"],
    *["%YAML 3.0\n", "log", "trials", "values", "distribution", "9" * 400, "-1", "{}", "[]"],
]
# What stands for a whole value.
NUMBERS = ["0", "-0", "-1", "1e308", "1e-400", "1e999", "9" * 299, "9" * 400, "0x" + "f" * 297]
NUMBERS += [
    "0.1e-300",
    "1_0",
    "0o7",
    ".inf",
    "-.inf",
    ".nan",
    "2" * 20,
    "1" * 40 + "d",
    "9" * 99 + "TB",
]
UNICODE = ['"\\0"', '"\\ud800"', '"\\U0010FFFF"', "\u202eabc", "e\u0301", "\u00a0", "\u200d", "١٢"]
UNICODE += [
    "\ufeffx",
    "\U0001f469\u200d\U0001f52c",
    '"\\x1b[2J"',
    '"\\x85\\u2029"',
    "ﬁ",
    "x" * 5000,
]
TAGS = [
    "!!python/object/apply:os.system [ls]",
    "!!binary aGk=",
    "!!set {a}",
    "!!omap [a: 1]",
    "! 1",
]
TAGS += ["!include x.yaml", "!!int x", "!!float 1", "!!null ''", "!!str {}", "!!map []", "!<x> 1"]
DEEP = [
    "[" * 30 + "]" * 30,
    "{a: " * 30 + "1" + "}" * 30,
    "[" * 200,
    "[" * 99 + "]" * 99,
    "- " * 50,
]
BOMBS = ["[&a [x, x], &b [*a, *a], &c [*b, *b], *c]", "&a [*a]", "&a {x: *a}", "*nobody"]
BOMBS += [
    "[&x0 [l, l, l], "
    + ", ".join(f"&x{level} [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, 12))
    + "]"
]
JUNK: list[Any] = [None, True, 0, 1, -1, 1e-400, 1e308, 2**70, 0.5, "", "x", "1", "(", "10m"]
JUNK += [[], {}, [[]]]
JUNK += ["${few}", "everything.yaml", {"nodes": [1, 2]}, {"nodes.x": [1], "trainer.x": [1]}]
JUNK += [{"min": 1}, {"values": [1]}, {"": 1}, [{}], ["a=1"], ["a", 1], {"equals": 1}, "log_normal"]
KEYS = ["min", "values", "log", "x.y", "", "+a", "~", "extends", "matrix", "variables", "exclude"]
_VALUE = re.compile(rb"(?<=: )[^\s,\]}][^\n,\]}]*")


def flip(data: bytes, source: random.Random) -> bytes:
    flipped = bytearray(data)
    for _ in range(source.randint(1, 3)):
        flipped[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(flipped)


def splice(data: bytes, source: random.Random) -> bytes:
    """Put in, take out or replace some characters, or whole lines."""
    text = data.decode()
    for _ in range(source.randint(1, 4)):
        at, end = sorted(source.randrange(len(text) + 1) for _ in range(2))
        end = min(end, at + 20)
        lines = text.split("\n")
        row = source.randrange(len(lines))
        match source.randrange(6):
            case 0:
                text = text[:at] + source.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[end:]
            case 2:
                text = text[:at] + source.choice(PIECES) + text[end:]
            case 3:
                source.shuffle(lines)
                text = "\n".join(lines)
            case 4:
                text = "\n".join([*lines[:row], source.choice(lines), *lines[row:]])
            case 5:
                text = "\n".join([*lines[:row], *lines[row + 1 :]])
    return text.encode()


def value_of(chosen: list[str]) -> Mutation:
    """Make a mutation that puts something in the place of one value."""

    def mutate(data: bytes, source: random.Random) -> bytes:
        spans = [found.span() for found in _VALUE.finditer(data)] or [(0, 0)]
        start, end = source.choice(spans)
        return data[:start] + source.choice(chosen).encode() + data[end:]

    return mutate


def swap(data: bytes, source: random.Random) -> bytes:
    """Give values another type, and keys another name."""
    root = YAML(typ="safe").load(data)
    for _ in range(source.randint(1, 3)):
        parents = [root]
        for parent in parents:
            inner = parent.values() if isinstance(parent, dict) else parent
            parents.extend(child for child in inner if isinstance(child, (dict, list)) and child)
        parent = source.choice(parents)
        key = source.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
        if isinstance(parent, dict) and source.random() < 0.3:
            parent[source.choice(KEYS)] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(source.choice(JUNK))
    return json.dumps(root, default=str).encode()  # JSON is YAML


MUTATIONS: dict[str, Mutation] = {
    "flip": flip,
    "splice": splice,
    "swap": swap,
    "numbers": value_of(NUMBERS),
    "unicode": value_of(UNICODE),
    "tags": value_of(TAGS),
    "deep": value_of(DEEP),
    "bombs": value_of(BOMBS),
}


def sources(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Copy all scenarios, and give each with where a mutant of it finds what it names."""
    shutil.copytree(ROOT / "scenarios", folder, dirs_exist_ok=True)
    for path in sorted(folder.rglob("*.yaml")):
        yield path.parent, path.read_bytes()
    for path in sorted(HERE.glob("valid/*.yaml")):
        shutil.copyfile(path, folder / f"_{path.name}")
        yield folder, path.read_bytes()
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL):
            yield folder, block.encode()


def check(path: Path) -> str:
    """Validate a file as the command does; it is valid, and written back, or refused with places.

    Returns:
        ``valid`` or ``refused``.

    """
    began = time.process_time()
    try:
        validate([path])
        problems = None
    except InputError as error:
        problems = error.problems
    assert time.process_time() - began < LONGEST
    if problems is None:
        for scenario in load_files([path])[0].scenarios[:2]:
            assert parse(to_yaml(scenario), path) == scenario
        return "valid"
    assert problems
    lines = len(path.read_bytes().splitlines())
    for problem in problems:
        assert problem.line > 0
        assert problem.column > 0
        assert problem.file != path or problem.line <= lines + 2
    return "refused"


def play(folder: Path, count: int, seed: int) -> collections.Counter[tuple[str, str]]:
    """Validate mutants of all scenarios in turn; every kind of mutation has its turn, too."""
    made = list(sources(folder))
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    for number in range(count):
        source = random.Random(f"{seed}.{number}")
        place, data = made[number % len(made)]
        # Another kind at each round, whatever the two numbers have in common.
        kind = list(MUTATIONS)[(number + number // len(made)) % len(MUTATIONS)]
        path = place / "mutant.yaml"
        path.write_bytes(MUTATIONS[kind](data, source))
        try:
            outcomes[kind, check(path)] += 1
        except Exception as error:
            told = f"mutant {number} of seed {seed} ({kind}):\n{path.read_text('latin-1')}"
            raise AssertionError(told) from error
        path.unlink()
    return outcomes


def test_a_mutated_file_is_a_scenario_or_an_input_error(tmp_path: Path) -> None:
    outcomes: Any = play(tmp_path, 240, SEED)
    assert outcomes.total() == 240
    assert {kind for kind, _ in outcomes} == set(MUTATIONS)
    assert {outcome for _, outcome in outcomes} == {"valid", "refused"}


@pytest.mark.slow
def test_thousands_of_mutated_files_are_scenarios_or_input_errors(tmp_path: Path) -> None:
    count = int(os.environ.get("MUTANTS", "3000"))
    outcomes = play(tmp_path, count, SEED)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind} {outcome}: {number}")  # noqa: T201 - the figures, with pytest -rP
    assert outcomes.total() == count
