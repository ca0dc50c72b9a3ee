"""Overrides where a trainer's author wants them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from metta_sandbox.node.overrides_style import (
    everything,
    fill_in,
    flag_words,
    hydra_words,
    nested,
    variables,
    write_files,
)
from metta_sandbox.scenario.overrides import flatten
from metta_sandbox.scenario.values import Value

SETTINGS: dict[str, Value] = {
    "optimizer.lr": 1e-05,
    "name": "a b",
    "flags": [1, "x"],
    "amp": True,
    "shift": -2,
}


def test_hydra_words_keep_the_operators_of_the_file() -> None:
    written: dict[str, Value] = {"+mine": 1, "~scheduler": None, "lr": 0.1}

    words = hydra_words({"mine": 2, "lr": 0.5, "found.by.search": 3}, written)

    assert words == ("+mine=2", "lr=0.5", "found.by.search=3", "~scheduler")


def test_hydra_words_keep_mappings_whole_and_deletions_their_values() -> None:
    written = flatten(["+new.d={a:1,b:{c:[1,2]}}", "~db=mysql", "~w", "x=nan", "e={}"])
    settings = {key: value for key, value in written.items() if key[0] != "~"}
    bare = {key.lstrip("+"): value for key, value in settings.items()}

    words = hydra_words(bare, written)

    assert words == ("+new.d={a:1,b:{c:[1,2]}}", "x=nan", "e={}", "~db=mysql", "~w")


def test_numbers_that_json_has_no_spelling_for_are_texts_there(tmp_path: Path) -> None:
    unbound: dict[str, Value] = {"top": math.inf, "lists": [math.nan]}
    write_files(tmp_path, unbound)

    found = json.loads((tmp_path / "overrides-file.json").read_text())
    assert found == {"top": "inf", "lists": ["nan"]}
    assert yaml.safe_load((tmp_path / "overrides-file.yaml").read_text())["top"] == math.inf
    assert flag_words({"top": -math.inf}) == ("--top=-inf",)
    assert json.loads(everything(unbound, tmp_path / "all")["METTA_OVERRIDES"]) == found


def test_a_suggestion_goes_over_a_dropped_key() -> None:
    assert hydra_words({"lr": 0.5}, {"~lr": None}) == ()


def test_flags_are_two_words_unless_the_value_looks_like_a_flag() -> None:
    assert flag_words(SETTINGS) == (
        *("--optimizer.lr", "1e-05", "--name", "a b", "--flags", '[1, "x"]'),
        *("--amp", "true", "--shift=-2"),
    )


def test_variables_are_in_upper_case() -> None:
    assert variables({"trainer.opt-imizer.lr": 0.5, "name": "x"}) == {
        "TRAINER_OPT_IMIZER_LR": "0.5",
        "NAME": "x",
    }


def test_files_hold_nested_settings_that_every_reader_takes_for_the_same(tmp_path: Path) -> None:
    write_files(tmp_path, SETTINGS)

    expected = {
        "optimizer": {"lr": 1e-05},
        **{key: value for key, value in SETTINGS.items() if "." not in key},
    }
    assert json.loads((tmp_path / "overrides-file.json").read_text()) == expected
    # PyYAML reads YAML 1.1, in which 1e-05 would be a text.
    assert yaml.safe_load((tmp_path / "overrides-file.yaml").read_text()) == expected


@pytest.mark.parametrize("keys", [("a", "a.b"), ("a.b", "a")])
def test_a_key_that_begins_another_loses_nothing(keys: tuple[str, str]) -> None:
    assert nested(dict.fromkeys(keys, 1)) == {"a": 1, "a.b": 1}


def test_variables_and_files_are_put_into_words(tmp_path: Path) -> None:
    command = ("run", "--port=$MASTER_PORT", "${RANK}", "$$HOME", "{overrides_file}", "{other}")

    words = fill_in(command, {"MASTER_PORT": "7"}, tmp_path)

    file = str(tmp_path / "overrides-file.json")
    assert words == ("run", "--port=7", "${RANK}", "$HOME", file, "{other}")
