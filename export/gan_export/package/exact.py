"""The exact variant: the graph as this host runs it fastest, or as it was traced where that one does not pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from gan_export.artifact import Manifest, Properties
from gan_export.artifact.candidate import CertificationError
from gan_export.artifact.certificate import Gate
from gan_export.artifact.first_line import first_line
from gan_export.artifact.manifest import EXACT
from gan_export.refusal import ExportError
from gan_export.sources.source import Source
from gan_export.tuning import GRAPH_ERRORS, RewrittenGraph, tune

from .directions import principal_directions
from .recipe import Recipe
from .variants import Certifier, Made

AS_TRACED = "The graph is left as it was traced, because the rewritten one"


@dataclass(frozen=True)
class Draft:
    """An artifact's manifest, and its exact variant in its file."""

    manifest: Manifest
    made: Made
    graph: RewrittenGraph
    notes: list[str]


def draft_exact(
    source: Source, manifest: Manifest, traced: onnx.ModelProto, certifier: Certifier, recipe: Recipe
) -> Draft:
    """Fit the graph for this host, certify its file, and have the manifest promise what the gates confirm.

    Raises:
        ExportError: a gate failed.
    """
    notes, properties = list(source.notes), manifest.properties
    first = RewrittenGraph(traced)
    if not recipe.portable:
        try:
            first = tune(traced, source.latent, source.classes, recipe.progress, for_gpu=recipe.for_gpu)
        except GRAPH_ERRORS as error:
            notes.append(f"{AS_TRACED} can't be opened by ONNX Runtime: {first_line(error)}.")
    directions = principal_directions(traced, source.latent.dim)
    while True:
        # The file needs the manifest's identity and the manifest the file's digest; both hold what the gates confirm.
        manifest = manifest.model_copy(update={"properties": properties, "directions": directions})
        recipe.progress("comparing the file with the original generator")
        made, graph, refused = best_that_passes(certifier, manifest, [first, RewrittenGraph(traced)])
        notes += [refused] if refused and refused not in notes else []
        allowed = {gate.code for gate in made.result.gates if gate.allowed}
        # What was let through once is not promised again: a gate of a noisy generator may come out otherwise each time,
        # and this ends.
        found = Properties(
            deterministic=properties.deterministic and "deterministic" not in allowed,
            batch_invariant=properties.batch_invariant and "batch_invariant" not in allowed,
        )
        if found == properties:
            return Draft(manifest, made, graph, notes)
        properties = found  # a gate was let through: the manifest must not promise what it checks


def best_that_passes(
    certifier: Certifier, manifest: Manifest, graphs: Sequence[RewrittenGraph]
) -> tuple[Made, RewrittenGraph, str]:
    """The first graph that passes the gates, and a sentence on the one before that did not.

    Raises:
        ExportError: the last one does not pass either.
        CertificationError: it can't be run either.
    """
    refused = ""
    for graph in graphs[:-1]:
        if not graph.rewrites:
            continue
        try:
            made = certifier.certify(manifest, EXACT, graph)
        except CertificationError as error:
            refused = f"{AS_TRACED} can't be certified: {error}."
            continue
        failed = next((gate for gate in made.result.gates if not gate.passed), None)
        if failed is None:
            return made, graph, ""
        refused = f"{AS_TRACED} {failed.complaint()}."
    made = certifier.certify(manifest, EXACT, graphs[-1])
    refuse_failed(made.result.gates, "the exported graph")
    return made, graphs[-1], refused


def refuse_failed(gates: Sequence[Gate], what: str) -> None:
    """Raise ExportError for the first gate that `what` failed."""
    for gate in gates:
        if gate.failed:
            raise ExportError(f"{what} {gate.complaint()}", code=gate.code)
