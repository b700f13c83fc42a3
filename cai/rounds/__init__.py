"""Rounds of build, train and measure: online DPO with AI feedback, and rounds of SFT or KTO.

After Guo et al. 2024 (Direct language model alignment from online AI feedback, arXiv 2402.04792):
the policy's own responses are labelled by a judge, and it learns from them, again and again. Here a
round is an ordinary run of `cai build-data`, one of `cai train` and one of `cai eval`, each with a
folder of its own.
"""
