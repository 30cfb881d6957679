"""Which kind of file it is, and the generator in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from torch import nn

from gan_export.artifact.golden import excess_of
from gan_export.artifact.latents import Distribution
from gan_export.calling.adapter import Adapted, Convention, measure_range
from gan_export.calling.completeness import check_complete
from gan_export.calling.convention_search import Asked, find_convention
from gan_export.calling.label_tables import rows_left_over
from gan_export.conventions import BYTES, TANH, LabelInput, Range, check_range_of_bytes
from gan_export.families import explain, find_family, fitting, nearest
from gan_export.families.family import Built
from gan_export.intake import Contents, check_finite, read_contents
from gan_export.refusal import IntakeError
from gan_export.user_code.module import load_constructor, parse_value
from gan_export.weights.copies import find_copy
from gan_export.weights.norms import fold_norms
from gan_export.weights.state import State, choose_state, clean_state, is_averaged, nodes_of, tensors_of
from gan_training.checkpoint import FORMAT, CheckpointError, parse_checkpoint

from .graph import GraphOptions, load_graph
from .loaded_module import loaded_module
from .options import SourceOptions, Weights, names_of
from .source import Source, image_spec, latent_spec

OWN_FAMILY = "ganworks/conv"
ProgressFn = Callable[[str], None]


def load_source(path: Path, options: SourceOptions | None = None, progress: ProgressFn = lambda _: None) -> Source:
    """Read a generator.

    Args:
        path: `ckpt.pt` of gan-train, somebody else's weights, or an ONNX file.
        options: what the file does not tell.
        progress: told in a few words what is being done.

    Raises:
        IntakeError: it can't be read, is not safe to read, or does not tell enough; one line that says what to give.
    """
    options = options or SourceOptions()
    if path.suffix.lower() == ".onnx":
        progress("reading the graph")
        return _from_graph(path, options)
    progress("reading the weights")
    contents = read_contents(path)
    try:
        if isinstance(contents.tree, dict) and contents.tree.get("format") == FORMAT:
            return _from_checkpoint(contents, options)
        if options.module is not None:
            progress("calling the generator")
            return _from_module(contents, options, path)
        key, state = _chosen(contents, options)
        check_finite(tensors_of(state))
        return _from_family(fold_norms(tensors_of(state)), _kind_of(contents, key, path), contents, options)
    except IntakeError as error:
        raise IntakeError(f"{path}: {error}") from error


def _from_checkpoint(contents: Contents, options: SourceOptions) -> Source:
    options.refuse_all_but(set(), "a checkpoint of gan-train, which already contains this")
    try:
        checkpoint = parse_checkpoint(contents.tree)
    except CheckpointError as error:
        raise IntakeError(str(error)) from error
    module = checkpoint.generator(options.weights)
    check_finite(module.state_dict())
    spec, config = checkpoint.generator_spec, checkpoint.config
    return Source(
        generator=module,
        family=OWN_FAMILY,
        hyperparameters=spec.to_dict(),
        latent=latent_spec(spec.latent_dim, spec.latent),
        image=image_spec(spec.channels, spec.image_size, spec.image_size),
        class_names=names_of(spec.classes, options.class_names, checkpoint.class_names),
        sha256=contents.sha256,
        weights=options.weights,
        training={
            "type": config.type,
            "data": config.data.partition(":")[0],
            "steps": checkpoint.step,
            "batch_size": config.batch_size,
            "seed": config.seed,
        },
    )


def _from_family(state: State, weights: Weights, contents: Contents, options: SourceOptions) -> Source:
    known = {"weights_key", "family", "init", "latent_dim", "classes", "image_shape", "distribution"}
    options.refuse_all_but(known, "weights of a known family, only for --module")
    if options.family is None:
        fits = fitting(state)
        raise IntakeError(explain(fits).replace("\n", "; ") if fits else nearest(state))
    answers = dict(options.init)
    stated = {"latent_dim": options.latent_dim, "classes": options.classes}
    answers |= {name: str(value) for name, value in stated.items() if value is not None}
    if options.image_shape is not None:
        answers["image_shape"] = ",".join(map(str, options.image_shape))
    family = find_family(options.family)
    built = family.build(state, answers)
    return Source(
        generator=_on_tanh_range(built),
        family=family.name,
        hyperparameters=built.hyperparameters,
        latent=latent_spec(built.latent_dim, options.distribution or built.distribution),
        image=image_spec(built.channels, built.height, built.width),
        class_names=names_of(built.classes, options.class_names),
        sha256=contents.sha256,
        weights=weights,
        training={},
        notes=(built.caveat,),
    )


def _on_tanh_range(built: Built) -> nn.Module:
    """A family's net gives plain (N, C, H, W) for z and label; what ends in a sigmoid is stretched to [-1, 1]."""
    if built.value_range == TANH:
        return built.module
    shape = (built.channels, built.height, built.width)
    label: LabelInput = "ids" if built.classes else "none"
    plain = Convention(built.latent_dim, built.classes, "flat", label, "latent_first", "nchw", shape)
    return Adapted(built.module, dataclasses.replace(plain, value_range=built.value_range)).eval()


