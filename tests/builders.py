"""What several test files build: parameters, data, classifiers, a web server, and the look of a refusal."""

import hashlib
import http.server
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from torchvision import models

from cxr import params, recipes
from cxr.core import dataset
from cxr.core.dataset import hash_images, load_dataset, save_dataset
from cxr.core.errors import UserError
from cxr.core.files import read_json, sha256, write_csv, write_json
from cxr.embeddings.gallery import Gallery
from cxr.embeddings.vectors import classifier_vectors
from cxr.evaluation.metrics import summarise
from cxr.inference import onnx_session
from cxr.inference.calibration import Calibration, save_calibration
from cxr.inference.onnx_graph import to_onnx
from cxr.inference.onnx_session import ModelMetadata
from cxr.inference.predictions import Predictions
from cxr.inference.predictions import save_predictions as save_predictions
from cxr.inference.typicality import Typicality
from cxr.inference.typicality_model import fit_typicality, load_typicality, save_typicality
from cxr.models import classifier
from cxr.models.classifier import Classifier, Spec, build_member, save_members
from cxr.params import load_params
from cxr.reports.cases import Case, Neighbour
from cxr.reports.measurements import Rank, zone_fractions
from cxr.training.history import HISTORY_COLUMNS
from stages import evaluate, export

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def refused(*parts: str) -> Iterator[None]:
    """The block raises a `UserError` of one line that contains every one of `parts`."""
    with pytest.raises(UserError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def files_below(folder: Path) -> list[str]:
    """Every file in `folder`, hidden ones too, so that a half-written output cannot be overlooked."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_params(folder: Path, changes: dict[str, Any]) -> Path:
    """The repository's params.yaml in `folder`, with `changes` to dotted keys such as "train.lr"."""
    handler = recipes.yaml()
    tree = handler.load(ROOT / "params.yaml")
    for key, value in changes.items():
        *sections, name = key.split(".")
        section = tree
        for part in sections:
            section = section[part]
        section[name] = value
    path = folder / "params.yaml"
    handler.dump(tree, path)
    return path


def settings(section: str, **changes: Any) -> Any:
    """One section of the repository's params.yaml with some values changed."""
    return getattr(load_params(ROOT / "params.yaml"), section).replace(**changes)


def augmentation(**changes: float | str) -> params.Augment:
    """No augmentation at all but for `changes`."""
    off: dict[str, float | str] = dict.fromkeys(params.Augment.model_fields, 0.0)
    off |= {"resolution": "stored", "crop": 1.0, "jpeg": 100, "views": 1}
    return params.Augment.model_validate(off | changes)


def noise_images(count: int, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size), dtype=np.uint8)


