"""The writer with a language model, by the real classes of transformers on a tiny random Gemma 3."""

import gc
import http.server
import json
import logging
import re
import shutil
import threading
import weakref
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models
from transformers import (
    AutoModelForImageTextToText,
    BertConfig,
    BertModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    PreTrainedTokenizerFast,
)

from cxr.core.files import read_json
from cxr.reports import language_model, memory, prompts
from cxr.reports.language_model import model_image
from cxr.reports.prompts import load_prompts
from stages import report
from stages.report import open_writer
from tests.builders import ROOT, case, files_below, refused, settings, unreachable_hub, write_report_run

CPU = torch.device("cpu")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NF4 = pytest.mark.skipif(not find_spec("bitsandbytes"), reason="needs the layer nf4: make test-nf4")
SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"]
IMAGE_TOKENS = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}
VOCABULARY = [*SPECIAL, *IMAGE_TOKENS.values(), *(chr(code) for code in range(32, 127)), "\n"]
# Gemma's, for one turn.
CHAT = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def save_processor(folder, chat=CHAT):
    """A token for each character, and four for an image of 32 x 32 pixels."""
    numbers = {token: number for number, token in enumerate(VOCABULARY)}
    letters = Tokenizer(models.BPE(vocab=numbers, merges=[], unk_token="<unk>"))
    letters.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters,
        pad_token="<pad>",
        eos_token="<eos>",
        bos_token="<bos>",
        unk_token="<unk>",
        additional_special_tokens=SPECIAL[4:],
        extra_special_tokens=IMAGE_TOKENS,
    )
    images = Gemma3ImageProcessor(size={"height": 32, "width": 32}, do_pan_and_scan=False)
    Gemma3Processor(images, tokenizer, chat_template=chat, image_seq_length=4).save_pretrained(folder)


def save_model(folder):
    """Two layers of width 64 (a block of NF4) with large random weights, so that radiographs give different
    texts."""
    shared = {"num_attention_heads": 2, "hidden_size": 64, "intermediate_size": 128}
    config = Gemma3Config(
        text_config=shared
        | {
            "vocab_size": len(VOCABULARY),
            "num_hidden_layers": 2,
            "num_key_value_heads": 1,
            "head_dim": 32,
            "initializer_range": 0.5,
        },
        vision_config=shared | {"num_hidden_layers": 1, "image_size": 32, "patch_size": 8},
        mm_tokens_per_image=4,
        boi_token_index=VOCABULARY.index("<start_of_image>"),
        eoi_token_index=VOCABULARY.index("<end_of_image>"),
        image_token_index=VOCABULARY.index("<image_soft_token>"),
        tie_word_embeddings=False,  # otherwise it repeats its last letter
    )
    torch.manual_seed(0)
    model = Gemma3ForConditionalGeneration(config)
    model.get_input_embeddings().weight.data *= 0.02  # otherwise a letter depends only on the last one
    # Initialised to 0, with which the text would not depend on the image.
    model.model.multi_modal_projector.mm_input_projection_weight.data.normal_()
    model.generation_config.update(
        do_sample=True,
        temperature=5.0,
        top_k=64,
        top_p=0.95,
        eos_token_id=[1],
        pad_token_id=0,
        bos_token_id=2,
    )
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder)
    save_processor(folder)
    return folder


@pytest.fixture(autouse=True)
def tiny(saved, tmp_path, monkeypatch):
    """acme/tiny in a mirror, short responses, neither a cache nor a hub."""
    folder = shutil.copytree(saved, tmp_path / "mirror/acme/tiny")
    monkeypatch.setenv("CXR_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    unreachable_hub(tmp_path, monkeypatch)
    monkeypatch.setattr(language_model, "TOKENS", 8)
    monkeypatch.chdir(tmp_path)  # logs/ is written there
    return folder


def opened(writer="acme/tiny", **changes):
    loaded = load_prompts(ROOT / "prompts")
    return language_model.HuggingFace(settings("report", writer=writer, **changes), loaded, CPU)


def decoded_by_hand(folder, example, prompt_text):
    """Greedy decoding without a cache: the whole sequence through the model for each new token."""
    processor = Gemma3Processor.from_pretrained(folder)
    model = Gemma3ForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16).eval()
    image = Image.fromarray(np.repeat(example.image[:, :, None], 3, axis=2)).resize((448, 448), 3)
    words = f"<bos><start_of_turn>user\n<start_of_image>{prompt_text}<end_of_turn>\n<start_of_turn>model\n"
    inputs = processor(text=words, images=[[image]], add_special_tokens=False, return_tensors="pt")
    tokens, kinds = inputs["input_ids"], inputs["token_type_ids"]
    start = tokens.shape[1]
    with torch.inference_mode():
        for _ in range(8):
            logits = model(
                input_ids=tokens,
                token_type_ids=kinds,
                pixel_values=inputs["pixel_values"].bfloat16(),
                use_cache=False,
            ).logits
            tokens = torch.cat([tokens, logits[:, -1:].argmax(dim=-1)], dim=1)
            kinds = torch.cat([kinds, torch.zeros(1, 1, dtype=kinds.dtype)], dim=1)
            if tokens[0, -1] == 1:
                break
    return processor.decode(tokens[0, start:], skip_special_tokens=True).strip()


