"""The released classifier, from stored images to calibrated probabilities and distances from the training
images, as one graph in ONNX (https://onnx.ai).

The augmented copies of all images (test-time augmentation) go through a member as one batch. Mirroring,
zooming and resizing are linear and separable into rows and columns, so that a copy is R @ image @ C with
constant matrices, which are derived from `cxr.models.preprocess` instead of being written down a second time.

Class activation maps (Zhou et al., 2016, https://arxiv.org/abs/1512.04150): where a linear head follows
global average pooling, the feature maps weighted as in a class's logit are the contribution of each location
to it, and their mean over locations is the logit without its bias. They equal Grad-CAM before its ReLU (see
`cxr.inference.gradcam`) times the number of locations (Selvaraju et al., 2017,
https://arxiv.org/abs/1610.02391, section 3.1), and need no gradient.
"""

import copy
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cxr.core.probabilities import SMALLEST
from cxr.inference.calibration import Calibration
from cxr.inference.gradcam import Layer, find_layer, to_maps
from cxr.inference.onnx_session import INPUT, OUTPUTS, ModelMetadata
from cxr.inference.typicality_model import TypicalityModel
from cxr.models.classifier import Classifier, Spec
from cxr.models.network import Network, binary_to_two_logits
from cxr.models.preprocess import ZOOMS, augmented_copies, to_grey

OPSET = 20  # what PyTorch's exporter writes by itself; a newer one only relabels it


