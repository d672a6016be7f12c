"""`fashion WORD ...`, which is `python -m fashion WORD ...`."""

from fashion.commands.main import main

if __name__ == "__main__":
    main()
