"""Stop what takes too long, cleanly."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class OutOfTime(BaseException):
    """Raised inside `time_limit`; not an `Exception`, so that nothing on the way takes it for one of its own."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block after this many seconds.

    Needs alarms, which only the main thread of a Unix process has; elsewhere the block runs to its end. The alarm goes off again and
    again, since an exception that is raised while Python collects garbage is lost.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    handler, started = signal.getsignal(signal.SIGALRM), time.monotonic()
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)  # somebody else's alarm, which goes on afterwards
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3))
