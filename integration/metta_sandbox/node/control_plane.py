"""The rollout's way to the control plane: Observatory for statistics, Cogweb for sweeps."""

from __future__ import annotations

import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests

from metta_sandbox.errors import InputError, SandboxError
from metta_sandbox.observatory_tokens import read_tokens

#: Statuses that say "not now": the request is sent again.
RETRIED = frozenset({429, 502, 503, 504})
#: Seconds the first pause lasts at most; each later one twice as long, up to the longest.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
_SHOWN = 300
_T = TypeVar("_T")
_HINT = "the transcript api/requests.jsonl shows what the control plane got and answered"


class ControlPlaneError(SandboxError):
    """The control plane did not do what it was asked."""


class UnreachableError(ControlPlaneError):
    """No answer, after every try.

    Args:
        url: What was asked.
        tries: How many times.
        seconds: How long that took.
        reason: What went wrong the last time.

    """

    def __init__(self, url: str, tries: int, seconds: float, reason: str) -> None:
        times = "1 try" if tries == 1 else f"{tries} tries"
        super().__init__(
            f"{url} gave no answer in {times} over {seconds:.1f} s: {reason}",
            "is the control plane up, and is its address right?",
        )
        self.url, self.tries, self.seconds = url, tries, seconds


class RefusedError(ControlPlaneError):
    """The control plane answered with an error status.

    Args:
        request: Method and URL.
        status: The HTTP status.
        detail: What the answer says about it.
        tries: How many times the request was sent.

    """

    def __init__(self, request: str, status: int, detail: str, tries: int) -> None:
        times = f" (after {tries} tries)" if tries > 1 else ""
        super().__init__(f"{request} answered {status}{times}: {detail}", _HINT)
        self.status, self.detail, self.tries = status, detail, tries


class MalformedAnswerError(ControlPlaneError):
    """The control plane answered with a good status and a body that can't be used.

    Args:
        request: Method and URL.
        expected: What should have come.
        found: What came, shortened.
        tries: How many times the request was sent.

    """

    def __init__(self, request: str, expected: str, found: str, tries: int = 1) -> None:
        times = f" (after {tries} tries)" if tries > 1 else ""
        super().__init__(f"{request}{times}: expected {expected}, found {found}", _HINT)
        self.expected, self.found, self.tries = expected, found, tries


@dataclass(frozen=True)
class Sweep:
    """What the control plane knows of a sweep.

    Args:
        exists: Whether it is registered.
        wandb_sweep_id: What it was registered with; empty when it is not.

    """

    exists: bool
    wandb_sweep_id: str


@dataclass(frozen=True)
class CreatedSweep:
    """The outcome of a registration.

    Args:
        created: False if there was a sweep of that name already, also one that a first try of
            the same call made whose answer got lost.
        sweep_id: Its UUID.

    """

    created: bool
    sweep_id: str


@dataclass(frozen=True)
class User:
    """Who the token is.

    Args:
        email: The control plane's name for the user.
        authenticated: Whether the token was known.

    """

    email: str
    authenticated: bool


@dataclass(frozen=True)
class _Request:
    """A call of the control plane, the same over all its tries."""

    method: str
    url: str
    body: Mapping[str, Any] | None
    headers: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


