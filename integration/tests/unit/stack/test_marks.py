"""Where runs have their folders."""

from pathlib import Path

import pytest

from metta_sandbox.stack import marks


def test_sockets_below_a_long_temporary_folder_are_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert marks.short_temp(Path("/var/tmp")) == Path("/var/tmp")
    assert marks.short_temp(Path("/" + "x" * 60)) == Path("/tmp")
    longest = "metta-1000/20261122T183512-ab12/0123abcd/sweep-worker/tmp/pymp-abcdefgh"
    assert len(f"{'x' * marks._LONGEST_TEMP}/{longest}/listener-abcdefgh") <= 107
    monkeypatch.setattr(marks, "_SHORT_TEMP", tmp_path / "none")
    assert marks.short_temp(Path("/" + "x" * 60)) == Path("/" + "x" * 60)


def test_who_keeps_its_environment_to_itself_is_known_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "environ" and "kept" in path.parts:
            raise PermissionError(13, "Permission denied")
        return whole(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    words = "python\0agent.pyz\0agent\0--mark=METTA_STACK=r/s\0--node=a\0--mark=METTA_NODE=a\0"
    for name in ("open", "kept"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "environ").write_text("METTA_STACK=r/s\0HOME=/x\0")
        (tmp_path / name / "cmdline").write_text(words)
    assert marks.variables(tmp_path / "open") == [b"METTA_STACK=r/s", b"HOME=/x", b""]
    assert marks.variables(tmp_path / "kept") == [b"METTA_STACK=r/s", b"METTA_NODE=a"]
    (tmp_path / "kept" / "cmdline").write_text("sshd\0")
    with pytest.raises(PermissionError):
        marks.variables(tmp_path / "kept")
