"""scvi-tools module of HRCA: both networks, the count likelihood and the calibration."""

# No `from __future__ import annotations`: the tests check the shapes in the signatures.

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import Tensor
from torch.nn import functional as F

from ._calibration import Calibration
from ._count_likelihood import CountLikelihood
from ._losses import smoothed_cross_entropy, soft_target_cross_entropy
from ._networks import GeneAE, SEClassifier
from ._sparse_counts import SparseCounts
from ._transforms import Corruption, CountsT, corrupt, keep_genes, log_normalize

# Key of a batch's soft targets, which replace the labels: label probabilities times the weight of the cell.
TARGETS_KEY = "targets"

# Number of quantiles that describe the depth of a matched query: the percentiles 0 to 100.
N_DEPTH_QUANTILES = 101


class HRCAModule(BaseModuleClass):
    """Networks, count likelihood and calibration, from raw counts to reconstruction, logits and loss.

    Parameters
    ----------
    gene_ae
        The autoencoder.
    se_classifier
        The classifier, or None for a model without labels.
    count_likelihood
        The count likelihood, or None for the networks alone.

    Attributes
    ----------
    gene_mask
        1 for a gene that the model uses, shape (n_genes,): the genes of a matched query, or all genes.
    calibration
        The calibration of label probabilities.
    is_adapted
        True after the networks have been trained on cells of a query at their own depth.
    """

    gene_mask: Tensor
    is_adapted: Tensor
    # zeros without a matched query
    _query_depth_quantiles: Tensor

    def __init__(
        self, gene_ae: GeneAE, se_classifier: SEClassifier | None, count_likelihood: CountLikelihood | None = None
    ):
        super().__init__()
        self.gene_ae = gene_ae
        self.se_classifier = se_classifier
        self.count_likelihood = count_likelihood
        self.calibration = Calibration(self.n_labels)
        self.register_buffer("gene_mask", torch.ones(gene_ae.n_genes))
        self.register_buffer("_query_depth_quantiles", torch.zeros(N_DEPTH_QUANTILES))
        self.register_buffer("is_adapted", torch.tensor(False))
        # read once: every step would wait for the device
        self._is_matched: bool | None = None

    @property
    def n_labels(self) -> int:
        """Number of labels, 0 without a classifier."""
        return 0 if self.se_classifier is None else self.se_classifier.n_labels

    @property
    def is_matched(self) -> bool:
        """True if the model is matched to a query."""
        if self._is_matched is None:
            self._is_matched = bool(self._query_depth_quantiles.any())
        return self._is_matched

    @property
    def query_depth_quantiles(self) -> Float[Tensor, " n_quantiles"] | None:
        """Percentiles 0 to 100 of the depth of the matched query's cells, in counts, shape (101,); None without one."""
        return self._query_depth_quantiles if self.is_matched else None

    @property
    def has_fitted_counts(self) -> bool:
        """True if the model has a count likelihood that training has fitted."""
        return self.count_likelihood is not None and bool(self.count_likelihood.is_fitted)

    @property
    def max_classified_depth(self) -> float:
        """Counts of a cell above which the classifier sees it as thinned draws; infinity if it sees all cells whole."""
        if self.count_likelihood is None or not self.has_fitted_counts or self.is_adapted:
            return float("inf")
        return float(self.count_likelihood.max_depth)

    def set_query_match(self, gene_mask: np.ndarray, query_depth_quantiles: np.ndarray) -> None:
        """Restrict the model to a query's genes and training to its depths, and discard the post-hoc fits.

        Parameters
        ----------
        gene_mask
            1 for a gene that the query has, 0 for the others, shape (n_genes,).
        query_depth_quantiles
            Percentiles 0 to 100 of the depth of the query's cells, in counts, shape (101,).
        """
        self.reset_posthoc()
        self.gene_mask.copy_(torch.from_numpy(gene_mask))
        self._query_depth_quantiles.copy_(torch.from_numpy(query_depth_quantiles))
        self._is_matched = None

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._is_matched = None

    def reset_posthoc(self) -> None:
        """Discard the post-hoc fits, because the networks are about to change."""
        self.is_adapted.fill_(False)
        if self.count_likelihood is not None:
            self.count_likelihood.is_fitted.fill_(False)

    def _get_inference_input(self, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"counts": tensors[REGISTRY_KEYS.X_KEY]}

    def inference(
        self,
        counts: CountsT,
        corruption: Corruption = "none",
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Encode corrupted counts.

        Parameters
        ----------
        counts
            Raw counts, shape (n_obs, n_genes), dense or sparse.
        corruption
            The corruption; see :func:`hrca.module._transforms.corrupt`.
        generator
            Source of the random numbers; torch's default generator if None.

        Returns
        -------
        ``z``: latent features of the corrupted cells, shape (n_obs, n_latent). ``x_norm``: log-normalised expression
        without corruption, shape (n_obs, n_genes), the target of the reconstruction.
        """
        counts = keep_genes(counts, self.gene_mask)
        x_norm, quantiles = log_normalize(counts), self.query_depth_quantiles
        if corruption == "none":
            x_corrupt = x_norm
        else:
            x_corrupt = log_normalize(corrupt(counts, corruption, generator, quantiles))
        target = x_norm.to_dense() if isinstance(x_norm, SparseCounts) else x_norm
        return {"z": self.gene_ae.encode(x_corrupt), "x_norm": target}

    def _get_generative_input(self, tensors: dict[str, Any], inference_outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"z": inference_outputs["z"]}

    def generative(self, z: Float[Tensor, "n_obs n_latent"], *, classify: bool) -> dict[str, Tensor]:
        """Decode latent features, and optionally classify them.

        Parameters
        ----------
        z
            Latent features, shape (n_obs, n_latent).
        classify
            If True, run the classifier. If False, its batch statistics stay unchanged.

        Returns
        -------
        ``x_hat``: reconstruction, shape (n_obs, n_genes). ``logits``: shape (n_obs, n_labels), only with `classify`.
        """
        outputs = {"x_hat": self.gene_ae.decode(z)}
        if classify:
            outputs["logits"] = self._logits(z)
        return outputs

    def loss(
        self,
        tensors: dict[str, Any],
        inference_outputs: dict[str, Tensor],
        generative_outputs: dict[str, Tensor],
        *,
        reconstruction_weight: float,
        classification_weight: float,
        label_smoothing: float,
    ) -> LossOutput:
        """Return the weighted sum of the mean squared error and the cross-entropy.

        Parameters
        ----------
        tensors
            The batch: its counts, and labels, shape (n_obs, 1), or soft targets, shape (n_obs, n_labels).
        inference_outputs
            The result of :meth:`inference`.
        generative_outputs
            The result of :meth:`generative`; without ``logits`` the loss is the reconstruction's alone.
        reconstruction_weight
            Weight of the mean squared error.
        classification_weight
            Weight of the cross-entropy.
        label_smoothing
            Probability that the other labels share; soft targets are not smoothed.

        Returns
        -------
        The loss, and ``reconstruction_loss``, ``classification_loss`` and ``accuracy`` as metrics.

        Notes
        -----
        Both terms use one forward pass of the encoder. The published code runs it twice (row 12 of
        docs/published_code.md).
        """
        x_norm = inference_outputs["x_norm"]
        reconstruction_loss = F.mse_loss(generative_outputs["x_hat"], x_norm)
        loss = reconstruction_weight * reconstruction_loss
        metrics = {"reconstruction_loss": reconstruction_loss.detach()}
        logits = generative_outputs.get("logits")
        if logits is not None:
            if TARGETS_KEY in tensors:
                classification_loss = soft_target_cross_entropy(logits, tensors[TARGETS_KEY])
            else:
                labels = tensors[REGISTRY_KEYS.LABELS_KEY][:, 0].long()
                classification_loss = smoothed_cross_entropy(logits, labels, label_smoothing)
                metrics["accuracy"] = (logits.argmax(dim=1) == labels).float().mean()
            loss = loss + classification_weight * classification_loss
            metrics["classification_loss"] = classification_loss.detach()
        return LossOutput(loss=loss, n_obs_minibatch=len(x_norm), extra_metrics=metrics)

    @auto_move_data
    def encode(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the latent features of raw counts.

        Parameters
        ----------
        counts
            Raw counts, shape (n_obs, n_genes).

        Returns
        -------
        Latent features, shape (n_obs, n_latent).
        """
        return self.gene_ae.encode(log_normalize(counts * self.gene_mask))

    @auto_move_data
    def reconstruct(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_genes"]:
        """Return the reconstructed expression of raw counts.

        Parameters
        ----------
        counts
            Raw counts, shape (n_obs, n_genes).

        Returns
        -------
        Log-normalised expression, shape (n_obs, n_genes).
        """
        return self.gene_ae.decode(self.encode(counts))

    @auto_move_data
    def classify(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the classifier's logits of raw counts.

        Parameters
        ----------
        counts
            Raw counts, shape (n_obs, n_genes).

        Returns
        -------
        Logits, shape (n_obs, n_labels).
        """
        return self._logits(self.encode(counts))

    def classify_normalized(
        self, x_norm: Float[Tensor, "n_obs n_genes"] | SparseCounts
    ) -> Float[Tensor, "n_obs n_labels"]:
        """Return the classifier's logits of log-normalised expression.

        Parameters
        ----------
        x_norm
            Log-normalised expression of the genes used, shape (n_obs, n_genes), dense or sparse, on the module's
            device.

        Returns
        -------
        Logits, shape (n_obs, n_labels).
        """
        return self._logits(self.gene_ae.encode(x_norm))

    def _logits(self, z: Float[Tensor, "n_obs n_latent"]) -> Float[Tensor, "n_obs n_labels"]:
        if self.se_classifier is None:
            raise RuntimeError("A model without labels has no classifier.")
        return self.se_classifier(z)
