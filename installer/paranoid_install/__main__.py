"""`paranoid-install` and `python -m paranoid_install`."""

import sys


def main() -> int:
    """Run the command line; answer for the version alone without loading the rest."""
    if sys.argv[1:] == ["--version"]:
        from paranoid_install import __version__  # noqa: PLC0415

        print(f"paranoid-install {__version__}")
        return 0
    from paranoid_install import cli  # noqa: PLC0415

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