def test_text_is_the_greedy_decoding(tiny):
    writer, example = opened(), case()
    assert writer.prompts == ("zero_shot", "clinical_role", "context_aware")
    responses = []
    for name in writer.prompts:
        text = writer.write(example, name)
        assert text.prompt_text == prompts.render_prompt(load_prompts(ROOT / "prompts")[name], example)
        assert text.response == decoded_by_hand(tiny, example, text.prompt_text)
        responses.append(text.response)
    assert len(set(responses)) > 1


def test_the_image_reaches_the_model():
    writer = opened()
    images = [np.full((28, 28), 0, np.uint8), np.full((28, 28), 255, np.uint8), case().image]
    assert len({writer.write(case(image=image), "zero_shot").response for image in images}) > 1


def test_published_sampling_settings_do_not_matter(tiny):
    first, second = (opened().write(case(), "zero_shot") for _ in range(2))
    assert first == second
    config = json.loads((tiny / "generation_config.json").read_text())
    assert config["do_sample"]
    (tiny / "generation_config.json").write_text(json.dumps({"eos_token_id": [1], "pad_token_id": 0}))
    assert opened().write(case(), "zero_shot") == first


def test_deterministic_kernels_are_required_again_afterwards():
    torch.use_deterministic_algorithms(True)
    try:
        opened().write(case(), "zero_shot")
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_weights_are_bf16_loaded_once_and_freed(monkeypatch):
    loads, load = [], AutoModelForImageTextToText.from_pretrained
    monkeypatch.setattr(
        AutoModelForImageTextToText,
        "from_pretrained",
        lambda *args, **options: loads.append(args) or load(*args, **options),
    )
    writer = open_writer_in_root(monkeypatch)
    assert {weight.dtype for weight in writer._model.parameters()} == {torch.bfloat16}
    for name in writer.prompts:
        writer.write(case(), name)
    assert len(loads) == 1
    weights = [weakref.ref(weight) for weight in writer._model.parameters()]
    writer.close()
    gc.collect()
    assert {weight() for weight in weights} == {None}


def open_writer_in_root(monkeypatch):
    """As in the stage, which reads prompts/ of the working directory."""
    monkeypatch.chdir(ROOT)
    return open_writer(settings("report", writer="acme/tiny"), CPU)


@NF4
def test_quantisation_is_double_nf4_with_bf16():
    none, nf4 = (settings("report", quantisation=name) for name in ("none", "nf4"))
    assert language_model.quantisation(none, torch.bfloat16) is None
    assert language_model.quantisation(nf4, torch.float16).bnb_4bit_compute_dtype == torch.float16
    config = language_model.quantisation(nf4, torch.bfloat16)
    assert config.load_in_4bit is True
    assert config.load_in_8bit is False
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_use_double_quant is True
    assert config.bnb_4bit_compute_dtype == torch.bfloat16


def test_precision_is_float16_on_a_gpu_without_bf16_alone(monkeypatch):
    for supported, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(language_model, "has_bf16", lambda device, has=supported: has)
        assert language_model.computing_type(torch.device("cuda")) == expected
        assert language_model.computing_type(CPU) == torch.bfloat16


def test_float16_reaches_the_weights_and_the_image(tiny, monkeypatch):
    monkeypatch.setattr(language_model, "computing_type", lambda device: torch.float16)
    writer = opened()
    assert writer.precision == "float16"
    assert {weight.dtype for weight in writer._model.parameters()} == {torch.float16}
    assert writer.write(case(), "zero_shot").response


def test_outputs_that_are_not_finite_are_an_error():
    writer = opened()
    with torch.no_grad():
        next(writer._model.parameters()).fill_(float("nan"))
    with refused("report.writer is acme/tiny", "not finite in bfloat16", "report.writer to template"):
        writer.write(case(), "zero_shot")


