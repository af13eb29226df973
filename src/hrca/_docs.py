"""Parameters that several public methods share: each is described once, and rendered in full in each docstring."""

from docrep import DocstringProcessor

_labels_key = """\
labels_key
    Column of ``adata.obs`` with the cell types, as strings. None: no labels, for pre-training only."""

_unlabeled_category = """\
unlabeled_category
    The label of cells without a known type. They take part in pre-training, and are never a class of the classifier."""

_layer_reference = """\
layer
    Layer with the raw counts, or "X". None: ``adata.X``, or the only layer with raw counts if X has none."""

_labels_hierarchy = """\
labels_hierarchy
    The tree of the labels: a mapping from child to parent; a separator between the levels in a label's name ("/" in
    "T/CD4"); columns of obs from coarse to fine, the last one `labels_key`; or the path of a Cell Ontology file in OBO
    format (a :class:`~pathlib.Path`; needs the extra ``ontology``), whose ids are the labels. None: no tree."""

_GENE_MAP_FORMS = """a dict, Series or two-column DataFrame; a DataFrame with the columns ``gene_id`` and ``gene_name``
    of a GTF file; or the path of a csv, tsv or GTF file."""

_gene_map_reference = f"""\
gene_map
    Table of two names of each gene, such as Ensembl ids and symbols: {_GENE_MAP_FORMS}
    The model's genes have the names that :func:`hrca.pp.map_genes` returns. The table also finds the genes of later
    queries. The object's gene names do not change. None: the genes keep their names."""

_gene_map = f"""\
gene_map
    Table of two names of each gene, such as Ensembl ids and symbols: {_GENE_MAP_FORMS}
    Genes of the model that are not found by their names are searched by this table, in either direction. None: the
    table of the setup, if there was one."""

_classifier_widths = """\
classifier_widths
    Width of each stage of the classifier."""

_count_likelihood = """\
count_likelihood
    If True, the likelihood of the raw counts under each label's profile is pooled with the classifier. False: the
    networks of the specification alone."""

_QUERY_FORMS = """
    The query: an AnnData, a MuData, a SpatialData with one table, an AnnCollection, or the path of an h5ad file or a
    zarr folder, with raw counts of any genes in any order. The annotation in the signature leaves out
    SpatialData, whose package is optional."""

_query = f"query{_QUERY_FORMS}"

_labelled_query = f"adata{_QUERY_FORMS}"

_query_or_reference = f"adata{_QUERY_FORMS} None: the reference."

_indices = """\
indices
    Positions of the cells, in any order, or a boolean mask of shape (n_obs,). None: all cells."""

_gene_list = """\
gene_list
    The genes to return, in this order. None: all genes of the model, a dense table of n_obs x n_genes."""

_layer = """\
layer
    Place of the query's raw counts: a layer, "X" or "raw". None: the layer that the reference had, else X. If this
    place has no raw counts, the only other place that has them, see :func:`hrca.pp.check`."""

_platform_correction = """\
platform_correction
    If True, estimate for each gene the ratio of the query's counts to the reference's (the platform factors), without
    labels, and correct the count likelihood and the novelty for it. It needs at least 3 labels that occur in the query.
    The label of a cell then depends on the other cells of the query."""

_open_set = """\
open_set
    If True, estimate for each cell the probability that it is of none of the labels. The probabilities of the labels
    are multiplied by 1 minus this probability. It needs a query of at least 160 cells and 20,000 counts, and depends on
    all of them. False: each cell is taken to be of one of the labels."""

_prediction_batch_size = """\
batch_size
    Number of cells in a batch. On a CPU, each thread computes a batch of its own; at most eight threads do so at the
    same time. None: ``scvi.settings.batch_size``."""

_batch_size = """\
batch_size
    Number of cells in a batch. None: ``scvi.settings.batch_size``, by default 128."""

_lr = """\
lr
    Learning rate of Adam."""

_lr_plateau = """\
lr_factor
    Factor by which the learning rate is multiplied when the loss stops falling.
lr_patience
    Number of epochs without a lower loss before the learning rate falls.
lr_hold_epochs
    Number of epochs at the start with a constant learning rate."""

