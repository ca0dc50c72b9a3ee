"""What nodes write is opened through ``beneath`` alone; who opens files by themselves is listed."""

from __future__ import annotations

import ast
from pathlib import Path

import metta_sandbox

ROOT = Path(metta_sandbox.__file__).parent
#: Where the host handles what a run leaves.
HANDLING = (
    *("autopsy", "checks", "faults", "play", "report", "stack", "timeline"),
    *("scenario/expect", "scenario/faults", "wandb_file.py"),
)
#: What opens, lists, copies or writes files by their paths.
OPENING = frozenset(
    (
        *("open", "read_text", "read_bytes", "write_text", "write_bytes"),
        *("glob", "rglob", "iterdir", "walk", "scandir"),
        *("copytree", "copyfile", "copy", "copy2", "move", "rmtree"),
    )
)
#: These take what they open from a folder's descriptor, and follow nothing.
SAFE = ("beneath.", "removing.", "evidence.", "json.", "copy.")
_THEIRS = "of local processes, which may do what the caller may"
#: How many such calls a module has, and whose files those are. Before a number is raised: can a
#: node have put something else in the file's place? Then it belongs behind ``beneath``.
KNOWN = {
    "checks/served_wandb.py": (1, "a copy of our own, in a temporary folder"),
    "play/collection.py": (3, "from descriptors of folders, following nothing"),
    "play/ending.py": (1, "names alone are taken, and moved"),
    "play/examiner.py": (2, "ours, written beside what nodes share"),
    "play/git_workdir.py": (1, "a clone, before nodes are there"),
    "play/packages.py": (2, "ours, and packages in the user's cache"),
    "play/planning.py": (3, "written before nodes are there"),
    "play/proving.py": (1, "ours"),
    "play/resume.py": (3, "written before nodes are there; and the names of runs"),
    "play/schedule.py": (3, "the kernel's"),
    "play/secrets.py": (1, "the caller's"),
    "play/task_files.py": (3, "the user's, before nodes are there"),
    "play/task_log.py": (1, "ours, beside what nodes share"),
    "play/workspace.py": (4, "the user's, before nodes are there"),
    "report/artifacts.py": (1, "ours"),
    "report/environment.py": (1, "ours"),
    "report/hiding.py": (2, "from descriptors of folders, following nothing"),
    "report/page.py": (4, "ours"),
    "report/publishing.py": (4, "ours, and the runner's"),
    "report/results.py": (3, "ours"),
    "report/workflow_commands.py": (1, "the scenario file"),
    "stack/agent_app.py": (2, "the package's"),
    "stack/credentials.py": (4, "the caller's"),
    "stack/lease.py": (6, "ours"),
    "stack/marks.py": (9, "ours, and the kernel's"),
    "stack/owners.py": (5, "the kernel's"),
    "stack/package_index.py": (1, "ours"),
    "stack/standing.py": (6, "ours, which the engine fills"),
    "stack/standing_record.py": (5, "ours"),
    "stack/tokens.py": (1, "the caller's"),
    "stack/watch_copies.py": (2, "copies of the caller's"),
    "stack/engines/compose/containers.py": (4, "ours, which the engine fills"),
    "stack/engines/compose/engine_socket.py": (1, "the caller's"),
    "stack/engines/compose/kept.py": (5, "ours, which the engine fills"),
    "stack/engines/compose/stack.py": (3, "ours, and the package's"),
    "stack/engines/compose/subnet.py": (1, "the kernel's"),
    "stack/engines/compose/turns.py": (2, "names alone are taken, and moved"),
    "stack/engines/process/node_python.py": (3, "ours"),
    "stack/engines/process/own_environment.py": (9, "ours, and the package's"),
    "stack/engines/process/power.py": (3, "the kernel's"),
    "stack/engines/process/stack.py": (6, _THEIRS),
    "stack/engines/process/templates.py": (3, _THEIRS),
    "stack/engines/process/trainer_python.py": (2, "ours"),
    "stack/engines/process/view.py": (2, "ours, which nodes fill; and an address"),
    "timeline/recording.py": (4, "ours"),
}


def opening(module: Path) -> int:
    """Count the calls of a module that open files by their paths."""
    count = 0
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            owner, _, name = called.rpartition(".")
            count += name in OPENING and not f"{owner}.".startswith(SAFE)
    return count


def test_what_nodes_write_is_opened_in_one_place() -> None:
    modules = [
        module
        for part in HANDLING
        for module in (
            [ROOT / part] if part.endswith(".py") else sorted((ROOT / part).rglob("*.py"))
        )
    ]
    found = {str(module.relative_to(ROOT)): opening(module) for module in modules}
    unknown = {name: n for name, n in found.items() if n > KNOWN.get(name, (0, ""))[0]}
    assert unknown == {}, "of whom are those files? See KNOWN"
    assert KNOWN.keys() <= found.keys()
