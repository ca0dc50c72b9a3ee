"""What the ranks of a program do together, as templates: collectives, stores, files, messages."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from string import Template


@dataclass(frozen=True)
class Operation:
    """One thing that a step does: a function that is called with ``run`` and ``step``."""

    #: Names its spots and marked lines.
    mark: str
    kind: str
    name: str
    template: str
    #: Lines for ``Run.__init__``, at its indent.
    setup: str = ""
    #: Gloo pairs collectives of the same slot that come at the same place in the order.
    slot: str = ""
    #: Ranks that take part.
    members: tuple[int, ...] = ()
    #: Every rank waits for every other here, directly or not.
    meets: bool = False
    #: The rank that the others get from or give to.
    root: int | None = None
    #: A second file of it, ``child.py``.
    child: str = ""


_HEAD = """
def $name(run, step):
    @$mark.early|run.rank|step
"""
_FOOT = """
    @$mark.late|run.rank|step
    run.note("$name", float(value.sum()))
"""
_WIDTH = """    width, kind = $width, torch.float32
    @$mark.width|run.rank|step
    value = torch.full((width,), step + 1.0, dtype=kind)
"""
_ROOT = """    root = $root
    @$mark.root|run.rank|step
"""
_SKIP = """    @$mark.skip|run.rank|step
"""

_BODIES = {
    "all_reduce": _WIDTH + _SKIP + "    dist.all_reduce(value, group=run.group)  #: $mark",
    "all_reduce async": _WIDTH
    + _SKIP
    + """    work = dist.all_reduce(value, group=run.group, async_op=True)
    waste = torch.ones(16).sum()
    work.wait()  #: $mark
    value += 0 * waste.to(kind)""",
    "broadcast": _WIDTH
    + _ROOT
    + _SKIP
    + "    dist.broadcast(value, src=root, group=run.group)  #: $mark",
    "reduce": _WIDTH
    + _ROOT
    + _SKIP
    + "    dist.reduce(value, dst=root, group=run.group)  #: $mark",
    "all_gather": _WIDTH
    + """    every = [torch.empty_like(value) for _ in range(run.world)]
"""
    + _SKIP
    + "    dist.all_gather(every, value, group=run.group)  #: $mark",
    "gather": _WIDTH
    + """    every = [torch.empty($width) for _ in range(run.world)] if run.rank == $root else None
"""
    + _SKIP
    + "    dist.gather(value, every, dst=$root, group=run.group)  #: $mark",
    "scatter": _WIDTH
    + """    every = [torch.ones($width) for _ in range(run.world)] if run.rank == $root else None
"""
    + _SKIP
    + "    dist.scatter(value, every, src=$root, group=run.group)  #: $mark",
    "reduce_scatter": """    parts = [torch.ones($width) for _ in range(run.world)]
    value = torch.empty($width)
"""
    + _SKIP
    + "    dist.reduce_scatter(value, parts, group=run.group)  #: $mark",
    "all_to_all": """    given = torch.ones(2 * run.world)
    value = torch.empty(2 * run.world)
"""
    + _SKIP
    + "    dist.all_to_all_single(value, given, group=run.group)  #: $mark",
    "objects": """    said = {"step": step, "lr": 0.1} if run.rank == $root else None
    box = [said]
"""
    + _SKIP
    + """    dist.broadcast_object_list(box, src=$root, group=run.group)  #: $mark
    value = torch.tensor([box[0]["lr"]])""",
    "gather objects": """    said = {"rank": run.rank, "step": step}
    every = [None] * run.world
"""
    + _SKIP
    + """    dist.all_gather_object(every, said, group=run.group)  #: $mark
    value = torch.ones(len(every))""",
    "barrier": "    value = torch.ones(1)\n"
    + _SKIP
    + "    dist.barrier(group=run.group)  #: $mark",
    "monitored_barrier": """    value = torch.ones(1)
    patience = timedelta(seconds=5)
"""
    + _SKIP
    + "    dist.monitored_barrier(run.group, timeout=patience)  #: $mark",
    "ring": """    value = torch.full((3,), float(run.rank))
    came = torch.empty(3)
    after, before = (run.rank + 1) % run.world, (run.rank - 1) % run.world
