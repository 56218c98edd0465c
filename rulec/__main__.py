"""`python -m rulec`: the command, for launchers such as torchrun that start modules."""

from rulec.cli.main import main

main()
