"""Ranks that do not meet in the same collective with the same content."""

from __future__ import annotations

from autopsies.ways.way import Way

_BACKWARD = "training.py: loss.backward()"
_BARRIER = "training.py: dist.barrier()"
_REDUCE = "dist.all_reduce(loss)"

COLLECTIVES = (
    Way("uneven_data", ("barrier|{at}", "backward|{other}"), _BARRIER, _BACKWARD),
    Way("uneven_more", ("barrier|{other}", "backward|{at}"), _BACKWARD, _BARRIER, least=3),
    Way("other_shape", ("{at}", "3", "4"), "dist.all_reduce(hits)"),
    Way("other_shape_first", ("{at}", "6", "9"), "all_reduce(confusion)", blame="majority"),
    Way("other_dtype", ("{at}", "float64|double", "float32|float"), "dist.all_reduce(total)"),
    Way("gather_shapes", ("{at}", "300", "500"), "dist.all_gather(texts"),
    Way(
        "other_operation",
        ("broadcast|{at}", "all_reduce|{other}"),
        "dist.broadcast(loss",
        _REDUCE,
    ),
    Way("reduce_op", ("AssertionError|MAX", "add up|{at}"), "assert (seen", blame="anybody"),
    Way("wrong_source", ("broadcast|{at}",), "dist.broadcast(", blame="majority"),
    Way(
        "swapped_order",
        ("barrier", "all_reduce"),
        "if early:",
    ),
    Way(
        "skipped_batch",
        ("all_reduce|{at}", "left out|skipped|backward|{other}"),
        _REDUCE,
        _BACKWARD,
    ),
    Way("extra_collective", ("write_down|{at}",), "dist.all_reduce(mean)"),
    Way("lone_barrier", ("barrier|{at}",), "dist.barrier()"),
    Way("early_end", ("ended|exited|finished|left|gone|returned|over|status 0",), "return"),
    Way("early_stopping", ("barrier|{at}", "backward|{other}"), _BARRIER, _BACKWARD),
    Way("lone_group", ("new_group|{at}",), "dist.new_group("),
    Way("other_group", ("group", "all_reduce|{at}"), "all_reduce(loss, group=group)"),
    Way(
        "objects",
        ("all_gather_object|{at}", "all_reduce|{other}"),
        "dist.all_gather_object(",
        "dist.all_reduce(torch.ones(2000))",
    ),
    Way(
        "unused_layer",
        ("RuntimeError", "finished reduction|unused|{at}"),
        "training.py: loss = (model(x)",
    ),
    # DDP compares parameters when it wraps them, and fails on every rank alike.
    Way(
        "other_model",
        ("RuntimeError", "same model|param|params|inconsistent|{at}"),
        "model = DDP(",
        blame="anybody",
        steps=False,
    ),
    Way("lone_receive", ("recv|{at}",), "dist.recv("),
    Way("ring", ("recv|{at}",), "dist.recv(", blame="nobody"),
    Way(
        "wrong_peer",
        ("send|{at}|recv|{other}",),
        "dist.send(",
        "dist.recv(",
        blame="odd or nobody",
        least=3,
    ),
    Way(
        "second_init", ("ValueError|RuntimeError", "twice|{at}"), 'dist.init_process_group("gloo")'
    ),
    Way("destroyed_early", ("ValueError", "not been initialized|{at}"), _REDUCE),
    # Rank 0 alone gives up: whoever comes late to it, and not it, is told of.
    Way("monitored", ("load_shard|{at}",), "time.sleep(45)", steps=False, first=False),
    Way("short_timeout", ("load_shard|{at}",), "time.sleep(45)", steps=False),
    Way("store_wait", ("vocabulary|{at}",), 'store.get("vocabulary")'),
    Way(
        "store_unset",
        ("vocabulary|{at}",),
        'store.get("vocabulary")',
        blame="odd or nobody",
        steps=False,
    ),
)
