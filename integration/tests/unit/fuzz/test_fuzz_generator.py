from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import fuzz
from fuzz.deviations import DEVIATIONS, _partners
from fuzz.generate import LAUNCHERS, generate
from fuzz.helpers import HELPERS
from fuzz.operations import COLLECTIVES, TOGETHER
from fuzz.scenarios import stage
from metta_sandbox.scenario.loading import load

SEEDS = range(600)
PROGRAMS = [generate(seed) for seed in SEEDS]


def test_the_same_seed_gives_the_same_program_and_truth() -> None:
    assert [generate(seed) for seed in range(50)] == PROGRAMS[:50]


def test_every_line_of_truth_stands_in_the_program() -> None:
    for program in PROGRAMS:
        assert program.truth.lines or not program.truth.place, program.seed
        for place in program.truth.lines:
            name, _, line = place.partition(":")
            assert program.files[name].splitlines()[int(line) - 1].strip(), program.seed


def test_programs_are_python_without_spots_and_marks() -> None:
    for program in PROGRAMS:
        for name, text in program.files.items():
            if name.endswith(".py"):
                ast.parse(text)
            assert "#:" not in text
            assert "\n@" not in text.replace(" ", "")


def test_only_what_goes_wrong_differs_between_ranks() -> None:
    for program in PROGRAMS:
        guilty = program.truth.ranks
        assert set(guilty) <= set(range(program.world))
        assert (program.truth.deviation == "healthy") == (not guilty)


def test_every_rank_goes_wrong_equally_often() -> None:
    pairs = [one.truth.ranks for one in PROGRAMS if one.world == 2 and len(one.truth.ranks) == 1]
    first = sum(ranks == (0,) for ranks in pairs)
    assert 0.4 < first / len(pairs) < 0.6


def test_every_feature_comes() -> None:
    counts = Counter(word for one in PROGRAMS for word in one.features)
    wanted = {*LAUNCHERS, *HELPERS, *COLLECTIVES, *TOGETHER, "healthy"}
    wanted |= {one.name for one in DEVIATIONS}
    assert wanted <= set(counts)


def test_programs_are_scenarios_of_ours(tmp_path: Path) -> None:
    first = {one.launcher: one for one in PROGRAMS}
    for program in first.values():
        read = load(stage(program, tmp_path))
        assert (read.name, read.nodes) == (program.name, program.nodes)
    assert set(first) == set(LAUNCHERS)


def test_without_what_goes_wrong_only_that_is_missing() -> None:
    for program in PROGRAMS[:100]:
        well = generate(program.seed, planted=False)
        assert set(well.files) == set(program.files)
        assert (well.files == program.files) == (program.truth.deviation == "healthy")
        for name, text in well.files.items():
            left = iter(program.files[name].splitlines())
            assert all(line in left for line in text.splitlines()), program.seed


def test_ground_truth_knows_nothing_of_the_autopsy() -> None:
    package = Path(fuzz.__file__).parent
    sources = {path.name: path.read_text() for path in package.glob("*.py")}
    assert sources
    for name, text in sources.items():
        imported = [line for line in text.splitlines() if line.startswith(("from ", "import "))]
        assert not [line for line in imported if "autops" in line], name
    for name in ("generate.py", "deviations.py", "troubles.py", "draft.py", "odd.py"):
        assert "metta_sandbox" not in sources[name]


def test_another_root_is_one_that_makes_a_difference_to_who_broadcasts() -> None:
    # Seen to pass: of four ranks the third receives from the first below root 3 and below root 0.
    assert _partners(4, 2, 3) == _partners(4, 2, 0) == (frozenset({0}), frozenset())
    assert _partners(4, 2, 1) == (frozenset({1}), frozenset({0}))
    assert _partners(2, 0, 0) == (frozenset(), frozenset({1}))
