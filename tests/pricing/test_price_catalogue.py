"""The catalogue holds the prices that providers publish, each with its source and day."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from livekit_plugins_voicegateway.metering.estimates import estimate_speech_tokens
from livekit_plugins_voicegateway.metering.usage import NANOS_PER_DOLLAR, Quantities
from livekit_plugins_voicegateway.pricing.catalogue import (
    Catalogue,
    load_catalogue,
    read_catalogue,
    split_variant,
)
from livekit_plugins_voicegateway.pricing.cost import calculator

MINUTE, HOUR = 60.0, 3600.0


def heard(seconds: float, **more: object) -> Quantities:
    return Quantities(audio_seconds=seconds, connection_seconds=seconds, **more)  # type: ignore[arg-type]


def dollars(modality: str, model: str, used: Quantities, *, batch: bool = False) -> Decimal:
    entry = load_catalogue().find(modality, *split_variant(model))  # type: ignore[arg-type]
    assert entry is not None
    (spec,) = entry.batch if batch else entry.prices
    nanos = calculator(spec, add_ons=entry.add_ons).nanos(used)
    assert nanos is not None
    return Decimal(nanos) / NANOS_PER_DOLLAR


@pytest.mark.parametrize(
    ("model", "seconds", "expected"),
    [
        ("deepgram/nova-3", MINUTE, "0.0048"),
        ("deepgram/nova-3:en-US", MINUTE, "0.0048"),
        ("deepgram/nova-3:multi", MINUTE, "0.0058"),
        ("deepgram/nova-3-general:multi", MINUTE, "0.0058"),
        ("deepgram/nova-2", HOUR, "0.35"),
        ("deepgram/nova-2-phonecall", HOUR, "0.35"),
        ("deepgram/flux-general-en", MINUTE, "0.0065"),
        ("deepgram/flux-general-multi", MINUTE, "0.0078"),
        ("cartesia/ink-whisper", HOUR, "0.18"),
        ("cartesia/ink-2", HOUR, "0.54"),
        ("elevenlabs/scribe_v2_realtime", HOUR, "0.39"),
        ("assemblyai/universal-streaming", HOUR, "0.15"),
        ("assemblyai/universal-streaming-english", HOUR, "0.15"),
        ("assemblyai/universal-3-5-pro", HOUR, "0.45"),
        ("groq/whisper-large-v3-turbo", HOUR, "0.04"),
        ("groq/whisper-large-v3", HOUR, "0.111"),
        ("openai/whisper-1", MINUTE, "0.006"),
    ],
)
def test_an_stt_model_costs_what_its_provider_publishes(
    model: str, seconds: float, expected: str
) -> None:
    assert dollars("stt", model, heard(seconds)) == Decimal(expected)


@pytest.mark.parametrize(
    ("model", "characters", "expected"),
    [
        ("deepgram/aura-2", 1_000_000, "30"),
        ("deepgram/aura-2-andromeda-en", 1_000_000, "30"),
        ("cartesia/sonic-2", 1_000_000, "50"),
        ("cartesia/sonic-3", 1_000_000, "50"),
        ("cartesia/sonic-3:a-voice", 1_000_000, "50"),
        ("elevenlabs/eleven_flash_v2_5", 1_000, "0.05"),
        ("elevenlabs/eleven_turbo_v2_5", 1_000, "0.05"),
        ("elevenlabs/eleven_multilingual_v2", 1_000, "0.10"),
        ("openai/tts-1", 1_000_000, "15"),
        ("openai/tts-1-hd", 1_000_000, "30"),
    ],
)
def test_a_tts_model_costs_what_its_provider_publishes(
    model: str, characters: int, expected: str
) -> None:
    assert dollars("tts", model, Quantities(characters=characters)) == Decimal(expected)


@pytest.mark.parametrize(
    ("modality", "model", "input_rate", "output_rate"),
    [
        ("stt", "openai/gpt-4o-transcribe", "6", "10"),
        ("stt", "openai/gpt-4o-mini-transcribe", "3", "5"),
        ("tts", "openai/gpt-4o-mini-tts", "0.60", "12"),
    ],
)
def test_speech_billed_by_tokens_costs_what_its_provider_publishes(
    modality: str, model: str, input_rate: str, output_rate: str
) -> None:
    million = 1_000_000
    assert dollars(modality, model, Quantities(input_tokens=million)) == Decimal(input_rate)
    assert dollars(modality, model, Quantities(output_tokens=million)) == Decimal(output_rate)


@pytest.mark.parametrize(
    ("modality", "model", "per_minute"),
    [
        ("stt", "openai/gpt-4o-transcribe", "0.006"),
        ("stt", "openai/gpt-4o-mini-transcribe", "0.003"),
        ("tts", "openai/gpt-4o-mini-tts", "0.015"),
    ],
)
def test_the_tokens_that_metering_estimates_cost_what_openai_estimates_for_a_minute(
    modality: str, model: str, per_minute: str
) -> None:
    used = estimate_speech_tokens(modality, Quantities(audio_seconds=MINUTE))
    # Tokens are whole: a minute may be rounded up by one.
    assert dollars(modality, model, used) == pytest.approx(
        Decimal(per_minute), rel=Decimal("0.002")
    )


def test_pre_recorded_audio_has_its_own_price_where_one_is_published() -> None:
    assert dollars("stt", "deepgram/nova-3", heard(MINUTE), batch=True) == Decimal("0.0043")


@pytest.mark.parametrize("model", ["deepgram/nova-3", "deepgram/nova-3:multi"])
def test_keyterms_are_billed_on_top_for_the_same_audio(model: str) -> None:
    with_keyterms = heard(MINUTE, add_ons=frozenset({"keyterm"}))
    more = dollars("stt", model, with_keyterms) - dollars("stt", model, heard(MINUTE))
    assert more == Decimal("0.0013")


def test_groq_bills_a_short_utterance_for_ten_seconds() -> None:
    model = "groq/whisper-large-v3-turbo"
    assert dollars("stt", model, heard(2)) == dollars("stt", model, heard(10))


@pytest.mark.parametrize("entry", list(load_catalogue()), ids=lambda entry: entry.model)
def test_every_price_says_where_it_stands_and_when_it_was_read(entry: object) -> None:
    assert entry.url.startswith("https://")  # type: ignore[attr-defined]
    assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", entry.as_of)  # type: ignore[attr-defined]
    assert entry.prices  # type: ignore[attr-defined]


def test_the_longest_family_name_wins_over_a_shorter_one_and_a_full_name_over_both() -> None:
    text = """
    acme/ear: {price: {audio: "1", per: hour}, source: "https://acme", as_of: 2026-08,
               also: [acme/ear-*]}
    acme/ear-large-*: {price: {audio: "2", per: hour}, source: "https://acme", as_of: 2026-08}
    acme/ear-large-7: {price: {audio: "3", per: hour}, source: "https://acme", as_of: 2026-08}
    """
    catalogue = Catalogue(read_catalogue("stt", text, "acme.yaml"))

    def rate(model: str) -> Decimal | None:
        entry = catalogue.find("stt", model, None)
        return entry.prices[0].audio if entry is not None else None

    assert rate("acme/ear") == 1
    assert rate("acme/ear-small") == 1
    assert rate("acme/ear-large-6") == 2
    assert rate("acme/ear-large-7") == 3
    assert rate("acme/earring") is None


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ('{price: {audio: "1", per: day}, source: s, as_of: a}', "price per"),
        ("{price: {audio: 0.0048, per: minute}, source: s, as_of: a}", "price audio"),
        ('{price: {audio: "1", per: hour}, as_of: a}', "source is missing"),
        ('{price: {audio: "1", per: hour}, source: s}', "as_of is missing"),
        ("{source: s, as_of: a}", "price is missing"),
        ('{price: {audio: "1", per: hour}, source: s, as_of: a, colour: red}', "colour"),
        ('{price: {audio: "1", per: hour}, source: s, as_of: a, also: acme/b}', "also"),
        ('{price: {audio: "1", per: hour}, source: s, as_of: a, add_ons: {k: {}}}', "add_ons.k"),
    ],
)
def test_a_wrong_entry_names_file_model_and_fault(fields: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"^x.yaml: acme/ear: .*{fault}"):
        list(read_catalogue("stt", f"acme/ear: {fields}", "x.yaml"))


def test_a_model_that_is_priced_twice_is_refused() -> None:
    entries = list(load_catalogue())
    with pytest.raises(ValueError, match="priced twice"):
        Catalogue([*entries, entries[0]])
