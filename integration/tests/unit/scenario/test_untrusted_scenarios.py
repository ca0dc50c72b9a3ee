"""``--untrusted``: what a stranger's file may say, and that nothing else is let through."""

import json
import operator
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox.cli.files import validate
from metta_sandbox.cli.playing import run
from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import require_known
from metta_sandbox.scenario import untrusted as untrusting
from metta_sandbox.scenario.files import find
from metta_sandbox.scenario.loading import load_all, load_files, parse_file
from metta_sandbox.scenario.schema import make_schema
from metta_sandbox.scenario.tree import document_of, read
from metta_sandbox.scenario.untrusted import Untrusted, _allowed

ROOT = Path(__file__).parents[4]
#: Keys that nobody has allowed, each with what stands below it.
REFUSED = (
    *("faults.slow_file", "secrets", "sweep.resume", "workload.build", "workload.image"),
    *("workload.skypilot", "workload.task"),
)
#: What stands in a file beside a scenario's keys, and is judged before a scenario is there.
OF_FILES = ("extends", "matrix", "variables")


@pytest.fixture
def bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Untrusted:
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "repository")
    return Untrusted.here(2**33, ["GIVEN"])


def keys(schema: dict[str, Any]) -> set[str]:
    """List all keys that a file may have, with ``*`` for any of a mapping."""
    found: set[str] = set()

    def walk(part: Any, path: str, inside: tuple[str, ...]) -> None:
        name = part.get("$ref", "").removeprefix("#/")
        if name and name not in inside:
            target: Any = reduce(operator.getitem, name.split("/"), schema)
            walk(target, path, (*inside, name))
        for kind in ("anyOf", "oneOf", "allOf", "prefixItems"):
            for each in part.get(kind, ()):
                walk(each, path, inside)
        if isinstance(part.get("items"), dict):
            walk(part["items"], path, inside)
        below = dict(part.get("properties", {}))
        for more in (part.get("additionalProperties"), *part.get("patternProperties", {}).values()):
            if isinstance(more, dict):
                walk(more, f"{path}.*".lstrip("."), inside)
                found.add(f"{path}.*".lstrip("."))
        for key, value in below.items():
            found.add(f"{path}.{key}".lstrip("."))
            walk(value, f"{path}.{key}".lstrip("."), inside)

    walk(schema, "", ())
    return {key for key in found if key.partition(".")[0] not in OF_FILES}


def said(pattern: str) -> dict[str, Any]:
    """Make the data that says one key."""
    value: Any = None
    for part in reversed(pattern.split(".")):
        value = {"x" if part == "*" else part: value}
    made: dict[str, Any] = value
    return made


def refusals(bounds: Untrusted, data: dict[str, Any]) -> Iterator[str]:
    root = read(json.dumps(data)).root
    assert root is not None
    return (each.message for each in bounds.refusals(document_of(root), Path("x.yaml")))


def test_each_key_is_listed_or_refused(bounds: Untrusted) -> None:
    every = keys(make_schema())
    assert len(every) > 300
    for key in every:
        refused = [one for one in refusals(bounds, said(key)) if "is not allowed" in one]
        meant = any(key == one or key.startswith(f"{one}.") for one in REFUSED)
        assert bool(refused) == meant, f"{key}: list it in untrusted.txt, or here as refused"
    # The list holds no key that is gone.
    gone = {key for key in _allowed() if key not in every} - {*untrusting._NESTED}
    assert gone == set()


