"""Words for messages."""


def some(things: list[str], most: int = 20, separator: str = ", ") -> str:
    """Join the first things, and count the others."""
    more = [f"{len(things) - most} more"] if len(things) > most else []
    return " and ".join(filter(None, [separator.join(things[:most]), *more]))
