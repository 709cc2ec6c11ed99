"""With which settings, and on which accelerator, an imported model is to be trained on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from bnnedge import formats
from bnnedge.compiler import fitting
from bnnedge.compiler.layout import fits, layout
from bnnedge.configuration import CONFIGURATIONS, Configuration
from bnnedge.configuration import configuration as configuration_called
from bnnedge.importer.steps import UnsupportedError
from bnnedge.network import Network
from bnnedge.settings import Settings


@dataclasses.dataclass(frozen=True)
class Choice:
    """What the user has asked for; None: nothing.

    settings: with what was given, the others as usual.
    """

    batch: int | None
    slope_planes: int | None
    settings: Settings
    configuration: Configuration | None

    @classmethod
    def of(
        cls,
        batch: int | None,
        gradient_planes: int | Sequence[int] | str | None,
        slope_planes: int | None,
        configuration: str | os.PathLike[str] | Configuration | None,
    ) -> Choice:
        """Of the arguments of `load`; ValueError if one is out of range."""
        given: dict[str, Any] = {"batch": batch, "gradient_planes": gradient_planes, "slope_planes": slope_planes}
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        if configuration is not None and not isinstance(configuration, Configuration):
            configuration = configuration_called(configuration)
        return cls(batch, slope_planes, settings, configuration)

    def fitted(self, network: Network, planes: int) -> tuple[Settings, Configuration, list[str]]:
        """Settings for pixels of so many planes and a configuration that hold a network, and notes of what was chosen."""
        if self.slope_planes is not None and self.slope_planes > planes:
            raise UnsupportedError(f"slope_planes must be in 1..{planes}, as the model's pixels have, not {self.slope_planes}")
        slopes = min(planes, self.settings.slope_planes)
        settings = dataclasses.replace(self.settings, input_planes=planes, slope_planes=slopes)
        batches = [settings.batch]
        while self.batch is None and batches[-1] > formats.BATCH_STEP:
            batches.append(batches[-1] // 2)
        accelerators = [self.configuration] if self.configuration else list(CONFIGURATIONS.values())
        for batch in batches:
            settings = dataclasses.replace(settings, batch=batch)
            for accelerator in accelerators:
                if fits(network, settings, accelerator):
                    note = f"batches of {batches[0]} images do not fit: training takes {batch}"
                    return settings, accelerator, [note] if batch < batches[0] else []
        try:
            if self.configuration is None:
                fitting(network, settings)
            for training in (True, False):
                layout(network, settings, accelerators[0], training=training)
        except ValueError as error:
            raise UnsupportedError(str(error)) from error
        raise AssertionError("what does not fit says why")