_lr_schedule = """\
lr_schedule
    "plateau": the schedule of the specification. It lowers the learning rate when the loss stops falling, and keeps the
    weights of the epoch with the lowest loss. "one_cycle": the learning rate rises to `lr` and falls, once over all
    epochs, and Adam's first beta falls and rises :cite:p:`smith2018disciplined`. It keeps the last weights."""

_corruption = """\
corruption
    The way in which training cells become sparser. "thin": each cell keeps a random part of its counts, so that its
    depth is log-uniform between 10 counts and its own. "mask": each entry is hidden with probability 0.7, as in the
    published code. "none": cells stay as they are."""

_train_size = """\
train_size
    Fraction of the cells of each label that train, in (0, 1]. The others are held out. They choose the epoch of
    "plateau", and fit the pooling weights and the calibration. 1: no cells are held out. The training loss then chooses
    the epoch. Without fold models, the pooling weights of networks and counts stay at their prior, and probabilities
    are not calibrated. All phases share one split. None: 0.9, or what a larger `validation_size` leaves.
validation_size
    Fraction of the cells of each label that are held out. None: all that do not train. Cells of neither part are in
    :attr:`~hrca.HRCA.test_indices`: they train no network and choose no epoch, but label profiles and novelty use them
    if they have a label."""

_n_samples_per_label = """\
n_samples_per_label
    Number of cells of each label that an epoch of fine-tuning draws anew, so that frequent labels do not dominate a
    large reference; all cells of a label that has fewer. None: all cells."""

_max_cells_per_label = """\
max_cells_per_label
    Maximum number of cells of a label that fine-tuning uses, the same in all epochs; None: no maximum. Label profiles
    and novelty use all cells."""

_device = """\
accelerator
    Lightning's accelerator: "cpu", "gpu" or "auto".
devices
    Lightning's devices."""

_checkpoints = """\
checkpoint_dir
    Folder for checkpoints, from which a killed training continues. None: none are written.
checkpoint_interval
    Number of epochs between two checkpoints.
resume
    If True, continue from the newest undamaged checkpoint in `checkpoint_dir`, or start anew if there is none. A phase
    that has ended is not trained further.
tensorboard
    If True, write losses, learning rate and accuracies for TensorBoard, to ``tensorboard`` in `checkpoint_dir`, or in
    scvi-tools' logging folder. Needs the extra ``tensorboard``."""

_num_workers = """\
num_workers
    Number of processes that prepare batches. None: ``scvi.settings.dl_num_workers``, by default 0."""

_PLAN_KWARGS = """\
plan_kwargs
    Arguments of the training plan, as in scvi-tools: `lr`, `lr_schedule`, `lr_factor`, `lr_patience`, `lr_hold_epochs`
    and `corruption`"""

_plan_kwargs = f"{_PLAN_KWARGS}. They replace the arguments of these names."

_whole_plan_kwargs = f"""{_PLAN_KWARGS}; for fine-tuning also `freeze_encoder_epochs` and `encoder_lr`. They replace
    the arguments of these names."""

_loader_kwargs = """\
datasplitter_kwargs
    Arguments of the data loader: `num_workers`, `pin_memory`, `persistent_workers`, `prefetch_factor`,
    `multiprocessing_context`, `drop_last` and `drop_dataset_tail`."""

_callbacks = """\
callbacks
    Further Lightning callbacks."""

_trainer_kwargs = """\
**trainer_kwargs
    Arguments of the Trainer of scvi-tools and Lightning, e.g. ``enable_progress_bar=False``. `early_stopping` keeps the
    weights of the best epoch. `check_val_every_n_epoch` is 1 by default. `simple_progress_bar` set to False shows
    Lightning's bar of the batches."""

_schedule = f"{_lr_schedule}\n{_corruption}\n{_train_size}"

_plateau_schedule = f"{_batch_size}\n{_lr}\n{_lr_plateau}\n{_schedule}"

_device_and_checkpoints = f"{_device}\n{_checkpoints}\n{_num_workers}"

_pretraining_run = f"{_device_and_checkpoints}\n{_plan_kwargs}\n{_loader_kwargs}\n{_callbacks}\n{_trainer_kwargs}"

