"""`python train.py key=value ...` is `fashion train key=value ...`."""

from fashion.commands.main import train as main

if __name__ == "__main__":
    main()
