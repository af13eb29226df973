"""The module: golden numbers of the published code, query matching, and both branches, cell by cell."""

import numpy as np
import pytest
import torch
from golden import GOLDEN_WIDTHS, close, gene_ae, our_key, recipe, se_classifier
from scvi import REGISTRY_KEYS
from simulated import random_profiles
from torch import nn

from hrca.compat._state_keys import GENE_AE_KEYS, SE_CLASSIFIER_KEYS
from hrca.module._count_likelihood import CountLikelihood
from hrca.module._module import N_DEPTH_QUANTILES, TARGETS_KEY, HRCAModule
from hrca.module._networks import GeneAE, SEClassifier
from hrca.module._transforms import log_normalize, mask_counts
from hrca.train._trainingplans import FinetunePlan, PretrainPlan

SUFFIX = {torch.float64: "f64", torch.float32: "f32"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize(("n_heads", "n_layers"), [(8, 2), (4, 1)], ids=["8 heads, 2 layers", "4 heads, 1 layer"])
def test_forward_equals_golden(golden_dir, n_heads, n_layers, dtype):
    golden, suffix, name = recipe(golden_dir).golden(), SUFFIX[dtype], f"h{n_heads}_l{n_layers}"
    autoencoder = gene_ae(
        golden_dir, f"gene_ae_g64_{name}", n_genes=64, n_heads=n_heads, n_layers=n_layers, dtype=dtype
    )
    module = HRCAModule(autoencoder, se_classifier(golden_dir, dtype)).eval()
    counts = torch.from_numpy(golden["counts"].astype(np.float64)).to(dtype)

    x_norm = log_normalize(counts)
    z = module.encode(counts)

    close(x_norm, golden[f"norm_{suffix}"], dtype)
    close(z[:, :32], golden[f"{name}.z_first32_{suffix}"], dtype)
    n_whole, key = (2, "z_cells2_f64") if dtype is torch.float64 else (4, "z_cells4_f32")
    close(z[:n_whole], golden[f"{name}.{key}"], dtype)
    close(module.reconstruct(counts), golden[f"{name}.recon_{suffix}"], dtype)
    close(module.classify(counts), golden[f"{name}.logits_{suffix}"], dtype)
    first = autoencoder.encoder_layers[0]
    entered = autoencoder.encoder_input(x_norm)
    close(entered[:, :32], golden[f"{name}.input_layer_first32_f64"], dtype)
    close(first.attention(first.attention_norm(entered))[:, :32], golden[f"{name}.attn0_first32_f64"], dtype)


def golden_module(golden_dir) -> HRCAModule:
    module = HRCAModule(
        gene_ae(golden_dir, "gene_ae_g64_h8_l2", n_genes=64, n_heads=8, n_layers=2, dtype=torch.float64),
        se_classifier(golden_dir, torch.float64),
    ).train()
    for layer in module.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    return module


@pytest.mark.parametrize("plan_cls", [PretrainPlan, FinetunePlan], ids=["pretrain", "fine_tune"])
def test_optimisation_steps_equal_golden(golden_dir, plan_cls, monkeypatch):
    golden, phase = recipe(golden_dir).golden(), "fine_tune" if plan_cls.classify else "pretrain"
    module = golden_module(golden_dir)
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.from_numpy(golden["counts"].astype(np.float64)),
        REGISTRY_KEYS.LABELS_KEY: torch.from_numpy(golden["labels"])[:, None],
    }
    keep = torch.from_numpy(golden["mask"])
    monkeypatch.setattr("hrca.module._module.corrupt", lambda counts, *_: mask_counts(counts, keep))
    plan = plan_cls(
        module, corruption="mask", lr=1e-3, lr_factor=0.1, lr_patience=10, lr_hold_epochs=0, monitor="train_loss"
    )
    if not plan_cls.classify:
        module.se_classifier.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=plan.lr)

    for step, losses in enumerate(golden[f"step.{phase}.losses_f64"]):
        output = plan(tensors, loss_kwargs=plan.loss_kwargs)[2]
        optimizer.zero_grad()
        output.loss.backward()
        if step == 0:
            check_gradient_norms(module, recipe(golden_dir).manifest()["gradient_names"], phase, golden)
        reconstruction, classification, total = losses
        assert float(output.extra_metrics["reconstruction_loss"]) == pytest.approx(reconstruction, abs=1e-9)
        assert float(output.loss.detach()) == pytest.approx(total, abs=1e-9)
        if plan_cls.classify:
            assert float(output.extra_metrics["classification_loss"]) == pytest.approx(classification, abs=1e-9)
        optimizer.step()

    if plan_cls.classify:
        norm = module.se_classifier.stages[0].plain[2]
        close(norm.running_mean[:32], golden["step.fine_tune.running_mean_block0_f64"], torch.float64)
        close(norm.running_var[:32], golden["step.fine_tune.running_var_block0_f64"], torch.float64)


