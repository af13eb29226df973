"""Steps after :meth:`hrca.HRCA.predict`: clusters, spatial neighbours, explanations. They only add entries."""

from ._clusters import majority_vote, rejected_clusters
from ._explain import explain
from ._smooth import mean_field_smoothing, smooth

__all__ = ["explain", "majority_vote", "mean_field_smoothing", "rejected_clusters", "smooth"]
