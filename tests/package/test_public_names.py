"""What is public is listed here: a name is added or removed on purpose, not by accident."""

from __future__ import annotations

import livekit.agents.inference
import pytest

import livekit_plugins_voicegateway
from livekit_plugins_voicegateway import errors, inference

PACKAGE = [
    "BudgetExceededError",
    "BudgetThrottleSignal",
    "ConfigError",
    "InvalidQueryError",
    "LedgerError",
    "MissingCredentialsError",
    "NoProjectChosenError",
    "NotManagedError",
    "OutboxError",
    "ProjectExistsError",
    "ProviderNotInstalledError",
    "RowsRefusedError",
    "SecretKeyError",
    "UnknownCallError",
    "UnknownModelError",
    "UnknownProjectError",
    "UnpricedModelError",
    "UnsetVariableError",
    "VoiceGatewayError",
    "WeightsDownloadError",
    "WeightsMissingError",
    "__version__",
    "inference",
]
INFERENCE = [
    "LLM",
    "STT",
    "TTS",
    "check_budget",
    "get_project",
    "prewarm",
    "set_project",
    "use_project",
]


def test_the_package_exports_what_is_listed() -> None:
    assert sorted(livekit_plugins_voicegateway.__all__) == PACKAGE
    assert set(PACKAGE) <= set(dir(livekit_plugins_voicegateway))


def test_the_drop_in_exports_what_is_listed() -> None:
    assert sorted(inference.__all__) == INFERENCE


def test_every_exception_is_public() -> None:
    exceptions = {
        name
        for name in errors.__all__
        if isinstance(getattr(errors, name), type) and issubclass(getattr(errors, name), Exception)
    }
    assert exceptions <= set(livekit_plugins_voicegateway.__all__)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sst'"):
        _ = livekit_plugins_voicegateway.Sst
    with pytest.raises(AttributeError, match="no attribute 'Sst'"):
        _ = inference.Sst


@pytest.mark.parametrize(
    "name", sorted({*livekit.agents.inference.__all__} - {"STT", "LLM", "TTS"})
)
def test_the_other_names_of_livekits_inference_are_reached_through_ours(name: str) -> None:
    theirs = getattr(livekit.agents.inference, name)
    assert getattr(inference, name) is theirs
    assert name in dir(inference)
