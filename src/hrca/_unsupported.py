"""Arguments and methods of other models of scvi-tools that HRCA does not have, each with its reason in one sentence."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_NO_COVARIATES = "HRCA's networks have no covariates, so set up the cells of all batches as one reference"
_NO_POSTERIOR = "HRCA has a latent feature and a reconstruction of each cell, but no distribution to draw from"
_OWN_PLANS = "HRCA has a plan of its own for each phase, whose arguments are `lr`, `lr_schedule` and `plan_kwargs`"
_BY_NAME = "HRCA reads a query by the names of its genes, so give it to `predict` as it is, or to `adapt`"

SETUP_UNSUPPORTED = {
    "batch_key": _NO_COVARIATES,
    "categorical_covariate_keys": _NO_COVARIATES,
    "continuous_covariate_keys": _NO_COVARIATES,
    "sample_key": _NO_COVARIATES,
    "size_factor_key": "HRCA normalises each cell by its own counts",
    "use_minified": "HRCA has no posterior that could stand in for the counts",
}

TRAIN_UNSUPPORTED = {
    **SETUP_UNSUPPORTED,
    "adversarial_classifier": _NO_COVARIATES,
    "datamodule": "HRCA reads its cells from the object that `setup_anndata` or `setup_mudata` registered",
    "external_indexing": "HRCA divides the cells of each label itself, by `train_size` and `validation_size`",
    "load_sparse_tensor": "training thins dense batches of counts",
    "plan_config": _OWN_PLANS,
    "reduce_lr_on_plateau": "`lr_schedule='plateau'` reduces the learning rate",
    "shuffle_set_split": "HRCA always draws the cells of each label at random",
    "use_gpu": "`accelerator` and `devices` name the device",
}

PREDICT_UNSUPPORTED = {
    "dataloader": "HRCA reads the query itself, also from a file or a dask array",
    "give_mean": _NO_POSTERIOR,
    "ig_args": "`model.explain` returns the contributions of genes",
    "ig_interpretability": "`model.explain` returns the contributions of genes",
    "mc_samples": _NO_POSTERIOR,
    "return_dist": _NO_POSTERIOR,
    "return_mean": _NO_POSTERIOR,
    "transform_batch": _NO_COVARIATES,
    "use_posterior_mean": _NO_POSTERIOR,
    "n_samples_overall": _NO_POSTERIOR,
    "weights": _NO_POSTERIOR,
}

METHODS_UNSUPPORTED = {
    "differential_expression": "`scanpy.tl.rank_genes_groups` compares the labels that `predict` writes",
    "from_scvi_model": "`HRCA.from_pretrained` takes the Gene-AE of another HRCA",
    "get_elbo": _NO_POSTERIOR,
    "get_marginal_ll": _NO_POSTERIOR,
    "get_ranked_features": "`explain` returns the contributions of genes",
    "get_reconstruction_error": "`history['finetune_validation_reconstruction_loss']` has it",
    "load_query_data": _BY_NAME,
    "minify_adata": "HRCA has no posterior that could stand in for the counts",
    "posterior_predictive_sample": _NO_POSTERIOR,
    "prepare_query_anndata": _BY_NAME,
    "prepare_query_mudata": _BY_NAME,
}


def raises_for(reasons: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that raises a TypeError with its reason for an argument that a method does not take.

    Parameters
    ----------
    reasons
        Reason by the name of the argument.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in reasons:
                    raise TypeError(f"`{method.__name__}` takes no `{name}`: {reasons[name]}.")
            return method(*args, **kwargs)

        return checked

    return decorate


def missing_attribute(name: str) -> AttributeError:
    """Return the error for an attribute that HRCA does not have, with its reason if other models have it."""
    reason = METHODS_UNSUPPORTED.get(name)
    return AttributeError(f"HRCA has no attribute {name!r}" + ("." if reason is None else f": {reason}."), name=name)