def test_time_and_memory_of_each_text_are_in_the_log():
    for handler in logging.getLogger("cxr.report").handlers[:]:
        handler.close()
        logging.getLogger("cxr.report").removeHandler(handler)
    writer = opened()
    writer.write(case(), "zero_shot")
    writer.write(case(row=9), "clinical_role")
    loaded, first, second = Path("logs/report.log").read_text().splitlines()
    memory_of_process = r"peak memory (\d+\.\d\d) GiB$"
    assert re.search(
        rf"acme/tiny, quantisation none, bfloat16 on cpu: loaded in .* s, {memory_of_process}", loaded
    )
    assert re.search(rf"row 7, zero_shot: \d tokens in \d+\.\d s, {memory_of_process}", first)
    held = re.search(rf"row 9, clinical_role: \d tokens in \d+\.\d s, {memory_of_process}", second)
    assert float(held[1]) == pytest.approx(memory.peak(CPU) / memory.GIB, abs=0.01)


def test_allocator_is_set_where_it_is_chosen(monkeypatch):
    calls = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", calls.append)
    opened()
    assert calls == []
    opened(allocator="expandable_segments")
    assert calls == ["expandable_segments:True"]


def test_pytorch_takes_the_allocator_setting():
    try:
        memory.set_allocator("expandable_segments")
        assert torch._C._accelerator_getAllocatorSettings() == "expandable_segments:True"
    finally:
        torch._C._accelerator_setAllocatorSettings("expandable_segments:False")


@NF4
def test_nf4_reaches_the_layers_and_writes():
    import bitsandbytes

    writer = opened(quantisation="nf4")
    layers = {
        name: layer for name, layer in writer._model.named_modules() if isinstance(layer, torch.nn.Linear)
    }
    exact = [name for name, layer in layers.items() if not isinstance(layer, bitsandbytes.nn.Linear4bit)]
    # PyTorch's attention in the vision tower's head does not call its layer; the output layer stays exact.
    assert exact == ["model.vision_tower.head.attention.out_proj", "lm_head"]
    assert len(layers) > 20
    for name, layer in layers.items():
        if name not in exact:
            assert layer.weight.quant_type == "nf4"
            assert layer.weight.quant_state.nested
            assert layer.compute_dtype == torch.bfloat16
    assert writer.write(case(), "zero_shot").response


def test_nf4_without_its_packages_is_an_error(monkeypatch):
    for package in ("bitsandbytes", "accelerate"):
        monkeypatch.setattr(
            language_model, "find_spec", lambda name, gone=package: None if name == gone else name
        )
        with refused("report.quantisation is nf4", package, "uv sync --extra nf4"):
            opened(quantisation="nf4")


def test_image_is_rgb_and_enlarged():
    small, large = (model_image(case(image=np.zeros((n, n), np.uint8))) for n in (28, 512))
    assert (small.mode, small.size) == ("RGB", (448, 448))
    assert large.size == (512, 512)


def test_unavailable_weights_are_an_error(tmp_path):
    with refused("params.yaml: report.writer is acme/absent", "CXR_MIRROR=", "hf download acme/absent"):
        opened("acme/absent")
    assert not (tmp_path / "cache").exists() or files_below(tmp_path / "cache") == []


