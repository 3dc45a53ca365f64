"""Table 1 of the paper: the tasks, their sizes and the metric of each. Runs nothing.

    python studies/table1.py
    python studies/table1.py --data DIR --format markdown

Without --data it describes the generated sentences of the preset demo.
"""

import sys

from aa_ray.commands import options, printing, study
from aa_ray.commands.parser import Formatter, Parser, add_debug, add_version, examples
from aa_ray.data.glue import Source
from aa_ray.report import paper_tables


def main() -> int:
    parser = Parser(description=examples(__doc__ or ""), formatter_class=Formatter)
    add_version(parser)
    parser.add_argument("--data", default="embedded", help="embedded (default), hub or a folder")
    options.add_format(parser)
    add_debug(parser)

    def work() -> int:
        parsed = parser.parse_args()
        printing.print_table(paper_tables.table1(Source.named(parsed.data)), parsed)
        return 0

    return study.guarded(parser.prog, sys.argv[1:], work)


if __name__ == "__main__":
    sys.exit(main())
