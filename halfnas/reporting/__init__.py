"""Figures of genotypes, masks and mixing weights; tables and pages of finished runs."""

from halfnas.drawing.drawing import draw_genotype, draw_mask, draw_strengths, genotype_to_dot

__all__ = ["draw_genotype", "draw_mask", "draw_strengths", "genotype_to_dot"]