_training_run = f"{_device_and_checkpoints}\n{_whole_plan_kwargs}\n{_loader_kwargs}"

_finetuning_run = f"{_training_run}\n{_callbacks}\n{_trainer_kwargs}"

_raises_setup = """\
ValueError
    If there is no cell or no gene; no place, or more than one, holds raw counts; rows and columns are exchanged; a gene
    name is duplicated; the names of the genes are numbers (0, 1, 2, ...) or not of genes; the genes are of two species;
    or `gene_map` has none of them.
ValueError
    If the reference is a view, is read lazily, or has its counts in a sparse dask array.
ValueError
    If the label column is missing or occurs twice; it has missing values, values that are not strings, unused
    categories, words such as "nan" or "unassigned", names of cells, or fewer than two labels; `unlabeled_category` is
    empty; or `labels_hierarchy` is not a tree of these labels.
FileNotFoundError
    If `labels_hierarchy` or `gene_map` is the path of a file that does not exist.
TypeError
    If the reference, `gene_map` or `unlabeled_category` has another type.
ImportError
    If `labels_hierarchy` is a path and the extra ``ontology`` is not installed."""

_raises_setup_method = f"""\
{_raises_setup}
ValueError
    If `unlabeled_category` is given without `labels_key`.
TypeError
    If an argument is unknown, such as a `batch_key`: the networks have no covariates."""

_raises_query = """\
ValueError
    If the query lacks raw counts or the model's genes (:func:`hrca.pp.check` lists the conditions), a MuData lacks the
    modality, a SpatialData does not have exactly one table, or a file does not hold an AnnData.
TypeError
    If the query is of another type.
FileNotFoundError
    If there is no such file.
OSError
    If the file is damaged."""

_RAISES_START = """\
ValueError
    If the model was loaded without its reference, fewer than 2 cells train, or the loss was NaN in every epoch.
ValueError
    If `corruption` or `lr_schedule` is unknown; `lr` is not above 0; `batch_size` is below 2; `num_workers` is below 0;
    `max_epochs` or `checkpoint_interval` is below 1"""

_RAISES_END = """\
ValueError
    If `train_size` is not in (0, 1], `validation_size` is not from 0 to the rest, or they differ from those of an
    earlier phase.
ValueError
    If `resume` is True without `checkpoint_dir`; `checkpoint_dir` has checkpoints of the same training or a later one,
    and `resume` is False; or the checkpoints belong to another model, split or schedule.
ImportError
    If `tensorboard` is True and TensorBoard is not installed.
OSError
    If a checkpoint cannot be written.
TypeError
    If a number of epochs or `batch_size` is neither a whole number nor None, or an argument is unknown.
KeyboardInterrupt
    If training is interrupted. The model then has the weights of a whole epoch, and is not fine-tuned."""

_raises_pretrain = f"""\
{_RAISES_START}; or `lr_factor`, `lr_patience` or `lr_hold_epochs` is
    given with another schedule than "plateau".
ValueError
    If `checkpoint_interval` is given without `checkpoint_dir`.
{_RAISES_END}"""

_raises_finetune = f"""\
{_RAISES_START}; `encoder_lr` is not above 0; `n_samples_per_label` is
    below 1; or `lr_factor`, `lr_patience` or `lr_hold_epochs` is given with another schedule than "plateau".
ValueError
    If `checkpoint_interval` is given with neither `checkpoint_dir` nor `test_adata`; or `n_samples_per_label` or
    `freeze_encoder_epochs` is given with a strategy of several processes that does not support it.
{_RAISES_END}"""

_raises_train = f"""\
{_RAISES_START}; `pretrain_epochs` is below 0;
    `n_samples_per_label` or `max_cells_per_label` is below 1; or `plan_kwargs` has an `encoder_lr` that is not above 0,
    or `lr_factor`, `lr_patience` or `lr_hold_epochs` with another schedule than "plateau".
ValueError
    If `checkpoint_interval` is given without `checkpoint_dir`; or `n_samples_per_label` or `freeze_encoder_epochs` is
    given with a strategy of several processes that does not support it.
{_RAISES_END}"""

