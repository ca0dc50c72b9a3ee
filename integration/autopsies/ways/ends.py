"""A rank that ends: of an error, a signal, a status, or with words that only sound like another."""

from __future__ import annotations

from autopsies.ways.way import Way

_SHELLS = ("shell", "run-shell")

ENDS = (
    Way("raises", ("IndexError", "out of bounds|{at}"), "raise IndexError("),
    Way("cleans_up", ("KeyError", "label_of|{at}"), "return labels[step]"),
    Way("recursion", ("RecursionError", "depth|{at}"), "return 1 + depth("),
    Way("file_race", ("FileNotFoundError", "index.json|{at}"), 'open("index.json") as'),
    Way("half_json", ("JSONDecodeError",), "return json.loads("),
    Way("no_message", ("AssertionError", "{at}|main"), "assert not odd()"),
    Way("chained", ("ZeroDivisionError", "mean|{at}|division by zero"), "return sum(numbers)"),
    Way("many_lines", ("ValueError", "row 12", "found 7|expected 8|{at}"), "raise ValueError("),
    Way(
        "own_shape",
        ("RuntimeError", "project|{at}|cannot be multiplied"),
        "return x @",
        never=("collective mismatch",),
    ),
    Way(
        "load_state",
        ("RuntimeError", "state_dict|Missing key|{at}"),
        "load_state_dict(",
        never=("collective mismatch",),
    ),
    Way("many_files", ("OSError", "Too many open files|{at}"), "return [open("),
    Way("memory_error", ("MemoryError",), "return bytearray(", never=("killed by the kernel",)),
    Way("swallowed", ("3",), "sys.exit(3)", never=("ValueError",), threads=False),
    Way("exits_with_words", ("licence|status 1",), 'sys.exit("no licence', threads=False),
    Way("exits_at_once", ("5",), "os._exit(5)"),
    Way("kills_itself", ("signal 9|SIGKILL",), "signal.SIGKILL"),
    Way("told_to_end", ("signal 15|SIGTERM",), "signal.SIGTERM"),
    Way("segfaults", ("signal 11|SIGSEGV|segmentation fault",), "ctypes.string_at("),
    Way("aborts", ("signal 6|SIGABRT",), "os.abort()"),
    Way("alarm", ("signal 14|SIGALRM",), "time.sleep(5)"),
    Way("child_fails", ("CalledProcessError|status 4", "4|{at}|pack"), "exit 4"),
    Way("child_killed", ("CalledProcessError", "SIGKILL|signal 9|{at}"), "kill -9 $$"),
    Way(
        "own_refused",
        ("ConnectionRefusedError|Connection refused",),
        "return socket.create_connection(",
        never=("peer unreachable",),
    ),
    Way("future_fails", ("OverflowError", "frame 31|{at}"), "raise OverflowError("),
    Way("named_inf", ("FileNotFoundError", "inf.yaml"), "inf.yaml", never=("NaN",)),
    Way(
        "named_mismatch",
        ("ValueError", "does not match|{at}"),
        "raise ValueError(",
        never=("collective mismatch",),
    ),
    Way("named_disk", ("LookupError", "plan 7|{at}"), "raise LookupError(", never=("disk full",)),
    Way(
        "named_peer",
        ("RuntimeError", "review board|{at}"),
        "raise RuntimeError(",
        never=("peer unreachable", "NaN"),
    ),
    Way("named_port", ("ValueError", "customer|{at}"), "raise ValueError(", never=("port taken",)),
    Way("reader_fails", ("ValueError", "7 columns|{at}"), "raise ValueError("),
    Way("worker_fails", ("ValueError", "no label|{at}"), "raise ValueError("),
    Way("worker_killed", ("worker", "signal|killed|SIGKILL"), "signal.SIGKILL"),
    Way(
        "nan_quiet", ("nan|no number|not finite|lost", "step 4|train.step 4"), "x[3, 2] = math.nan"
    ),
    Way(
        "no_variable", ("KeyError", "DATASET_VERSION"), 'os.environ["DATASET_VERSION"]', steps=False
    ),
    Way(
        "no_module",
        ("ModuleNotFoundError", "fast_tokens_that_nobody_has"),
        "import fast_tokens",
        steps=False,
    ),
    Way(
        "broken_module",
        ("SyntaxError", "half_written|half_written.py"),
        "import half_written",
        steps=False,
    ),
    Way(
        "shell_denied",
        ("Permission denied",),
        launchers=_SHELLS,
        threads=False,
        lone=True,
        steps=False,
    ),
    Way(
        "shell_unknown",
        ("command not found",),
        launchers=_SHELLS,
        threads=False,
        lone=True,
        steps=False,
    ),
    Way("shell_missing", ("trian.py",), launchers=_SHELLS, threads=False, lone=True, steps=False),
    Way("shell_unset", ("DATA_FOLDER",), launchers=_SHELLS, threads=False, lone=True, steps=False),
    Way(
        "shell_piped",
        ("IndexError", "out of bounds|{at}"),
        "raises.py: raise IndexError(",
        launchers=_SHELLS,
        threads=False,
        lone=True,
    ),
    Way(
        "fails_again",
        ("ValueError", "cut off|{at}"),
        "raise ValueError(",
        never=("FileExistsError",),
        launchers=("run", "own"),
        threads=False,
        restarts=1,
    ),
)