def write_tree(root: Path, *names: str) -> Path:
    """A picture of its own at each of `names`: other sizes, grey and colour in turn."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(noise_images(1, 20 + number, seed=number)[0])
        picture.convert("RGB" if number % 2 else "L").save(path)
    return root


def dicom(pixels: np.ndarray, kind: str = "MONOCHROME2", bits: int | None = None, **elements: Any) -> Dataset:
    """A DICOM file to be, uncompressed, with a made-up patient. pixels: (H, W) or (H, W, 3) of 8 or 16 bits.
    elements: others by keyword, or None to leave one out."""
    dataset = Dataset()
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"  # Computed Radiography Image Storage
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Secret^Name", "SECRET-ID", "19010203"
    dataset.Modality = "CR"
    dataset.set_pixel_data(np.ascontiguousarray(pixels), kind, bits or 8 * pixels.itemsize)
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(dataset: Dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def write_packed(counts: dict[str, tuple[int, ...]], classes: list[str], size: int = 16) -> None:
    """data/images.npy and data/labels.csv in the working directory: radiographs of noise, of which each class
    is brighter than the one before. counts: for each split the radiographs of each class."""
    generator = np.random.default_rng(0)
    images, rows = [], []
    for split, of_class in counts.items():
        for label, count in enumerate(of_class):
            level = 70 + 60 * label
            images.append(generator.normal(level, 40, (count, size, size)).clip(0, 255).astype(np.uint8))
            rows += [(split, classes[label], f"{split}/{label}/{i}") for i in range(count)]
    pictures = np.concatenate(images)
    # Shuffled, as in a real data set: neither splits nor classes stand in blocks.
    order = generator.permutation(len(rows))
    hashes = hash_images(pictures)
    save_dataset(pictures[order], [(*rows[i], hashes[i], "") for i in order], "medmnist")


def drawn_predictions(
    signals: Sequence[float], seed: int = 0, images: int = 300, classes: int = 2
) -> Predictions:
    """Predictions without any training, of one member for each of `signals`: the more, the better it is.
    Radiographs are the same for every `seed`, and as hard; what members err on depends on it."""
    shared, own = np.random.default_rng(0), np.random.default_rng([1, seed])
    labels = shared.choice(classes, images, p=[0.4, 0.6] if classes == 2 else [0.3, 0.4, 0.3])
    splits = np.where(np.arange(images) < images // 3, "val", "test")
    hard = shared.normal(size=(images, classes))
    evidence = np.eye(classes)[labels] * np.reshape(signals, (-1, 1, 1)) + hard
    evidence = evidence + 0.3 * own.normal(size=evidence.shape)
    p = np.exp(evidence) / np.exp(evidence).sum(axis=2, keepdims=True)
    names = ["normal", "pneumonia", "tuberculosis"][:classes]
    return Predictions(names, np.arange(images) + 1000, splits, labels, p.mean(axis=0), p)


def write_run(
    predictions: Predictions, changes: dict[str, Any] | None = None, threshold: float = 0.5
) -> None:
    """What a run leaves in Git, in the working directory: predictions, metrics, parameters."""
    save_predictions(predictions)
    test = summarise(predictions.of("test"), 0.5 if len(predictions.classes) == 2 else None, 2)
    write_json("metrics/test.json", test.headline())
    released = threshold if len(predictions.classes) == 2 else None
    write_json("metrics/details.json", {"test": {"threshold": released}})
    write_params(Path(), changes or {})


def write_images(predictions: Predictions) -> None:
    """data/ in the working directory: of each row a radiograph of the grey level row % 256. Rows that
    `predictions` do not speak of are train's."""
    count = predictions.rows.max() + 1
    hashes = [hashlib.sha256(str(row).encode()).hexdigest() for row in range(count)]
    table = [("train", predictions.classes[0], "", digest, "") for digest in hashes]
    for row, split, label in zip(predictions.rows, predictions.splits, predictions.labels, strict=True):
        table[row] = (split, predictions.classes[label], "", hashes[row], "")
    levels = np.arange(count, dtype=np.uint8)[:, None, None]
    save_dataset(np.broadcast_to(levels, (count, 16, 16)), table, "plain")


def small_classifier(members: int = 2, seed: int = 0, **changes: Any) -> Classifier:
    """An untrained classifier for 16-pixel radiographs whose probabilities differ between dark and bright
    radiographs."""
    spec = Spec(
        backbone="compact_cnn",
        dropout=0.3,
        classes=["normal", "pneumonia"],
        outputs=["normal", "pneumonia"],
        output_classes=[0, 1],
        size=16,
        input_size=16,
        mean=[0.4],
        std=[0.2],
        normalisation="train",
        hidden=0,
        logits=2,
        tta="flip",
        members=members,
        prior=[0.5, 0.5],
        reading="medmnist",
        precision="float32",
        encoder=None,
    )
    spec = replace(spec, logits=len(changes.get("outputs", spec.outputs)))
    spec = replace(spec, **changes)
    torch.manual_seed(seed)
    networks = [build_member(spec) for _ in range(spec.members)]
    # A fresh head says about the same of every radiograph. Here each feature counts by how much it varies
    # from dark to bright radiographs, and an average radiograph is undecided.
    images = torch.linspace(0, 1, 50).view(-1, 1, 1, 1) * torch.rand(50, 1, spec.size, spec.size)
    with torch.no_grad():
        for network in networks:
            features = network.eval().features(spec.preprocess(images))
            head: Any = network.head
            head.weight *= 3 / features.std(dim=0).clamp(min=1e-3)
            head.bias.copy_(-head.weight @ features.mean(dim=0))
    return Classifier(spec, networks).eval()


