"""Hypotheses about what is wrong with a gradient, and the case that they are held against."""
