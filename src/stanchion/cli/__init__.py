"""The command `stanchion`: a client of the HTTP API; only `up serve migrate doctor config demo` touch the machine.

Data goes to stdout, words for people to stderr. Nothing is imported here but what `--version` needs: nouns load when
they are called (`cli.app`), and none of them imports a domain.
"""

import sys


def main() -> None:
    """Entry point of the console script; exits with the codes of `cli.problems`."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from stanchion import __version__  # noqa: PLC0415 - asked alone, the version costs no import of Click

        sys.stdout.write(f"stanchion {__version__}\n")
        return
    from stanchion.cli.app import run  # noqa: PLC0415 - after the line above, for the same reason

    sys.exit(run(sys.argv[1:]))
