"""``python -m fasthoag`` is the command ``fasthoag``."""

from fasthoag.cli import main

if __name__ == "__main__":
    main()
