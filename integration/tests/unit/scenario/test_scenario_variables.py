"""``variables``: where values come from, how they are typed, what is refused."""

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.scenario.loading import load_all, parse_file, read_settings
from metta_sandbox.scenario.model import Scenario

HEAD = "version: 1\nname: x\n"


def read(text: str, **given: str) -> Scenario:
    return parse_file(HEAD + text, Path("x.yaml"), given).scenarios[0]


def problems(text: str, **given: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(text, **given)
    return [str(problem) for problem in caught.value.problems]


NODES = "variables: {n: {default: 3, env: SANDBOX_TEST_N, description: Nodes.}}\nnodes: ${n}\n"


def test_the_command_line_goes_over_the_environment_and_that_over_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(NODES).nodes == 3
    monkeypatch.setenv("SANDBOX_TEST_N", "5")
    assert read(NODES).nodes == 5
    assert read(NODES, n="7").nodes == 7
    assert "nodes: expected a whole number, got 'many'" in problems(NODES, n="many")[0]


def test_a_whole_value_keeps_its_type_and_a_part_is_text() -> None:
    text = """
variables: {rate: 1e-4, yes: true, words: [a, b], word: hello, pair: {default: {values: [1, 2]}}}
tags: ${words}
credentials: "${yes}"
description: ${word}, ${rate} and $${rate}
sweep: {max_cost: '${rate}', parameters: {trainer.update_epochs: "${pair}"}}
"""
    one = read(text)
    assert one.tags == ("a", "b")
    assert one.credentials is True
    assert one.description == "hello, 1e-4 and ${rate}"
    assert one.sweep.max_cost == 1e-4
    assert list(one.search_space) == ["trainer.update_epochs"]


@pytest.mark.parametrize(
    ("given", "value"),
    [("1", 1), ("1e-3", 1e-3), ("true", True), ("~", None), ("a, b: c", "a, b: c"), ("", None)],
)
def test_settings_are_typed_as_in_a_file(given: str, value: object) -> None:
    text = "variables: {v: 0}\nworkload: {trainer: {command: [x], overrides: {k: '${v}'}}}"
    assert read(text, v=given).overrides == {"k": value}


def test_what_a_shell_or_hydra_reads_keeps_its_own_references() -> None:
    text = """
variables: {tag: t1}
workload:
  setup: echo ${HOME} ${tag} $$
  trainer: {command: [x, "${SKYPILOT_NODE_RANK}"], overrides: {a: "${oc.env:USER}"}}
"""
    one = read(text)
    assert one.workload.setup == "echo ${HOME} t1 $$"
    assert one.workload.trainer.command == ("x", "${SKYPILOT_NODE_RANK}")
    assert one.overrides == {"a": "${oc.env:USER}"}


def test_a_variable_is_never_evaluated() -> None:
    text = "variables: {a: 0, b: 0}\ndescription: ${a} ${b}"
    assert read(text, a="${b}", b="$(id) {{1}}").description == "${b} $(id) {{1}}"


def test_a_matrix_goes_over_a_variable() -> None:
    text = f"{HEAD}variables: {{n: 1}}\nnodes: ${{n}}\nmatrix: {{variables.n: [2, 3, 99]}}"
    with pytest.raises(InputError, match=r":5:30: nodes: expected 64 or less, got 99"):
        parse_file(text, Path("x.yaml"))
    found = parse_file(text.replace(", 99", ""), Path("x.yaml")).scenarios
    assert [(one.nodes, one.id) for one in found] == [(2, "x[n=2]"), (3, "x[n=3]")]


def test_a_matrix_may_refer_to_variables() -> None:
    text = "variables: {few: 2, sizes: [64, 128]}\n"
    text += "matrix: {nodes: ['${few}', 3], trainer.batch_size: '${sizes}', exclude: [{nodes: 3}]}"
    found = parse_file(HEAD + text, Path("x.yaml")).scenarios
    assert [one.id for one in found] == ["x[nodes=2,batch_size=64]", "x[nodes=2,batch_size=128]"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nodes: ${n}", "3:8: unknown variable ${n}; write $${ for a plain ${"),
        ("variables: {nods: 1, m: 1}\nnodes: ${nodes}\nseed: ${m}", "did you mean ${nods}?"),
        ("variables: {nods: 1}\nnodes: ${nodes}", "variables.nods: is used nowhere; did you mean"),
        ("variables: {n: 1}", "3:13: variables.n: is used nowhere; write ${n}"),
        ("variables: [n]", "3:12: variables: expected a mapping"),
        ("variables: {1n: 1}\nnodes: ${1n}", "variables.1n: expected a name"),
        ("variables: {n: {}}\nnodes: ${n}", "3:13: variables.n: has no value; give it a default"),
        ("variables: {n: {defualt: 1}}\nnodes: ${n}", "variables.n.defualt: unknown key; did you"),
        ("variables: {n: {default: 1, env: [A]}}\nnodes: ${n}", "variables.n.env: expected text"),
        ("variables: {a: 1, b: '${a}'}\nnodes: ${b}", "variables.b: a variable can't refer to oth"),
        ("variables: {l: [a]}\ndescription: an ${l}", "${l} is no text, and can't be part of one"),
        ("variables: {n: 0}\nnodes: ${n}", "3:16: nodes: expected 1 or more, got 0"),
        ("seed: ${env:HOME}", "unknown variable ${env:HOME}"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(text: str, said: str) -> None:
    assert any(said in line for line in problems(text)), problems(text)


def test_expansion_is_bounded() -> None:
    uses = ["'${a}'"] * 20
    long = f"variables: {{a: {'x' * 60_000}}}\ntags: [{', '.join(uses[:6])}]"
    assert any("more than 256 KiB" in line for line in problems(long))
    wide = f"variables: {{a: {[1] * 900}}}\ntags: [{', '.join(uses)}]"
    assert any("more than 3000 values" in line for line in problems(wide))


def test_a_setting_must_be_some_files_variable(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"version: 1\nname: a\n{NODES}")
    (tmp_path / "b.yaml").write_text("version: 1\nname: b\n")
    assert [one.scenario.nodes for one in load_all([tmp_path], {"n": "4"})] == [4, 2]
    with pytest.raises(InputError, match=r"--set m: no scenario file has this variable"):
        load_all([tmp_path], {"m": "4"})


def test_a_setting_and_a_matrix_contradict() -> None:
    text = "variables: {n: 1}\nnodes: ${n}\nmatrix: {variables.n: [2]}"
    assert any("--set gives n a value, too" in line for line in problems(text, n="3"))


def test_a_variable_of_the_base_may_be_used_there_alone(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(f"version: 1\nname: base\n{NODES}")
    own = tmp_path / "own.yaml"
    own.write_text("extends: base.yaml\nname: own\nnodes: 2\nvariables: {n: 6}\n")
    assert load_all([own])[0].scenario.nodes == 2


def test_settings_are_name_and_value() -> None:
    assert read_settings(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(InputError, match="--set"):
            read_settings(wrong)
