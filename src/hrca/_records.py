"""The record of a prediction in uns."""

from collections.abc import Mapping
from typing import Any


def prediction_record(uns: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the record of a prediction; empty without one, or if the entry is not of HRCA.

    Parameters
    ----------
    uns
        The uns of the annotated cells.
    key
        The `key_added` of the prediction.
    """
    record = uns.get(key, {})
    return record if isinstance(record, Mapping) else {}
