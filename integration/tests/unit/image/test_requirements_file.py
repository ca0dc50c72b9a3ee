"""Requirements files: each requirement with its line, and what can't be honoured."""

from __future__ import annotations

from pathlib import Path

import pytest

from metta_sandbox.errors import InputError
from metta_sandbox.image.node_platform import NodePlatform
from metta_sandbox.image.requirements import RequiredPackage, on_node, read_requirements


def test_each_requirement_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "base.txt").write_text("deep==1\n")
    path = tmp_path / "r.txt"
    path.write_text(
        "# what we need\n\neinops>=0.8  # shapes\n-r more/base.txt\n"
        "Some_Thing[extra] >= 1, \\\n  < 2\nurl @ https://example.org/url-1-py3-none-any.whl#x\n"
    )

    found = read_requirements(path)

    assert [(one.text, one.file.name, one.line) for one in found] == [
        ("einops>=0.8", "r.txt", 3),
        ("deep==1", "base.txt", 1),
        ("Some_Thing[extra] >= 1,    < 2", "r.txt", 5),
        ("url @ https://example.org/url-1-py3-none-any.whl#x", "r.txt", 7),
    ]
    assert found[2].name == "some-thing"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-e .", "goes into workload.folder"),
        ("./mine", "goes into workload.folder"),
        ("--extra-index-url https://x", "an option; say it to pip itself"),
        ("a==1 --hash=sha256:00", "hashes can't be checked here"),
        ("a b", "expected a requirement such as einops>=0.8"),
        ("-r gone.txt", "includes a file that can't be read"),
        ("-r r.txt", "files include each other"),
    ],
)
def test_what_cannot_be_honoured_is_told_with_all_else(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "r.txt"
    path.write_text(f"fine\n{line}\n=nothing\n")
    with pytest.raises(InputError) as caught:
        read_requirements(path)
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 2
    assert said in told[0]
    assert told[1].startswith(f"{path}:3:1: expected a requirement")


def test_only_what_applies_on_a_node_is_asked_for() -> None:
    here = Path("r.txt")
    required = (
        RequiredPackage("a; python_version < '3.12'", here, 1),
        RequiredPackage("b; sys_platform == 'win32'", here, 2),
    )
    assert list(on_node(required, NodePlatform("x86_64"))) == ["a"]
    assert list(on_node(required, NodePlatform("x86_64", "3.12"))) == []
