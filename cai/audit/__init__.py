"""What auditors need: items to read, flags, verdicts, samples, sign-offs, one page for all."""
