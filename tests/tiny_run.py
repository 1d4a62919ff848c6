"""A run of all stages that takes seconds."""

#: Its overrides.
TINY = (
    "pruner=random",
    "searcher.epochs=1",
    "searcher.warmup_epochs=0",
    "evaluation.epochs=1",
    "dataset.max_train_images=200",
    "space.init_channels=4",
    "evaluation.init_channels=4",
    "trainer=cpu",
)
