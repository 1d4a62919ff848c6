"""Pruners and ranking functions side by side: `python -m halfnas.pruning.compare`, configured by conf/compare.yaml."""
