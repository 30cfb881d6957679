"""The rebuilt nets as ONNX graphs."""

from collections.abc import Callable

import pytest
from torch import Tensor

from gan_export.capture import capture
from gan_export.families import find_family

MakeStateFn = Callable[..., dict[str, Tensor]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind", "sizes"),
    [("pytorch-gan/sgan", "pytorch-gan-conv", {"classes": 3, "size": 8}), ("mimicry/dcgan-cifar", "mimicry", {})],
)
def test_the_nets_can_be_captured(name: str, kind: str, sizes: dict[str, int], make_state: MakeStateFn):
    built = find_family(name).build(make_state(kind, **sizes), {})
    graph = capture(built.module, built.latent_dim, built.classes).graph
    assert [value.name for value in graph.input] == ["z"]
    assert [dim.dim_value for dim in graph.output[1].type.tensor_type.shape.dim[1:]] == [
        built.channels,
        built.height,
        built.width,
    ]
    weights = [initializer.name for initializer in graph.initializer]
    assert any("l1" in name for name in weights)
    assert not any("label_emb" in name for name in weights)  # sgan has one and never uses it
