"""Documents that explain principles, to fine-tune on before any demonstration.

After Li et al. 2026 (Model Spec Midtraining, arXiv 2605.02087), who train on synthetic documents
about a model's specification before they fine-tune on demonstrations, and find that explaining the
values behind rules improves how that generalizes. Departures: four fixed kinds of documents, drawn
by the seed, in place of kinds that a model thinks up; and no revision of what was written.
"""
