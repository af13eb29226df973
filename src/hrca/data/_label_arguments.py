"""Arguments about labels that would have no effect."""

from hrca._records import UNLABELED


def check_label_arguments(labels_key: str | None, unlabeled_category: str, *, has_model: bool) -> None:
    """Raise an error if arguments about labels would have no effect on a check.

    Parameters
    ----------
    labels_key
        Column with the labels of a reference; None: no labels.
    unlabeled_category
        Label of cells without a label.
    has_model
        Whether the cells are a query, which a model labels.

    Raises
    ------
    ValueError
        If `labels_key` is given with a model, or `unlabeled_category` without `labels_key`.
    """
    if has_model and labels_key is not None:
        raise ValueError(
            f"`labels_key` names the labels of a reference, got {labels_key!r} and a model, which labels a query. "
            "Leave out one of the two."
        )
    if labels_key is None and unlabeled_category != UNLABELED:
        raise ValueError(
            f"`unlabeled_category` is one of the labels of a reference, got {unlabeled_category!r} without the column "
            "that has them. Name the column by `labels_key`."
        )
