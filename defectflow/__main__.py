"""`python -m defectflow` is the command `defectflow`."""

from defectflow.cli.main import main

main()
