"""Exact statistics of images, kept up to date, on one machine or many."""
