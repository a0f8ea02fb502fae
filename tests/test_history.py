"""The record of a fit, its picture, and the rule that ends a fit early."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fastmlp.history import EarlyStopping, EarlyStoppingState, EpochInfo, History

FIRST = EpochInfo(
    epoch=0,
    n_epochs=5,
    loss=2.0,
    validation_loss=3.0,
    metrics={"accuracy": 0.5, "r2": -1.0},
    validation_metrics={"accuracy": 0.25, "r2": -2.0},
    seconds=0.125,
    learning_rate=0.1,
)
SECOND = dataclasses.replace(
    FIRST,
    epoch=1,
    loss=1.0,
    validation_loss=2.5,
    metrics={"accuracy": 0.75, "r2": 0.5},
    validation_metrics={"accuracy": 0.5, "r2": 0.25},
    seconds=0.25,
    learning_rate=0.05,
)


def history_of(loss: list[float], validation_loss: list[float] | None = None) -> History:
    history = History(backend="numpy")
    for epoch, value in enumerate(loss):
        on_validation = None if validation_loss is None else validation_loss[epoch]
        history.append(EpochInfo(epoch, len(loss), value, on_validation))
    return history


def two_epochs() -> History:
    history = History(backend="naive")
    history.append(FIRST)
    history.append(SECOND)
    return history


# --- History ---


def test_history_has_an_entry_an_epoch() -> None:
    history = two_epochs()
    assert history.n_epochs == 2
    assert history.loss == [2.0, 1.0]
    assert history.validation_loss == [3.0, 2.5]
    assert history.metrics == {"accuracy": [0.5, 0.75], "r2": [-1.0, 0.5]}
    assert history.validation_metrics == {"accuracy": [0.25, 0.5], "r2": [-2.0, 0.25]}
    assert history.seconds == [0.125, 0.25]
    assert history.learning_rate == [0.1, 0.05]


def test_a_history_without_validation_data_or_metrics() -> None:
    history = history_of([2.0, 1.0, 0.5])
    assert history.n_epochs == 3
    assert history.validation_loss == []
    assert history.metrics == history.validation_metrics == {}


def test_a_history_says_interrupted_until_it_is_told_better() -> None:
    history = History()
    assert history.stopped == "interrupted"
    assert (history.n_epochs, history.best_epoch, history.state, history.backend) == (0, None, None, "")


def test_two_histories_share_nothing() -> None:
    one, other = History(), History()
    one.append(FIRST)
    assert other.n_epochs == 0
    assert other.metrics == {}


def test_a_history_equals_itself_alone() -> None:
    assert len({History(), History()}) == 2


def test_to_dict_is_everything_but_the_state_and_goes_through_json() -> None:
    history = two_epochs()
    history.stopped = "early stopping"
    history.best_epoch = 1
    as_dict = history.to_dict()
    fields = {field.name for field in dataclasses.fields(History)}
    assert set(as_dict) == fields - {"state"}
    assert all(value == getattr(history, name) for name, value in as_dict.items())
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict


def test_to_dict_turns_numpys_numbers_into_pythons() -> None:
    history = two_epochs()
    history.append(dataclasses.replace(FIRST, loss=np.float32(0.5)))  # type: ignore[arg-type]
    assert json.dumps(history.to_dict()["loss"]) == "[2.0, 1.0, 0.5]"


def test_to_dict_is_a_copy() -> None:
    history = two_epochs()
    as_dict = history.to_dict()
    as_dict["loss"].clear()
    as_dict["metrics"]["r2"].clear()
    assert history.loss == [2.0, 1.0]
    assert history.metrics["r2"] == [-1.0, 0.5]


def test_what_json_does_not_know_is_none_in_to_dict() -> None:
    history = two_epochs()
    bad = {"r2": math.nan, "accuracy": math.inf}
    history.append(dataclasses.replace(FIRST, validation_loss=-math.inf, metrics=bad, validation_metrics=bad))
    as_dict = history.to_dict()
    json.dumps(as_dict, allow_nan=False)
    assert as_dict["validation_loss"] == [3.0, 2.5, None]
    assert as_dict["metrics"] == {"accuracy": [0.5, 0.75, None], "r2": [-1.0, 0.5, None]}
    assert as_dict["validation_metrics"] == {"accuracy": [0.25, 0.5, None], "r2": [-2.0, 0.25, None]}
    assert history.validation_loss[-1] == -math.inf


def test_repr_is_one_line() -> None:
    history = two_epochs()
    history.stopped = "callback"
    assert repr(history) == (
        "History(2 epochs, loss 2 to 1, validation_loss 3 to 2.5, 0.375 s, backend='naive', stopped='callback')"
    )
    assert repr(history_of([0.25])) == (
        "History(1 epoch, loss 0.25 to 0.25, 0 s, backend='numpy', stopped='interrupted')"
    )
    assert repr(History()) == "History(0 epochs, 0 s, backend='', stopped='interrupted')"


def test_an_epoch_info_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FIRST.loss = 0.0  # type: ignore[misc]


# --- the picture ---


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture
def pyplot_without_windows() -> Iterator[None]:
    before = mpl.get_backend()
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  after the choice of backend

    yield
    plt.close("all")
    mpl.use(before)


def curves(ax: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
        for line in ax.get_lines()
    }


def rendered(ax: Axes) -> bytes:
    """Return the picture's bytes: drawing it must raise no warning."""
    assert ax.figure is not None
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")  # type: ignore[union-attr]
    return file.getvalue()


