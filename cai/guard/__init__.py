"""Inference-time alignment: a model's answers are revised, chosen or filtered by a constitution."""