class ControlPlane:
    """A client that tries again while it makes sense, and says plainly what went wrong.

    What is retried carries an ``Idempotency-Key`` that is the same over the tries of one call,
    so that an answer that got lost never skips a run name (draft-ietf-httpapi-idempotency-key).
    Every method raises ``UnreachableError``, ``RefusedError`` or ``MalformedAnswerError``.

    Args:
        observatory_url: Where statistics go.
        cogweb_url: Where sweeps are.
        token: Sent as ``X-Auth-Token``; in no message and no representation of this object.
        timeout: Seconds one try waits to connect, and again for the answer.
        retries: Tries after the first.
        deadline: Seconds after which no further try begins.
        pause: Waits the seconds it is given.

    Raises:
        InputError: A URL is not one of http or https.

    """

    def __init__(
        self,
        observatory_url: str,
        cogweb_url: str,
        token: str | None = None,
        *,
        timeout: float = 5.0,
        retries: int = 8,
        deadline: float = 30.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._observatory = _base(observatory_url, "OBSERVATORY_URL")
        self._cogweb = _base(cogweb_url, "COGWEB_URL")
        self._token = token
        self._timeout = timeout
        self._retries = retries
        self._deadline = deadline
        self._pause = pause
        self._random = random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._session = requests.Session()
        # The control plane is a neighbour: neither a company's proxy nor a .netrc is for it.
        self._session.trust_env = False

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] | None = None, home: Path | None = None
    ) -> ControlPlane:
        """Make the client that a node's environment asks for.

        Args:
            environ: Holds ``OBSERVATORY_URL`` and ``COGWEB_URL``; this process's by default.
            home: Where ``.metta/observatory_tokens.yaml`` may be; the user's home by default.

        Raises:
            InputError: A URL is missing or wrong, or the token file is.

        """
        environ = os.environ if environ is None else environ
        for variable in ("OBSERVATORY_URL", "COGWEB_URL"):
            if not environ.get(variable):
                raise InputError(f"{variable} is not set", "set it to http://host:port")
        url = environ["OBSERVATORY_URL"]
        path = (home or Path.home()) / ".metta" / "observatory_tokens.yaml"
        token = read_tokens(path).for_url(url) if path.is_file() else None
        return cls(url, environ["COGWEB_URL"], token)

    def sweep(self, name: str) -> Sweep:
        """Look a sweep up."""
        request = self._request("GET", self._cogweb, "sweeps", name)
        answer = self._send(request)
        return Sweep(
            self._field(request, answer, "exists", bool),
            self._field(request, answer, "wandb_sweep_id", str, empty=True),
        )

    def create_sweep(
        self, name: str, project: str, entity: str, wandb_sweep_id: str
    ) -> CreatedSweep:
        """Register a sweep, unless there is one of that name."""
        body = {"project": project, "entity": entity, "wandb_sweep_id": wandb_sweep_id}
        request = self._request("POST", self._cogweb, "sweeps", name, "create_sweep", body=body)
        answer = self._send(request)
        return CreatedSweep(
            self._field(request, answer, "created", bool),
            self._field(request, answer, "sweep_id", str),
        )

    def next_run(self, name: str) -> str:
        """Ask for the name of a sweep's next run: ``<name>.r.<n>``."""
        request = self._request("POST", self._cogweb, "sweeps", name, "runs", "next")
        return self._field(request, self._send(request), "run_id", str)

    def training_run(self, name: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Report that a training run begins; returns its id."""
        return self._report("training-runs", body={"name": name, "attributes": attributes or {}})

    def epoch(
        self,
        training_run_id: str,
        start_training_epoch: int,
        end_training_epoch: int,
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Report a stretch of training, in epochs of its run; returns its id."""
        body = {
            "start_training_epoch": start_training_epoch,
            "end_training_epoch": end_training_epoch,
            "attributes": attributes or {},
        }
        return self._report("training-runs", training_run_id, "epochs", body=body)

    def policy(self, name: str, *, url: str | None = None, epoch_id: str | None = None) -> str:
        """Report a policy, with the place of its checkpoint and its epoch; returns its id."""
        return self._report("policies", body={"name": name, "url": url, "epoch_id": epoch_id})

    def episode(
        self,
        primary_policy_id: str,
        agent_metrics: Mapping[str, Mapping[str, float]],
        attributes: Mapping[str, Any] | None = None,
    ) -> str:
        """Report an evaluated episode; returns its id.

        Args:
            primary_policy_id: The policy that was evaluated.
            agent_metrics: For each agent, by its number, its metrics by name.
            attributes: What else is worth keeping.

        """
        body = {
            "primary_policy_id": primary_policy_id,
            "agent_metrics": {agent: dict(found) for agent, found in agent_metrics.items()},
            "attributes": attributes or {},
        }
        return self._report("episodes", body=body)

    def whoami(self) -> User:
        """Ask who the token is."""
        request = self._request("GET", self._observatory, "whoami")
        answer = self._send(request)
        return User(
            self._field(request, answer, "user_email", str),
            self._field(request, answer, "authenticated", bool),
        )

    def _report(self, *path: str, body: Mapping[str, Any]) -> str:
        request = self._request("POST", self._observatory, "stats", *path, body=body)
        return self._field(request, self._send(request), "id", str)

    def _request(
        self, method: str, base: str, *path: str, body: Mapping[str, Any] | None = None
    ) -> _Request:
        headers = {"Accept": "application/json"}
        if method == "POST":
            headers["Idempotency-Key"] = str(uuid.uuid4())
        if self._token:
            headers["X-Auth-Token"] = self._token
        return _Request(
            method, "/".join([base, *(quote(part, "") for part in path)]), body, headers
        )

    def _send(self, request: _Request) -> Any:
        """Send a request until it is answered for good; returns the answer's JSON.

        An answer that broke off on its way is asked for again, as one that never came.
        """
        started = time.monotonic()
        for tries in count(1):
            answer = self._try(request, self._deadline - (time.monotonic() - started))
            if isinstance(answer, requests.Response) and not _is_tried_again(answer):
                break
            pause = self._next_pause(tries, answer)
            seconds = time.monotonic() - started
            if tries > self._retries or seconds + pause >= self._deadline:
                if isinstance(answer, str):
                    raise UnreachableError(request.url, tries, seconds, self._show(answer))
                break
            self._pause(pause)
        assert isinstance(answer, requests.Response)
        if not answer.ok or answer.is_redirect:
            detail = self._show(_detail(answer))
            raise RefusedError(str(request), answer.status_code, detail, tries)
        try:
            return answer.json()
        except requests.JSONDecodeError:
            found = self._show(answer.text) or "nothing"
            raise MalformedAnswerError(str(request), "JSON", found, tries) from None

    def _try(self, request: _Request, left: float) -> requests.Response | str:
        """Send a request once; returns the answer, or why there is none."""
        timeout = max(0.001, min(self._timeout, left))
        try:
            return self._session.request(
                request.method,
                request.url,
                json=request.body,
                headers=request.headers,
                timeout=timeout,
                allow_redirects=False,  # a token is for the server it was given for
            )
        except requests.Timeout:
            left_over = " that were left" if timeout < self._timeout else ""
            return f"timed out after {timeout:.1f} s{left_over}"
        except requests.exceptions.InvalidJSONError as error:
            raise InputError(f"{request}: cannot be said in JSON: {error}") from None
        except requests.RequestException as error:
            return _reason(error)

    def _next_pause(self, tries: int, answer: requests.Response | str) -> float:
        """Choose the seconds before the next try: exponential with jitter, or as asked."""
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (tries - 1))
        pause = self._random.uniform(longest / 2, longest)
        asked = "" if isinstance(answer, str) else answer.headers.get("Retry-After", "")
        return max(pause, float(asked)) if asked.isdecimal() else pause

    def _field(
        self, request: _Request, answer: Any, name: str, kind: type[_T], *, empty: bool = False
    ) -> _T:
        value = answer.get(name) if isinstance(answer, dict) else None
        if isinstance(value, kind) and (empty or value != ""):
            return value
        expected = f"an object with {name!r} ({kind.__name__})"
        found = self._show(json.dumps(answer))
        raise MalformedAnswerError(str(request), expected, found)

    def _show(self, text: str) -> str:
        """Make a text from outside fit for a message: without the token, and short."""
        hidden = text.replace(self._token, "[token]") if self._token else text
        plain = re.sub(r"\s+", " ", hidden).strip()
        return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}…"


def _is_tried_again(answer: requests.Response) -> bool:
    """Tell whether an answer says "not now", or is good and not whole."""
    if not answer.ok or answer.is_redirect:
        return answer.status_code in RETRIED
    try:
        answer.json()
    except requests.JSONDecodeError:
        return True
    return False


def _base(url: str, name: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # the port is no number
        usable = False
    if not usable:
        raise InputError(f"{name} is {url!r}, not an address", "write it as http://host:port")
    return url.rstrip("/")


def _detail(answer: requests.Response) -> str:
    """Read what a refusal says; FastAPI lists the fields it did not like."""
    try:
        detail = answer.json()["detail"]
    except (requests.JSONDecodeError, KeyError, TypeError):
        return answer.text or str(answer.reason)
    if not isinstance(detail, list):
        return str(detail)
    try:
        parts = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in detail]
    except (KeyError, TypeError):
        return str(detail)
    return "; ".join(parts)


def _reason(error: BaseException) -> str:
    """Find the operating system's word for it at the bottom of a chain of wrappers."""
    reason = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            reason = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return reason
