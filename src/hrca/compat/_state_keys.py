"""Names of the networks' parameters in the published code and in HRCA.

The tables name layers. The key of a parameter is the name of its layer, a dot, and e.g. ``weight``. ``{i}`` is the
index of an encoder layer, or of a stage of the classifier.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

Value = TypeVar("Value")

# Published layer -> layer of :class:`hrca.module._networks.GeneAE`.
GENE_AE_KEYS = {
    "input_layer.0.layer": "encoder_input.0",
    "input_layer.0.norm_layer": "encoder_input.1",
    "input_layer.1.layer": "encoder_input.4",
    "enc.{i}.connect.0.norm": "encoder_layers.{i}.attention_norm",
    "enc.{i}.attn.wq": "encoder_layers.{i}.attention.query",
    "enc.{i}.attn.wk": "encoder_layers.{i}.attention.key",
    "enc.{i}.attn.wv": "encoder_layers.{i}.attention.value",
    "enc.{i}.attn.concat_layer": "encoder_layers.{i}.attention.output",
    "enc.{i}.connect.1.norm": "encoder_layers.{i}.feedforward_norm",
    "enc.{i}.ffLayer.0.layer": "encoder_layers.{i}.feedforward.0",
    "enc.{i}.ffLayer.1.layer": "encoder_layers.{i}.feedforward.2",
    "enc.{i}.norm": "encoder_layers.{i}.closing_norm",
    "output_layer.0.layer": "decoder.0",
    "output_layer.0.norm_layer": "decoder.1",
    "output_layer.1.layer": "decoder.4",
}

# Published layer -> layer of :class:`hrca.module._networks.SEClassifier`. The output layer is added by
# `expand_key_table`: the published code calls it SEres.<number of stages>.
SE_CLASSIFIER_KEYS = {
    "attn.fc.0": "excitation.gate.0",
    "attn.fc.2": "excitation.gate.2",
    "SEres.{i}.layer.0.1": "stages.{i}.plain.1",
    "SEres.{i}.layer.0.2": "stages.{i}.plain.2",
    "SEres.{i}.layer.1.1": "stages.{i}.gated.1",
    "SEres.{i}.layer.1.2": "stages.{i}.gated.2",
    "SEres.{i}.atten.fc.0": "stages.{i}.excitation.gate.0",
    "SEres.{i}.atten.fc.2": "stages.{i}.excitation.gate.2",
}

# The index of an encoder layer or stage in a key of either side.
BLOCK_INDEX = re.compile(r"^(enc|SEres|encoder_layers|stages)\.(\d+)\.")


def expand_key_table(table: dict[str, str], keys: Iterable[str]) -> dict[str, str]:
    """Return a table with a row for each encoder layer or stage of a network.

    Parameters
    ----------
    table
        `GENE_AE_KEYS` or `SE_CLASSIFIER_KEYS`.
    keys
        Keys of the network's parameters, published or HRCA's, from which the number of layers or stages is counted.

    Returns
    -------
    Published layer -> HRCA's layer.

    Examples
    --------
    >>> rows = expand_key_table(SE_CLASSIFIER_KEYS, ["stages.0.plain.1.weight", "stages.1.plain.1.weight"])
    >>> rows["SEres.1.layer.0.1"], rows["SEres.2"]
    ('stages.1.plain.1', 'output')
    """
    keys = list(keys)
    n_blocks = max((int(match[2]) for match in map(BLOCK_INDEX.match, keys) if match), default=-1) + 1
    n_blocks = min(n_blocks, len(keys))  # a key may have any number
    is_classifier = table is SE_CLASSIFIER_KEYS
    if is_classifier and any(key.startswith("SEres.") for key in keys):
        n_blocks -= 1  # in the published code the output layer counts as one more stage
    rows = {published.format(i=i): ours.format(i=i) for published, ours in table.items() for i in range(n_blocks)}
    rows |= {published: ours for published, ours in table.items() if "{i}" not in published}
    return rows | ({f"SEres.{n_blocks}": "output"} if is_classifier else {})


def rename_keys(state: dict[str, Value], layers: dict[str, str], file: str) -> dict[str, Value]:
    """Return a state dict under other keys.

    Parameters
    ----------
    state
        Parameters by key.
    layers
        New name of each layer by its present name.
    file
        Name of the file of the state dict, for the error.

    Returns
    -------
    The same parameters by their new keys, in the same order.

    Raises
    ------
    ValueError
        If a key belongs to none of the layers, or a layer has no parameter.
    """
    renamed, unknown = {}, []
    for key, value in state.items():
        layer, _, kind = key.rpartition(".")
        if layer in layers:
            renamed[f"{layers[layer]}.{kind}"] = value
        else:
            unknown.append(key)
    missing = sorted(set(layers) - {key.rpartition(".")[0] for key in state})
    if unknown or missing:
        raise ValueError(
            f"{file} must have the published networks' keys, but {unknown[:3]} are unknown and {missing[:3]} are "
            f"missing; {len(unknown)} and {len(missing)} in all. Is it a state dict of this network?"
        )
    return renamed
