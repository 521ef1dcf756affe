"""The released classifier, from stored images to calibrated probabilities, as one graph in ONNX (https://onnx.ai).

All views of all images go through a member as one batch. What makes a view (mirror image, zoom, resizing) is
linear, and the same for each row and for each column, so that a view is R @ image @ C with constant matrices,
which are read off `cxr.models.preprocess` instead of being written down a second time.

Class activation maps (Zhou et al., 2016, https://arxiv.org/abs/1512.04150): where a linear head stands behind
global average pooling, the weight of each feature map in a class's logit gives each place its share in it,
and the mean over places is the logit without its bias. They are what Grad-CAM has before its ReLU (see
`cxr.inference.gradcam`) times the number of places (Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391,
section 3.1), and need no gradient.
"""

import copy
from dataclasses import replace

import onnx
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from cxr.core.probabilities import SMALLEST
from cxr.inference.calibration import Calibration
from cxr.inference.gradcam import Layer, find_layer, to_maps
from cxr.inference.onnx_session import INPUT, OUTPUTS, ModelMetadata
from cxr.models.classifier import Classifier, Spec
from cxr.models.network import Network, binary_to_two_logits
from cxr.models.preprocess import ZOOMS, augmented_copies, to_grey

OPSET = 20  # what PyTorch's exporter writes by itself; a newer one only relabels it


