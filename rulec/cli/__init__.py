"""The command `rulec`: one file per command, loaded when it is called; the only package that prints."""
