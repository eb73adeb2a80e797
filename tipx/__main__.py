"""`python -m tipx`, which is also what `accelerate launch -m tipx` starts on every rank."""

import sys

from tipx import signals as stopping


def main() -> None:
    """The command `tipx`. A signal is answered from the first moment on: what is imported here takes seconds."""
    stopping.set_at_once(sys.argv[1:])
    from tipx.cli import main as command

    try:
        command()
    finally:
        stopping.set_over()


if __name__ == "__main__":
    main()
