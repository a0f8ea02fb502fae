"""The CSV reader: what it takes, and one line with file and line number for what it refuses."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmlp.cli.tables import MAX_LINE_BYTES, MOST_WHOLE_NUMBER_CLASSES, TableError, read_csv

Write = Callable[[bytes], Path]

REFUSED = {
    "empty file": (b"", 1, "the file is empty"),
    "empty lines only": (b"\n\r\n", 1, "the file is empty"),
    "header only": (b"a,y\n", 1, "no rows"),
    "one column": (b"y\n1\n", 1, "one column"),
    "semicolons": (b"a;b;y\n1;2;3\n", 1, "separated by commas"),
    "duplicate header": (b"a,b,a,y\n1,2,3,4\n", 1, "two columns are named 'a'"),
    "nameless column": (b",a,y\n0,1,2\n", 1, "column 1 has no name"),
    "no such target": (b"a,b\n1,2\n", 1, "no column 'y'; the columns are 'a', 'b'"),
    "short row": (b"a,b,y\n1,2,3\n4,5\n", 3, "2 fields, but the header has 3"),
    "long row": (b"a,y\n1,2\n1,2,3\n", 3, "3 fields, but the header has 2"),
    "short row after an empty line": (b"a,y\n\n1\n", 3, "1 fields"),
    "NUL": (b"a,y\n1,2\n1,\x002\n", 3, "a NUL byte"),
    "UTF-16": ("a,y\n1,2\n".encode("utf-16-le"), 1, "a NUL byte"),
    "byte order mark": (b"\xef\xbb\xbfa,y\n1,2\n", 1, "byte order mark"),
    "not UTF-8": (b"a,y\n1,2\n1,caf\xe9\n", 3, "byte 6 of the line is not UTF-8"),
    "quoted newline": (b'a,y\n1,"2\n3"\n', 2, "must end on the line it starts on"),
    "text after a quote": (b'a,y\n1,"2"3\n', 2, "not a line of CSV"),
    "carriage returns": (b"a,y\r1,2\r", 1, "carriage return"),
    "huge field": (b"a,y\n1,2\n1," + b"x" * 10_000_000 + b"\n", 3, f"longer than {MAX_LINE_BYTES} bytes"),
    "huge header": (b"x" * 10_000_000, 1, f"longer than {MAX_LINE_BYTES} bytes"),
    "large field": (b"a,y\n1," + b"x" * 200_000 + b"\n", 2, "field larger than field limit"),
    "decimal comma": (b'a,y\n"1,5",2\n', 2, "'1,5' is not a number; write decimals with a point"),
    "decimal comma in the target": (b'a,y\n1,1.5\n1,"2,5"\n', 3, "write decimals with a point"),
    "text in a number column": (b"a,y\n1,2\nabc,3\n", 3, "'abc' is not a number"),
    "text in a number target": (b"a,y\n1,0.5\n1,abc\n", 3, "'abc' is not a number"),
    "empty field": (b"a,b,y\n1,,2\n", 2, "a field is empty"),
    "empty target": (b"a,y\n1,x\n1,\n", 3, "the target is empty"),
    "nan": (b"a,y\nnan,2\n", 2, "'nan' is not a number"),
    "infinity": (b"a,y\ninf,2\n", 2, "'inf' is not a number"),
    "underscore": (b"a,y\n1_000,2\n", 2, "'1_000' is not a number"),
    "another script's digits": ("a,y\n\u0661,2\n".encode(), 2, "is not a number"),
    "too large": (b"a,y\n1e999,2\n", 2, "beyond the range of float64"),
    "one class": (b"a,y\n1,x\n2,x\n", 3, "'x' in every row"),
    "control characters": (b"a,y\n\x1b[2J,2\n", 2, r"'\x1b[2J' is not a number"),
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(content)
        return path

    return write_bytes


@pytest.mark.parametrize(("content", "line", "problem"), REFUSED.values(), ids=REFUSED)
def test_refuses_with_file_and_line(write: Write, content: bytes, line: int, problem: str) -> None:
    path = write(content)
    with pytest.raises(TableError) as caught:
        read_csv(path, "y")
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert problem in message
    assert message.isprintable()  # hence one line
    assert len(message) < len(str(path)) + 200


def test_reads_features_and_numbers(write: Write) -> None:
    table = read_csv(write(b"a,y,b\n1,0.5,-2e-3\n+4.,1,.25\n"), "y")
    np.testing.assert_array_equal(table.X, [[1.0, -2e-3], [4.0, 0.25]])
    np.testing.assert_array_equal(table.Y, [0.5, 1.0])
    assert (table.X.dtype, table.Y.dtype) == (np.float64, np.float64)
    assert (table.feature_names, table.target_name, table.class_names) == (("a", "b"), "y", ())


def test_reads_text_as_classes_by_the_alphabet(write: Write) -> None:
    table = read_csv(write(b"a,y\n1,rose\n2,iris\n3,rose\n"), "y")
    np.testing.assert_array_equal(table.Y, [1, 0, 1])
    assert table.Y.dtype == np.int64
    assert table.class_names == ("iris", "rose")


def test_reads_few_whole_numbers_as_classes_in_their_order(write: Write) -> None:
    table = read_csv(write(b"y,a\n10,1\n9,2\n-1,3\n+9,4\n"), "y")
    np.testing.assert_array_equal(table.Y, [2, 1, 0, 1])
    assert table.class_names == ("-1", "9", "10")


@pytest.mark.parametrize(("n_values", "is_classes"), [(0, True), (1, False)])
def test_many_whole_numbers_stay_numbers(write: Write, n_values: int, is_classes: bool) -> None:
    rows = "".join(f"0,{value}\n" for value in range(MOST_WHOLE_NUMBER_CLASSES + n_values))
    assert bool(read_csv(write(f"a,y\n{rows}".encode()), "y").class_names) == is_classes


def test_kind_overrides_the_guess(write: Write) -> None:
    path = write(b"a,y\n1,0\n2,1\n")
    assert read_csv(path, "y", "numbers").class_names == ()
    assert read_csv(write(b"a,y\n1,0.5\n2,1\n"), "y", "classes").class_names == ("0.5", "1")


def test_takes_quotes_spaces_crlf_empty_lines_and_no_last_newline(write: Write) -> None:
    table = read_csv(write(b'"a, b", y\r\n\r\n "1",x\r\n 2 ,"z ""z"""'), "y")
    np.testing.assert_array_equal(table.X, [[1.0], [2.0]])
    assert table.feature_names == ("a, b",)
    assert table.class_names == ("x", 'z "z"')


def test_names_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "none.csv", "y")
    with pytest.raises(IsADirectoryError):
        read_csv(tmp_path, "y")


def test_a_file_name_cannot_break_the_line(tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.csv"
    path.write_bytes(b"")
    with pytest.raises(TableError) as caught:
        read_csv(path, "y")
    assert "\n" not in str(caught.value)


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=20))
def test_what_csv_writes_is_read_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float, float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y"), *rows])
    table = read_csv(path, "y", "numbers")
    expected = np.array(rows)
    assert table.X.tobytes() == expected[:, :2].tobytes()
    assert table.Y.tobytes() == expected[:, 2].tobytes()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    path.write_bytes(b"a,y\n1,0\n" + content)
    try:
        table = read_csv(path, "y")
    except TableError:
        return
    assert np.isfinite(table.X).all()
    assert len(table.X) == len(table.Y)
