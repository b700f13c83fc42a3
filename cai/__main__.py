"""`python -m cai` is the command `cai`."""

from cai.cli.main import main

main()
