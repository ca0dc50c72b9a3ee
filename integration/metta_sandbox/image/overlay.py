"""Make an environment that has another's packages too, behind its own.

Run as a file by the other environment's interpreter, with the standard library alone:
``python overlay.py FOLDER`` makes the environment, ``--besides=PACKAGE`` with a package's folder
that is found in it where it lies, and once packages were installed into it,
``python overlay.py FOLDER --scripts`` gives it the other's commands, such as torchrun, which then
run in it and see its packages.
"""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
import venv
from pathlib import Path

_SCRIPT = """\
#!{python}
import sys
from {module} import {function}
sys.argv[0] = {name!r}
sys.exit({call}())
"""


def make(folder: Path, besides: Path | None = None) -> None:
    """Make the environment, without pip; with one package that stays where it is."""
    venv.create(folder, symlinks=True, with_pip=False)
    there = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    # As site does it: the .pth files in there count, too.
    lines = [f"import site; site.addsitedir({path!r})\n" for path in there]
    packages = Path(sysconfig.get_path("purelib", vars=_variables(folder)))
    (packages / "behind.pth").write_text("".join(lines))
    if besides is not None:
        (packages / besides.name).symlink_to(besides, target_is_directory=True)


def add_scripts(folder: Path) -> None:
    """Give the environment those commands of the other that it has not of its own."""
    for entry in _commands():
        path = folder / "bin" / entry.name
        if path.exists():
            continue
        module, _, function = entry.value.partition(" ")[0].partition(":")
        text = _SCRIPT.format(
            python=folder / "bin" / "python",
            module=module,
            function=function.partition(".")[0],
            name=entry.name,
            call=function,
        )
        path.write_text(text)
        path.chmod(0o755)


def _commands() -> list[importlib.metadata.EntryPoint]:
    found = []
    for distribution in importlib.metadata.distributions():
        found += [entry for entry in distribution.entry_points if entry.group == "console_scripts"]
    return [entry for entry in found if ":" in entry.value]


def _variables(folder: Path) -> dict[str, str]:
    return {"base": str(folder), "platbase": str(folder)}


def main(words: list[str]) -> None:
    """Make the environment, or add its commands, as the command line says."""
    folder = Path(words[0])
    if words[1:] == ["--scripts"]:
        add_scripts(folder)
    else:
        make(folder, *(Path(word.partition("=")[2]) for word in words[1:]))


if __name__ == "__main__":
    main(sys.argv[1:])
