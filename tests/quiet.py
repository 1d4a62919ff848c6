"""A trainer that shows and writes nothing but what a test asks for."""

from lightning.pytorch import Trainer

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


def quiet_trainer(**settings):
    """Trainer(...) with QUIET where nothing else is said."""
    return Trainer(**(QUIET | settings))
