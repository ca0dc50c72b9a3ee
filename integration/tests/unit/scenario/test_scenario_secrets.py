"""``secrets`` and secret variables: names in files, values in nobody's but the nodes'."""

import json
from pathlib import Path

import pytest

from metta_sandbox import masking
from metta_sandbox.errors import InputError
from metta_sandbox.node.handoff import HandOff
from metta_sandbox.node.trial import TrialPlan, trainer_environment
from metta_sandbox.play.host_inputs import provision
from metta_sandbox.play.secrets import read_secrets, require_secrets, secrets_of
from metta_sandbox.scenario.loading import Loaded, parse, parse_file, to_yaml
from metta_sandbox.scenario.model import Scenario
from metta_sandbox.scenario.secrets import looks_secret
from metta_sandbox.stack.credentials import Credential
from metta_sandbox.stack.provision import MountSpec
from metta_sandbox.stack.tokens import tokens_in

VALUE = "hunter2-hunter2"
FILE = Path("a.yaml")


@pytest.fixture(autouse=True)
def _nothing_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_masker", masking.Masker())


def read(text: str, path: Path = FILE, **given: str) -> Scenario:
    return parse_file(f"version: 1\nname: a\n{text}", path, given).scenarios[0]


def told(text: str, **given: str) -> str:
    with pytest.raises(InputError) as caught:
        read(text, FILE, **given)
    return str(caught.value)


def test_values_come_from_the_environment_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"1{VALUE}")
    monkeypatch.setenv("MINE", f"2{VALUE}")
    (tmp_path / "token").write_text(f"3{VALUE}\n")
    text = "secrets: {HF_TOKEN: , B: {env: MINE}, C: {file: token}, D: }"
    scenario = read(text, tmp_path / "a.yaml")
    values = secrets_of(Loaded(scenario, tmp_path / "a.yaml"), {"D": f"4{VALUE}"})
    assert values == {
        "HF_TOKEN": f"1{VALUE}", "B": f"2{VALUE}", "C": f"3{VALUE}", "D": f"4{VALUE}"
    }  # fmt: skip
    assert VALUE not in to_yaml(scenario)
    assert masking.masked(f"4{VALUE}") == "***"


def test_what_is_missing_or_short_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEW", "short12")
    file = tmp_path / "a.yaml"
    file.write_text("version: 1\nname: a\nsecrets:\n  GONE:\n  FEW:\n  C: {file: nowhere}\n")
    with pytest.raises(InputError) as caught:
        require_secrets(parse_file(file.read_text(), file).loaded, {})
    said = [str(problem) for problem in caught.value.problems]
    assert said[0].startswith(f"{file}:4:3: secrets.GONE: has no value; set GONE in the environ")
    assert said[1].startswith(f"{file}:5:3: secrets.FEW: its value has fewer than 8 characters")
    assert "can't be read: No such file" in said[2]
    assert "short12" not in str(caught.value)


def test_no_secret_goes_onto_a_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", VALUE)
    for word in ("$A", "x${A}", "$$$A"):
        scenario = read(f"secrets: {{A: }}\nworkload: {{trainer: {{command: [x, '{word}']}}}}")
        with pytest.raises(InputError) as caught:
            secrets_of(Loaded(scenario, FILE), {})
        assert "$A is a secret, which anybody would see" in str(caught.value.problems[0])
    other = read("secrets: {A: }\nworkload: {trainer: {command: 'x $$A $AB'}}")
    assert secrets_of(Loaded(other, FILE), {}) == {"A": VALUE}


def test_a_value_in_the_file_is_refused_and_not_repeated() -> None:
    said = told(f"secrets: {{A: {VALUE}}}")
    assert "a value in a file is no secret" in said
    assert VALUE not in said
    assert "is one of the secrets, too" in told("secrets: {A: }\nworkload: {env: {A: b}}")
    assert "expected a variable's name" in told("secrets: {a-b: }")


@pytest.mark.parametrize(
    ("declared", "target"),
    [
        ("{env: OUTSIDE, secret: true}", "X"),
        ("{env: GITHUB_TOKEN, default: none}", "X"),
        ("{env: OUTSIDE, default: none}", "MY_API_TOKEN"),
    ],
)
def test_secret_variables_stay_references(
    monkeypatch: pytest.MonkeyPatch, declared: str, target: str
) -> None:
    monkeypatch.setenv("OUTSIDE", VALUE)
    monkeypatch.setenv("GITHUB_TOKEN", VALUE)
    env = f"{{{target}: 'a ${{t}} ${{n}}', Y: z}}"
    text = f"variables: {{t: {declared}, n: 5}}\nworkload: {{run: x, env: {env}}}"
    scenario = read(text)
    assert scenario.workload.env == {target: "a ${t} 5", "Y": "z"}
    assert VALUE not in to_yaml(scenario) + repr(scenario) + str(scenario)
    assert secrets_of(Loaded(scenario, FILE), {}) == {target: f"a {VALUE} 5"}
    there = parse(to_yaml(scenario.for_nodes(["C"])), FILE)
    assert there.workload.env == {"Y": "z"}
    assert set(there.secrets) == {target, "C"}


