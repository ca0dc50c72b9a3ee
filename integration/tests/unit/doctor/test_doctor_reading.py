from __future__ import annotations

import errno
import json
import os
import platform
import re
import socket
import sys
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from metta_sandbox import doctor
from metta_sandbox.doctor import inside, read_engine, read_host
from metta_sandbox.doctor.item import NEEDS_AN_ENGINE, DoctorItem, Status
from metta_sandbox.doctor.probe import Deadline, ProbeError
from metta_sandbox.doctor.read_engine import (
    EngineFailure,
    EngineVersion,
    ImagesFound,
    Inside,
    NoEngineError,
)

SERVER = {
    "Version": "27.3.1",
    "ApiVersion": "1.47",
    "Os": "linux",
    "Components": [{"Name": "Engine"}, {"Name": "containerd"}],
}
INFO = {
    "Name": "far-away",
    "Architecture": "aarch64",
    "OperatingSystem": "Docker Desktop",
    "KernelVersion": "6.10-linuxkit",
    "MemTotal": 8 * 10**9,
    "CgroupVersion": "2",
    "MemoryLimit": True,
    "DockerRootDir": "/var/lib/docker",
    "SecurityOptions": ["name=seccomp,profile=unconfined", "name=rootless"],
    "SystemTime": "2026-11-22T20:13:53.041821899+01:00",
}
#: The same moment, in seconds since 1970.
MOMENT = 1795374833.0418219

#: By the first words of a command: exit status (or ``hang``), output (a text or JSON), errors.
Answers = dict[str, tuple[int | str, Any, str]]
FakeDocker = Callable[[Answers], None]


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """Put a docker on the PATH that answers by the first words of what it is asked."""

    def install(answers: Answers) -> None:
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir(exist_ok=True)
        (tmp_path / "answers.json").write_text(json.dumps(answers))
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, sys, time\n"
            f"answers = json.load(open({str(tmp_path / 'answers.json')!r}))\n"
            f"open({str(tmp_path / 'asked')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            "words = ' '.join(sys.argv[1:])\n"
            "found = [answers[key] for key in answers if words.startswith(key)]\n"
            "status, out, err = (*found, (1, '', 'not faked'))[0]\n"
            "if status == 'hang': time.sleep(600)\n"
            "sys.stdout.write(out if isinstance(out, str) else json.dumps(out))\n"
            "sys.stderr.write(err)\n"
            "sys.exit(status)\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")

    return install


def asked(tmp_path: Path) -> list[str]:
    return (tmp_path / "asked").read_text().splitlines()


def told_of_no_engine(seconds: float) -> tuple[EngineFailure, str]:
    with pytest.raises(NoEngineError) as caught:
        read_engine.read_engine(Deadline(seconds))
    return caught.value.failure, caught.value.words


def test_an_engine_says_who_it_is(fake_docker: FakeDocker) -> None:
    fake_docker({"version": (0, SERVER, "")})
    assert read_engine.read_engine(Deadline(20)) == EngineVersion(
        "27.3.1", "1.47", "linux", "Engine"
    )


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (
            "Got permission denied while trying to connect to the Docker daemon",
            EngineFailure.DENIED,
        ),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock", EngineFailure.DOWN),
    ],
)
def test_an_engine_that_does_not_answer(
    fake_docker: FakeDocker, words: str, failure: EngineFailure
) -> None:
    fake_docker({"version": (1, "null", f"{words}\n")})
    assert told_of_no_engine(20) == (failure, words)


def test_an_engine_that_hangs_is_silent(
    fake_docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_engine, "_ENGINE_PATIENCE", 0.2)
    fake_docker({"version": ("hang", "", "")})
    assert told_of_no_engine(20)[0] is EngineFailure.SILENT


def test_no_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert told_of_no_engine(5) == (EngineFailure.NO_CLIENT, "")


def test_info_is_read() -> None:
    info = read_engine.parse_info(INFO, MOMENT - 1, MOMENT + 1)
    assert (info.architecture, info.memory, info.cgroup) == ("aarch64", 8 * 10**9, "2")
    assert info.rootless
    assert not info.here
    assert info.skew == 0


def test_an_engine_of_the_same_name_and_kernel_is_here() -> None:
    here = {"Name": socket.gethostname(), "KernelVersion": platform.release()}
    assert read_engine.parse_info({**INFO, **here}, 0, 0).here


@pytest.mark.parametrize(
    ("before", "after", "skew"),
    [(-0.1, 0.1, 0.0), (2.0, 2.5, 2.0), (-9.0, -5.0, 5.0)],
)
def test_skew_is_what_the_time_of_asking_can_not_explain(
    before: float, after: float, skew: float
) -> None:
    info = read_engine.parse_info(INFO, MOMENT + before, MOMENT + after)
    assert info.skew == pytest.approx(skew, abs=1e-3)


@pytest.mark.parametrize("text", ["2026-11-22T19:13:53Z", "2026-11-22T19:13:53.5Z"])
def test_times_with_few_digits_are_read(text: str) -> None:
    info = read_engine.parse_info({**INFO, "SystemTime": text}, MOMENT, MOMENT)
    assert info.skew < 1