def test_mirror_of_another_commit_is_an_error(tiny):
    note = tiny / ".cache/huggingface/download/model.safetensors.metadata"
    note.parent.mkdir(parents=True)
    note.write_text("f" * 40 + "\netag\n1.0\n")
    with refused(f"commit {'f' * 40} where report.revision asks for {COMMIT}"):
        opened(revision=COMMIT)


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with acme/gated alone, which lists its files and denies access to them."""

    tokens: ClassVar[set[str | None]] = set()

    def do_GET(self):
        self.tokens.add(self.headers.get("Authorization"))
        files = [{"type": "file", "path": "model.safetensors", "size": 9, "oid": "0" * 40}]
        if "/acme/gated" not in self.path:
            self.answer(404, b"{}", "RepoNotFound")
        elif "/tree/" in self.path:
            self.answer(200, json.dumps(files).encode())
        elif self.path.startswith("/api/"):
            info = {"id": "acme/gated", "sha": COMMIT, "siblings": [{"rfilename": "model.safetensors"}]}
            self.answer(200, json.dumps(info).encode())
        else:
            self.answer(401, b"{}", "GatedRepo")

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, body, error=None):
        self.send_response(status)
        if error:
            self.send_header("X-Error-Code", error)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    Hub.tokens = set()
    yield server
    server.shutdown()
    server.server_close()


def test_gated_model_without_access_is_an_error(hub, monkeypatch, capfd):
    with refused(
        "report.writer is acme/gated", "it is gated", "https://huggingface.co/acme/gated", "set HF_TOKEN"
    ):
        opened("acme/gated")
    assert Hub.tokens == {None}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with refused("set HF_TOKEN") as caught:
        opened("acme/gated")
    assert Hub.tokens == {None, "Bearer hf_secret"}  # from the environment alone
    assert "hf_secret" not in str(caught) + "".join(capfd.readouterr())


def test_unknown_model_is_an_error(hub):
    with refused("report.writer is acme/unknown", "check its name"):
        opened("acme/unknown")


def test_a_model_without_image_input_is_an_error(tiny):
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(config).save_pretrained(tiny.parent / "bert")
    with refused("report.writer is acme/bert", "type bert", "image-text-to-text"):
        opened("acme/bert")


def test_a_model_without_chat_template_is_an_error(tiny):
    (tiny / "chat_template.jinja").unlink()
    with refused("report.writer is acme/tiny", "no chat template"):
        opened()


def test_a_model_that_needs_another_package_is_an_error(monkeypatch):
    def missing_package(*_):
        raise ImportError("SmolVLMProcessor requires\nthe num2words library")

    monkeypatch.setattr(language_model.AutoProcessor, "from_pretrained", missing_package)
    with refused("report.writer is acme/tiny", "requires the num2words library", "install it"):
        opened()


@pytest.mark.parametrize(
    "name", ["config.json", "processor_config.json", "model.safetensors", "tokenizer.json"]
)
def test_broken_and_missing_files_are_an_error(tiny, name):
    path = tiny / name
    path.write_bytes(path.read_bytes()[:40])
    with refused("params.yaml: report.writer is acme/tiny", "replace it by the published file"):
        opened()
    path.unlink()
    with refused("params.yaml: report.writer is acme/tiny"):
        opened()


def test_missing_weights_are_an_error(tiny):
    model = Gemma3ForConditionalGeneration.from_pretrained(tiny)
    state = {name: value for name, value in model.state_dict().items() if "multi_modal_projector" not in name}
    model.save_pretrained(tiny, state_dict=state)
    with refused("report.writer is acme/tiny", "lacks weights", "multi_modal_projector"):
        opened()


def test_weights_larger_than_memory_are_an_error_before_they_are_read(tiny, monkeypatch):
    weights = sum(w.numel() for w in Gemma3ForConditionalGeneration.from_pretrained(tiny).parameters())
    monkeypatch.setattr(memory, "capacity", lambda device: 2 * weights)
    opened()
    monkeypatch.setattr(memory, "capacity", lambda device: 2 * weights - 1)
    with refused(
        "report.writer is acme/tiny", "GiB", "report.quantisation to nf4", "report.writer to template"
    ):
        opened()


@NF4
def test_nf4_weights_fit_into_a_quarter_of_the_memory(tiny, monkeypatch):
    weights = sum(w.numel() for w in Gemma3ForConditionalGeneration.from_pretrained(tiny).parameters())
    monkeypatch.setattr(memory, "capacity", lambda device: 2 * weights - 1)
    opened(quantisation="nf4")


def test_machine_has_more_memory_than_the_tiny_model_needs():
    assert memory.capacity(CPU) > 2**28


def test_out_of_memory_while_writing_is_an_error(monkeypatch):
    writer = opened()
    # Raises PyTorch's own error; no machine has a pebibyte.
    monkeypatch.setattr(writer._model, "generate", lambda **_: torch.empty(2**50, dtype=torch.uint8))
    with refused("report.writer is acme/tiny", "cpu has too little memory"):
        writer.write(case(), "zero_shot")

    def bug(**_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(writer._model, "generate", bug)
    with pytest.raises(RuntimeError, match="shapes"):
        writer.write(case(), "zero_shot")


def test_loading_prints_nothing(capfd):
    opened()
    assert capfd.readouterr() == ("", "")


def test_stage_writes_all_prompts_for_the_same_images_or_nothing(tmp_path, monkeypatch):
    """The stage as `dvc repro` runs it: a model that fails later leaves no file behind."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_report_run({"report.writer": "acme/absent", "report.cases": 4})
    before = files_below(folder)
    with refused("report.writer is acme/absent"):
        report.main()
    assert files_below(folder) == before

    write_report_run({"report.writer": "acme/tiny", "report.cases": 4})
    write = language_model.HuggingFace.write

    def fail_late(self, example, prompt):
        if prompt == "context_aware":
            monkeypatch.setattr(self._model, "generate", lambda **_: torch.empty(2**50, dtype=torch.uint8))
        return write(self, example, prompt)

    monkeypatch.setattr(language_model.HuggingFace, "write", fail_late)
    with refused("cpu has too little memory"):
        report.main()
    assert files_below(folder) == before

    monkeypatch.setattr(language_model.HuggingFace, "write", write)
    report.main()
    lines = [json.loads(line) for line in Path("reports/cases.jsonl").read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert [text["prompt"] for text in line["texts"]] == list(prompts.NAMES)
        assert all(text["response"] for text in line["texts"])
    assert list(read_json("metrics/report.json")["prompts"]) == list(prompts.NAMES)
    page = Path("reports/cases.md").read_text()
    assert "language model `acme/tiny`" in page
    assert "template" not in page.lower()
