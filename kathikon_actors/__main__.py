"""`python -m kathikon_actors`: the command line."""

from kathikon_actors.cli import main

if __name__ == "__main__":
    main()
