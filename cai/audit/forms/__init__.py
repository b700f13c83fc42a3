"""Forms in which a run leaves for other tools: tables, Argilla, Label Studio."""
