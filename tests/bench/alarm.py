"""A clock that epoll waits for, exact to microseconds: Linux's timerfd, which Python itself has from 3.13 on.

epoll's own timeout is rounded up to a millisecond, which would count as latency; select's is not, but it looks at every
connection each time, which took the load generator as long as half of a request.
"""

import ctypes
import os

_CLOCK_MONOTONIC = 1
_SECOND = 1_000_000_000
_libc = ctypes.CDLL(None, use_errno=True)


class _Interval(ctypes.Structure):
    """``struct itimerspec``: repeated never, once after so many seconds and nanoseconds."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "after_s", "after_ns")]


class Alarm:
    """Readable once the time that was set last has come."""

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._interval = _Interval()
        self._pointer = ctypes.byref(self._interval)

    def fileno(self) -> int:
        return self.fd

    def ring_in(self, nanoseconds: int) -> None:
        """From now on, in place of what was set before; at once where that is nothing."""
        after = max(nanoseconds, 1)  # 0 would switch it off
        self._interval.after_s, self._interval.after_ns = divmod(after, _SECOND)
        if _libc.timerfd_settime(self.fd, 0, self._pointer, None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        os.close(self.fd)
