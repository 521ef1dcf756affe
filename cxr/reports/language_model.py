"""Reports by an image-text-to-text model from the Hugging Face hub, such as google/medgemma-4b-it (MedGemma:
https://arxiv.org/abs/2507.05201).

MedGemma is gated: accept its terms on its page and set the environment variable HF_TOKEN, which
huggingface_hub reads, to an access token.
"""

import gc
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    BitsAndBytesConfig,
    GenerationConfig,
    LogitsProcessorList,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import logging

from cxr.core.device import has_bf16
from cxr.core.errors import UserError
from cxr.core.fetch import Setting, from_hub
from cxr.core.files import read_json
from cxr.core.log import open_log
from cxr.models.weights import reading
from cxr.params import Report
from cxr.reports import memory
from cxr.reports.cases import Case
from cxr.reports.memory import check_memory
from cxr.reports.prompts import render_prompt
from cxr.reports.writers import Text

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
OTHERS = ("*.json", "*.jinja", "*.txt", "*.model", "model-*.safetensors")
TOKENS = 300  # at most in a response; the prompts ask for about a third
SIDE = 448  # pixels: smaller radiographs are enlarged to it


class HuggingFace:
    """Loads its model once and decodes greedily: no text depends on a random draw.

    Computes in bfloat16, also with 4-bit weights; on a GPU without it, such as a T4, in float16. Time and
    memory of each text are in logs/report.log.
    """

    def __init__(self, settings: Report, prompts: Mapping[str, str], device: torch.device) -> None:
        """prompts: by name, as `load_prompts` reads them.

        Raises `UserError` if the weights are unavailable or incomplete, if they are not of an
        image-text-to-text model with a chat template, or if they do not fit into memory.
        """
        self.prompts = tuple(prompts)
        self._templates = prompts
        self._settings = settings
        self._setting = Setting("report.writer", settings.writer)
        self._device = device
        self._dtype = computing_type(device)
        self._log = open_log("report")
        memory.set_allocator(settings.allocator)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        folder = _fetch(self._setting, settings)
        with reading(self._setting, folder):
            model_type = read_json(folder / "config.json").get("model_type")
            if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
                raise self._setting.error(
                    f"{folder} holds a model of type {model_type}, which does not generate text from an "
                    "image and a prompt; choose an image-text-to-text model"
                )
            check_memory(self._setting, folder, settings.quantisation, device)
            self._processor = self._read_processor(folder)
            if not getattr(self._processor, "chat_template", None):
                raise self._setting.error(f"{folder} has no chat template; choose a model tuned for chat")
            start = time.monotonic()
            with memory.running_out(self._setting, settings.quantisation, device):
                self._model = self._load(folder)
            self._log.info(
                "%s, quantisation %s, %s on %s: loaded in %.1f s, peak memory %.2f GiB",
                settings.writer,
                settings.quantisation,
                self.precision,
                device,
                time.monotonic() - start,
                memory.peak(device) / memory.GIB,
            )

    @property
    def precision(self) -> str:
        return str(self._dtype).removeprefix("torch.")

    def write(self, case: Case, prompt: str) -> Text:
        """Raises `UserError` if memory runs out."""
        prompt_text = render_prompt(self._templates[prompt], case)
        content: list[dict[str, Any]] = [
            {"type": "image", "image": model_image(case)},
            {"type": "text", "text": prompt_text},
        ]
        # Some CUDA kernels of language models have no deterministic implementation and would raise an error.
        strict = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(strict, warn_only=True)
        try:
            with memory.running_out(self._setting, self._settings.quantisation, self._device):
                start = time.monotonic()
                response, tokens = self._generate(content)
                self._log.info(
                    "row %d, %s: %d tokens in %.1f s, peak memory %.2f GiB",
                    case.row,
                    prompt,
                    tokens,
                    time.monotonic() - start,
                    memory.peak(self._device) / memory.GIB,
                )
                return Text(prompt_text, response)
        finally:
            torch.use_deterministic_algorithms(strict)

    def close(self) -> None:
        self._model = self._processor = None
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _read_processor(self, folder: Path) -> Any:
        try:
            return AutoProcessor.from_pretrained(folder)
        except ImportError as error:  # some models need packages that transformers does not depend on
            text = " ".join(str(error).split())[:200]
            raise self._setting.error(f"a package is missing for it ({text}); install it") from None

    def _load(self, folder: Path) -> Any:
        quantised = quantisation(self._settings, self._dtype)
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=self._dtype,
            quantization_config=quantised,
            # Weights are quantised on the device on which they are used.
            device_map={"": str(self._device)} if quantised else None,
            output_loading_info=True,
        )
        model, report = loaded
        if missing := sorted(report["missing_keys"]):
            raise self._setting.error(
                f"{folder} lacks weights, {missing[0]} among them; replace it by the published files"
            )
        # Published sampling settings do not apply to greedy decoding.
        published = model.generation_config
        model.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=TOKENS,
            bos_token_id=published.bos_token_id,
            eos_token_id=published.eos_token_id,
            pad_token_id=published.pad_token_id,
        )
        return (model if quantised else model.to(self._device)).eval()

    def _generate(self, content: list[dict[str, Any]]) -> tuple[str, int]:
        """The response, and its number of tokens."""
        inputs = self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self._device, dtype=self._dtype)
        with torch.inference_mode():
            checks = LogitsProcessorList([self._check_finite])
            tokens = self._model.generate(**inputs, logits_processor=checks)
        new = tokens[0, inputs["input_ids"].shape[1] :]
        response: str = self._processor.decode(new, skip_special_tokens=True)
        return response.strip(), len(new)

    def _check_finite(self, _: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """float16 ends at 65,504, which activations of models trained in bfloat16 can exceed."""
        if logits.isnan().any():
            raise self._setting.error(
                f"its outputs are not finite in {self.precision}; run it on a device with bfloat16, choose "
                "another model, or set report.writer to template"
            )
        return logits


def computing_type(device: torch.device) -> torch.dtype:
    """bfloat16, in which these models are published. float16 on a GPU without instructions for it; a CPU
    without them emulates bfloat16, and has no faster float16."""
    return torch.float16 if device.type == "cuda" and not has_bf16(device) else torch.bfloat16


def model_image(case: Case) -> Image.Image:
    """The stored radiograph in RGB, enlarged (bicubic) to at least `SIDE` pixels a side.

    MedGemma's processor resizes every image to its own input size; those of other models give small images
    few tokens.
    """
    image = Image.fromarray(case.image).convert("RGB")
    return image if case.size >= SIDE else image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def quantisation(settings: Report, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    """4-bit NormalFloat with double quantisation (QLoRA, https://arxiv.org/abs/2305.14314).

    dtype: in which it computes.

    None without quantisation. Raises `UserError` if its packages are not installed.
    """
    if settings.quantisation == "none":
        return None
    for package in ("bitsandbytes", "accelerate"):
        if find_spec(package) is None:
            raise UserError(
                f"params.yaml: report.quantisation is {settings.quantisation}, which needs {package}; "
                "install it with `uv sync --extra nf4`, or set it to none"
            )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _fetch(setting: Setting, settings: Report) -> Path:
    try:
        return from_hub(setting, settings.writer, settings.revision, WEIGHTS, OTHERS).parent
    except UserError as error:
        if isinstance(error.__context__, GatedRepoError):
            raise setting.error(
                "it is gated: accept its terms on "
                f"https://huggingface.co/{settings.writer}, create an access token there and set "
                "HF_TOKEN to it, or set CXR_MIRROR to a folder that has the model"
            ) from None
        raise
