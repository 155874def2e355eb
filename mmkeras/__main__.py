"""`python -m mmkeras` and the command `mmkeras`."""

import sys

from mmkeras.cli.options import kept_offers, make_parser, read_early


def main(arguments=None):
    """Run a command, see `cli.commands.main`. Help, the version and errors of usage end here, before TensorFlow is loaded."""
    if "mmkeras.pipeline" not in sys.modules and not read_early(arguments).use:
        parser = make_parser(kept_offers())
        if parser.parse_args(arguments).command is None:
            parser.print_help()
            return 0
    from mmkeras.cli import commands

    return commands.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
