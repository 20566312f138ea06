"""Machines without internet: what a recipe needs, bringing it, and looking what is absent."""
