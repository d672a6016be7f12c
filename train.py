"""`python train.py key=value ...` is `fashion train key=value ...`."""

from fashion.commands.train import main

if __name__ == "__main__":
    main()
