# SPDX-License-Identifier: Apache-2.0
"""The entry point: all commands, and one place for errors and exit codes.

0 done, 1 failed, 2 wrong use, 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.
"""

import os
import sys
from collections.abc import Sequence

import typer

from filterlens.cli import console
from filterlens.cli.adapter import adapter
from filterlens.cli.app import app as app_command
from filterlens.cli.attribute import attribute
from filterlens.cli.classify import classify
from filterlens.cli.data import data
from filterlens.cli.degrade import degrade
from filterlens.cli.demo import demo
from filterlens.cli.mask import mask
from filterlens.cli.options import PluginsCommand, takes
from filterlens.cli.paper import paper
from filterlens.cli.report import report
from filterlens.cli.restore import restore
from filterlens.cli.retrain import retrain
from filterlens.cli.schema import schema
from filterlens.cli.train import train
from filterlens.errors import FilterlensError, UsageError, first_line
from filterlens.stopping import told_signals
from filterlens.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    name="filterlens",
    help="Find the few filters that a restoration network uses for each degradation, prove it, and edit them.",
    epilog="Start with: filterlens demo. Errors are one line; --debug anywhere shows the traceback.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
SETTINGS = {  # of commands whose options are the fields of a class
    attribute: "filterlens.attribution.settings:AttributeSettings",
    mask: "filterlens.evaluation.settings:MaskSettings",
    retrain: "filterlens.editing.retrain_settings:RetrainOptions",
}
for command in (demo, attribute, mask, report, restore, degrade, classify, train, retrain, paper, app_command, schema):
    app.command(cls=takes(SETTINGS[command]) if command in SETTINGS else PluginsCommand)(command)
app.add_typer(data, name="data")
app.add_typer(adapter, name="adapter")


@app.callback(invoke_without_command=False)
def _common(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", is_eager=True, callback=lambda v: _version(v)
    ),
) -> None:
    """Find the few filters that a restoration network uses for each degradation, prove that they matter, edit them."""


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"filterlens {__version__}")
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Command-line arguments; default: those of the process. ``--debug`` anywhere shows tracebacks.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words or bool(os.environ.get("FILTERLENS_DEBUG"))
    words = [word for word in words if word != "--debug"]
    try:
        _refuse_empty(words)
        with told_signals(), console.log_shown():
            code = app(words, prog_name="filterlens", standalone_mode=False)
        if code == INTERRUPTED:
            console.error("interrupted")
        return code if isinstance(code, int) else 0
    except typer.TyperException as failure:
        console.error(f"{failure.format_message()} See filterlens {_command(words)}--help.")
        return failure.exit_code
    except (typer.Abort, KeyboardInterrupt):
        console.error("interrupted")
        return INTERRUPTED
    except Exception as failure:
        if debug:
            raise
        console.error(_one_line(failure), failure.command if isinstance(failure, FilterlensError) else "")
        return failure.exit_code if isinstance(failure, FilterlensError) else 1


def _refuse_empty(words: Sequence[str]) -> None:
    """Refuse ``-o ''``: as a path it would be the working folder, which an unset variable in a script never means."""
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if not word or (name.startswith("--") and equals and not value):
            raise UsageError(
                f"The value of {before if not word else name} is empty. Give one, or leave the option out."
            )


def _one_line(failure: Exception) -> str:
    if isinstance(failure, FilterlensError):
        return failure.message
    if isinstance(failure, OSError):
        return f"{failure.filename or ''}: {failure.strerror or failure}. Free the disk or choose another place."
    from filterlens.execution.memory import (
        is_out_of_memory,  # imports torch, which a failed command may not have needed
    )

    if is_out_of_memory(failure):
        return "Out of memory. Use smaller images, a smaller --tile or --memory, or --device cpu."
    said = first_line(failure)
    return f"{type(failure).__name__}: {said}. This is a bug or a broken installation; --debug shows where."


def _command(words: Sequence[str]) -> str:
    names = {info.callback.__name__ for info in app.registered_commands if info.callback} | {"data", "adapter"}
    return next((f"{word} " for word in words if word in names), "")
