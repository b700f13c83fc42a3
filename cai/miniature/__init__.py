"""The miniature: a small real language model, and the synthetic world whose truth is known.

The world is a library without torch: `requests` and `responses` draw what users and assistants
say, `prompts` rows for a build; `judge` and `quality` say what a text is worth, `pairs` which of
two is better, `critic` and `responses.revise` what a perfect critic and reviser would say. The
model is in `weights/`; `pretrain` makes it, `evaluate` measures it. See docs/miniature.md.
"""
