"""A finished run's bundle on a phone or board, answering prompts."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from qairt.device.delivery import Folder
from qairt.device.genie import Answer, ProgramFailedError, Show, ask_genie, for_one_prompt, read_config
from qairt.device.sdk_files import GENIE
from qairt.errors import DeviceError
from qairt.files import write_atomic
from qairt.notify import Notify
from qairt.recipe.configs import BASE
from qairt.results.concurrency import require_concurrency
from qairt.results.deploy import DeviceBundle, deploy, device_bundle
from qairt.results.device_selection import DeviceSelection
from qairt.results.finished import FinishedRun
from qairt.results.generation import Prompt
from qairt.runtime.generate import prompt_ids, prompt_text
from qairt.runtime.generator import require_known, require_room
from qairt.toolchain.genie.config import GENIE_CONFIG


class DeviceTarget:
    """A bundle on a device, ready to answer."""

    def __init__(self, bundle: DeviceBundle, folder: Folder, outputs: Path, adapter: str | None = None) -> None:
        """
        Args:
            adapter: the LoRA concurrency that Genie applies first, as genie-t2t-run takes it.
        """
        self._adapter = adapter
        self.folder = folder
        self._tokenizer = bundle.tokenizer
        self._config = read_config(bundle.bundle / GENIE_CONFIG)
        self._outputs = outputs
        self._answers = 0

    def answer(self, prompt: Prompt, *, max_new_tokens: int | None, show: Show) -> tuple[Answer, Path]:
        """The answer, and the folder on this machine with its log and measurements.

        Raises:
            DeviceError: the program failed on the device, or the connection was lost.
        """
        self._answers += 1
        folder = self._outputs / str(self._answers)
        text, _ = prompt_text(self._tokenizer, prompt)
        ids = prompt_ids(self._tokenizer, prompt)
        room = int(self._config["dialog"]["context"]["size"]) - len(ids)
        config = for_one_prompt(
            self._config,
            max_new_tokens=min(room, max_new_tokens or room),
            has_begin=self._tokenizer.encode(text) == ids,  # else a bare prompt, to which Genie must add the token
        )
        write_atomic(folder / "prompt.txt", text)
        try:
            answer = ask_genie(self.folder, config, text, self._adapter, show=show)
        except ProgramFailedError as error:
            write_atomic(folder / "output.log", error.log)
            remedy = f"{error.remedy}\nlog: {folder / 'output.log'}"
            raise DeviceError(error.what, where=error.where, remedy=remedy) from error
        write_atomic(folder / "answer.txt", answer.text)
        write_atomic(folder / "output.log", answer.log)
        if answer.profile is not None:
            write_atomic(folder / "profile.json", answer.profile)
        write_atomic(folder / "timing.json", json.dumps(asdict(answer.timing), indent=2) + "\n")
        return answer, folder


@contextmanager
def on_device(
    run: FinishedRun,
    selection: DeviceSelection,
    prompts: Sequence[Prompt],
    notify: Notify,
    concurrency: str = BASE,
) -> Iterator[DeviceTarget]:
    """The bundle on a device. All that can be checked here is checked before anything is sent.

    Args:
        prompts: that will be asked.
        concurrency: of LoRA adapters, by its name in the recipe.

    Raises:
        RecipeError: there is no such concurrency; lists those that there are.
        QairtError: the run is not finished; else what `require_prompts` and `qairt.results.deploy.deploy` raise.
    """
    run.require_generating()
    adapter = _adapter(run, concurrency)
    with device_bundle(run) as bundle:
        require_prompts(bundle, prompts)
        deployed = deploy(bundle, selection, GENIE, notify)
        stamp = time.strftime("%Y%m%d-%H%M%S")
        outputs = bundle.state_folder.parent / "execute" / f"{stamp}-{secrets.token_hex(2)}"
        try:
            yield DeviceTarget(bundle, deployed.folder, outputs, adapter)
        finally:
            deployed.lock.release()


def _adapter(run: FinishedRun, concurrency: str) -> str | None:
    """A concurrency as the bundle's Genie takes it: strengths by hand belong to any adapter of its configuration."""
    from qairt.bundle.genie_config import GenieLora

    found = require_concurrency(run, concurrency)
    if found is None or not found.shape.is_switched:
        return None if found is None else concurrency
    name = concurrency if concurrency in found.names else BASE
    return GenieLora(strengths={name: found.all_strengths(concurrency)}).argument(name)


def require_prompts(bundle: DeviceBundle, prompts: Sequence[Prompt]) -> None:
    """
    Raises:
        GenerationError: a prompt is empty, or leaves no room for an answer in the context.
        ModelError: the tokenizer does not fit the model, or the chat template rejects a prompt.
    """
    context = int(read_config(bundle.bundle / GENIE_CONFIG)["dialog"]["context"]["size"])
    for prompt in prompts:
        ids = prompt_ids(bundle.tokenizer, prompt)
        require_known(ids, bundle.vocabulary)
        require_room(len(ids) + 1, context, context)
