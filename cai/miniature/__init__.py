"""The miniature: a small real language model, and the synthetic world whose truth is known.

`weights/` is the model, `world` the library of the world: requests, responses and their ground
truth. `python -m cai.miniature.prompts` writes prompts of the world, `python -m
cai.miniature.measure` judges a run on them, `known` tells which words the model knows. None of it
imports torch. How the model was trained and evaluated is outside the package, in `miniature/` of
the repository. See docs/miniature.md.
"""
