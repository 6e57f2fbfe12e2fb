"""What jobs say: their log, progress, errors that a user can mend, and words for these."""

import logging
import sys
import time

log = logging.getLogger("workflow")
RESUME = "run the same command again: it resumes where it stopped"
MORE_MEMORY = "close other programs, or run fewer jobs at a time (--cores 1)"


class InputError(Exception):
    """Something that the user gave cannot be used. The message names it and the remedy."""


def number_of(count: int, noun: str) -> str:
    """Return a number of things in words, as `1 image` and `2 images`."""
    return f"{count} {noun if count == 1 else f'{noun}s'}"


def some(things: list[str], most: int = 20, separator: str = ", ") -> str:
    """Join the first things, and count the others."""
    more = [f"{len(things) - most} more"] if len(things) > most else []
    return " and ".join(filter(None, [separator.join(things[:most]), *more]))


def out_of_memory(error: Exception) -> str | None:
    """Return what to say of an error that means that memory does not suffice; None of others."""
    torch = sys.modules.get("torch")
    # CUDA's libraries have errors of their own; on a CPU, torch raises what it raises for anything.
    on_gpu = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    known = torch and isinstance(error, torch.OutOfMemoryError)
    if known or any(text in str(error) for text in on_gpu):
        return "out of memory on the GPU (device: cpu needs none)"
    if isinstance(error, MemoryError) or "DefaultCPUAllocator: " in str(error):
        return "out of memory"
    return None


class Progress:
    """Log how far a long loop has come and when it will end, every few seconds.

    Args:
        what: What is being done, for the message.
        total: How many units there are.
        done: How many were done before this process started (a resumed loop).
        every: Seconds between two messages.
    """

    def __init__(self, what: str, total: int, done: int = 0, every: float = 10) -> None:
        self.what, self.total, self.done, self.every = what, total, done, every
        self.first, self.started = done, time.monotonic()
        self.reported = self.started

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count `units` more as done; `note` is added to the message, if one is due."""
        self.done += units
        now = time.monotonic()
        if now - self.reported < self.every:
            return
        self.reported = now
        left = (now - self.started) / (self.done - self.first) * (self.total - self.done)
        clock = f"{left / 60:.1f} min" if left >= 90 else f"{left:.0f} s"
        share = f"{self.done} of {self.total} ({self.done / self.total:.0%})".replace("%", " %")
        log.info("%s", f"{self.what}: {share}, {clock} left{note and f', {note}'}")
