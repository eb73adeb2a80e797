"""`python -m tipx`, which is also what `accelerate launch -m tipx` starts on every rank."""

from tipx.cli import main

if __name__ == "__main__":
    main()
