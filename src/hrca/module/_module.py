"""Gene-AE, SE-Classifier, and the scvi module that joins them.

No ``from __future__ import annotations`` here: the tests check the shapes in the signatures.
"""

import numpy as np
import torch
from jaxtyping import Float
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import Tensor
from torch.nn import functional as F

from ._calibration import Calibration
from ._count_likelihood import CountLikelihood
from ._losses import smoothed_cross_entropy
from ._networks import GeneAE, SEClassifier
from ._transforms import Corruption, corrupt, log_normalize, thin_to_depth

# Where a batch has, in place of one label a cell, what to say of it: probabilities times a weight.
TARGETS_KEY = "targets"

# Thinned draws of a deep cell whose log-probabilities are averaged; on the POA pair 4 and 8 differ by .002.
N_NETWORK_DRAWS = 8


class HRCAModule(BaseModuleClass):
    """Both networks and the count branch, from raw counts to reconstruction, logits and loss.

    Parameters
    ----------
    gene_ae
        The transfer network.
    se_classifier
        The classifier network, or None for a model without labels.
    evidence
        The count branch, or None for the Document's networks alone.

    Attributes
    ----------
    gene_mask
        1 for each gene that the networks see, shape (n_genes,): those that a matched query has, all without one.
    is_adapted
        Whether the networks have been trained on a query's own cells, at their own depth.
    """

    def __init__(
        self, gene_ae: GeneAE, se_classifier: SEClassifier | None, count_likelihood: CountLikelihood | None = None
    ):
        super().__init__()
        self.gene_ae = gene_ae
        self.se_classifier = se_classifier
        self.count_likelihood = count_likelihood
        self.calibration = Calibration(self.n_labels)
        self.register_buffer("gene_mask", torch.ones(gene_ae.decoder[-2].out_features))
        self.register_buffer("_query_depth_quantiles", torch.zeros(N_DEPTH_QUANTILES))
        self.register_buffer("is_adapted", torch.tensor(False))

    def set_query_match(self, gene_mask: np.ndarray, query_depth_quantiles: np.ndarray) -> None:
        """See only these genes, and thin training cells to these depths; what was fitted on others no longer holds."""
        self.reset_posthoc()
        self.gene_mask.copy_(torch.from_numpy(gene_mask))
        self._query_depth_quantiles.copy_(torch.from_numpy(query_depth_quantiles))

    def reset_posthoc(self) -> None:
        """Let go of what was fitted to the networks as they are, before they change."""
        self.is_adapted.fill_(False)
        if self.count_likelihood is not None:
            self.count_likelihood.is_fitted.fill_(False)

    @property
    def n_labels(self) -> int:
        """Number of labels, 0 without a classifier."""
        return 0 if self.se_classifier is None else self.se_classifier.output.out_features

    @property
    def is_matched(self) -> bool:
        """Whether a query has been matched."""
        return bool(self._query_depth_quantiles.any())

    @property
    def query_depth_quantiles(self) -> Float[Tensor, " n_quantiles"] | None:
        """Quantiles of the depth of a matched query's cells, None without one."""
        return self._query_depth_quantiles if self.is_matched else None

    @property
    def has_fitted_counts(self) -> bool:
        """Whether the count branch has been fitted, and stands beside the classifier."""
        return self.count_likelihood is not None and bool(self.count_likelihood.is_fitted)

    def _get_inference_input(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"counts": tensors[REGISTRY_KEYS.X_KEY]}

    def inference(
        self,
        counts: Float[Tensor, "n_obs n_genes"],
        corruption: Corruption = "none",
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Encode corrupted counts.

        Returns
        -------
        ``z``: latent features of the corrupted cells, shape (n_obs, n_latent). ``x_norm``: log-normalised
        uncorrupted counts, shape (n_obs, n_genes), the target of the reconstruction.
        """
        counts = counts * self.gene_mask
        x_norm, depths = log_normalize(counts), self.query_depth_quantiles
        x_corrupt = x_norm if corruption == "none" else log_normalize(corrupt(counts, corruption, generator, depths))
        return {"z": self.gene_ae.encode(x_corrupt), "x_norm": x_norm}

    def _get_generative_input(
        self, tensors: dict[str, Tensor], inference_outputs: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return {"z": inference_outputs["z"]}

    def generative(self, z: Float[Tensor, "n_obs n_latent"], *, classify: bool) -> dict[str, Tensor]:
        """Decode, and classify if asked: what is not run keeps its batch statistics clean.

        Returns
        -------
        ``x_hat``: reconstruction, shape (n_obs, n_genes). ``logits``: shape (n_obs, n_labels), only if `classify`.
        """
        outputs = {"x_hat": self.gene_ae.decode(z)}
        if classify:
            outputs["logits"] = self.se_classifier(z)
        return outputs

    def loss(
        self,
        tensors: dict[str, Tensor],
        inference_outputs: dict[str, Tensor],
        generative_outputs: dict[str, Tensor],
        *,
        reconstruction_weight: float,
        classification_weight: float,
        label_smoothing: float,
    ) -> LossOutput:
        """Weigh the mean squared error and the label-smoothed cross-entropy, both from one encoder forward.

        The published code runs the encoder twice, once for each loss (docs/published_code.md, row 12).
        """
        x_norm = inference_outputs["x_norm"]
        reconstruction_loss = F.mse_loss(generative_outputs["x_hat"], x_norm)
        loss = reconstruction_weight * reconstruction_loss
        metrics = {"reconstruction_loss": reconstruction_loss.detach()}
        logits = generative_outputs.get("logits")
        if logits is not None:
            if TARGETS_KEY in tensors:
                classification_loss = -(tensors[TARGETS_KEY] * logits.log_softmax(dim=1)).sum(dim=1).mean()
            else:
                labels = tensors[REGISTRY_KEYS.LABELS_KEY][:, 0].long()
                classification_loss = smoothed_cross_entropy(logits, labels, label_smoothing)
                metrics["accuracy"] = (logits.argmax(dim=1) == labels).float().mean()
            loss = loss + classification_weight * classification_loss
            metrics["classification_loss"] = classification_loss.detach()
        return LossOutput(loss=loss, n_obs_minibatch=len(x_norm), extra_metrics=metrics)

    @auto_move_data
    def encode(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_latent"]:
        """Return the latent features of raw counts, shape (n_obs, n_latent)."""
        return self.gene_ae.encode(log_normalize(counts * self.gene_mask))

    @auto_move_data
    def classify(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_labels"]:
        """Return the classifier network's logits of raw counts, shape (n_obs, n_labels)."""
        return self.se_classifier(self.encode(counts))

    @auto_move_data
    def branch_log_scores(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_columns"]:
        """Return what network and counts say of each label, side by side, in one forward.

        Returns
        -------
        The network's log-probabilities; with a fitted count branch, those of a cell deeper than the reference are the
        mean of thinned draws of it, and the likelihood follows. Shape (n_obs, n_labels) or (n_obs, 2 n_labels).
        """
        if not self.has_fitted_counts:
            return self.classify(counts).log_softmax(dim=1)
        counts = counts * self.gene_mask
        max_depth = float(self.count_likelihood.max_depth)
        deep = (counts.sum(dim=1) > max_depth) & ~self.is_adapted
        network = torch.empty(len(counts), self.n_labels, device=counts.device)
        if not deep.all():
            network[~deep] = self.classify(counts[~deep]).log_softmax(dim=1).float()
        if deep.any():
            draws = (
                self.classify(thin_to_depth(counts[deep], max_depth, i)).log_softmax(dim=1)
                for i in range(N_NETWORK_DRAWS)
            )
            network[deep] = sum(draws).float() / N_NETWORK_DRAWS
        return torch.cat([network, self.count_likelihood(counts)], dim=1)

    @auto_move_data
    def reconstruct(self, counts: Float[Tensor, "n_obs n_genes"]) -> Float[Tensor, "n_obs n_genes"]:
        """Return the reconstructed log-normalised expression of raw counts, shape (n_obs, n_genes)."""
        return self.gene_ae.decode(self.encode(counts))


# Quantiles that describe the depth of a matched query: percentiles, 0 to 100.
N_DEPTH_QUANTILES = 101
