"""What a scenario names may hold keys: none is copied, and nothing of it is shown."""

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.play.host_inputs import require_folders
from metta_sandbox.scenario.keys import holds_keys, lies_beside
from metta_sandbox.scenario.loading import parse, parse_file

PASSWORD = "hunter2-hunter2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    for name in (".ssh", ".aws", ".config/gh", "work/trainer"):
        (home / name).mkdir(parents=True)
    (home / ".netrc").write_text(f"machine x login y password {PASSWORD}\n")
    (home / ".ssh" / "id_ed25519").write_text(PASSWORD)
    monkeypatch.setenv("HOME", str(home))
    return home


def refused(file: Path, said: str) -> str:
    with pytest.raises(InputError) as caught:
        require_folders(parse_file(f"version: 1\nname: a\n{said}", file).loaded)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["", ".ssh", ".ssh/deep", ".config/gh", ".netrc", ".token", "..", "link"]
)
def test_homes_and_what_is_private_in_them_hold_keys(home: Path, name: str) -> None:
    (home / ".token").write_text(PASSWORD)
    (home / "link").symlink_to(home / ".aws")
    assert holds_keys(home / name)


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/ssl", "/root", "/proc/self"])
def test_folders_of_the_machine_hold_keys(path: str) -> None:
    assert holds_keys(Path(path))


def test_what_is_in_a_home_else_holds_none(home: Path) -> None:
    (home / ".cache" / "checkouts").mkdir(parents=True)
    assert not holds_keys(home / "work" / "trainer")
    assert not holds_keys(home / ".cache" / "checkouts")


@pytest.mark.parametrize(
    ("workload", "key"),
    [
        ("{folder: ~/.ssh, run: ls}", "workload.folder"),
        ("{folder: ~/, run: ls}", "workload.folder"),
        ("{requirements: ~/.netrc, run: ls}", "workload.requirements"),
        ("{build: {context: ., dockerfile: ../../.netrc}, run: ls}", "workload.build"),
        ("{build: {context: ~/.aws}, run: ls}", "workload.build"),
    ],
)
def test_what_holds_keys_is_refused_where_it_is_said(home: Path, workload: str, key: str) -> None:
    (home / ".aws" / "Dockerfile").write_text(f"FROM x\n{PASSWORD}\n")
    file = home / "work" / "trainer" / "a.yaml"
    told = refused(file, f"workload: {workload}")
    file.write_text(f"version: 1\nname: a\nworkload: {workload}\n")
    assert f"{file}:3:" in refused(file, f"workload: {workload}")
    assert f"{key}: " in told
    assert "may hold keys; credentials: true" in told
    assert PASSWORD not in told


def test_a_file_of_no_requirements_is_not_quoted(home: Path) -> None:
    folder = home / "work"
    (folder / "r.txt").write_text(f"machine password {PASSWORD}\n-r ../.netrc\n-{PASSWORD}\n")
    told = refused(folder / "a.yaml", "workload: {requirements: r.txt, run: ls}")
    assert f"{folder}/r.txt:1:1: expected a requirement" in told
    assert f"{folder}/r.txt:2:1: includes what may hold keys" in told
    assert PASSWORD not in told


@pytest.mark.parametrize(
    "content",
    [
        f"machine x login y password {PASSWORD}",
        f"seed: {PASSWORD}",
        f"{PASSWORD}: 1",
        f"a: *{PASSWORD}",
        f"variables: {{x: {PASSWORD}}}",
        f"workload: {{trainer: {{overrides: ['{PASSWORD}']}}}}",
    ],
)
def test_nothing_is_shown_of_a_file_elsewhere_that_is_extended(home: Path, content: str) -> None:
    other = home / "other.yaml"
    other.write_text(content)
    text = "version: 1\nname: a\nextends: ../../other.yaml\nnodes: 'n${x}'\n"
    with pytest.raises(InputError) as caught:
        parse(text, home / "work" / "trainer" / "a.yaml")
    assert "is not shown" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_scenario_that_is_a_link_to_elsewhere_is_not_shown(home: Path) -> None:
    link = home / "work" / "a.yaml"
    link.symlink_to(home / ".netrc")
    with pytest.raises(InputError) as caught:
        parse(link.read_text(), link)
    assert "is not shown" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_what_is_extended_in_the_same_repository_is_shown(home: Path) -> None:
    (home / "work" / ".git").mkdir()
    (home / "work" / "base.yaml").write_text("seed: seven")
    file = home / "work" / "trainer" / "a.yaml"
    with pytest.raises(InputError, match="seed: expected a whole number, got 'seven'"):
        parse("version: 1\nname: a\nextends: ../base.yaml\n", file)
    assert not lies_beside(home / "work" / ".git" / "x.yaml", file)