def test_plot_draws_both_losses_against_epochs_from_1(ax: Axes) -> None:
    assert two_epochs().plot(ax) is ax
    assert curves(ax) == {"training": ([1, 2], [2.0, 1.0]), "validation": ([1, 2], [3.0, 2.5])}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation"]
    assert rendered(ax).startswith(b"\x89PNG")


def test_plot_without_validation_data(ax: Axes) -> None:
    assert set(curves(history_of([2.0, 1.0]).plot(ax))) == {"training"}


@pytest.mark.parametrize("best", [0, 1])
def test_plot_marks_the_best_epoch_on_the_curve_that_was_watched(ax: Axes, best: int) -> None:
    history = history_of([2.0, 1.0, 0.5], [3.0, 2.0, 4.0])
    history.best_epoch = best
    assert curves(history.plot(ax))[f"best: epoch {best + 1}"] == ([best + 1], [[3.0, 2.0][best]])
    history.validation_loss = []
    assert curves(history.plot(Figure().subplots()))[f"best: epoch {best + 1}"] == (
        [best + 1],
        [[2.0, 1.0][best]],
    )


@pytest.mark.parametrize(
    ("loss", "validation_loss", "scale"),
    [
        ([2.0, 0.001], None, "log"),
        ([2.0, 1.0], [3.0, 2.5], "log"),
        ([2.0, 0.0], None, "linear"),
        ([2.0, -1.0], None, "linear"),
        ([2.0, 1.0], [2.0, 0.0], "linear"),
        ([2.0, 1.0], [math.inf, 1.0], "log"),
        ([2.0, 1.0], [math.nan, 1.0], "log"),
        ([math.nan, 1.0], None, "log"),
        ([math.nan, math.nan], None, "linear"),
    ],
)
def test_plot_has_a_log_axis_where_losses_are_positive(
    ax: Axes, loss: list[float], validation_loss: list[float] | None, scale: str
) -> None:
    history_of(loss, validation_loss).plot(ax)
    assert ax.get_yscale() == scale
    rendered(ax)


def labels_in_view(ax: Axes) -> list[str]:
    rendered(ax)
    low, high = ax.get_ylim()
    return [
        tick.label1.get_text()
        for tick in (*ax.yaxis.get_major_ticks(), *ax.yaxis.get_minor_ticks())
        if low <= tick.get_loc() <= high and tick.label1.get_text()
    ]


def test_plot_within_one_power_of_ten_has_readable_numbers(ax: Axes) -> None:
    history_of([0.5, 0.45, 0.35]).plot(ax)
    numbers = [float(label) for label in labels_in_view(ax)]
    assert ax.yaxis.get_minorticklocs().size == 0
    assert len(numbers) >= 4
    assert numbers == sorted(numbers)


def test_plot_over_many_powers_of_ten_has_powers_of_ten(ax: Axes) -> None:
    history_of([1.0, 1e-6]).plot(ax)
    assert all("10^{" in label for label in labels_in_view(ax))


def test_plot_of_one_epoch_is_a_point_one_can_see(ax: Axes) -> None:
    history_of([0.5], [0.25]).plot(ax)
    assert [line.get_marker() for line in ax.get_lines()] == ["o", "o"]
    rendered(ax)
    assert [tick for tick in ax.get_xticks() if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]] == [1.0]


