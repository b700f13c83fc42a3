"""Edits of principles out of auditors' rejections: what was wrong, drafts of tests and of wordings.

A rejection says that a text may not be trained on, or that a label is wrong. `faults` reads in it
which principle went wrong and how; `draft_tests` turns that into tests, by rule; `rewording` asks a
critic for other wordings; `files` and `drafts` write both as a copy of the constitution; `proof`
runs them on audited texts that the critic was not shown. Nothing is applied.
"""
