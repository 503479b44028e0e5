"""How a command ends, beside 0."""

import signal

FAILED = 1  # a check did not hold, or an image could not be read: the rest was done
USER_ERROR = 2  # what the user can mend, in one line
BUG = 70
STOPPED = 128 + signal.SIGINT  # as a shell tells of a command that a signal ended
CLOSED = 128 + 13  # SIGPIPE, which Windows has no name for: nobody reads on
