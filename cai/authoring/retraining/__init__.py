"""What a principle does to a model: training with and without its rows, and measuring both.

Each principle is left out of the data in turn, as `cai.authoring.ablation` does it, and a model is
trained on what is left. A control leaves out as many rows drawn at random, since less data changes
a model, too.
"""
