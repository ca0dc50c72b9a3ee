"""Every field of SkyPilot's task YAML is accounted for, once, with a reason."""

from __future__ import annotations

import pytest

from metta_sandbox.skypilot.fields import FIELDS, find, keys_below, table

#: As SkyPilot's own reference of the task YAML names them.
REFERENCE = (
    *("name", "workdir", "workdir.url", "workdir.ref", "num_nodes", "resources"),
    *("resources.infra", "resources.autostop", "resources.accelerators"),
    *("resources.accelerator_args", "resources.cpus", "resources.memory"),
    *("resources.instance_type", "resources.use_spot", "resources.disk_size"),
    *("resources.ephemeral_storage", "resources.disk_tier", "resources.network_tier"),
    *("resources.max_hourly_cost", "resources.ports", "resources.image_id", "resources.labels"),
    *("resources.any_of", "resources.ordered", "resources.job_recovery", "envs", "envs.ANY"),
    *("secrets", "secrets.ANY", "api_server_access", "volumes", "file_mounts"),
    *("file_mounts.ANY", "file_mounts.ANY.name", "file_mounts.ANY.source"),
    *("file_mounts.ANY.store", "file_mounts.ANY.persistent", "file_mounts.ANY.mode"),
    *("file_mounts.ANY.config", "setup", "run", "config", "config.kubernetes.pod_config"),
    *("config.docker.run_options", "config.hooks", "service.readiness_probe"),
    *("service.readiness_probe.path", "service.readiness_probe.post_data"),
    "service.readiness_probe.initial_delay_seconds",
    *("service.readiness_probe.timeout_seconds", "service.replica_policy"),
    *("service.replica_policy.min_replicas", "service.replica_policy.max_replicas"),
    "service.replica_policy.target_qps_per_replica",
    "service.replica_policy.upscale_delay_seconds",
    *("service.replica_policy.downscale_delay_seconds", "service.replicas", "pool.workers"),
    *("pool.min_workers", "pool.max_workers", "pool.queue_length_threshold"),
    *("pool.upscale_delay_seconds", "pool.downscale_delay_seconds", "resources.any_of.infra"),
    *("resources.ordered.accelerators", "resources.autostop.idle_minutes"),
    "resources.job_recovery.strategy",
)


@pytest.mark.parametrize("key", REFERENCE)
def test_a_field_of_the_reference_is_accounted_for(key: str) -> None:
    field = find(tuple(key.split(".")))

    assert field is not None
    assert field.why


def test_each_field_stands_once_and_says_why_in_one_line() -> None:
    keys = [one.key for one in FIELDS]

    assert len(keys) == len(set(keys))
    assert [one.key for one in FIELDS if "\n" in one.why or not one.why] == []
    assert {one.how for one in FIELDS} == {"honoured", "mapped", "ignored"}


@pytest.mark.parametrize("key", ["runn", "resources.acelerators", "service.port", "a.b.c"])
def test_what_skypilot_does_not_know_is_none_of_them(key: str) -> None:
    assert find(tuple(key.split("."))) is None


def test_candidates_have_the_keys_of_resources() -> None:
    assert "accelerators" in keys_below(("resources", "any_of"))
    assert "run" in keys_below(())


def test_the_table_has_a_row_for_each() -> None:
    assert all(f"| `{one.key}` | {one.how} | {one.why} |" in table() for one in FIELDS)
