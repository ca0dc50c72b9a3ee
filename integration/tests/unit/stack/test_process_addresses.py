from __future__ import annotations

import socket

import pytest

from metta_sandbox.stack.engines.process import stack as process


def test_each_host_has_a_loopback_address_of_its_own_that_can_be_listened_on() -> None:
    addresses = process.loopback_addresses("run-a", 3)

    assert len(set(addresses)) == 3
    for address in addresses:
        with socket.create_server((address, 0)):
            assert address.startswith("127.")


def test_stacks_have_different_addresses_and_a_stack_the_same_again() -> None:
    first, second = (process.loopback_addresses(f"run-{n}", 65) for n in range(2))

    assert not set(first) & set(second)
    assert process.loopback_addresses("run-0", 65) == first


def test_where_there_is_one_loopback_address_all_hosts_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusing(socket.socket):
        def bind(self, _address: object) -> None:
            raise OSError(49, "Can't assign requested address")

    monkeypatch.setattr(socket, "socket", Refusing)

    assert process.loopback_addresses("run", 2) == ["127.0.0.1", "127.0.0.1"]
