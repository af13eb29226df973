"""The table of results: continuing, errors, and the files of the repository."""

import pandas as pd
import pytest

from benchmarks.accuracy.grid import COLUMNS, KEY
from benchmarks.accuracy.run import open_table
from benchmarks.common.results import PROVENANCE, RESULTS, Table, provenance, read_rows


def test_rows_have_their_provenance_and_are_rounded(tmp_path):
    table = Table(tmp_path / "folder" / "results.csv", ("name",))
    table.append(
        [{"name": "a", "score": 0.123456, "n_folds": None}, {"name": "b", "score": float("nan"), "n_folds": 5}]
    )
    rows = pd.read_csv(table.path)
    assert list(rows) == ["name", "score", "n_folds", *PROVENANCE]
    assert rows["score"].tolist() == [0.1235, pytest.approx(float("nan"), nan_ok=True)]
    assert read_rows(table.path)["commit"].tolist() == [provenance()["commit"]] * 2
    assert table.keys == Table(table.path, ("name",)).keys == {("a",), ("b",)}


def test_a_commit_that_looks_like_a_number_is_read_as_it_is(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("name,commit,depth\na,4803e21,0.10\nb,0123456,0.10\n")
    rows = read_rows(path, depth=str)
    assert rows["commit"].tolist() == ["4803e21", "0123456"]
    assert rows["depth"].tolist() == ["0.10"] * 2


def test_a_table_goes_on_with_the_columns_of_its_file(tmp_path):
    path = tmp_path / "results.csv"
    Table(path, ("name",)).append([{"name": "a", "score": 1}])
    Table(path, ("name",)).append([{"score": 2, "name": "b"}])
    assert pd.read_csv(path)["score"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="another"):
        Table(path, ("name",)).append([{"name": "c", "another": 3}])


@pytest.mark.parametrize("n_cut", [1, 10, 10_000])
def test_a_cut_last_line_is_removed(tmp_path, n_cut):
    path = tmp_path / "results.csv"
    Table(path, ("name",)).append([{"name": name, "score": 1} for name in "ab"])
    path.write_text(path.read_text()[:-n_cut] or "name,sc")
    table = Table(path, ("name",))
    assert table.keys == (set() if n_cut > 10 else {("a",)})
    table.append([{"name": "b", "score": 2}])
    assert pd.read_csv(path)["name"].tolist() == ([] if n_cut > 10 else ["a"]) + ["b"]


def test_errors_are_kept_or_tried_again(tmp_path):
    row = dict.fromkeys(COLUMNS, "") | {"method": "multinomial", "pair": "a -> b", "genes": "all", "seed": 0}
    results = open_table(tmp_path, "multinomial")
    results.append([row | {"depth": "1", "macro_f1": 0.5}])
    results.append([row | {"depth": "0.1", "error": "no, such, thing"}])
    keys = [results.key_of(row | {"depth": depth}) for depth in ("1", "0.1")]
    assert open_table(tmp_path, "multinomial").keys == set(keys)
    assert open_table(tmp_path, "multinomial", retry_errors=True).keys == {keys[0]}
    assert len(pd.read_csv(results.path)) == 1


def test_rows_without_the_main_table_are_removed(tmp_path):
    table = Table(tmp_path / "bins.csv", ("name",), provenance_columns=())
    table.append([{"name": name, "bin": i} for name in "ab" for i in range(2)])
    table.keep_only({("b",), ("c",)})
    assert pd.read_csv(table.path).to_dict("list") == {"name": ["b", "b"], "bin": [0, 1]}
    assert table.keys == {("b",)}


@pytest.mark.parametrize("path", sorted(RESULTS.rglob("*.csv")), ids=lambda path: path.stem)
def test_opening_the_results_changes_no_byte(tmp_path, path):
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    if path.parent.name == "accuracy":
        table = open_table(tmp_path, path.stem)
    else:
        table = Table(copy, pd.read_csv(path, nrows=0).columns[:2])
    assert table.keys
    assert copy.read_bytes() == path.read_bytes()


def test_the_accuracy_results_have_no_row_twice():
    for path in sorted((RESULTS / "accuracy").glob("*.csv")):
        assert not pd.read_csv(path, dtype=str).duplicated(list(KEY)).any(), path.name
