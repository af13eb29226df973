"""Halves of data sets, and pairs across data sets."""

from dataclasses import replace

from benchmarks.common.data import total_counts
from benchmarks.uncertainty import splits


def test_the_halves_of_a_data_set_share_no_cell(data_dir):
    reference, query = splits.split_in_halves("starmap_mpfc", data_dir, 0, 50)
    assert not set(reference.obs_names) & set(query.obs_names)
    assert reference.n_obs + query.n_obs == 3190
    assert reference.n_vars == query.n_vars == 50


def test_a_case_is_read_when_it_is_needed(tmp_path):
    cases = list(splits.cases_within(["pbmc3k"], 2, None, tmp_path / "nowhere"))
    assert [(case.name, case.seed) for case in cases] == [("pbmc3k", 0), ("pbmc3k", 1)]


def test_pairs_have_only_known_labels_and_cells_with_counts(data_dir):
    ((name, seed, read),) = splits.cases_across(["poa"], 1, data_dir)
    case = read()
    assert (name, seed, case.depths) == ("poa_scrna_moffitt -> poa_merfish_b0.06", 0, (1.0,))
    assert case.pair.is_known_label.all()
    (query,) = case.queries().values()
    assert (total_counts(query) > 0).all()
    case = replace(case, depths=(0.001,))
    assert 0 < case.queries()[0.001].n_obs < query.n_obs
