"""Steps after :meth:`hrca.HRCA.predict` that use clusters and spatial neighbours. They add columns and change none."""

from ._clusters import majority_vote, rejected_clusters
from ._smooth import mean_field_smoothing, smooth

__all__ = ["majority_vote", "mean_field_smoothing", "rejected_clusters", "smooth"]
