"""The programs that travel into a stack: agent, hub, relay, and what starts a node's ranks."""

import argparse
import contextlib
import gc
import json
import os
import sys
from typing import Callable, Dict, Iterator, List, NoReturn, Optional

from metta_sandbox.node.agent.address import Address


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one of the programs and return its exit status."""
    options = _parser().parse_args(arguments)
    return _PROGRAMS[options.program](options)


# Each imports what it needs by itself: a rank's wrapper starts in half an agent's time.
# ruff: noqa: PLC0415


def _relay(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.hub.relay import relay

    return relay(Address(options.hub))


def _groups(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.client import AgentClient

    client = AgentClient(options.local or os.environ["METTA_EVENTS"])
    sys.stdout.write(json.dumps(client.request("groups")) + "\n")
    return 0


def _nodes(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.hub.relay import connected_nodes

    nodes = connected_nodes(Address(options.hub), options.patience)
    sys.stdout.write(json.dumps(nodes) + "\n")
    return 0


def _rank(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.rank import run_rank

    return run_rank(options.command, options.log_folder)


def _warm(options: argparse.Namespace) -> NoReturn:
    from metta_sandbox.node.agent.fork_server.server import serve

    serve(options.listen, options.preload, options.preload_if_there)


def _ranks(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.fork_server.client import run_ranks

    text = options.run
    if text.startswith("@"):
        with open(text[1:]) as file:
            text = file.read()
    return run_ranks(options.warm, json.loads(options.group), options.log_folder, json.loads(text))


def _template(options: argparse.Namespace) -> NoReturn:
    from metta_sandbox.node.agent.fork_server.template import serve

    wanted, programs = options.preload_if_there, options.for_programs
    serve(options.listen, wanted, programs, options.for_bundled, options.own)


def _spawn(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.fork_server.spawn import spawn

    return spawn(options.template, options.listen, options.preload, options.start)


def _proxy(options: argparse.Namespace) -> NoReturn:
    from metta_sandbox.node.agent.fork_server.proxy import run_proxy

    run_proxy(options.template, options.command)


def _container_init(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.container_init.init import ContainerInit

    return ContainerInit(options.command, options.template).run()


def _turn(_options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.container_init.init import ask

    sys.stdout.write(json.dumps(ask(sys.stdin.buffer.readline())) + "\n")
    return 0


def _watch(options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.sidecars.network_watch import Watcher

    return Watcher(options.node, os.environ.get("METTA_NAMES", "").split()).run()


def _netfault(_options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.sidecars.netfault import run

    return run()


def _fill(_options: argparse.Namespace) -> int:
    from metta_sandbox.node.agent.sidecars.disk import run

    return run()


@contextlib.contextmanager
def _soon() -> Iterator[None]:
    """Import what serves many at once in two thirds of the time; a node is ready no sooner.

    Nobody here speaks TLS, which asyncio does without where there is none, and what is imported
    is no garbage.
    """
    lacking = "ssl" not in sys.modules
    gc.disable()
    if lacking:
        sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if lacking:
            del sys.modules["ssl"]
        gc.enable()


def _told(address: Address) -> str:
    """Read what only this process is to know, where it is told: a line on standard input."""
    from metta_sandbox.node.agent.processes import keep_to_itself

    keep_to_itself()
    return sys.stdin.readline().strip() if address.kind == "unix" else ""


def _hub(options: argparse.Namespace) -> int:
    listen = Address(options.listen)
    keys = json.loads(_told(listen) or "{}")
    with _soon():
        import asyncio

        from metta_sandbox.node.agent.hub.admission import Admission, named
        from metta_sandbox.node.agent.hub.hub import Hub

    admission = Admission(named(options.node), keys)
    hub = Hub(admission, standing=options.standing, patience=options.patience)
    asyncio.run(hub.serve(listen))
    return 0


def _agent(options: argparse.Namespace) -> int:
    if options.files and sys.platform == "linux":
        _bound_files(options.files)
    hub = Address(options.hub)
    key = _told(hub)
    with _soon():
        import asyncio

        from metta_sandbox.node.agent.agent import Agent

    local = options.local or os.environ["METTA_EVENTS"]
    # Where this socket is, is also how this agent's processes are told from another's.
    os.environ["METTA_EVENTS"] = local
    agent = Agent(
        options.node,
        hub,
        local,
        address=options.address,
        key=key,
        standing=options.standing,
    )
    return asyncio.run(agent.serve(options.patience, options.command))


def _bound_files(most: int) -> None:
    """Bound the open files of this process, and of all that it starts; never by more than before.

    An engine that may not raise its own bound refuses to start what has a higher one.
    """
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY or most < hard:
        hard = most
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_PROGRAMS: Dict[str, Callable[[argparse.Namespace], int]] = {
    "agent": _agent,
    "fill": _fill,
    "groups": _groups,
    "hub": _hub,
    "container-init": _container_init,
    "netfault": _netfault,
    "nodes": _nodes,
    "rank": _rank,
    "ranks": _ranks,
    "relay": _relay,
    "template": _template,
    "spawn": _spawn,
    "proxy": _proxy,
    "turn": _turn,
    "warm": _warm,
    "watch": _watch,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent.pyz", description=__doc__)
    # Left to make up what its programs' usage begins with, it would load all of help's machinery.
    programs = parser.add_subparsers(dest="program", required=True, prog=parser.prog)

    agent = programs.add_parser("agent", help="the first process of a node")
    agent.add_argument("--node", required=True, help="the node's host name")
    agent.add_argument("--hub", required=True, help="tcp:HOST:PORT or unix:PATH")
    agent.add_argument("--local", help="socket for this node's processes (else METTA_EVENTS)")
    agent.add_argument("--address", default="", help="the node's network address")
    agent.add_argument("--patience", type=float, default=60.0, help="seconds to find the hub")
    agent.add_argument("--files", type=int, help="the most that each process may have open")
    agent.add_argument("--standing", action="store_true", help="stay when the harness leaves")
    agent.add_argument("--mark", action="append", help="a variable's text, by which it is found")
    agent.add_argument("command", nargs="*", help="started at once; the agent ends with it")

    hub = programs.add_parser("hub", help="routes between agents and harness")
    hub.add_argument("--listen", required=True, help="tcp:HOST:PORT or unix:PATH")
    hub.add_argument("--patience", type=float, default=120.0, help="seconds to be found")
    hub.add_argument("--standing", action="store_true", help="stay when the harness leaves")
    hub.add_argument("--mark", action="append", help="a variable's text, by which it is found")
    hub.add_argument("--node", action="append", default=[], help="NAME or NAME=ADDRESS of a node")

    carrier = programs.add_parser("relay", help="the harness's connection, over stdin and stdout")
    carrier.add_argument("--hub", required=True, help="tcp:HOST:PORT or unix:PATH")

    nodes = programs.add_parser("nodes", help="print which nodes the hub is connected to, as JSON")
    nodes.add_argument("--hub", required=True, help="tcp:HOST:PORT or unix:PATH")
    nodes.add_argument("--patience", type=float, default=5.0, help="seconds for its answer")

    programs.add_parser("netfault", help="strikes a node's network, as told on standard input")
    programs.add_parser("fill", help="fills a node's disk, as told on standard input")

    groups = programs.add_parser("groups", help="print what runs on this node, as JSON")
    groups.add_argument("--local", help="the agent's socket (else METTA_EVENTS)")

    rank = programs.add_parser("rank", help="runs one rank's trainer")
    rank.add_argument("--log-folder", required=True)
    rank.add_argument("command", nargs="+")

    watch = programs.add_parser("watch", help="sees what a node tries to reach outside its stack")
    watch.add_argument("--node", default=os.environ.get("METTA_NODE", ""), help="its host name")

    container_init = programs.add_parser(
        "container-init", help="the first process of a container for several"
    )
    container_init.add_argument(
        "--template", default="", help="an interpreter that is to be kept warm"
    )
    container_init.add_argument("command", nargs="+", help="a turn's program")

    programs.add_parser("turn", help="asks the container's init what a line of JSON on stdin says")

    _add_forking(programs)
    return parser


def _add_forking(programs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the programs by which torch is imported once, and what needs it is forked."""
    warm = programs.add_parser("warm", help="imports what trainers need, and forks their ranks")
    warm.add_argument("--listen", required=True, help="the path of its socket")
    warm.add_argument("--preload", action="append", default=[], help="a module that must be there")
    warm.add_argument("--preload-if-there", action="append", default=[], metavar="MODULE")

    template = programs.add_parser(
        "template", help="imports torch, and forks warm servers of nodes"
    )
    template.add_argument("--listen", required=True, help="the path of its socket")
    template.add_argument("--for-programs", action="append", default=[], metavar="MODULE")
    template.add_argument("--for-bundled", action="append", default=[], metavar="MODULE")
    template.add_argument("--own", action="store_true", help="it is one node's")
    template.add_argument("--preload-if-there", action="append", default=[], metavar="MODULE")

    spawn = programs.add_parser("spawn", help="a warm server: a template's fork, or else started")
    spawn.add_argument("--template", required=True, help="the path of the template's socket")
    spawn.add_argument("--listen", required=True, help="the path of the server's socket")
    spawn.add_argument("--preload", action="append", default=[], help="what the template has not")
    spawn.add_argument("start", nargs="+", help="the command that starts a server")

    proxy = programs.add_parser("proxy", help="stands for a template's fork with the agent")
    proxy.add_argument("--template", required=True, help="the path of the template's socket")
    proxy.add_argument("command", nargs="+", help="what is forked, or else started")

    ranks = programs.add_parser("ranks", help="runs a trial's ranks, forked from a warm process")
    ranks.add_argument("--warm", required=True, help="the path of that process's socket")
    ranks.add_argument("--log-folder", required=True)
    ranks.add_argument("--group", required=True, help="place and rendezvous, as JSON")
    ranks.add_argument("--run", required=True, help="what a rank runs, as JSON or @FILE")


if __name__ == "__main__":
    sys.exit(main())
