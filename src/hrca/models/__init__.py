"""Share models: cards, and hubs to push models to and pull them from."""

from hrca.model._card import ModelCard

from ._cards import make_card, read_card
from ._hub import list_models, pull, push

__all__ = ["ModelCard", "list_models", "make_card", "pull", "push", "read_card"]
