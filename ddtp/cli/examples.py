"""The examples at the end of every command's help."""


def examples(*lines: str) -> str:
    """Return an epilog that keeps its lines.

    Args:
        lines: Command lines, each with an explanation behind it where it needs one.
    """
    # \b tells the help formatter to leave the paragraph as it is
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
