"""Every field of SkyPilot's task YAML (0.14), and what becomes of it here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

How = Literal["honoured", "mapped", "ignored"]


@dataclass(frozen=True)
class Field:
    """A field of a task.

    Args:
        key: What leads to it, dotted; ``*`` is any key of a mapping, and lists are passed through.
        kinds: What it may be: ``text``, ``whole``, ``number``, ``flag``, ``map``, ``list``,
            ``nothing``.
        how: Whether it is done as there, turned into something of ours, or not done.
        why: What becomes of it, or why it is ignored, in one line.
        open: Whether anything may stand below it.

    """

    key: str
    kinds: tuple[str, ...]
    how: How
    why: str
    open: bool = False


def _fields(how: How, why: str, *said: str) -> list[Field]:
    """Make fields of ``key: kind|kind`` that share what becomes of them; ``…`` opens the last."""
    made = []
    for one in said:
        key, _, kinds = one.partition(": ")
        made.append(Field(key, tuple(kinds.rstrip("…").split("|")), how, why, kinds.endswith("…")))
    return made


_HERE = "no machine is rented: nodes are on this one"
_STORE = "a bucket is a folder of this machine"
_SERVE = "one replica is played, without a load balancer or probes"
_POOL = "no pool of workers is kept: the task is played once"
_VOLUME = "no volume can be attached: the path is an empty folder that all nodes share"
_INTERNAL = "SkyPilot's own, which no author writes"
_CLOUD_CONFIG = "configures a cloud or a cluster that is not there"

#: By what leads to them. ``resources.any_of`` and ``resources.ordered`` hold what it does.
FIELDS: tuple[Field, ...] = (
    *_fields("honoured", "names the scenario, the log prefix and the task's id", "name: text"),
    *_fields(
        "honoured",
        "each node has its own copy at ~/sky_workdir, without what .skyignore, or else .gitignore, "
        "names",
        "workdir: text|map",
    ),
    *_fields(
        "honoured",
        "cloned here by your own git; each node has a copy at ~/sky_workdir, and no credentials",
        "workdir.url: text",
        "workdir.ref: text",
    ),
    *_fields("honoured", "as many local nodes", "num_nodes: whole|nothing"),
    *_fields("honoured", "run by bash -i on every node, without -e, before run", "setup: text"),
    *_fields("honoured", "run by bash -i on every node at the same moment", "run: text"),
    *_fields(
        "honoured",
        "exported to setup and run; --env goes over them; null needs one",
        "envs: map|nothing",
    ),
    *_fields(
        "honoured",
        "a variable; ${NAME} in paths is filled in",
        "envs.*: text|number|flag|nothing",
    ),
    *_fields(
        "honoured",
        "exported to setup and run, masked everywhere, stored nowhere; --secret goes over them",
        "secrets: map|list|nothing",
    ),
    *_fields(
        "honoured",
        "a variable; null, or secrets:NAME, takes it from --secret or the environment",
        "secrets.*: text|number|flag|nothing",
    ),
    *_fields(
        "mapped",
        "as secrets without a value; one with a mount_path is a variable alone",
        "managed_secrets: list",
        "managed_secrets.*: map…",
    ),
    *_fields(
        "honoured",
        "local files are copied to each node; a bucket is the folder of --bucket, or an empty one",
        "file_mounts: map|nothing",
        "file_mounts.*: text|map",
    ),
    *_fields(
        "honoured",
        "MOUNT and MOUNT_CACHED: all nodes share the bucket's folder; COPY: each has a copy",
        "file_mounts.*.mode: text",
    ),
    *_fields(
        "mapped",
        "says which bucket: --bucket NAME=DIR, or STORE://NAME=DIR",
        "file_mounts.*.name: text",
        "file_mounts.*.store: text",
    ),
    *_fields(
        "mapped",
        "a local source fills the bucket's folder; one in a cloud names the bucket",
        "file_mounts.*.source: text|list",
    ),
    *_fields(
        "ignored",
        _STORE,
        "file_mounts.*.persistent: flag",
        "file_mounts.*.type: text",
        "file_mounts.*.config: map…",
    ),
    *_fields(
        "ignored",
        _INTERNAL,
        "file_mounts.*._bucket_sub_path: text",
        "file_mounts.*._force_delete: flag",
        "file_mounts.*._is_sky_managed: flag",
        "file_mounts_mapping: map…",
        "_metadata: map…",
        "resources._cluster_config_overrides: map…",
        "resources._docker_login_config: map…",
        "resources._is_image_managed: flag",
        "resources._no_missing_accel_warnings: flag",
        "resources._requires_fuse: flag",
    ),
    *_fields("honoured", "what of it counts here stands below", "resources: map|nothing"),
    *_fields(
        "mapped",
        "their number is SKYPILOT_NUM_GPUS_PER_NODE; they are pretended: ranks are on the CPU",
        "resources.accelerators: text|map|list|nothing…",
        "resources.gpus: text|map|list|nothing…",
    ),
    *_fields(
        "honoured",
        "docker:IMAGE is what nodes are made of, with Docker; any other machine image is ignored",
        "resources.image_id: text|map|nothing…",
    ),
    *_fields(
        "mapped",
        "SKYPILOT_CLUSTER_INFO says it; no machine is rented",
        "resources.infra: text|nothing",
        "resources.cloud: text|nothing",
        "resources.region: text|nothing",
        "resources.zone: text|nothing",
    ),
    *_fields(
        "mapped",
        "the first of them counts, for there is nothing to choose from",
        "resources.any_of: list",
        "resources.ordered: list",
    ),
    *_fields(
        "ignored",
        _HERE,
        "resources.accelerator_args: map|nothing…",
        "resources.cpus: text|number|nothing",
        "resources.memory: text|number|nothing",
        "resources.instance_type: text|nothing",
        "resources.use_spot: flag|nothing",
        "resources.disk_size: text|whole|nothing",
        "resources.disk_tier: text|nothing",
        "resources.local_disk: text|nothing",
        "resources.ephemeral_storage: text|number|nothing",
        "resources.network_tier: text|nothing",
        "resources.max_hourly_cost: number|nothing",
        "resources.labels: map|nothing…",
        "resources.volumes: list|nothing…",
    ),
    *_fields(
        "ignored",
        "nothing is published: nodes reach each other on every port",
        "resources.ports: text|whole|list|nothing",
    ),
    *_fields(
        "ignored",
        "nodes are gone when the task is over",
        "resources.autostop: flag|text|whole|map|nothing…",
    ),
    *_fields(
        "ignored",
        "a task is played once; what brings it down is what is to be seen",
        "resources.job_recovery: text|map|nothing…",
        "resources.spot_recovery: text|nothing",
    ),
    *_fields(
        "ignored",
        "nothing waits beside it",
        "resources.priority: whole|nothing",
        "resources.priority_class: text|nothing",
    ),
    *_fields("ignored", _VOLUME, "volumes: map…", "volume_mounts: list…"),
    *_fields("mapped", "one replica, with SKYPILOT_SERVE_REPLICA_ID=1", "service: map"),
    *_fields(
        "ignored",
        _SERVE,
        "service.readiness_probe: text|map…",
        "service.replica_policy: map…",
        "service.replicas: whole",
        "service.load_balancer: map…",
        "service.load_balancing_policy: text",
        "service.ports: text|whole",
        "service.tls: map…",
        "service.pool: map…",
        "service.workers: whole",
    ),
    *_fields(
        "ignored",
        _POOL,
        "pool: map",
        "pool.workers: whole",
        "pool.min_workers: whole",
        "pool.max_workers: whole",
        "pool.queue_length_threshold: whole",
        "pool.upscale_delay_seconds: number",
        "pool.downscale_delay_seconds: number",
    ),
    *_fields("ignored", _CLOUD_CONFIG, "config: map…"),
    *_fields("ignored", "nodes are ended, not stopped or taken back", "config.hooks: list…"),
    *_fields(
        "ignored",
        "only helps the optimizer to choose a cloud",
        "inputs: map…",
        "outputs: map…",
    ),
    *_fields("ignored", "no API server is there", "api_server_access: flag"),
    *_fields("ignored", "nobody is called back", "event_callback: text"),
)

#: Keys of a file's first document that is no task, but says how the others are played.
HEADER: tuple[Field, ...] = (
    *_fields("honoured", "names the job in the tasks' ids", "name: text"),
    *_fields(
        "mapped",
        "tasks are played one after another, also with parallel",
        "execution: text",
    ),
    *_fields(
        "ignored",
        "tasks are played one after another",
        "primary_tasks: list",
        "termination_delay: text|whole|map…",
        "inter_connection: flag|text…",
    ),
)


@cache
def _by_key() -> dict[str, Field]:
    return {field.key: field for field in FIELDS}


def find(path: tuple[str, ...]) -> Field | None:
    """Find the field that a path leads to, or what it lies in if that takes anything.

    Args:
        path: Keys, without the places in lists.

    """
    if path[:2] in {("resources", "any_of"), ("resources", "ordered")} and len(path) > 2:  # noqa: PLR2004
        path = ("resources", *path[2:])
    known = _by_key()
    at = ""
    for place, key in enumerate(path):
        inner = f"{at}.{key}".lstrip(".")
        any_key = f"{at}.*".lstrip(".")
        if inner in known:
            at = inner
        elif any_key in known:
            at = any_key
        else:
            return replace(known[at], kinds=()) if place and known[at].open else None
    return known[at]


def keys_below(path: tuple[str, ...]) -> list[str]:
    """List the keys that a mapping at a path may have, for whoever has misspelt one."""
    if path[:2] in {("resources", "any_of"), ("resources", "ordered")}:
        path = ("resources", *path[2:])
    field = find(path) if path else None
    start = f"{field.key}." if field else ""
    return [
        key.removeprefix(start)
        for key in _by_key()
        if key.startswith(start)
        and not set("._").intersection(key.removeprefix(start)[:1])
        and "." not in key.removeprefix(start)
    ]


def table() -> str:
    """Write the table of the documentation."""
    rows = "".join(f"| `{one.key}` | {one.how} | {one.why} |\n" for one in _listed())
    return f"| field | here | what becomes of it |\n| --- | --- | --- |\n{rows}"


def _listed() -> Iterator[Field]:
    """Give the fields by name, a file's own header last."""
    yield from sorted(FIELDS, key=lambda one: one.key.replace("_", "~", one.key.startswith("_")))
    for one in HEADER:
        yield replace(one, key=f"(first document) {one.key}")
