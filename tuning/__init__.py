"""The sweep and the user: sweep files, search, resume, the command line."""
