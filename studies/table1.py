"""Table 1 of the paper: the tasks, their sizes and the metric of each. Runs nothing.

python studies/table1.py
python studies/table1.py --data DIR --format markdown
"""

import sys

from aa_ray.commands import options
from aa_ray.commands.from_options import one_of
from aa_ray.data.glue import Source
from aa_ray.errors import WRONG_USAGE, UsageError
from aa_ray.report import paper_tables
from aa_ray.report.tables import FORMATS


def main() -> int:
    parser = options.Parser(description=__doc__, formatter_class=options.Formatter)
    parser.add_argument("--data", default="embedded", help="embedded (default), hub or a folder")
    parser.add_argument("--format", default="text", help=", ".join(FORMATS))
    chosen = parser.parse_args()
    try:
        style = one_of("format", chosen.format, FORMATS)
        print(paper_tables.table1(Source.named(chosen.data)).render(style), end="")
    except UsageError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    sys.exit(main())
