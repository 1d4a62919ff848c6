"""What the training of every stage is made of, in plain torch."""

from halfnas.training.draws import generator

__all__ = ["generator"]
