"""Credentials of a caller who is not root: mounted themselves, and read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import PATIENCE, SECRET, User, docker

if TYPE_CHECKING:
    from tests.integration.conftest import InDockerGroup

SOMEBODY = 31_337
#: Ends with a status that says what went wrong, or 42.
LOOK = f"""
grep -q {SECRET} ~/.netrc && grep -q {SECRET} ~/.ssh/id || exit 2
(echo no >> ~/.netrc) && exit 3
(touch ~/.ssh/new) && exit 4
test -e ~/.aws && exit 5
exit 42
"""


@pytest.fixture
def somebody() -> Iterator[User]:
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else; whoever this is, is not root anyway")
    try:
        docker("info")
    except AssertionError as error:
        if os.environ.get("CI", "").lower() == "true":
            raise
        pytest.skip(str(error))
    user = User(Path("/tmp") / f"metta-test-credentials-{os.getpid()}", "compose")
    (user.home / ".netrc").write_text(SECRET)
    (user.home / ".ssh").mkdir(mode=0o700)
    (user.home / ".ssh" / "id").write_text(SECRET)
    for path in (user.home / ".netrc", user.home / ".ssh" / "id"):
        path.chmod(0o600)
    yield user
    shutil.rmtree(user.folder)


@pytest.mark.docker
@pytest.mark.slow  # makes an image for one more user
def test_a_node_reads_and_can_t_write_them(somebody: User, in_docker_group: InDockerGroup) -> None:
    user = somebody
    (user.folder / "look.yaml").write_text(
        "version: 1\nname: look\nnodes: 1\ncredentials: true\nworkload:\n  setup: |\n"
        + "".join(f"    {line}\n" for line in LOOK.splitlines())
    )
    cache = Path(user.environ["XDG_CACHE_HOME"]) / "metta-sandbox" / "wheelhouse"
    if cache.exists():
        leave = shutil.ignore_patterns("*.lock")
        shutil.copytree(cache, user.folder / "cache/metta-sandbox/wheelhouse", ignore=leave)
    reached = in_docker_group(user.home)
    for path in (user.folder, *user.folder.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
    # This machine's interpreter may be where only root can read; nothing else is asked for.
    read = ("--inh-caps", "-all,+dac_read_search", "--ambient-caps", "-all,+dac_read_search")
    groups = f"{SOMEBODY},{reached.group}"
    who = ("--reuid", SOMEBODY, "--regid", SOMEBODY, "--groups", groups, *read)
    command = ("setpriv", *who, sys.executable, "-m", "metta_sandbox", "run", "look.yaml")
    done = subprocess.run(
        [*map(str, command), "--engine", "compose"],
        cwd=user.folder,
        env={
            **user.environ,
            "XDG_CACHE_HOME": str(user.folder / "cache"),
            **reached.env,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * PATIENCE,
    )
    assert "setup on sweep-master exited with status 42" in done.stdout, done.stdout + done.stderr
    assert done.stdout.index("nodes see ~/.netrc, read-only") < done.stdout.index("starting")
    assert (user.home / ".netrc").read_text() == SECRET
    request = (user.artifacts() / "look" / "compose.yaml").read_text()
    assert f"source: {user.home}/.netrc" in request
