"""The evaluation of the weights: `python -m bundled.evaluation.evaluate DIR`.

`sections`, `verdicts`, `rounds` and `own_tests` ask a checkpoint (`probe`) in one setting (`lab`)
and note what comes back (`findings`); `card` makes the tables of the model card.
"""
