"""Check the core with no extra installed: it imports lightly and trains, and the command says what it needs.

Run it with the interpreter of an environment that holds fastmlp alone, outside the checkout.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import fastmlp

LATER = ("numba", "sklearn", "matplotlib", "rich")
EXTRAS = ("matplotlib", "pytest", "rich", "sklearn", "threadpoolctl", "typer")
X = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
Y = [[0.0], [1.0], [1.0], [0.0]]


def check_imports() -> None:
    """Assert that importing brings in nothing heavy, and that no extra is there to help."""
    assert not [name for name in LATER if name in sys.modules]
    assert not [name for name in EXTRAS if importlib.util.find_spec(name)]


def check_training(backend: str) -> None:
    """Assert that a network learns the exclusive or."""
    net = fastmlp.MLP((2, 8, 1), "tanh", "sigmoid", "binary_cross_entropy", backend=backend, seed=0)
    before = net.loss(X, Y)
    net.fit(X, Y, optimizer=fastmlp.Adam(lr=0.05), epochs=300, batch_size=4)
    answers = net.predict(X)[:, 0]
    print(f"{backend}: loss {before:.4f} -> {net.loss(X, Y):.4f}, answers {answers.round(3)}")
    assert [answer > 0.5 for answer in answers] == [False, True, True, False]


def check_command() -> None:
    """Assert that the command says what to install."""
    command = Path(sys.executable).with_name("fastmlp")
    done = subprocess.run([command, "compare"], capture_output=True, text=True, check=False)
    print(f"fastmlp compare: exit {done.returncode}, {done.stderr.strip()}")
    assert (done.returncode, done.stdout) == (2, "")
    assert "fastmlp[cli]" in done.stderr
    assert done.stderr.count("\n") == 1


def check_estimators() -> None:
    """Assert that the names of estimators say what to install."""
    message = ""
    try:
        fastmlp.MLPClassifier  # noqa: B018  touching it is all
    except ImportError as error:
        message = str(error)
    print(f"fastmlp.MLPClassifier: {message}")
    assert "fastmlp[sklearn]" in message


check_imports()
check_estimators()
for name in fastmlp.available_backends():
    check_training(name)
check_command()
