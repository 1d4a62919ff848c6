"""What the processes of a sweep's jobs have imported before they begin: see `halfnas.jobs.child`.

Nothing of it touches a GPU: a process that has used CUDA cannot be forked.
"""

import signal

import halfnas.callbacks.loggers
import halfnas.jobs.job  # noqa: F401 - imported to be there

# The server of these processes ends with the sweep, not with the signals that end the jobs; it would take the news of
# how they ended with it. A job takes those of its sweep in place of these.
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
