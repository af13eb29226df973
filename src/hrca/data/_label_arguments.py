"""Arguments about labels that are invalid, or would have no effect."""

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
        If `labels_key` is given with a model, or `unlabeled_category` without `labels_key`; or as for
        :func:`check_unlabeled_category`.
    TypeError
        As for :func:`check_unlabeled_category`.
    """
    check_unlabeled_category(unlabeled_category)
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


def check_unlabeled_category(unlabeled_category: str) -> None:
    """Raise an error if a value cannot be the label of cells without a label.

    Raises
    ------
    ValueError
        If it is empty.
    TypeError
        If it is no string.
    """
    if not isinstance(unlabeled_category, str):
        raise TypeError(
            f"`unlabeled_category` must be a string, got {unlabeled_category!r}. Cells without a label get this one; "
            "the default is 'Unknown'."
        )
    if not unlabeled_category.strip():
        raise ValueError(
            f"`unlabeled_category` must not be empty, got {unlabeled_category!r}. Cells without a label get this one; "
            "the default is 'Unknown'."
        )
