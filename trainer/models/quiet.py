"""transformers and huggingface_hub without progress bars, chatter and telemetry."""

import os
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def quiet_hub() -> Generator[None]:
    """While inside, huggingface_hub prints nothing but errors; afterwards it is as it was."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, logging

    verbosity, had_bars = logging.get_verbosity(), not are_progress_bars_disabled()
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            enable_progress_bars()


@contextmanager
def quiet_transformers() -> Generator[None]:
    """The same for transformers, and for huggingface_hub under it."""
    with quiet_hub():
        from transformers.utils import logging

        verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if had_bars:
                logging.enable_progress_bar()
