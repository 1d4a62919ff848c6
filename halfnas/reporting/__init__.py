"""Reads finished runs: tables, figures, one page, and what they say of the paper's claims."""
