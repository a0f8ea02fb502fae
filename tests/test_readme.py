"""The README and CONTRIBUTING say what is true: their code runs, their commands are those that CI runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_every_block_of_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """In one namespace and in order, as a reader would type them."""
    namespace: dict[str, object] = {}
    found = blocks(README, "python")
    assert found
    for number, code in enumerate(found):
        exec(compile(code, f"README.md, block {number}", "exec"), namespace)  # noqa: S102  our own README
    printed = capsys.readouterr().out
    assert "weights[1] is 32 times the gradient" in printed
    assert "X has 5 features (shape (2, 5)), but this network takes 64 inputs (layer_sizes=(64, 32, 10))" in printed
    hashes = re.findall(r"^(?:naive|numpy|numba) ([0-9a-f]{12})$", printed, re.MULTILINE)
    assert len(hashes) == 3
    assert len(set(hashes)) == 1


def test_the_commands_are_those_of_ci() -> None:
    commands = [command.strip() for command in blocks(README, "console")]
    assert len(commands) == 2
    for command in commands:
        assert "\n" not in command
        assert CI.count(f"\n{command}\n") == 1
    for command in (command.strip() for command in blocks(CONTRIBUTING, "console")):
        assert command in commands


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_what_is_linked_or_named_is_there(text: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    paths = re.findall(r"`((?:fastmlp|tests|benchmarks|examples)/[\w./]+)`", text)
    assert links
    missing = [path for path in links + paths if not (ROOT / path).exists()]
    assert missing == []
