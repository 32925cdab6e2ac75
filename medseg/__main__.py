"""`python -m medseg`: the command line, whatever `medseg` is called here and found on PATH or not."""

from medseg.cli.main import main

if __name__ == "__main__":
    main()
