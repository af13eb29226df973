"""The history as frames and as lists."""

import pandas as pd

from hrca.train._history import extended_history, framed_history, plain_history


def test_frames_and_lists_are_each_others_inverse():
    frame = pd.DataFrame({"a": [1.0, 2.0]}, index=pd.RangeIndex(2, name="epoch"))
    assert plain_history({"a": frame}) == {"a": [1.0, 2.0]}
    pd.testing.assert_frame_equal(framed_history(plain_history({"a": frame}))["a"], frame)


def test_no_history_is_an_empty_one():
    assert plain_history(None) == {}
    assert framed_history({}) == {}


def test_a_second_run_of_a_phase_is_appended_and_changes_nothing_in_place():
    earlier = {"pretrain_loss": [3.0]}
    assert extended_history(earlier, "pretrain", {"loss": [2.0], "lr": [0.1]}) == {
        "pretrain_loss": [3.0, 2.0],
        "pretrain_lr": [0.1],
    }
    assert earlier == {"pretrain_loss": [3.0]}
