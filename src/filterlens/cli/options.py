# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, and options made from the fields of settings classes."""

import inspect
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union, get_args, get_origin

import typer
from typer.core import TyperCommand

from filterlens.plugins import DEGRADATIONS, METHODS, declared

if TYPE_CHECKING:
    from filterlens.settings import Settings

PairName = Annotated[
    str | None,
    typer.Option(
        "--pair", help="Name of a shipped pair: srresnet-x2, srcnn-style-x2 or srresnet-x2-k3.", show_default=False
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline", help="Checkpoint before fine-tuning (.safetensors, or BasicSR .pth).", show_default=False
    ),
]
Target = Annotated[
    Path | None, typer.Option("--target", help="Checkpoint after fine-tuning, same architecture.", show_default=False)
]
_DEGRADATION = typer.Option(
    "--degradation",
    help="Degradation to find filters for; repeat it. Written blur:2, noise:0.1, poisson:200, jpeg:30, "
    "blur:2+noise:0.1, blur:4,sigma_y=1,angle=30,kernel=21, or motion:15,angle=30. Strengths: blur sigma and "
    "length of the motion in HR pixels, noise sigma as a fraction of the range, photons at white, JPEG quality.",
    show_default=False,
)
Degradations = Annotated[list[str], _DEGRADATION]
MaybeDegradations = Annotated[list[str] | None, _DEGRADATION]
Pairs = Annotated[
    list[str] | None,
    typer.Option(
        "--pairs",
        help="Degradation that is known by images with it and the same scenes without: NAME=LQ_FOLDER,GT_FOLDER; "
        "repeat it. Files are matched by name; where LQ files are called otherwise, LQ_FOLDER/{}x4 says how. "
        "NAME=LQ_FOLDER where there are no clean images.",
        show_default=False,
    ),
]
Seed = Annotated[
    int, typer.Option("--seed", help="Seed of noise and random choices; the same seed gives the same result.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionOption = Annotated[
    str, typer.Option("--precision", help="auto (bf16 where the hardware is good at it), fp32 or bf16.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
RunBaseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        help="New path of the run's baseline, if it was moved; its hash is checked.",
        show_default=False,
    ),
]
RunTarget = Annotated[
    Path | None,
    typer.Option(
        "--target", help="New path of the run's target, if it was moved; its hash is checked.", show_default=False
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
MaybeImages = Annotated[
    Path | None,
    typer.Option(
        "--images",
        help="Folder of high-resolution images (or one image); with --pairs alone it is not needed.",
        show_default=False,
    ),
]
ImagesOption = Annotated[
    Path, typer.Option("--images", help="Folder of high-resolution images (or one image).", show_default=False)
]
Scale = Annotated[int, typer.Option("--scale", help="Down-sampling factor: 1, 2, 3 or 4.")]
Resampler = Annotated[
    str, typer.Option("--resampler", help="bicubic (antialiased, as MATLAB's imresize) or bilinear (as the reference).")
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first image that cannot be used.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Include the images of all subfolders.")]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Keep existing outputs, whatever made them, and make only the missing ones."),
]
Architecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="Architecture of your checkpoints, where filterlens cannot recognise it: your own code as "
        "package.module:factory or package.module:factory,option=value (it is imported and called), or a name that "
        "filterlens knows.",
        show_default=False,
    ),
]
RunArchitecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        help="For a run with your own code: its package.module:factory again. Code runs only if you name it.",
        show_default=False,
    ),
]
Call = Annotated[
    str | None,
    typer.Option(
        "--call",
        help="How the network of --architecture is called, if it takes more than images or returns more than one: a "
        "function (network, images) -> image of your code, package.module:function or …:function,option=value.",
        show_default=False,
    ),
]
Linear = Annotated[
    str,
    typer.Option(
        "--linear",
        help="Filters of linear and attention layers: rows (weight[out, :]), weights (weight[out, in]) or none.",
    ),
]
Validation = Annotated[
    Path | None,
    typer.Option(
        "--validation", help="Folder of HR images for the PSNR.", show_default="every 20th training image, held out"
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start over; the finished result replaces the old one in --output.")
]
BASE = typer.Option(
    "--base",
    help="Network that the adapters edit: a checkpoint, or the name of a shipped pair (for its baseline; "
    "NAME/target for its target).",
    show_default=False,
)


_PLUGINS = {"--method": METHODS, "--degradation": DEGRADATIONS}


class PluginsCommand(TyperCommand):
    """A command whose help ends with the methods and degradations of other packages that its options take."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the names and packages; nothing is imported for it."""
        super().format_epilog(ctx, formatter)
        spelled = {spelling for option in self.get_params(ctx) for spelling in option.opts}
        found = [
            f"{option} {plugin.name} ({plugin})"
            for option, group in _PLUGINS.items()
            if option in spelled
            for plugin in declared(group).values()
        ]
        if found:
            formatter.write_paragraph()
            formatter.write_text(f"From other packages: {', '.join(found)}.")


class SettingsCommand(PluginsCommand):
    """A command with one option for every field of a settings class; it finds the settings in ``context.obj``.

    The class is imported when the command runs or explains itself, not when the others do.

    Attributes:
        place: Module and name of the class, ``package.module:Name``.
    """

    place: ClassVar[str]

    @cached_property
    def settings(self) -> "type[Settings]":
        """The settings class."""
        module, _, name = self.place.partition(":")
        found: type[Settings] = getattr(import_module(module), name)
        return found

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's own options, then those of the settings, then ``--help``."""
        *own, explain = super().get_params(ctx)
        return [*own, *self._options, explain]

    def invoke(self, ctx: Any) -> Any:
        """Check the settings and run the command."""
        given = {option.name: ctx.params.pop(option.name) for option in self._options}
        ctx.obj = self.settings.of({name: value for name, value in given.items() if value not in (None, [], ())})
        return super().invoke(ctx)

    @cached_property
    def _options(self) -> list[Any]:
        """Let typer make an option of every field, like arguments of a function."""
        from filterlens.settings import Shown, meanings_of

        def collect(**given: Any) -> None:
            """Take what would be given."""

        meanings = meanings_of(self.settings)[1]
        parameters = []
        for name, field in self.settings.model_fields.items():
            said = next((each for each in field.metadata if isinstance(each, Shown)), None)
            kind, default = _typed(field.annotation), field.default if not isinstance(field.default, tuple) else None
            written = said.option if said and said.option else f"--{name.replace('_', '-')}"
            written += f"/--no-{written[2:]}" if default is True else ""
            option = typer.Option(
                written,
                help=meanings[name].replace("``", ""),
                show_default=said.default if said else default is not None,
            )
            annotation: Any = Annotated[kind, option]
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            )
        collect.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        collect.__annotations__ = {each.name: each.annotation for each in parameters}
        alone = typer.Typer(add_completion=False)
        alone.command()(collect)
        return [each for each in typer.main.get_command(alone).params if each.name in collect.__annotations__]


def takes(place: str) -> type[SettingsCommand]:
    """Return a command class whose options are the settings of a class, ``package.module:Name``."""
    return type("SettingsCommand", (SettingsCommand,), {"place": place})


def _typed(annotation: Any) -> Any:
    """Return the type of an option: of a field's type the part that words on the command line can be."""
    if get_origin(annotation) is tuple:
        return list[_typed(get_args(annotation)[0])] | None  # type: ignore[misc]
    if get_origin(annotation) is Annotated:
        return _typed(get_args(annotation)[0])
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = next((each for each in map(_unwrapped, kinds) if each in (str, int, float, bool)), str)
    return plain | None if type(None) in kinds else plain


def _unwrapped(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def own_code(architecture: str | None, call: str | None) -> str | None:
    """Join what ``--architecture`` and ``--call`` name; see :func:`filterlens.models.user_module.with_call`."""
    from filterlens.models.user_module import with_call

    return with_call(architecture, call)
