"""What an index says of a file's digest, which names a folder of the cache."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from metta_sandbox.image.pip_index_process import _sha256_of

DIGEST = "0a" * 32


@pytest.mark.parametrize(
    ("kind", "told", "taken"),
    [
        ("sha256", DIGEST, DIGEST),
        ("sha256", "../../../home/me", ""),
        ("sha256", "/etc", ""),
        ("sha256", f"{DIGEST}\n", ""),
        ("sha256", None, ""),
        ("md5", DIGEST, ""),
    ],
)
def test_no_digest_leads_out_of_the_cache(kind: str, told: str | None, taken: str) -> None:
    assert _sha256_of(SimpleNamespace(hash_name=kind, hash=told)) == taken
