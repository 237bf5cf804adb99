"""`python -m stanchion` is the command `stanchion`: how processes start each other whatever PATH says."""

from stanchion.cli import main

if __name__ == "__main__":
    main()
