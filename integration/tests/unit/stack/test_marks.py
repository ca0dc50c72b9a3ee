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
