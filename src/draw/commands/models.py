"""draw models: list the bundled models."""

from draw import zoo
from draw.commands import report
from draw.errors import ConfigError

HELP = """\
usage: draw models

List the bundled models, how they were trained and their results."""


def main(arguments: list[str]) -> int:
    """Run the command and return the exit status."""
    match arguments:
        case ["-h" | "--help"]:
            print(HELP)
        case []:
            print("\n\n".join(map(_describe, zoo.names())))
        case _:
            raise ConfigError("draw models takes no arguments")
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
        lines += [f"    {name:<32}{value}" for name, value in report.values(measured)]
    return "\n".join(lines)
