from __future__ import annotations

import pytest

from metta_sandbox.image.base_image import refused


@pytest.mark.parametrize(
    "problem",
    [
        "manifest for 127.0.0.1:5055/base:2 not found: manifest unknown: manifest unknown",
        "pull access denied for x/y, repository does not exist or may require 'docker login'",
        "unauthorized: authentication required",
        "no matching manifest for linux/arm64/v8 in the manifest list entries",
        "invalid reference format",
    ],
)
def test_a_registrys_no_is_told_from(problem: str) -> None:
    assert refused(problem)


@pytest.mark.parametrize(
    "problem",
    [
        'Get "https://registry-1.docker.io/v2/": dial tcp: lookup r.docker.io: no such host',
        'Get "http://127.0.0.1:5999/v2/": dial tcp 127.0.0.1:5999: connect: connection refused',
        "received unexpected HTTP status: 503 Service Unavailable",
        'Get "https://r/v2/": net/http: request canceled while waiting for connection',
        "no answer within 60 s",
        "toomanyrequests: You have reached your pull rate limit.",
        'Get "https://r/v2/": x509: certificate signed by unknown authority',
    ],
)
def test_the_lack_of_an_answer(problem: str) -> None:
    assert not refused(problem)
