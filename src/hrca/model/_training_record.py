"""Members of scvi-tools' base class that show the training and the device, with descriptions of HRCA."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from scvi.model.base import BaseModelClass

from hrca._docs import docs
from hrca.train._history import History


class TrainingRecord(BaseModelClass):
    """Members of scvi-tools' base class with descriptions and examples of HRCA. Its training sets the values.

    Attributes
    ----------
    history_
        Every logged number of all phases, by epoch; None before training.
    is_trained_
        True after a phase has been trained, or trained weights were loaded.
    test_scores_
        Epoch and scores of each evaluation of the test set.
    train_indices_, validation_indices_, test_indices_
        Positions of the cells of the last phase, shapes (n_train,), (n_validation,) and (n_unused,); None if none has
        been trained in this process.
    """

    history_: History | None
    is_trained_: bool
    test_scores_: list[dict[str, Any]]
    train_indices_: np.ndarray | None
    validation_indices_: np.ndarray | None
    test_indices_: np.ndarray | None

    @property
    @docs.dedent
    def history(self) -> History | None:
        """The logged numbers of all phases, in a dict of tables with one row for each epoch; None before training.

        Its names are such as ``pretrain_train_loss`` and ``finetune_validation_accuracy``.

        %(example_trained)s
        >>> model.history["pretrain_train_loss"].shape
        (1, 1)
        """
        return self.history_

    @property
    @docs.dedent
    def test_scores(self) -> pd.DataFrame:
        """Scores of the test set during fine-tuning, by the networks alone; a row for each evaluation.

        Columns: ``epoch``, the scores of :func:`hrca.metrics.annotation_scores`, and ``n_unseen``, the number of cells
        whose label the reference lacks. Empty without a test set.

        %(example_model)s
        >>> options = {"checkpoint_interval": 1, "enable_progress_bar": False}
        >>> model.finetune(1, test_adata=reference[:50], **options)
        >>> model.test_scores["epoch"].tolist()
        [1]
        """
        return pd.DataFrame(self.test_scores_)

    # `getter` keeps the setters of scvi-tools
    @BaseModelClass.is_trained.getter
    @docs.dedent
    def is_trained(self) -> bool:
        """True after pre-training or fine-tuning, or if trained weights were loaded.

        %(example_trained)s
        >>> model.is_trained
        True
        """
        return self.is_trained_

    @BaseModelClass.train_indices.getter
    @docs.dedent
    def train_indices(self) -> np.ndarray | None:
        """Positions of the reference's cells that trained in the last phase, shape (n_train,).

        Fine-tuning leaves out cells of the unlabelled category, and those above `max_cells_per_label`. None before
        training, after :meth:`adapt`, and if a resumed training had already ended.

        %(example_trained)s
        >>> len(model.train_indices)
        631
        """
        return self.train_indices_

    @BaseModelClass.validation_indices.getter
    @docs.dedent
    def validation_indices(self) -> np.ndarray | None:
        """Positions of the held-out cells that validated the last phase, shape (n_validation,).

        They are a part of the held-out cells if the reference is large. None as for :attr:`train_indices`.

        %(example_trained)s
        >>> len(model.validation_indices)
        69
        """
        return self.validation_indices_

    @BaseModelClass.test_indices.getter
    @docs.dedent
    def test_indices(self) -> np.ndarray | None:
        """Positions of the reference's cells that were in no batch of the last phase, shape (n_unused,).

        They are no independent test set: an earlier phase, label profiles and novelty may have used them. None as for
        :attr:`train_indices`.

        %(example_model)s
        >>> model.pretrain(1, validation_size=0.05, enable_progress_bar=False)
        >>> len(model.test_indices)
        31
        """
        return self.test_indices_

    @property
    @docs.dedent
    def device(self) -> torch.device:
        """The device that holds the model.

        It is "cpu", or for example "cuda:0".

        %(example_model)s
        >>> model.device
        device(type='cpu')
        """
        return self.module.device

    @docs.dedent
    def to_device(self, device: str | int | torch.device) -> None:
        """Move the model to a device.

        Parameters
        ----------
        device
            "cpu", the index of a GPU such as 0, or its name such as "cuda:0".

        Raises
        ------
        RuntimeError
            If there is no such device.
        AssertionError
            If the device is a GPU, and torch was installed without CUDA.

        %(example_model)s
        >>> model.to_device("cpu")
        >>> model.device
        device(type='cpu')
        """
        super().to_device(device)
