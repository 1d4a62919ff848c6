import csv

from rich.console import Console

from halfnas.reporting.table import Table

ROWS = [{"pruner": "a", "x": 0.123456789, "n": 3}, {"pruner": "b", "x": float("nan"), "y": None}]
TABLE = Table("Title", ROWS, {"x": ".2f"})


def test_columns_are_those_of_all_rows():
    assert TABLE.columns == ["pruner", "x", "n", "y"]


def test_csv_has_all_digits_and_blanks(tmp_path):
    with TABLE.write_csv(tmp_path / "t.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"pruner": "a", "x": "0.123456789", "n": "3", "y": ""}
    assert rows[1]["n"] == rows[1]["y"] == ""


def test_markdown():
    assert TABLE.markdown().splitlines() == [
        "### Title", "", "| pruner | x | n | y |", "| --- | --- | --- | --- |", "| a | 0.12 | 3 | - |",
        "| b | - | - | - |",
    ]  # fmt: skip


def test_rich():
    console = Console(width=80)
    with console.capture() as captured:
        console.print(TABLE.rich())
    text = captured.get()
    assert "0.12" in text
    assert "Title" in text
