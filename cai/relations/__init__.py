"""How the principles of a constitution relate, by the verdicts that a run has stored."""