def _from_module(contents: Contents, options: SourceOptions, path: Path) -> Source:
    assert options.module is not None
    not_known = {"family", "latent_input", "label_input"}
    options.refuse_all_but({one.name for one in dataclasses.fields(options)} - not_known, "--module")
    if options.latent_dim is None:
        raise IntakeError("--module needs the latent dimension: give --latent D")
    weights_of = cache(partial(_of_class, contents, options))
    # The second stays: each is made by an import of its own where that can be, and Python knows the last.
    constructor = load_constructor(options.module, options.init)
    _, twin = loaded_module(constructor, weights_of, seed=1)
    key, module = loaded_module(constructor.again(), weights_of, seed=2)
    classes = options.classes or 0
    extras = tuple((name, parse_value(text)) for name, text in options.forward.items())
    asked = Asked(options.latent_shape, options.label_as, options.order, options.image_shape, extras, options.output)
    convention = find_convention(module, options.latent_dim, classes, asked)
    latent = latent_spec(options.latent_dim, options.distribution or "normal")
    if excess := excess_of(image_spec(*convention.image_shape), latent):
        raise IntakeError(excess)  # before many of them are drawn
    check_complete(module, twin, convention)
    del twin
    left_over = rows_left_over(module, convention)
    convention = dataclasses.replace(convention, value_range=_range(module, convention, latent.distribution, options))
    return Source(
        generator=Adapted(module, convention).eval(),
        family=f"module:{options.module.rpartition(':')[2]}",
        hyperparameters={"init": dict(options.init), "convention": convention.to_dict()},
        latent=latent,
        image=image_spec(*convention.image_shape),
        class_names=names_of(classes, options.class_names),
        sha256=contents.sha256,
        weights=_kind_of(contents, key, path),
        training={},
        notes=(
            f"Exported from a module of its author's code, called with {convention.describe()}.",
            *([left_over] if left_over else []),
        ),
    )


def _chosen(contents: Contents, options: SourceOptions, expected: frozenset[str] = frozenset()) -> tuple[str, State]:
    """The generator's state dict by the names in the file, and its path there; `expected`: a class's own names."""
    key, state = choose_state(contents.tree, options.weights_key, options.weights, expected)
    return key, clean_state(state)


def _kind_of(contents: Contents, key: str, path: Path) -> Weights:
    """Whether the weights at a key are averaged: by its names, or those of a file that has no such key (`G_ema.pth`),
    or as they are what PyTorch's AveragedModel saved."""
    is_of_file = is_averaged(path.stem) and not any(is_averaged(node) for node, _ in nodes_of(contents.tree))
    counted = any(
        "n_averaged" in node
        and any(str(name).startswith("module.") for name in node)
        and f"{key}.".startswith(f"{place}." if place else "")
        for place, node in nodes_of(contents.tree)
    )
    return "ema" if counted or is_of_file or is_averaged(key) else "raw"


def _of_class(contents: Contents, options: SourceOptions, expected: frozenset[str]) -> tuple[str, State]:
    """A class's weights: by its own names for them, or else by those in the file; and their path there."""
    found = None if options.weights_key is not None else find_copy(contents.tree, expected, options.weights)
    return found or _chosen(contents, options, expected)


def _range(module: nn.Module, convention: Convention, distribution: Distribution, options: SourceOptions) -> Range:
    """What was said, or else measured; of bytes it is known."""
    if convention.value_range == BYTES:
        return check_range_of_bytes(options.output_range)
    if options.output_range is not None:
        return options.output_range
    return measure_range(module, convention, distribution)


def _from_graph(path: Path, options: SourceOptions) -> Source:
    known = {"latent_input", "label_input", "output", "latent_dim", "classes", "image_shape", "output_range"}
    options.refuse_all_but(known | {"label_as", "distribution"}, "an ONNX file")
    label_as = options.label_as
    if label_as == "none":
        raise IntakeError(f"{path}: --label-as none is for modules; leave it and --label-input out")
    return load_graph(
        path,
        GraphOptions(
            latent_input=options.latent_input,
            label_input=options.label_input,
            output=options.output,
            latent_dim=options.latent_dim,
            classes=options.classes,
            image_shape=options.image_shape,
            output_range=options.output_range,
            label_as=label_as,
            distribution=options.distribution or "normal",
            class_names=options.class_names,
        ),
    )
