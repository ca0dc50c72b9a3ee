from __future__ import annotations

import pytest

from metta_sandbox.autopsy.losses import LostMetric, lost_in


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("step 7 loss=nan lr=0.1", 7),
        ('{"step": 12, "train/loss": NaN}', 12),
        ("epoch 3: val_loss: nan", 3),
        ("[Iter 40] Loss nan", 40),
    ],
)
def test_the_step_of_the_first_loss_that_is_no_number_is_read(line: str, step: int) -> None:
    found = lost_in(["step 1 loss=0.5", line, "step 90 loss=nan"])
    assert found == LostMetric(step, line, named=True)


def test_without_a_step_the_losses_before_it_are_counted() -> None:
    assert lost_in(["loss=1", "loss=0.5", "loss=nan"]) == LostMetric(2, "loss=nan", named=False)


@pytest.mark.parametrize(
    "text", ["loading configs/nan.yaml", "name=nan_guard loss=0.1", "no loss", "loss=nanometre"]
)
def test_a_name_or_path_is_no_loss(text: str) -> None:
    assert lost_in([text]) is None


@pytest.mark.parametrize("part", ["a", "loss", "loss ", "batch", " "])
def test_a_long_line_holds_nobody_up(part: str) -> None:
    # In the square of its length: hours.
    line = part * (1_000_000 // len(part))

    assert lost_in([line, "step 3 loss=nan"]) == LostMetric(3, "step 3 loss=nan", named=True)
