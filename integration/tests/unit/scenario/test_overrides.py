"""The override grammar."""

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metta_sandbox.errors import InputError
from metta_sandbox.scenario import overrides
from metta_sandbox.scenario.names import TRAINER_KEYS
from metta_sandbox.scenario.overrides import Override, flatten, nearest, parse, parse_all
from metta_sandbox.scenario.values import Value

WORDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
KEYS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.text("'\"\\ ,:[]{}$=", max_size=8)
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(KEYS, st.sampled_from(["", "+", "++"]), VALUES)
def test_what_is_written_is_read_back(key: str, op: str, value: Value) -> None:
    override = Override(op, key, value)  # type: ignore[arg-type]
    found = parse(overrides.format(override))
    assert found == override
    assert repr(found.value) == repr(value)  # True is not 1, 1 is not 1.0


@given(KEYS)
def test_a_deletion_is_read_back(key: str) -> None:
    assert parse(overrides.format(Override("~", key))) == Override("~", key)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=20) | st.text("ab=+~.,:'\"\\[]{}$ 1e-", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        override = parse(text)
    except ValueError:
        return
    if not math.isnan(override.value if isinstance(override.value, float) else 0):
        assert parse(overrides.format(override)) == override


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=-12", -12),
        ("a=10_000", 10_000),
        ("a=007", "007"),
        ("a=1e-4", 1e-4),
        ("a=.5", 0.5),
        ("a=inf", math.inf),
        ("a=True", True),
        ("a=false", False),
        ("a=null", None),
        ("a=", ""),
        ("a=arena/random", "arena/random"),
        ("a=http://host:80/x?y=1", "http://host:80/x?y=1"),
        ("a='1'", "1"),
        ("a='it\\'s'", "it's"),
        ('a="x, y"', "x, y"),
        ("a=[1, b,[c]]", [1, "b", ["c"]]),
        ("a={b: 1,'c d': [true]}", {"b": 1, "c d": [True]}),
        ("a=${oc.env:HOME}/x", "${oc.env:HOME}/x"),
        ("a= two words ", "two words"),
    ],
)
def test_values_have_their_types(text: str, value: Value) -> None:
    found = parse(text).value
    assert (found, type(found)) == (value, type(value))


#: What Hydra 1.3.8 itself reads (``OverridesParser``): operator, key and the value's ``repr``.
HYDRAS = json.loads(Path(__file__).with_name("hydra_answers.json").read_text())


@pytest.mark.parametrize(("text", "answer"), HYDRAS.items(), ids=list(HYDRAS))
def test_what_hydra_reads_means_the_same(text: str, answer: str | list[str | None]) -> None:
    if answer == "a sweep":
        with pytest.raises(ValueError, match="quoted"):
            parse(text)
        return
    assert isinstance(answer, list)
    op, key, value = answer

    found = parse(text)

    assert (found.op, found.key) == (op, key)
    assert repr(found.value) == str(value)


def test_a_mappings_keys_are_written_as_hydra_takes_them() -> None:
    override = Override("+", "a", {"c d": 1, "x:y,{z}": 2, "\\": 3, "é": 4})
    text = overrides.format(override)
    assert text == r"+a={c\ d:1,x\:y\,\{z\}:2,\\:3,'é':4}"
    assert parse(text) == override


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a", "a=VALUE"),
        ("=1", "expected a key"),
        ("a b=1", "expected a key"),
        ("a=int(x)", "x is no int"),
        ("a=int(1", "expected )"),
        ("a=1,2", "a list is written"),
        ("a=range(3)", "quoted"),
        ("a=[1", "expected , or ]"),
        ("a=[,]", "expected a value"),
        ("a={b}", "expected"),
        ("a={b:1,b:2}", "twice"),
        ("a='x", "closing '"),
        ("a=${x", "expected }"),
        ("a=" + "[" * 100, "deeper than"),
    ],
)
def test_what_is_not_an_override_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse(text)


def test_a_command_line_is_refused_with_all_that_is_wrong() -> None:
    assert parse_all(["a=1", "+b=c"]) == (Override("", "a", 1), Override("+", "b", "c"))
    with pytest.raises(InputError, match=r"(?s)'x'.*'y=\[1'"):
        parse_all(["x", "a=1", "y=[1"])


def test_nested_dotted_and_listed_overrides_flatten_alike() -> None:
    flat = {"t.a": 1, "t.p.c": [1], "+t.x": None}
    assert flatten({"t": {"a": 1, "p.c": [1]}, "+t.x": None}) == flat
    assert flatten({"t": {"a": 1, "p": {"c": [1]}, "+x": None}}) == flat
    assert flatten(["t.a=1", "t.p.c=[1]", "+t.x=null"]) == flat
    assert flatten({"a": {}}) == {"a": {}}
    with pytest.raises(ValueError, match=r"t\.a is given twice"):
        flatten({"t": {"a": 1}, "t.a": 2})
    with pytest.raises(ValueError, match="expected a key"):
        flatten({"a": {"b c": 1}})


def test_the_nearest_key_is_named_or_none() -> None:
    assert nearest("trainer.batchsize", TRAINER_KEYS) == "trainer.batch_size"
    assert nearest("colour", TRAINER_KEYS) is None


def test_the_trainers_keys_are_the_trainers_keys() -> None:
    config = pytest.importorskip("metta_sandbox.node.arena.config")
    known = config.flatten(config.ArenaConfig())
    theirs = {key: type(value) for key, value in known.items() if key.startswith("trainer.")}
    assert dict(TRAINER_KEYS) == theirs


def test_the_shipped_overrides_suit_the_trainer() -> None:
    config = pytest.importorskip("metta_sandbox.node.arena.config")
    from metta_sandbox.scenario.loading import load_all  # noqa: PLC0415

    for scenario in (one.scenario for one in load_all([Path(__file__).parents[4] / "scenarios"])):
        if not scenario.workload.trainer.bundled:
            continue
        texts = [
            overrides.format(Override("", key, value)) for key, value in scenario.overrides.items()
        ]
        assert config.flatten(config.parse_overrides(texts)).items() >= scenario.overrides.items()


def test_long_values_are_told_by_digests_that_still_differ_where_they_do() -> None:
    long: dict[str, Value] = {"lr": 0.1, "spec": "x" * 300_000, "names": ["n" * 10] * 1000}
    told = overrides.abridged(long)
    assert told["lr"] == 0.1
    assert len(str(told)) < 400
    assert str(told["spec"]).startswith("[300002 characters of JSON, SHA-256 ")
    assert overrides.abridged(long) == told
    assert overrides.abridged({**long, "spec": "x" * 299_999 + "y"})["spec"] != told["spec"]