def test_a_time_that_is_none_is_said() -> None:
    with pytest.raises(ProbeError, match="tomorrow"):
        read_engine.parse_info({**INFO, "SystemTime": "tomorrow"}, 0, 0)


def test_compose_is_asked(fake_docker: FakeDocker) -> None:
    fake_docker({"compose version": (0, "v2.40.3\n", "")})
    assert read_engine.read_compose(Deadline(20)) == "2.40.3"
    fake_docker({"compose version": (1, "", "docker: 'compose' is not a docker command.")})
    assert not read_engine.read_compose(Deadline(20))


def test_a_test_build_leaves_no_image(fake_docker: FakeDocker, tmp_path: Path) -> None:
    fake_docker({"compose": (17, "", "Step 1\nthe --mount option requires BuildKit\n")})
    problem = read_engine.read_buildkit(Deadline(20))
    assert problem == "the --mount option requires BuildKit"
    assert asked(tmp_path)[-1] == "image rm --force metta-sandbox-doctor"
    fake_docker({"compose": (0, "", "a warning")})
    assert read_engine.read_buildkit(Deadline(20)) == ""


def test_networks_without_subnets_and_of_version_6_are_left_out(
    fake_docker: FakeDocker, tmp_path: Path
) -> None:
    networks = (
        '[{"Subnet": "172.17.0.0/16"}, {"Subnet": "fd00::/64"}]\nnull\n[{"Gateway": "10.0.0.1"}]\n'
    )
    # One was removed between listing and inspecting: Docker fails, and tells of the others.
    inspected = (1, networks, "Error: No such network: 3")
    fake_docker({"network ls": (0, "1\n2\n3\n", ""), "network inspect": inspected})
    assert read_engine.read_networks(Deadline(20), here=False) == [IPv4Network("172.17.0.0/16")]
    assert asked(tmp_path)[-1].endswith(" 1 2 3")


def test_images_are_those_a_run_would_use(fake_docker: FakeDocker) -> None:
    info = read_engine.parse_info(INFO, 0, 0)
    missing = (1, "", "Error: No such image")
    pulled = "image inspect --format {{.Id}} python:3.11-slim-bookworm"
    made = "image inspect --format {{.Id}} metta-sandbox-base"
    node = "image inspect --format {{.Id}} metta-sandbox-node"
    fake_docker({"image inspect": missing})
    assert read_engine.read_images(Deadline(20), info) == ImagesFound("")
    fake_docker({made: (0, "sha256:1\n", ""), "image inspect": missing})
    from_packages = read_engine.read_images(Deadline(20), info)
    assert from_packages.base.startswith("metta-sandbox-base:")
    assert not from_packages.built
    fake_docker({pulled: (0, "sha256:2\n", ""), node: (0, "sha256:3\n", "")})
    official = read_engine.read_images(Deadline(20), info)
    assert (official.base, official.built) == ("python:3.11-slim-bookworm", True)
    assert official.node != from_packages.node


def test_an_engine_that_fails_is_not_taken_for_a_missing_image(fake_docker: FakeDocker) -> None:
    fake_docker({"image inspect": (1, "", "error during connect: EOF")})
    with pytest.raises(ProbeError, match="EOF"):
        read_engine.read_images(Deadline(20), read_engine.parse_info(INFO, 0, 0))


def test_a_registry_that_hangs(fake_docker: FakeDocker) -> None:
    fake_docker({"manifest": ("hang", "", "")})
    assert read_engine.read_registry(Deadline(0.3)) == "its registry does not answer"
    fake_docker({"manifest": (1, "", "no such host\n")})
    assert read_engine.read_registry(Deadline(20)) == "no such host"


def test_a_container_that_looks_around_is_cut_off_from_everything() -> None:
    command = read_engine.container_command("image:1", {"a.b": "c"})
    assert command[:2] == ["docker", "run"]
    assert command[-2:] == ["image:1", "-"]
    assert {"--rm", "--network=none", "--cap-drop=ALL", "--read-only", "--label=a.b=c"} <= set(
        command
    )
    assert not any("volume" in word or "privileged" in word for word in command)


