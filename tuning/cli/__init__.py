"""The command line: one thin file a command, and `main`, which loads the one that is called."""
