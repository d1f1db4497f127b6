"""Figures of numbers and images; no torch, no files of the other layers."""
