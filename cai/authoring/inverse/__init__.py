"""Principles out of preferences: which rules explain the labels of pairs that people chose from?

After Findeis et al. 2024 (Inverse Constitutional AI: Compressing Preferences into Principles, arXiv
2406.06560): a model proposes rules that explain single pairs, near duplicates are merged, and a
judge says how each candidate would decide other pairs. Departures: the candidates vote by this
project's own soft judging, and three parts of the prompts are kept apart, so that what chooses
among candidates is neither what they were proposed from nor what they are reported on.
"""
