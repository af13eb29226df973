"""Flags of the report."""

from ._flags import Flag
from ._prediction_flags import KEY_ADDED

CONTENT = "Content"

# of hrca.report, without `adata`, `path` and `model`
REPORT_FLAGS = (
    KEY_ADDED,
    Flag("true_labels_key", str | None, None, "Column of obs with known labels.", CONTENT),
    Flag("sample_key", str | None, None, "Column of obs with the sample or section of each cell.", CONTENT),
    Flag("microns_per_unit", float | None, None, "Micrometers in a unit of the coordinates.", CONTENT),
    Flag("title", str | None, None, "Title of the report.", CONTENT),
)
