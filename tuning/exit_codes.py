"""What `tune` ends with, besides 0 for done."""

USER_ERROR = 2  # the user's mistake, told in one line
NO_RESULT = 3  # the sweep ended without one finished trial
INTERRUPTED = 130  # to be gone on with by `tune resume`