def test_a_key_that_nobody_has_listed_is_refused(
    bounds: Untrusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = _allowed()
    for key in sorted(listed - {*untrusting._NESTED}):
        if key.endswith(".*"):
            continue
        monkeypatch.setattr(untrusting, "_allowed", lambda key=key: listed - {key})
        found = list(refusals(bounds, said(key)))
        assert any("is not allowed" in one for one in found), key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("credentials: true", "3:14: credentials: --untrusted: expected false"),
        ("hardware: gpu", "3:11: hardware: --untrusted: expected macbook"),
        ("nodes: 9", "3:8: nodes: --untrusted: expected at most 8"),
        ("deadline: 2h", "3:11: deadline: --untrusted: expected at most 3600"),
        ("workload: {image: x, run: x}", "3:12: workload.image: --untrusted: is not allowed"),
        ("workload: {build: x, run: x}", "3:12: workload.build: --untrusted: is not allowed"),
        ("workload: {folder: .., run: x}", "3:20: workload.folder: --untrusted: .. is not in"),
        ("workload: {folder: ~, run: x}", ""),
        ("workload: {folder: '~/x', run: x}", "3:20: workload.folder: --untrusted: ~/x is not in"),
        ("workload: {folder: link, run: x}", "3:20: workload.folder: --untrusted: link is not in"),
        ("workload: {folder: .git, run: x}", "3:20: workload.folder: --untrusted: .git is not in"),
        ("workload: {requirements: /r, run: x}", "3:26: workload.requirements: --untrusted: /r is"),
        (
            "workload: {requirements: ['x @ git+https://x.y/z'], run: x}",
            "3:26: workload.requirements: --untrusted: x comes from an address of its own",
        ),
        ("workload: {requirements: [x>1], run: x}", ""),
        (
            "workload: {mounts: [{source: /etc, target: /x}], run: x}",
            "3:30: workload.mounts[0].source: --untrusted: /etc is not in",
        ),
        (
            "workload: {mounts: [{source: in, target: /x, read_only: false}], run: x}",
            "3:57: workload.mounts[0].read_only: --untrusted: expected true",
        ),
        ("workload: {mounts: [{source: in, target: /x}], run: x}", ""),
        (
            "workload: {limits: {processes: 5000}, run: x}",
            "3:32: workload.limits.processes: --untrusted: expected at most 4096",
        ),
        (
            "workload: {limits: {memory: 9GiB}, run: x}",
            "3:29: workload.limits.memory: --untrusted: expected at most 8.58993e+09",
        ),
        ("workload: {limits: {memory: 1GiB, processes: 100, files: 300}, run: x}", ""),
        (
            "artifacts: {size: 5GiB}",
            "3:19: artifacts.size: --untrusted: expected at most 4.29497e+09",
        ),
        ("artifacts: {size: 1GiB, files: 10}", ""),
        (
            "workload: {shared_memory: 3GiB, run: x}",
            "3:27: workload.shared_memory: --untrusted: expected at most",
        ),
        ("sweep: {resume: latest}", "3:9: sweep.resume: --untrusted: is not allowed"),
        ("sweep: {parameters: {trainer: {batch_size: {values: [1, 2]}}}}", ""),
        ("workload: {trainer: {overrides: {trainer: {batch_size: 1}}}}", ""),
        (
            "variables: {t: {env: TOKEN, default: x}}\ntags: ['${t}']",
            "3:22: variables.t.env: --untrusted: TOKEN is not allowed; --allow-env gives it",
        ),
        ("variables: {t: {env: GIVEN, default: x}}\ntags: ['${t}']", ""),
        (
            "variables: {t: {env: GIVEN, default: x, secret: false}}\ntags: ['${t}']",
            "3:49: variables.t.secret: --untrusted: false is not allowed",
        ),
        ("extends: ../other.yaml", "3:10: extends: --untrusted: ../other.yaml is not in"),
        ("matrix: {credentials: [true]}", "3:24: credentials: --untrusted: expected false"),
    ],
)
def test_what_reaches_for_the_machine_is_refused(bounds: Untrusted, text: str, told: str) -> None:
    Path("link").symlink_to("/etc")
    Path("in").mkdir()
    Path("../other.yaml").write_text("nobody: reads this")
    whole = f"version: 1\nname: x\n{text}\n"
    try:
        parse_file(whole, Path("x.yaml"), untrusted=bounds)
        found: list[str] = []
    except InputError as error:
        found = [str(problem) for problem in error.problems]
    at_place = [one for one in found if one.startswith(f"x.yaml:{told}")]
    assert at_place if told else not found, found
    assert "nobody" not in " ".join(found)


def test_only_variables_that_are_named_are_read(
    bounds: Untrusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret-value")
    monkeypatch.setenv("GIVEN", "told")
    text = "version: 1\nname: x\nvariables: {t: {env: %s, default: x}}\ntags: ['${t}']\n"
    (scenario,) = parse_file(text % "GIVEN", Path("x.yaml"), untrusted=bounds).scenarios
    assert scenario.tags == ("told",)
    with pytest.raises(InputError) as caught:
        parse_file(text % "TOKEN", Path("x.yaml"), untrusted=bounds)
    assert "secret-value" not in str(caught.value)


def test_a_file_that_leads_outside_is_not_read(bounds: Untrusted) -> None:
    Path("../secret.yaml").write_text("password: of mine\n")
    Path("x.yaml").symlink_to("../secret.yaml")
    with pytest.raises(InputError) as caught:
        load_files([Path("x.yaml")], untrusted=bounds)
    assert "x.yaml:1:1: --untrusted: x.yaml is not in" in str(caught.value)
    assert "password" not in str(caught.value)


def test_requirements_files_are_judged_line_by_line(bounds: Untrusted) -> None:
    Path("x.yaml").write_text("version: 1\nname: x\nworkload: {requirements: r.txt, run: x}\n")
    Path("r.txt").write_text("a>1\nb @ https://x.y/b-1-py3-none-any.whl\n-r ../more.txt\n")
    Path("../more.txt").write_text("c\n")
    scenarios = load_all([Path("x.yaml")], untrusted=bounds)
    with pytest.raises(InputError) as caught:
        require_known(scenarios, bounds)
    found = [(each.file.name, each.line) for each in caught.value.problems]
    assert found == [("r.txt", 2), ("more.txt", 1)]


def test_what_is_shipped_may_mostly_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    bounds = Untrusted.here(2**33, ["BASE_IMAGE", "STEPS"])
    refused = set()
    for path in find([Path("scenarios")]):
        try:
            load_files([path], untrusted=bounds)
        except InputError as error:
            refused |= {each.message.partition(":")[0] for each in error.problems}
    known = {"workload.build", "workload.image", "workload.task", "sweep.resume", "hardware"}
    assert refused <= known


@pytest.mark.usefixtures("bounds")
def test_credentials_and_a_live_source_are_refused_beside_it() -> None:
    Path("x.yaml").write_text("version: 1\nname: x\n")
    with pytest.raises(InputError, match="no --credentials and no --source"):
        run([Path("x.yaml")], untrusted=True, credentials=True)
    with pytest.raises(InputError, match="expected --untrusted beside it"):
        validate([Path("x.yaml")], allow_env=["X"])
    validate([Path("x.yaml")], untrusted=True)