def to_onnx(classifier: Classifier, calibration: Calibration, facts: ModelMetadata) -> bytes:
    """What models/classifier.onnx holds: the same bytes for the same weights, any number of images."""
    # `predict` leaves weights channels-last, for which the exporter would write other nodes.
    plain = copy.deepcopy(classifier).to(memory_format=torch.contiguous_format)
    graph = Graph(plain, calibration).eval().requires_grad_(False)
    size = classifier.spec.size
    program = torch.onnx.export(
        graph,
        (torch.zeros(2, size, size, dtype=torch.uint8),),
        dynamo=True,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=OUTPUTS if graph.layer else OUTPUTS[:2],
        dynamic_shapes=({0: torch.export.Dim("images")},),
        verbose=False,
    )
    assert program is not None  # as it is with dynamo
    model = program.model_proto
    _strip(model.graph)
    onnx.helper.set_model_props(model, facts.to_metadata())
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _strip(graph: onnx.GraphProto) -> None:
    """Remove the exporter's notes, which hold the paths of this machine's source files."""
    parts = [graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


class Graph(nn.Module):
    """layer: the one whose maps the features are the means of; None if there is no such layer or the head is
    not linear, and then there are no maps."""

    summing: Tensor
    rows: Tensor
    columns: Tensor
    mean: Tensor
    std: Tensor
    shift: Tensor

    def __init__(self, classifier: Classifier, calibration: Calibration) -> None:
        super().__init__()
        self.spec = spec = classifier.spec
        self.members = classifier.members
        self.temperature = calibration.temperature
        prior, prevalence = (
            torch.tensor(shares or [1.0], dtype=torch.float64)
            for shares in (calibration.prior, calibration.prevalence)
        )
        stated = calibration.prior and calibration.prevalence
        rows, columns = view_matrices(spec)
        constants = {
            "summing": torch.from_numpy(spec.summing),
            "rows": rows,
            "columns": columns,
            "mean": torch.tensor(spec.mean).view(-1, 1, 1),
            "std": torch.tensor(spec.std).view(-1, 1, 1),
            "shift": (prevalence / prior).log().float() if stated else torch.zeros(1),
        }
        for name, value in constants.items():
            self.register_buffer(name, value)
        # Embeddings and maps are of the image as it is, embeddings of its mirror image too.
        self.plain = 2 * ZOOMS.index(1.0) if spec.tta == "flip_zoom" else 0
        self.mirrored = self.plain + (1 if spec.tta == "none" else 2)
        self.layer = None if spec.hidden else averaged_layer(classifier)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """images: (N, size, size) uint8. Returns what `cxr.inference.onnx_session.Answer` describes; no maps
        if there are none."""
        views = self.rows @ to_grey(images) @ self.columns  # (N, views, S, S)
        radiographs = (views.flatten(0, 1).unsqueeze(1) - self.mean) / self.std
        of_members: list[tuple[Tensor, Tensor, Tensor]] = []
        for member in self.members:
            assert isinstance(member, Network)  # a ModuleList does not know what it holds
            features, places = _features(member.base, self.layer, radiographs)
            of_members.append((features, places, member.head(features)))
        # What follows is little work, and done for all members at once it is few operations.
        features, places, logits = (
            torch.cat(parts).unflatten(0, (len(self.members), -1, len(self.rows)))
            for parts in zip(*of_members, strict=True)
        )
        fine = binary_to_two_logits(logits).softmax(dim=-1).mean(dim=(0, 2))
        embedding = normalize(features[:, :, self.plain : self.mirrored].mean(dim=2), dim=-1)
        outputs = (self.calibrated(fine @ self.summing), embedding.transpose(0, 1).flatten(1))
        if not self.layer:
            return outputs
        weights = torch.stack([member.get_parameter("head.weight") for member in self.members])
        maps = activation(weights, places[:, :, self.plain], logits[:, :, self.plain], self.summing)
        return (*outputs, maps.mean(dim=0))

    def calibrated(self, probabilities: Tensor) -> Tensor:
        """As `cxr.inference.calibration.Calibration`, in float32."""
        logits = probabilities.clamp(min=SMALLEST).log() / self.temperature + self.shift
        return logits.softmax(dim=-1)


def view_matrices(spec: Spec) -> tuple[Tensor, Tensor]:
    """R: (views, S, size) and C: (views, size, S) float32, so that R[v] @ image @ C[v] is view v of a (size,
    size) image (see `test_views`) at the S x S pixels of the network's input."""
    resized = replace(spec.preprocess, mean=(0.0,), std=(1.0,))

    def views(images: Tensor) -> Tensor:
        return torch.stack([resized(view) for view in augmented_copies(images, spec.tta)])

    # Images with a single white row are what R makes of this row, in every column; in turn for columns.
    rows, columns = [], []
    for lines in torch.eye(spec.size).split(32):
        across = lines.view(-1, 1, 1, spec.size).expand(-1, 1, spec.size, -1)
        rows.append(views(across.transpose(2, 3))[:, :, 0, :, 0])
        columns.append(views(across)[:, :, 0, 0, :])
    return torch.cat(rows, dim=1).transpose(1, 2).contiguous(), torch.cat(columns, dim=1)


def averaged_layer(classifier: Classifier) -> Layer | None:
    """The layer of the members' bases whose maps have the features as means, None if there is none."""
    spec = classifier.spec
    base = classifier.get_submodule("members.0.base")
    noise = torch.rand(2, 1, spec.size, spec.size, generator=torch.Generator().manual_seed(0))
    images = spec.preprocess(noise)
    layer = find_layer(base, images)
    if layer:
        with torch.no_grad():
            features, places = _features(base, layer, images)
        if places.shape[1] == features.shape[1]:
            scale = features.abs().max()
            if torch.allclose(places.mean(dim=(2, 3)) / scale, features / scale, rtol=0, atol=1e-5):
                return layer
    return None


def _features(base: nn.Module, layer: Layer | None, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, d) features and the (N, d, grid, grid) maps of `layer`, none of them without a layer."""
    if layer is None:
        return base(images), images[:0]
    seen: list[Tensor] = []
    module = base.get_submodule(layer.name)
    # A copy, since DenseNet rectifies its last maps in place; it averages others than its layer gave, then.
    hook = module.register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    features = base(images)
    hook.remove()
    return features, to_maps(seen[0], layer.grid)


def activation(weights: Tensor, places: Tensor, logits: Tensor, summing: Tensor) -> Tensor:
    """(M, N, classes, grid, grid): each place's share in the score of each class (see
    `cxr.inference.gradcam.gradcam`).

    weights: (M, outputs, d), of the members' heads. places: (M, N, d, grid, grid). logits: (M, N, outputs).
    For two outputs there may be one logit, and one row of weights. summing: (outputs, classes).
    """
    shares = weights.unsqueeze(1) @ places.flatten(3)  # (M, N, outputs, grid * grid)
    if logits.shape[2] == 1:
        logits, shares = (torch.cat([-each / 2, each / 2], dim=2) for each in (logits, shares))
    # A sub-class counts by its part in its class's probability: the derivative of the score by its logit.
    others = (logits[:, :, None, :] - logits[:, :, :, None]).masked_fill(summing @ summing.T == 0, -torch.inf)
    weighed = shares / others.exp().sum(dim=3).unsqueeze(3)
    return (summing.T @ weighed).unflatten(3, places.shape[3:])