@pytest.mark.parametrize("n_epochs", [2, 3, 7, 40])
def test_plot_counts_whole_epochs(ax: Axes, n_epochs: int) -> None:
    history_of([1.0] * n_epochs).plot(ax)
    assert all(tick == round(tick) for tick in ax.get_xticks())


@pytest.mark.usefixtures("pyplot_without_windows")
def test_plot_makes_a_figure_of_its_own() -> None:
    history = two_epochs()
    first, second = history.plot(), history.plot()
    assert first.figure is not second.figure
    assert curves(first) == curves(second)
    assert rendered(first).startswith(b"\x89PNG")


def test_a_history_without_epochs_cannot_be_plotted() -> None:
    message = "History has 0 epochs; expected at least one to plot: fit the network first"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        History().plot()


def test_plot_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    message = "plot needs matplotlib: install it with pip install 'fastmlp[plot]'"
    with pytest.raises(ImportError, match=f"^{re.escape(message)}$"):
        two_epochs().plot()


def test_importing_history_imports_no_matplotlib() -> None:
    program = "import sys, fastmlp.history; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- early stopping ---


def states(config: EarlyStopping, losses: list[float]) -> list[EarlyStoppingState]:
    state, seen = EarlyStoppingState(), []
    for epoch, loss in enumerate(losses):
        state = state.update(config, epoch, loss)
        seen.append(state)
    return seen


def test_early_stopping_waits_for_its_patience() -> None:
    config = EarlyStopping(patience=2)
    seen = states(config, [3.0, 2.0, 2.0, 1.0, 1.5, 1.25])
    assert [state.best for state in seen] == [3.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert [state.best_epoch for state in seen] == [0, 1, 1, 3, 3, 3]
    assert [state.waited for state in seen] == [0, 0, 1, 0, 1, 2]
    assert [state.is_over(config) for state in seen] == [False] * 5 + [True]


def test_small_gains_add_up_until_they_exceed_min_delta() -> None:
    seen = states(EarlyStopping(min_delta=0.5), [4.0, 3.75, 3.5, 3.25, 3.25, 2.5])
    assert [state.best for state in seen] == [4.0, 4.0, 4.0, 3.25, 3.25, 2.5]
    assert [state.waited for state in seen] == [0, 1, 2, 0, 1, 0]


def test_a_loss_that_is_not_finite_is_no_improvement() -> None:
    seen = states(EarlyStopping(), [math.nan, math.inf, 1.0, math.nan, 0.5])
    assert [state.best_epoch for state in seen] == [-1, -1, 2, 2, 4]
    assert [state.waited for state in seen] == [1, 2, 0, 1, 0]


def test_nothing_has_been_seen_at_first() -> None:
    start = EarlyStoppingState()
    assert (start.best, start.best_epoch, start.waited) == (math.inf, -1, 0)
    assert not start.is_over(EarlyStopping(patience=1))
    assert start.update(EarlyStopping(min_delta=1e300), 0, 1e308).best == 1e308


def test_config_and_state_are_values() -> None:
    assert EarlyStopping() == EarlyStopping(patience=10, min_delta=0.0, restore_best=True)
    state = EarlyStoppingState()
    state.update(EarlyStopping(), 0, 1.0)
    assert state == EarlyStoppingState()
    for value in (EarlyStopping(), EarlyStoppingState()):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, dataclasses.fields(value)[0].name, 3)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("patience", 0, ValueError),
        ("patience", -1, ValueError),
        ("patience", 2.0, TypeError),
        ("patience", True, TypeError),
        ("patience", None, TypeError),
        ("min_delta", -0.5, ValueError),
        ("min_delta", math.nan, ValueError),
        ("min_delta", math.inf, ValueError),
        ("min_delta", "0", TypeError),
        ("min_delta", False, TypeError),
    ],
)
def test_early_stopping_checks_its_numbers(name: str, value: object, error: type[Exception]) -> None:
    expected = {"patience": "a whole number of epochs from 1 up", "min_delta": "a finite number from 0 up"}
    message = f"{name} is {value!r}; expected {expected[name]}"
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        EarlyStopping(**{name: value})  # type: ignore[arg-type]
    assert EarlyStopping(patience=np.int64(1), min_delta=np.float32(0.5)).patience == 1  # type: ignore[arg-type]