"""
    + _SKIP
    + """    if run.rank % 2 == 0:
        dist.send(value, dst=after)  #: $mark
        dist.recv(came, src=before)  #: $mark
    else:
        dist.recv(came, src=before)  #: $mark
        dist.send(value, dst=after)  #: $mark""",
    "exchange": """    value = torch.full((3,), float(run.rank))
    came = torch.empty(3)
    after, before = (run.rank + 1) % run.world, (run.rank - 1) % run.world
"""
    + _SKIP
    + """    works = [dist.isend(value, dst=after), dist.irecv(came, src=before)]
    for work in works:
        work.wait()  #: $mark""",
    "ddp": """    run.model.zero_grad()
    value = run.model(torch.ones(4, 8) * (run.rank + 1)).pow(2).mean()
"""
    + _SKIP
    + """    value.backward()  #: $mark
    run.optimizer.step()""",
    "subgroup": """    value = torch.full(($width,), step + 1.0)
    if run.rank not in ($members):
        return
"""
    + _SKIP
    + "    dist.all_reduce(value, group=run.$mark)  #: $mark",
    "store": """    value = torch.ones(1)
    run.store.set(f"$name/{step}/{run.rank}", "here")
    everyone = [f"$name/{step}/{rank}" for rank in range(run.world)]
    @$mark.key|run.rank|step
    run.store.wait(everyone)  #: $mark""",
    "file": """    value = torch.ones(1)
    path = FLAGS / f"$name-{step}.ready"
    if run.rank == 0:
        path.write_text("ready")
    @$mark.path|run.rank|step
    while not path.exists():  #: $mark
        time.sleep(0.02)  #: $mark""",
    "work": """    value = $inner(run, step)""",
    "survived": """    value = torch.ones(1)
    try:
        value += int("n/a" if step % 3 == 1 else step)
    except ValueError:
        logging.exception("row %s left out", step)""",
}
_INNER = """
def $inner(run, step):
    rows = [number % 7 for number in range(200)]
    @$mark.deep|run.rank|step
    return torch.tensor([float(sum(rows))])

"""
_SETUP = {
    "ddp": """        layer = torch.nn.Linear(8, 4)
        self.model = DistributedDataParallel(layer, process_group=self.group)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
""",
    "subgroup": "        self.$mark = dist.new_group([$members])\n",
    "store": "        self.store = dist.distributed_c10d._get_default_store()\n",
    "file": "        FLAGS.mkdir(exist_ok=True)\n",
}
_SLOTS = {
    "all_reduce async": "all_reduce",
    "ddp": "all_reduce",
    "objects": "broadcast",
    "gather objects": "all_gather",
    "reduce_scatter": "all_reduce",
    "subgroup": "",
    "ring": "",
    "exchange": "",
    "store": "",
    "file": "",
    "work": "",
    "survived": "",
}
#: Where every rank waits for all others.
_MEETS = {
    *("all_reduce", "all_reduce async", "all_gather", "barrier", "monitored_barrier", "ddp"),
    *("gather objects", "all_to_all", "reduce_scatter"),
}
#: Those with a rank that the others get from or give to.
_ROOTED = {"broadcast", "reduce", "gather", "scatter", "objects"}
COLLECTIVES = tuple(kind for kind in _BODIES if _SLOTS.get(kind, kind))
MEETING = tuple(kind for kind in COLLECTIVES if kind in _MEETS)
TOGETHER = ("subgroup", "ring", "exchange", "store", "file")
ALONE = ("work", "work", "survived")


def operation(draw: Random, mark: str, kind: str, names: list[str], world: int) -> Operation:
    """Make one of a kind, with a name that is not taken; takes it from ``names``."""
    members = tuple(range(world))
    if kind == "subgroup":
        members = tuple(sorted(draw.sample(members, 2)))
    root = draw.randrange(world) if kind in _ROOTED else None
    name, inner = names.pop(), names.pop()
    values = {
        "mark": mark,
        "name": name,
        "inner": inner,
        "width": draw.randint(3, 40),
        "root": root,
        "members": ", ".join(map(str, members)),
    }
    template = _HEAD + _BODIES[kind] + _FOOT
    if kind == "work":
        template = _INNER + template
    return Operation(
        mark=mark,
        kind=kind,
        name=name,
        template=Template(template.replace("\n\n", "\n")).substitute(values),
        setup=Template(_SETUP.get(kind, "")).substitute(values),
        slot=_SLOTS.get(kind, kind),
        members=members,
        meets=kind in _MEETS,
        root=root,
    )
