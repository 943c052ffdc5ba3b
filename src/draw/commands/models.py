"""draw models: the trained models that come with the package."""

from draw import zoo
from draw.commands import report
from draw.errors import ConfigError

USAGE = """\
draw models    the trained models that come with the package: their training and their bounds"""


def main(arguments: list[str]) -> int:
    """Run the command; the exit status."""
    match arguments:
        case ["-h" | "--help"]:
            print(USAGE)
        case []:
            print("\n\n".join(map(_describe, zoo.names())))
        case _:
            raise ConfigError("usage: draw models")
    return 0


def _describe(name: str) -> str:
    results = zoo.results(name)
    lines = [
        f"{name}: {results['parameters']:,} parameters, stored as {results['stored_as']}",
        f"  {results['command']}",
        f"  {results['hardware']}, {results['date']}",
    ]
    for measured in results["measured"]:
        lines.append(f"  {report.subject(measured)}")
        lines += [f"    {name:<30}{value}" for name, value in report.values(measured)]
    return "\n".join(lines)