def save_classifier(model: Classifier) -> None:
    save_members(model.spec, [member.state_dict() for member in model.members])


def write_report_run(changes: dict[str, Any] | None = None, classes: int = 2) -> None:
    """Everything the stage report reads, in the working directory, of an untrained classifier."""
    names = ["normal", "pneumonia", "tuberculosis"][:classes]
    write_packed({"train": (15,) * classes, "val": (4,) * classes, "test": (4,) * classes}, names)
    model = small_classifier(classes=names, outputs=names, output_classes=list(range(classes)))
    save_classifier(model)
    even = [1 / classes] * classes
    save_calibration(Calibration(1.0, 0.5 if classes == 2 else None, even, even))
    save_small_typicality(model)
    data, device = load_dataset(), torch.device("cpu")
    rows = data.rows("val", "test")
    raw = classifier.predict(model, data.images[rows], device)
    save_predictions(
        Predictions(names, rows, data.splits[rows], data.labels[rows], raw.mean, raw.probabilities)
    )
    save_gallery(model)
    shutil.copytree(ROOT / "prompts", "prompts", dirs_exist_ok=True)
    write_params(Path(), {"compute.threads": 1, "compute.device": "cpu"} | (changes or {}))


def case(**changes: Any) -> Case:
    """A radiograph of noise with invented measurements, of which the classifier says pneumonia."""
    heat = np.zeros((28, 28), np.float32)
    heat[20:, :8] = 1  # the lower left
    found = Case(
        row=7,
        image=noise_images(1, 28)[0],
        probabilities={"normal": 0.2, "pneumonia": 0.8},
        prevalence={"normal": 0.5, "pneumonia": 0.5},
        threshold=None,
        heat=heat,
        zones=zone_fractions(heat),
        image_statistics={
            "mean": Rank(127.4, 0.31),
            "contrast": Rank(74.0, 0.99),
            "clipped": Rank(0.012, 0.5),
        },
        neighbours=tuple(
            Neighbour(row, name, 0.99 - 0.01 * row)
            for row, name in enumerate(["pneumonia", "normal", "pneumonia", "pneumonia", "normal"])
        ),
        metric="cosine",
        typicality=Typicality(0.6, ()),
    )
    return replace(found, **changes)


def write_exported() -> None:
    """What evaluate, index and export write of an untrained classifier, in the working directory."""
    write_packed({"train": (20, 30), "val": (6, 6), "test": (10, 15)}, ["normal", "pneumonia"])
    model = small_classifier()
    save_classifier(model)
    save_calibration(Calibration(1.5, 0.4, [0.4, 0.6], [0.5, 0.5], {"youden": 0.4, "one_half": 0.5}))
    save_small_typicality(model)
    write_csv("models/history.csv", HISTORY_COLUMNS, [(0, 1, 0.1, 0.5, 0.5, 0.5, 0.5, 1)])
    write_params(Path(), {"evaluate.bootstrap": 100, "compute.threads": 1, "compute.device": "cpu"})
    evaluate.main()
    write_json("metrics/data.json", {"source": {"limits": "Radiographs of noise."}})
    save_gallery(model)
    export.main()


def save_small_typicality(model: Classifier) -> None:
    """models/typicality.safetensors in the working directory, fitted to its data set, or to noise if there is
    none."""
    train, val = noise_images(60, model.spec.size), noise_images(30, model.spec.size, seed=1)
    if dataset.IMAGES.is_file():
        data = load_dataset()
        train, val = data.images[data.rows("train")], data.images[data.rows("val")]
    save_typicality(fit_typicality(model, train, val, torch.device("cpu")))


