"""What is odd and harmless: alone in programs that are well, and beside what goes wrong."""

from __future__ import annotations

from random import Random

#: Each is a body for the spot ``main.ready``, where ``self`` is the run.
_AT_START = {
    "loud stderr": (
        "for number in range(400):",
        '    print("WARNING: slow path taken, see", number, file=sys.stderr)',
    ),
    "survived exception": (
        "try:",
        '    json.loads("{")',
        "except ValueError:",
        '    logging.exception("no state found, starting anew")',
    ),
    "thread ended badly": (
        "def beat():",
        '    raise ConnectionRefusedError("telemetry is not there")',
        "threading.Thread(target=beat, daemon=True).start()",
    ),
    "words": (
        'print("resuming from configs/inf.yaml; RuntimeError handling is on")',
        'print("Error: 0, warnings: 0, nan-safe: True, Connection closed by peer: never")',
    ),
    "failed child": ('subprocess.run(["sh", "-c", "echo no gpu >&2; exit 3"], check=False)',),
    "waiting thread": (
        "never = queue.Queue()",
        'threading.Thread(target=never.get, daemon=True, name="spare").start()',
    ),
    "sleeping child": ('subprocess.Popen(["sleep", "5"])',),
}
#: Each is a body for ``main.loop``, and takes a while.
_IN_LOOP = {
    "slow first step": (
        "end = time.monotonic() + 3",
        "while time.monotonic() < end:",
        "    sum(range(1_000))",
    ),
    "long silence": ("time.sleep(4)",),
    "idle ranks": ("time.sleep(2.5)",),
}


def beside(draw: Random, world: int) -> tuple[str, dict[str, list[str]]]:
    """Something quick that is odd, on one rank or on all: its word, and what fills which spot."""
    word = draw.choice(sorted(set(_AT_START) - {"sleeping child"}))
    return word, {"main.ready": _guarded(draw, _AT_START[word], world, "self.rank")}


def alone(draw: Random, world: int, steps: int) -> tuple[str, dict[str, list[str]]]:
    """Something that is odd and all there is to a program that is well."""
    word = draw.choice(sorted({**_AT_START, **_IN_LOOP}))
    if word in _AT_START:
        return word, {"main.ready": _guarded(draw, _AT_START[word], world, "self.rank")}
    step = 0 if word == "slow first step" else draw.randrange(steps)
    condition = f"step == {step}"
    if word == "idle ranks":
        condition += f" and run.rank == {draw.randrange(world)}"
    return word, {"main.loop": [f"if {condition}:", *_deeper(_IN_LOOP[word])]}


def _guarded(draw: Random, body: tuple[str, ...], world: int, rank: str) -> list[str]:
    if draw.random() < 0.4:
        return list(body)
    return [f"if {rank} == {draw.randrange(world)}:", *_deeper(body)]


def _deeper(body: tuple[str, ...]) -> list[str]:
    return ["    " + line for line in body]