def test_what_the_container_says(
    fake_docker: FakeDocker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    said = {"nfqueue": "absent", "disk_free": 5, "shared_memory": 6}
    fake_docker({"run": (0, said, "")})
    info = read_engine.parse_info(INFO, 0, 0)
    found = read_engine.read_inside(Deadline(20), info, ImagesFound("base", "node:1", built=True))
    assert found == Inside("absent", 5, 6)
    assert " node:1 -" in asked(tmp_path)[-1]
    read_engine.read_inside(Deadline(20), info, ImagesFound("base", "node:1"))
    assert " base -" in asked(tmp_path)[-1]
    assert "dev.metta-sandbox.run=doctor-" in asked(tmp_path)[-1]
    assert not list((tmp_path / "state").rglob("*.json"))


def test_without_an_image_a_remote_engine_stays_unknown() -> None:
    with pytest.raises(ProbeError, match="no image to look from yet"):
        read_engine.read_inside(Deadline(20), read_engine.parse_info(INFO, 0, 0), ImagesFound(""))


def test_sizes_outside_a_container_mean_nothing() -> None:
    text = '{"nfqueue": "present", "disk_free": 5, "shared_memory": 6}'
    assert read_engine.parse_inside(text, contained=False) == Inside("present", None, None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://pypi.org/simple", "https://pypi.org"),
        ("https://bob:hunter2@mirror.example:8443/simple", "https://mirror.example:8443"),
        ("https://hunter2@mirror.example/simple", "https://mirror.example"),
        ("https://bob:hunter2/@:x@mirror.example/", "https://mirror.example"),
        ("https://dl.example/hunter2/repo/simple", "https://dl.example"),
        ("https://dl.example?token=hunter2", "https://dl.example"),
        ("https://dl.example#hunter2", "https://dl.example"),
        ("file:///srv/wheels", "file:///srv/wheels"),
        ("/opt/wheels", "/opt/wheels"),
    ],
)
def test_no_secret_of_an_index_is_shown(url: str, shown: str) -> None:
    assert read_host.without_secrets(url) == shown


def test_where_pip_looks() -> None:
    assert read_host.pip_sources("") == ("https://pypi.org",)
    config = (
        ":env:.index-url='https://u:p@first/simple'\n"
        "global.cert='/etc/ssl/ca.crt'\n"
        "global.extra-index-url='https://second/a https://third/b'\n"
        "global.index-url='https://overruled/simple'\n"
        "install.find-links='/opt/wheels'\n"
    )
    expected = ("https://first", "https://second", "https://third", "/opt/wheels")
    assert read_host.pip_sources(config) == expected
    offline = "global.no-index='true'\nglobal.find-links='/opt/wheels'\n"
    assert read_host.pip_sources(offline) == ("/opt/wheels",)


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "debian"}, "debian"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "ubuntu"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "fedora"),
        ({"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"}, "suse"),
        ({"ID": "nixos"}, ""),
    ],
)
def test_distributions(release: dict[str, str], family: str) -> None:
    assert read_host.family_of(release) == family


def test_this_machine_has_memory_and_a_python() -> None:
    assert read_host.read_memory().total > 2**26
    assert read_host.read_python().here == ".".join(map(str, sys.version_info[:3]))


def test_nothing_is_tried_in_a_namespace_that_leads_somewhere(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text("Iface\tDestination\n")
    assert inside.isolated(str(table))
    table.write_text("Iface\tDestination\neth0\t00000000\n")
    assert not inside.isolated(str(table))


def test_a_feature_is_present_absent_or_says_why_not() -> None:
    def failing(number: int) -> Callable[[], None]:
        def attempt() -> None:
            raise OSError(number, os.strerror(number))

        return attempt

    assert inside.feature(lambda: None) == "present"
    # A kernel without queues for packets, and one without nf_tables or its NFQUEUE.
    for number in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOENT):
        assert inside.feature(failing(number)) == "absent"
    assert inside.feature(failing(errno.EPERM)) == "[Errno 1] Operation not permitted"


def test_the_program_that_looks_around_imports_nothing_of_ours() -> None:
    script = read_engine.inside_script()
    assert "class Netfilter:" in script
    assert not re.search(r"^(from|import) metta_sandbox", script, re.MULTILINE)


def by_name(items: tuple[DoctorItem, ...]) -> dict[str, DoctorItem]:
    return {item.name: item for item in items}


def test_one_broken_probe_spoils_only_its_own_line(fake_docker: FakeDocker) -> None:
    fake_docker(
        {
            "version": (0, SERVER, ""),
            "info": (0, INFO, ""),
            "compose version": (0, "2.40.3", ""),
            "compose": (0, "", ""),
            "network ls": (0, "1", ""),
            "network inspect": (0, "this is not JSON", ""),
            "image inspect": (1, "", "No such image"),
            "manifest": (0, "{}", ""),
        }
    )
    items = by_name(doctor.examine(20).items)
    assert items["networks"].status is Status.UNKNOWN
    assert items["networks"].found.startswith("JSONDecodeError")
    assert items["base image"].found.startswith("not here; it can be pulled")
    assert items["disk"].status is Status.UNKNOWN
    good = ("engine", "compose", "buildkit", "engine memory", "cgroup")
    assert {items[name].status for name in good} == {Status.OK}


def test_without_info_what_comes_from_it_says_so(fake_docker: FakeDocker) -> None:
    fake_docker(
        {"version": (0, SERVER, ""), "info": (1, "", "boom"), "compose version": (1, "", "")}
    )
    report = doctor.examine(20)
    items = by_name(report.items)
    assert items["clock"].found == "docker info: boom"
    assert items["buildkit"].found == "needs Compose"
    assert [item.name for item in report.items if item.status is Status.MISSING] == ["compose"]
    assert NEEDS_AN_ENGINE not in {item.found for item in report.items}