def edit_export(home: Path, **facts: Any) -> None:
    """Other entries of `ModelMetadata` for the ONNX file in `home`, which its metrics go on describing."""
    path, report = home / "models/classifier.onnx", home / "metrics/export.json"
    graph = onnx.load(path)
    for entry in graph.metadata_props:
        if entry.key in facts:
            entry.value = json.dumps(facts.pop(entry.key))
    assert not facts
    path.write_bytes(graph.SerializeToString())
    if report.is_file():
        write_json(report, read_json(report) | {"sha256": sha256(path)})


def make_all_unlike() -> None:
    """From now on no image is as near to the training images as the 40 val images, in any respect."""
    reference = load_typicality()
    reference.val = torch.zeros(40, 2)
    save_typicality(reference)


def make_export_unlike(home: Path) -> None:
    """`make_all_unlike` for the ONNX file in `home`."""
    edit_export(home, val_distances=[[0.0, 0.0]] * 40)


def save_export(model: Classifier) -> None:
    """models/ of `model`, of three classes or more, in the working directory, with its ONNX file."""
    spec, even = model.spec, [1 / len(model.spec.classes)] * len(model.spec.classes)
    calibration = Calibration(1.8, None, even, even)
    save_classifier(model)
    save_calibration(calibration)
    save_small_typicality(model)
    typicality = load_typicality()
    metadata = ModelMetadata(
        backbone=spec.backbone,
        members=spec.members,
        tta=spec.tta,
        size=spec.size,
        reading=spec.reading,
        classes=spec.classes,
        prevalence=even,
        threshold=calibration.threshold,
        operating_points=None,
        val_distances=typicality.val.tolist(),
        classifier_sha256=sha256(classifier.WEIGHTS),
        limits="",
    )
    onnx_session.PATH.write_bytes(to_onnx(model, calibration, typicality, metadata))


def save_gallery(model: Classifier) -> None:
    """models/index.* of the training radiographs in the working directory."""
    data = load_dataset()
    rows = data.rows("train")
    vectors = classifier_vectors(model, data.images[rows], torch.device("cpu"))
    Gallery.build(vectors, rows, "classifier", "cosine", "flat").save()


def save_clip(folder: Path) -> None:
    """A small CLIP with random weights in the hub's file format, whose embeddings have 32 numbers."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel  # takes seconds

    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=224, patch_size=32)).save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)


def empty_mirror(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new CXR_MIRROR in `folder`, and an empty cache of PyTorch beside it."""
    mirror = folder / "mirror"
    mirror.mkdir()
    monkeypatch.setenv("CXR_MIRROR", str(mirror))
    monkeypatch.setenv("TORCH_HOME", str(folder / "cache"))
    return mirror


def unreachable_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of Hugging Face's hub in `folder`, and no hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")


def published(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> tuple[torch.nn.Module, Path]:
    """Random weights in `folder` as if torchvision had published them. Returns the model that has them."""
    torch.manual_seed(0)
    model = models.get_model(name, **options).eval()
    torch.save(model.state_dict(), folder / "new.pth")
    sha256 = hashlib.sha256((folder / "new.pth").read_bytes()).hexdigest()
    path = (folder / "new.pth").rename(folder / f"{name}-{sha256[:8]}.pth")
    weights = models.get_model_weights(name).DEFAULT
    monkeypatch.setattr(weights.value, "url", f"http://127.0.0.1:9/models/{path.name}")
    return model, path


class Site(http.server.ThreadingHTTPServer):
    """A server on this machine that answers every request with `body`."""

    body = b""
    announced: int | None = None  # what Content-Length says, if it lies
    status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/records/tiny.npz?download=1"


class Answer(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(self.server.announced or len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass
