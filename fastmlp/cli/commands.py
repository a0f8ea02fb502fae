"""The command's parts: each parses, calls the library and prints. Importing this needs the extra "cli"."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from fastmlp._names import check_name
from fastmlp.backends import AUTO
from fastmlp.cli import BAD_INPUT, comparison, reports
from fastmlp.cli.problem import Problem, digits, from_csv
from fastmlp.cli.writing import write_atomically
from fastmlp.errors import DivergedError
from fastmlp.gradcheck import check_gradients
from fastmlp.network import MLP
from fastmlp.optimizers import as_optimizer
from fastmlp.spec import DTYPES

BOTH = "both"
CHECKED_ROWS = 32

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Multilayer perceptrons on the CPU: one network, three backends, identical gradients.",
)

Activation = Annotated[str, typer.Option(metavar="NAME", help="Of the hidden layers: relu, tanh, sigmoid, ...")]
BackendName = Annotated[str, typer.Option(metavar="NAME", help="naive, numpy, numba or auto.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples a training step.")]
Data = Annotated[Path | None, typer.Option(metavar="FILE.csv", help="A table, in place of the digits.")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training rows.")]
Hidden = Annotated[str, typer.Option(metavar="SIZES", help="Of the hidden layers, such as 64,32; 0 for none.")]
Loss = Annotated[str | None, typer.Option(metavar="NAME", help="By default what suits the target.")]
Output = Annotated[
    str | None, typer.Option("--output-activation", metavar="NAME", help="By default what suits the loss.")
]
Picture = Annotated[Path | None, typer.Option("--plot", metavar="FILE.png", help="Draw the result.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything drawn at random.")]
Target = Annotated[str | None, typer.Option(metavar="COLUMN", help="The table's column to predict.")]


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code; an error or a warning is one line on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: reports.error(f"warning: {message}")
        try:
            code = get_command(app).main(list(arguments), prog_name="fastmlp", standalone_mode=False)
        except typer.TyperException as error:
            if message := error.format_message():  # none where the help is the message
                reports.error(message)
            return BAD_INPUT
    return int(code or 0)


@app.command()
def compare(
    data: Data = None,
    target: Target = None,
    hidden: Hidden = "32",
    epochs: Epochs = 15,
    batch_size: BatchSize = 32,
    backend: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one; may be repeated. auto: all.")
    ] = None,
    plot: Picture = None,
) -> None:
    """Train the same network with each backend: speed, and whether the gradients agree."""
    with _one_line_errors():
        _check_picture(plot, data)
        problem = _problem(data, target)
        settings = comparison.Settings(hidden=_sizes(hidden), epochs=epochs, batch_size=batch_size)
        names = [name for name in backend or () if name != AUTO]
        reports.comparison_begins(problem, settings)
        result = comparison.compare(problem, settings, names, verbose=True)
        reports.comparison_ends(result)
        if plot is not None:
            from fastmlp.cli.pictures import draw_comparison  # noqa: PLC0415  matplotlib is an extra

            _write_picture(plot, draw_comparison(result, _format(plot)))
    if not result.gradients:
        raise typer.Exit(1)


@app.command()
def train(
    data: Annotated[Path, typer.Argument(metavar="DATA.csv", help="A table with a header.")],
    *,
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    hidden: Hidden = "64,32",
    activation: Activation = "relu",
    loss: Loss = None,
    output_activation: Output = None,
    optimizer: Annotated[str, typer.Option(metavar="NAME", help="sgd, adam, adamw or rmsprop.")] = "adam",
    lr: Annotated[float | None, typer.Option(help="Learning rate; by default the optimizer's own.")] = None,
    l2: Annotated[float, typer.Option(help="0.5 * l2 * sum(W**2) is added to the loss.")] = 0.0,
    dropout: Annotated[float, typer.Option(help="Probability of dropping a hidden output.")] = 0.0,
    epochs: Epochs = 100,
    batch_size: BatchSize = 32,
    backend: BackendName = AUTO,
    dtype: Annotated[str, typer.Option(metavar="NAME", help="float32 or float64.")] = "float32",
    strict: Annotated[bool, typer.Option("--strict", help="The same bits on every backend; slower.")] = False,
    test_fraction: Annotated[float, typer.Option(help="Share of the rows to test with.")] = 0.2,
    seed: Seed = 0,
    plot: Picture = None,
) -> None:
    """Train a network on a table and test it on rows that it has not seen."""
    with _one_line_errors():
        _check_picture(plot, data)
        problem = from_csv(
            data,
            target,
            loss=loss,
            output_activation=output_activation,
            test_fraction=test_fraction,
            seed=seed,
        )
        rule = as_optimizer(optimizer)
        net = MLP(
            _layer_sizes(problem, hidden),
            activation,
            problem.output_activation,
            problem.loss,
            backend=backend,
            dtype=dtype,
            strict=strict,
            seed=seed,
            l2=l2,
            dropout=dropout,
        )
        reports.training_begins(problem, net, epochs, batch_size)
        history = net.fit(
            problem.data.X_train,
            problem.data.Y_train,
            optimizer=rule if lr is None else replace(rule, lr=lr),
            epochs=epochs,
            batch_size=batch_size,
            verbose=True,
        )
        reports.training_ends(problem, net)
        if plot is not None:
            from fastmlp.cli.pictures import draw_history  # noqa: PLC0415  matplotlib is an extra

            _write_picture(plot, draw_history(history, problem.name, _format(plot)))


@app.command()
def check(
    data: Data = None,
    target: Target = None,
    hidden: Hidden = "32",
    activation: Activation = "tanh",
    loss: Loss = None,
    output_activation: Output = None,
    backend: BackendName = AUTO,
    seed: Seed = 0,
) -> None:
    """Check the gradient of a network, parameter by parameter; exit code 1 if it is wrong."""
    with _one_line_errors():
        problem = _problem(data, target, loss, output_activation)
        net = MLP(
            _layer_sizes(problem, hidden),
            activation,
            problem.output_activation,
            problem.loss,
            backend=backend,
            dtype="float64",
            seed=seed,
        )
        rows = slice(CHECKED_ROWS)
        report = check_gradients(net, problem.data.X_train[rows], problem.data.Y_train[rows])
    reports.text(str(report))
    if not report:
        raise typer.Exit(1)


@app.command()
def warmup(
    dtype: Annotated[str, typer.Option(metavar="NAME", help="float32, float64 or both.")] = "float32",
    *,
    strict: Annotated[bool, typer.Option("--strict", help="The strict kernels, not the fast ones.")] = False,
) -> None:
    """Compile the kernels ahead and keep them; exit code 1 if they cannot be kept."""
    with _one_line_errors():
        name = check_name("--dtype", dtype, (*DTYPES, BOTH))
        all_kept = reports.warming(DTYPES if name == BOTH else (name,), strict=strict)
    if not all_kept:
        raise typer.Exit(1)


@app.command()
def info() -> None:
    """Show versions, processor, threads, and which kernels are compiled and kept."""
    with _one_line_errors():
        reports.information()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what a user can get wrong into a line and an exit code."""
    try:
        yield
    except DivergedError as error:
        reports.error(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        place = error.filename2 or error.filename  # of a rename, the second is the file that was asked for
        raise typer.TyperException(f"{place}: {error.strerror}" if place else str(error)) from None
    except (ImportError, TypeError, ValueError) as error:
        raise typer.TyperException(str(error)) from None


def _problem(
    data: Path | None, target: str | None, loss: str | None = None, output_activation: str | None = None
) -> Problem:
    """Return the table's problem, or the digits'."""
    if data is not None:
        if target is None:
            raise ValueError("--data needs --target, the column to predict")
        return from_csv(data, target, loss=loss, output_activation=output_activation)
    for option, value in (("--target", target), ("--loss", loss), ("--output-activation", output_activation)):
        if value is not None:
            raise ValueError(f"{option} needs --data; the digits have theirs")
    return digits()


def _layer_sizes(problem: Problem, hidden: str) -> tuple[int, ...]:
    n_inputs, n_outputs = problem.layer_ends
    return (n_inputs, *_sizes(hidden), n_outputs)


def _sizes(text: str) -> tuple[int, ...]:
    """Return the sizes of "64,32"; none for "0"."""
    if text.strip() == "0":
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"--hidden is {text!r}; expected sizes separated by commas, such as 64,32, or 0 for none")
    return tuple(int(part) for part in parts)


def _format(picture: Path) -> str:
    return picture.suffix.removeprefix(".").lower()


def _check_picture(picture: Path | None, source: Path | None) -> None:
    """Refuse a picture that could not be written, before the work and not after it."""
    if picture is None:
        return
    try:
        from fastmlp.cli.pictures import check_format  # noqa: PLC0415  matplotlib is an extra
    except ModuleNotFoundError as missing:
        raise ImportError(f"--plot needs {missing.name}; install it with: pip install 'fastmlp[plot]'") from None
    check_format(_format(picture))
    if source is not None and picture.exists() and source.exists() and picture.samefile(source):
        raise ValueError(f"--plot {picture} is the table itself")
    if picture.is_dir():
        raise ValueError(f"--plot {picture} is a folder")
    if not picture.parent.is_dir():
        raise ValueError(f"--plot {picture}: no folder {picture.parent}")


def _write_picture(picture: Path, content: bytes) -> None:
    write_atomically(picture, content)
    reports.text(f"Picture: {picture}")