def check_gradient_norms(module: HRCAModule, names: dict, phase: str, golden: dict) -> None:
    # the first layer has its weight transposed, which has the same norm
    parameters = {name.replace("input_weight", "weight"): value for name, value in module.named_parameters()}
    norms = []
    for name in names[f"{phase}.grad_names"]:
        network, key = name.split(".", 1)
        if network == "gene_ae":
            ours = "gene_ae." + our_key(key, GENE_AE_KEYS, 2)
        else:
            ours = "se_classifier." + our_key(key, SE_CLASSIFIER_KEYS, len(GOLDEN_WIDTHS))
        norms.append(float(parameters[ours].grad.norm()))
    np.testing.assert_allclose(norms, golden[f"step.{phase}.grad_norms_f64"], rtol=0, atol=1e-9)


N_GENES, N_LABELS = 12, 3


def tiny_module(count_likelihood: CountLikelihood | None = None) -> HRCAModule:
    return HRCAModule(
        GeneAE(n_genes=N_GENES, n_hidden=16, n_latent=8, n_heads=2, n_layers=2, n_feedforward=8, dropout_rate=0.1),
        SEClassifier(n_latent=8, n_labels=N_LABELS, widths=(6, 4), dropout_rate=0.5),
        count_likelihood,
    )


def labelled_batch() -> dict[str, torch.Tensor]:
    """Six cells: two without counts, one with a single count."""
    counts = torch.poisson(torch.full((6, N_GENES), 2.0))
    counts[[0, 3]] = 0
    counts[1] = 0
    counts[1, 4] = 1  # thinning or masking usually removes this count
    return {REGISTRY_KEYS.X_KEY: counts, REGISTRY_KEYS.LABELS_KEY: torch.arange(6)[:, None] % N_LABELS}


@pytest.mark.parametrize("corruption", ["thin", "mask", "none"])
def test_empty_cells_give_finite_numbers_forward_and_backward(corruption):
    module, tensors = tiny_module().train(), labelled_batch()
    *_, output = module(
        tensors,
        inference_kwargs={"corruption": corruption},
        generative_kwargs={"classify": True},
        loss_kwargs={"reconstruction_weight": 0.1, "classification_weight": 0.9, "label_smoothing": 0.1},
    )
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in module.parameters())


def test_soft_targets_replace_labels_and_reconstruction_can_be_alone():
    module, tensors = tiny_module().eval(), labelled_batch()
    labels = tensors[REGISTRY_KEYS.LABELS_KEY][:, 0]
    inference = module.inference(tensors[REGISTRY_KEYS.X_KEY])
    weights = {"reconstruction_weight": 0.1, "classification_weight": 0.9, "label_smoothing": 0.0}
    outputs = module.generative(inference["z"], classify=True)
    hard = module.loss(tensors, inference, outputs, **weights)
    tensors[TARGETS_KEY] = torch.eye(N_LABELS)[labels]
    soft = module.loss(tensors, inference, outputs, **weights)
    torch.testing.assert_close(soft.loss, hard.loss)
    assert set(hard.extra_metrics) - set(soft.extra_metrics) == {"accuracy"}
    alone = module.loss(tensors, inference, module.generative(inference["z"], classify=False), **weights)
    torch.testing.assert_close(alone.loss, 0.1 * hard.extra_metrics["reconstruction_loss"])
    assert set(alone.extra_metrics) == {"reconstruction_loss"}


def test_a_query_match_hides_genes_sets_depths_and_discards_the_fits():
    module = tiny_module(CountLikelihood(N_LABELS, N_GENES)).eval()
    module.count_likelihood.fit_profiles(random_profiles(N_LABELS, N_GENES), np.ones(N_GENES), 50.0)
    module.is_adapted.fill_(True)
    assert module.has_fitted_counts
    assert not module.is_matched
    assert module.query_depth_quantiles is None
    counts = torch.poisson(torch.full((4, N_GENES), 3.0))
    mask, quantiles = np.ones(N_GENES, dtype=np.float32), np.linspace(5, 50, N_DEPTH_QUANTILES, dtype=np.float32)
    mask[[2, 7]] = 0
    before = module.encode(counts)
    module.set_query_match(mask, quantiles)
    assert module.is_matched
    np.testing.assert_array_equal(module.query_depth_quantiles, quantiles)
    assert not module.has_fitted_counts
    assert not module.is_adapted
    assert not torch.equal(module.encode(counts), before)
    hidden = counts.clone()
    hidden[:, [2, 7]] = 0
    torch.testing.assert_close(module.encode(counts), module.encode(hidden))
    torch.testing.assert_close(module.inference(counts)["x_norm"], log_normalize(hidden))


def test_training_of_a_matched_module_thins_to_the_depths_of_the_query():
    module = tiny_module()
    depths = []
    encode = module.gene_ae.encode
    module.gene_ae.encode = lambda x_norm: depths.append(x_norm) or encode(x_norm)
    module.set_query_match(np.ones(N_GENES, dtype=np.float32), np.full(N_DEPTH_QUANTILES, 1e-3, dtype=np.float32))
    module.inference(torch.full((5, N_GENES), 4.0), "thin")
    # next to no counts are left
    assert (depths[0] == 0).float().mean() > 0.9


def test_a_module_without_labels_reconstructs_but_does_not_classify():
    module = HRCAModule(tiny_module().gene_ae, None).eval()
    assert module.n_labels == 0
    counts = torch.poisson(torch.full((2, N_GENES), 3.0))
    assert module.reconstruct(counts).shape == (2, N_GENES)
    with pytest.raises(RuntimeError, match="without labels has no classifier"):
        module.classify(counts)