def to_onnx(
    classifier: Classifier, calibration: Calibration, typicality: TypicalityModel, metadata: ModelMetadata
) -> bytes:
    """The content of models/classifier.onnx, for any number of images; same weights give the same bytes."""
    # `predict` leaves weights channels-last, for which the exporter would write other nodes.
    plain = copy.deepcopy(classifier).to(memory_format=torch.contiguous_format)
    graph = Graph(plain, calibration, typicality).eval().requires_grad_(False)
    size = classifier.spec.size
    program = torch.onnx.export(
        graph,
        (torch.zeros(2, size, size, dtype=torch.uint8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=OUTPUTS if graph.layer else OUTPUTS[:3],
        dynamic_shapes=({0: torch.export.Dim("images")},),
        verbose=False,
    )
    assert program is not None  # as it is with dynamo
    _free_names(program.model.graph)
    model = program.model_proto
    _strip(model.graph)
    onnx.helper.set_model_props(model, metadata.to_metadata())
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _free_names(graph: Any) -> None:
    """Rename values inside of the graph that have the name of an output, which the exporter may give them:
    `embedding` to the position embedding of CLIP. graph: of onnx_ir, in which values are objects."""
    outputs = {value.name: value for value in graph.outputs}
    inside = [*graph.initializers.values(), *(value for node in graph for value in node.outputs)]
    for value in inside:
        if outputs.get(value.name, value) is not value:
            value.name = f"{value.name}_inside"


def _strip(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes, which contain paths of source files on this machine."""
    parts = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


class Graph(nn.Module):
    """The computation of the ONNX file in PyTorch.

    layer: its maps have the features as means over locations; None if there is no such layer or the head is
    not linear, and then there are no maps.
    """

    summing: Tensor
    rows: Tensor
    columns: Tensor
    shift: Tensor

    def __init__(self, classifier: Classifier, calibration: Calibration, typicality: TypicalityModel) -> None:
        super().__init__()
        self.spec = spec = classifier.spec
        self.members = classifier.members
        self.typicality = typicality
        self.temperature = calibration.temperature
        prior, prevalence = (
            torch.tensor(proportions or [1.0], dtype=torch.float64)
            for proportions in (calibration.prior, calibration.prevalence)
        )
        stated = calibration.prior and calibration.prevalence
        rows, columns = copy_matrices(spec)
        constants = {
            "summing": torch.from_numpy(spec.summing),
            "rows": rows,
            "columns": columns,
            "shift": (prevalence / prior).log().float() if stated else torch.zeros(1),
        }
        for name, value in constants.items():
            self.register_buffer(name, value)
        # Of the copies, maps take the unchanged image, embeddings the unchanged image and its mirror image.
        self.unchanged = 2 * ZOOMS.index(1.0) if spec.tta == "flip_zoom" else 0
        self.embedded = slice(self.unchanged, self.unchanged + (1 if spec.tta == "none" else 2))
        self.layer = None if spec.hidden else averaged_layer(classifier)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images: (N, size, size) uint8. Returns the fields of `cxr.inference.onnx_session.Answer`, without
        maps if there are none."""
        copies = self.rows @ to_grey(images) @ self.columns  # (N, copies, S, S)
        inputs = self.spec.preprocess.normalise(copies.flatten(0, 1).unsqueeze(1))
        of_members: list[tuple[Tensor, Tensor, Tensor]] = []
        for member in self.members:
            assert isinstance(member, Network)  # a ModuleList does not know what it holds
            features, feature_maps = _features(member.base, self.layer, inputs)
            of_members.append((features, feature_maps, member.head(features)))
        # What follows is cheap, and for all members at once it takes few operations.
        features, feature_maps, logits = (
            torch.cat(parts).unflatten(0, (len(self.members), -1, len(self.rows)))
            for parts in zip(*of_members, strict=True)
        )
        fine = binary_to_two_logits(logits).softmax(dim=-1).mean(dim=(0, 2))
        embedding = normalize(features[:, :, self.embedded].mean(dim=2), dim=-1)
        vectors = embedding.transpose(0, 1).flatten(1)
        outputs = (self.calibrated(fine @ self.summing), vectors, self.typicality(images, vectors))
        if not self.layer:
            return outputs
        weights = torch.stack([member.get_parameter("head.weight") for member in self.members])
        maps = class_activation_maps(
            weights, feature_maps[:, :, self.unchanged], logits[:, :, self.unchanged], self.summing
        )
        return (*outputs, maps.mean(dim=0))

    def calibrated(self, probabilities: Tensor) -> Tensor:
        """As `cxr.inference.calibration.Calibration`, in float32."""
        logits = probabilities.clamp(min=SMALLEST).log() / self.temperature + self.shift
        return logits.softmax(dim=-1)


def copy_matrices(spec: Spec) -> tuple[Tensor, Tensor]:
    """R: (copies, S, size) and C: (copies, size, S) float32: R[i] @ image @ C[i] is the augmented copy i of a
    (size, size) image (see `augmented_copies`), resized to the S x S pixels of the network's input."""

    def copies(images: Tensor) -> Tensor:
        return torch.stack([spec.preprocess.resize(copy) for copy in augmented_copies(images, spec.tta)])

    # Every column of a copy of an image with a single white row is a column of R; in turn for C.
    rows, columns = [], []
    for lines in torch.eye(spec.size).split(32):
        across = lines.view(-1, 1, 1, spec.size).expand(-1, 1, spec.size, -1)
        rows.append(copies(across.transpose(2, 3))[:, :, 0, :, 0])
        columns.append(copies(across)[:, :, 0, 0, :])
    return torch.cat(rows, dim=1).transpose(1, 2).contiguous(), torch.cat(columns, dim=1)


def averaged_layer(classifier: Classifier) -> Layer | None:
    """The layer of the members' bases whose maps have the features as means over locations, None if there is
    none."""
    spec = classifier.spec
    base = classifier.get_submodule("members.0.base")
    noise = torch.rand(2, 1, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    images = spec.preprocess(noise)
    layer = find_layer(base, images)
    if layer:
        with torch.no_grad():
            features, maps = _features(base, layer, images)
        if maps.shape[1] == features.shape[1]:
            scale = features.abs().max()
            if torch.allclose(maps.mean(dim=(2, 3)) / scale, features / scale, rtol=0, atol=1e-5):
                return layer
    return None


def _features(base: nn.Module, layer: Layer | None, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, d) features and (N, d, grid, grid) feature maps of `layer`; without a layer the maps are empty."""
    if layer is None:
        return base(images), images[:0]
    outputs: list[Tensor] = []
    module = base.get_submodule(layer.name)
    # A copy, since DenseNet applies a ReLU to its last maps in place: the features are not the layer's means.
    hook = module.register_forward_hook(lambda _, __, output: outputs.append(output.clone()))
    features = base(images)
    hook.remove()
    return features, to_maps(outputs[0], layer.grid)


def class_activation_maps(weights: Tensor, feature_maps: Tensor, logits: Tensor, summing: Tensor) -> Tensor:
    """(M, N, classes, grid, grid): the contribution of each location to the score of each class (see
    `cxr.inference.gradcam.gradcam`).

    weights: (M, outputs, d), of the members' heads. feature_maps: (M, N, d, grid, grid). logits: (M, N,
    outputs). For two outputs there may be one logit, and one row of weights. summing: (outputs, classes).
    """
    maps = weights.unsqueeze(1) @ feature_maps.flatten(3)  # (M, N, outputs, grid * grid)
    if logits.shape[2] == 1:
        logits, maps = (torch.cat([-values / 2, values / 2], dim=2) for values in (logits, maps))
    # A sub-class is weighted by its proportion of its class's probability: the derivative of the class's
    # score with respect to the sub-class's logit.
    others = (logits[:, :, None, :] - logits[:, :, :, None]).masked_fill(summing @ summing.T == 0, -torch.inf)
    weighted = maps / others.exp().sum(dim=3).unsqueeze(3)
    return (summing.T @ weighted).unflatten(3, feature_maps.shape[3:])
