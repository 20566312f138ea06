"""Recipes, plans and grids of runs."""
