"""What an edit of a constitution changes, before training: tests of principles, diffs, plans."""
