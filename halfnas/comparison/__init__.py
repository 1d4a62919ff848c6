"""Pruners and ranking functions side by side: `python -m halfnas.comparison`, configured by conf/compare.yaml."""
