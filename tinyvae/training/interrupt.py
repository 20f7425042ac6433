"""Ctrl-C as a wish: whoever trains looks at a flag between two steps, and stops there."""

import signal
import threading
from contextlib import contextmanager


@contextmanager
def interrupt_flag():
    """While this lasts, the first Ctrl-C only sets the event it yields; a second one interrupts.

    Only where Ctrl-C would raise KeyboardInterrupt, Python's default. A signal that is ignored, as
    in a background job, stays ignored; a handler of the program that runs Python stays in place.
    """
    event = threading.Event()
    default = signal.default_int_handler

    def note(signum, frame):
        event.set()
        signal.signal(signal.SIGINT, default)

    in_main = threading.current_thread() is threading.main_thread()  # others may not handle signals
    if not in_main or signal.getsignal(signal.SIGINT) is not default:
        yield event
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, default)