_raises_folds = """\
ValueError
    If the reference has no labels, or `n_folds` is not a whole number from 2 to the number of labelled cells. With
    `n_folds`: if the model was trained before, or the checkpoints belong to a training with other folds or without."""

_plot_color = """\
color
    Column of obs, or a list of columns with a panel each: labels, groups or numbers. "confidence", "novelty" and the
    like stand for the columns of the prediction. None: the predicted labels. Cells whose probability to be of none of
    the labels is at least 0.5 are then gray and called "Unknown". To see their most probable label, copy the labels to
    another column and name that one. Labels have the colors in ``uns["<column>_colors"]``, where scanpy keeps them, if
    they are there."""

_plot_key = """\
key
    The `key_added` that was given to :meth:`hrca.HRCA.predict`."""

_plot_size = """\
size
    Area of a point in square points, as `s` of matplotlib's ``scatter``. None: by the number of cells."""

_plot_ax = """\
ax
    Axes to draw on. If None, axes of a new pyplot figure. A legend is beside the axes; a figure with
    ``layout="constrained"`` has room for it."""

_plot_show = """\
show
    Whether to call ``plt.show()``."""

_plot_save = """\
save
    Path of a picture to write, such as ``"section.png"`` or ``"section.pdf"``."""

_repo_id = """\
repo_id
    The name of the model on the hub, "owner/name"."""

_revision = """\
revision
    Branch, tag or commit on Hugging Face; None: the main branch."""

_hub_token = """\
token
    Token of Hugging Face, for private models; None: that of ``hf auth login``."""

_raises_hub = """\
ImportError
    If Hugging Face is used and the extra ``hub`` is not installed."""

_raises_shared_model = f"""\
FileNotFoundError
    If the local hub has no such model.
{_raises_hub}
OSError
    If Hugging Face has no such model, or cannot be reached."""

_example_model = """\
Examples
--------
>>> import hrca
>>> reference = hrca.datasets.pbmc68k()
>>> hrca.HRCA.setup_anndata(reference, labels_key="bulk_labels")
>>> model = hrca.HRCA(reference, size="laptop")"""

_example_trained = f"""\
{_example_model}
>>> model.train(max_epochs=1, enable_progress_bar=False)"""

docs = DocstringProcessor(
    labels_key=_labels_key,
    unlabeled_category=_unlabeled_category,
    layer_reference=_layer_reference,
    labels_hierarchy=_labels_hierarchy,
    gene_map_reference=_gene_map_reference,
    gene_map=_gene_map,
    classifier_widths=_classifier_widths,
    count_likelihood=_count_likelihood,
    query=_query,
    labelled_query=_labelled_query,
    query_or_reference=_query_or_reference,
    indices=_indices,
    gene_list=_gene_list,
    layer=_layer,
    platform_correction=_platform_correction,
    open_set=_open_set,
    prediction_batch_size=_prediction_batch_size,
    batch_size=_batch_size,
    lr=_lr,
    n_samples_per_label=_n_samples_per_label,
    max_cells_per_label=_max_cells_per_label,
    device=_device,
    callbacks=_callbacks,
    trainer_kwargs=_trainer_kwargs,
    schedule=_schedule,
    plateau_schedule=_plateau_schedule,
    pretraining_run=_pretraining_run,
    finetuning_run=_finetuning_run,
    training_run=_training_run,
    raises_setup=_raises_setup,
    raises_setup_method=_raises_setup_method,
    raises_query=_raises_query,
    raises_pretrain=_raises_pretrain,
    raises_finetune=_raises_finetune,
    raises_train=_raises_train,
    raises_folds=_raises_folds,
    plot_color=_plot_color,
    plot_key=_plot_key,
    plot_size=_plot_size,
    plot_ax=_plot_ax,
    plot_show=_plot_show,
    plot_save=_plot_save,
    repo_id=_repo_id,
    revision=_revision,
    hub_token=_hub_token,
    raises_hub=_raises_hub,
    raises_shared_model=_raises_shared_model,
    example_model=_example_model,
    example_trained=_example_trained,
)
