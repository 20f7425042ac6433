"""Ctrl-C as a wish: whoever trains looks at a flag between two steps, and stops there."""

import signal
import threading
from contextlib import contextmanager


@contextmanager
def interrupt_flag():
    """While this lasts, the first Ctrl-C only sets the event it yields; a second one interrupts."""
    event = threading.Event()

    def note(signum, frame):
        event.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield event  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
