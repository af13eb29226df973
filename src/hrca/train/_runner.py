"""Run a phase through scvi-tools' TrainRunner: without the messages of others, and with Ctrl-C as Python has it."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from scvi.train import TrainRunner

# Lightning reports hardware, advertises packages, and reports what HRCA asked for, at the level INFO of these loggers.
LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric")
# Modules whose deprecation warnings concern each other, and not the user of HRCA.
LIBRARIES = r"(lightning|pyro|scvi|torch|torchmetrics)\b"


class PhaseRunner(TrainRunner):
    """scvi-tools' TrainRunner, which raises an error without printing it first, and never stops in silence."""

    def _run_training_core(self) -> None:
        self.trainer.fit(self.training_plan, self.data_splitter, ckpt_path=self.ckpt_path)
        # Lightning before 2.6 returns from a training that was interrupted
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        self._update_history()
        for name, cells in (("train", "train_idx"), ("test", "test_idx"), ("validation", "val_idx")):
            setattr(self.model, f"{name}_indices", getattr(self.data_splitter, cells, None))
        self.model.to_device(self.device)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide the messages of Lightning below warnings, and the deprecation warnings of libraries to each other."""
    loggers = [logging.getLogger(name) for name in LIGHTNING_LOGGERS]
    levels = [logger.level for logger in loggers]
    # Lightning's own level is INFO; a user who has chosen another one keeps it
    talkative = [logger for logger in loggers if logger.level in (logging.NOTSET, logging.INFO)]
    try:
        for logger in talkative:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
                warnings.filterwarnings("ignore", category=category, module=LIBRARIES)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C reach the user as KeyboardInterrupt, and keep the handler of the signal.

    Lightning 2.6 ignores the signal for the rest of the process, and exits (``_call_and_handle_interrupt``). In a
    thread, where a handler cannot be set, it raises a ValueError.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (SystemExit, ValueError) as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)