def test_what_stands_in_the_file_or_is_declared_none_is_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workload = "workload: {run: x, env: {MY_API_TOKEN: '${t}'}}"
    monkeypatch.delenv("GITHUB_TOKEN", raising=False)
    default = read(f"variables: {{t: {{default: none, env: GITHUB_TOKEN}}}}\n{workload}")
    assert default.workload.env == {"MY_API_TOKEN": "none"}
    monkeypatch.setenv("GITHUB_TOKEN", "short")
    said = told(f"variables: {{t: {{env: GITHUB_TOKEN}}}}\n{workload}")
    assert "fewer than 8 characters" in said
    assert "short'" not in said
    told_none = read(f"variables: {{t: {{env: GITHUB_TOKEN, secret: false}}}}\n{workload}")
    assert told_none.workload.env == {"MY_API_TOKEN": "short"}
    monkeypatch.setenv("GITHUB_TOKEN", "12345678")
    longer = read(f"variables: {{t: {{env: GITHUB_TOKEN}}}}\n{workload}")
    assert secrets_of(Loaded(longer, FILE), {}) == {"MY_API_TOKEN": "12345678"}


@pytest.mark.parametrize(
    "body",
    [
        "nodes: '${t}'",
        "workload: {run: 'curl ${t}'}",
        "workload: {run: x, env: {A: ['${t}']}}",
        "workload: {trainer: {command: 'x ${t}'}}",
        "expect: [{log: {lacks: '${t}'}}]",
        "matrix: {seed: ['${t}', 1]}",
    ],
)
def test_a_secret_is_refused_where_it_would_be_seen(body: str) -> None:
    said = told(f"variables: {{t: {{secret: true}}}}\n{body}", t=VALUE)
    assert "a secret has no place here; put it into a variable of workload.env" in said
    assert VALUE not in said


def test_trainers_see_what_their_rollout_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", VALUE)
    scenario = read("secrets: {A: , B: }\nworkload: {env: {C: d}}")
    plan = TrialPlan(scenario.workload, 1, "macbook", (), tuple(scenario.secrets))
    seen = trainer_environment(plan, HandOff(1, "r", {}, "w", 1), Path("/x"), 0)
    assert seen["A"] == VALUE
    assert seen["C"] == "d"
    assert "B" not in seen


def test_the_command_line_gives_secrets_as_skypilot_does() -> None:
    assert read_secrets(["A", f"B={VALUE}"], {"A": f"0{VALUE}"}) == {"A": f"0{VALUE}", "B": VALUE}
    assert masking.masked(VALUE) == "***"
    for words in (["A"], ["A=short"], [f"a-b={VALUE}"]):
        with pytest.raises(InputError) as caught:
            read_secrets(words, {})
        assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["GITHUB_TOKEN", "my_api_key", "AWS_SECRET_ACCESS_KEY", "PASSWORD"]
)
def test_credentials_are_known_by_their_names(name: str) -> None:
    assert looks_secret(name)
    assert not looks_secret("MAX_TOKENS")
    assert not looks_secret("SORT_KEY")


def test_tokens_of_mounted_files_are_found(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine a login b password netrc-word\n  account other")
    (tmp_path / ".metta").mkdir()
    tokens = {"http://a": "metta-token"}
    (tmp_path / ".metta" / "observatory_tokens.yaml").write_text(json.dumps(tokens))
    (tmp_path / ".aws").mkdir()
    keys = "[x]\naws_access_key_id = AKIA\naws_secret_access_key=aws-key\nregion=eu\n[x]\n"
    (tmp_path / ".aws" / "credentials").write_text(keys)
    every = [Credential(name, tmp_path / name) for name in (".netrc", ".metta", ".aws", ".ssh")]
    want = {"netrc-word", "other", "metta-token", "AKIA", "aws-key"}
    assert tokens_in(every) == want
    assert tokens_in((), [MountSpec(tmp_path / ".netrc", "/x")]) == {"netrc-word", "other"}
    assert tokens_in((), [MountSpec(tmp_path, "/x")]) == want


def test_a_build_is_given_secrets_by_name() -> None:
    said = told("secrets: {A: }\nworkload: {build: {context: x, secrets: [A, B]}, run: x}")
    assert "workload.build.secrets[1]: B is none of the secrets" in said
    scenario = read("secrets: {A: }\nworkload: {build: {context: x, secrets: [A]}, run: x}")
    built = provision(Loaded(scenario, FILE), {"A": VALUE, "C": "d"}).build
    assert built
    assert built.secrets == (("A", VALUE),)
