"""Which price is found for a model, a project and a day, and what is said of it."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from livekit_plugins_voicegateway.errors import UnknownModelError
from livekit_plugins_voicegateway.metering.usage import Quantities
from livekit_plugins_voicegateway.pricing.book import Price, PriceBook
from livekit_plugins_voicegateway.pricing.spec import PriceSpec, parse_prices

DAY = dt.date(2026, 11, 23)
MINUTE = Quantities(audio_seconds=60)


def own(entries: Mapping[str, object]) -> dict[str, tuple[PriceSpec, ...]]:
    result = {}
    for model, value in entries.items():
        result[model], problems = parse_prices(model, value)
        assert not problems
    return result


def per_minute(rate: str) -> dict[str, object]:
    return {"audio": rate, "per": "minute"}


def found(price: Price | None) -> Price:
    assert price is not None
    return price


BOOK = PriceBook(
    own(
        {
            "deepgram/nova-2": per_minute("0.002"),
            "deepgram/nova-3": per_minute("0.003"),
            "openai/gpt-4.1-mini": {"input": "0.3", "output": "1.5", "per": 1000000},
            "acme/promo": {**per_minute("1"), "until": "2026-11-22"},
            "openai/whisper-1": {**per_minute("0.001"), "until": "2026-11-22"},
        }
    ),
    {
        "prod": own(
            {
                "deepgram/nova-3": per_minute("0.0040"),
                "deepgram/nova-3:multi": per_minute("0.0050"),
                "openai/gpt-4.1-mini": {"input": "0.35", "output": "1.40", "per": 1000000},
                "acme/in-house": {"free": True},
            }
        ),
        "staging": own({"deepgram/flux-general-en": {"free": True}}),
    },
)


def test_a_projects_own_price_goes_before_all_others() -> None:
    price = found(BOOK.find("stt", "deepgram", "nova-3", project="prod", day=DAY))
    assert price.source == "project"
    assert price.cost(MINUTE) == 4_000_000


def test_the_configurations_price_goes_before_the_catalogue() -> None:
    price = found(BOOK.find("stt", "deepgram", "nova-2", project="prod", day=DAY))
    assert price.source == "config"
    assert price.cost(MINUTE) == 2_000_000


def test_the_catalogue_goes_before_genai_prices() -> None:
    price = found(BOOK.find("stt", "groq", "whisper-large-v3", project="prod", day=DAY))
    assert price.source == "catalogue"


def test_genai_prices_knows_what_the_catalogue_does_not() -> None:
    price = found(BOOK.find("llm", "openai", "gpt-4o-mini", project="prod", day=DAY))
    assert price.source == "genai-prices"
    assert price.cost(Quantities(input_tokens=1_000_000)) == 150_000_000


def test_the_same_model_may_have_another_price_in_another_project() -> None:
    prices = {
        project: found(BOOK.find("llm", "openai", "gpt-4.1-mini", project=project, day=DAY))
        for project in ("prod", "staging", None)
    }
    assert {project: price.source for project, price in prices.items()} == {
        "prod": "project",
        "staging": "config",
        None: "config",
    }
    million = Quantities(input_tokens=1_000_000)
    assert prices["prod"].cost(million) == 350_000_000
    assert prices["staging"].cost(million) == 300_000_000


@pytest.mark.parametrize("modality", ["stt", "llm", "tts"])
def test_what_nobody_knows_has_no_price(modality: str) -> None:
    assert BOOK.find(modality, "acme", "unheard-of", project="prod", day=DAY) is None  # type: ignore[arg-type]


def test_a_price_that_has_run_out_leaves_the_model_to_the_next_source() -> None:
    assert BOOK.find("stt", "acme", "promo", project=None, day=DAY) is None
    before = found(BOOK.find("stt", "acme", "promo", project=None, day=dt.date(2026, 11, 22)))
    assert before.source == "config"
    assert found(BOOK.find("stt", "openai", "whisper-1", project=None, day=DAY)).source == (
        "catalogue"
    )


def test_a_variant_has_its_own_price_where_there_is_one() -> None:
    def rate(variant: str | None, project: str | None) -> int | None:
        price = BOOK.find("stt", "deepgram", "nova-3", variant=variant, project=project, day=DAY)
        return found(price).cost(MINUTE)

    assert rate("multi", "prod") == 5_000_000
    assert rate("en-US", "prod") == 4_000_000
    assert rate(None, "prod") == 4_000_000


def test_a_plain_price_of_ones_own_covers_the_variants_too() -> None:
    price = BOOK.find("stt", "deepgram", "nova-3", variant="multi", project="staging", day=DAY)
    assert found(price).source == "config"
    assert found(price).cost(MINUTE) == 3_000_000


def test_a_voice_may_have_a_price_of_its_own() -> None:
    book = PriceBook(own({"cartesia/sonic-3:clone": {"characters": 75, "per": 1000000}}), {})
    used = Quantities(characters=1000)
    clone = book.find("tts", "cartesia", "sonic-3", variant="clone", project=None, day=DAY)
    other = book.find("tts", "cartesia", "sonic-3", variant="katie", project=None, day=DAY)
    assert found(clone).cost(used) == 75_000_000
    assert found(other).cost(used) == 50_000_000


def test_pre_recorded_audio_is_cheaper_where_the_provider_says_so() -> None:
    book = PriceBook({}, {})

    def cost(model: str, *, streaming: bool) -> int | None:
        provider, _, name = model.partition("/")
        price = book.find("stt", provider, name, project=None, day=DAY, streaming=streaming)
        return found(price).cost(MINUTE)

    assert cost("deepgram/nova-3", streaming=True) == 4_800_000
    assert cost("deepgram/nova-3", streaming=False) == 4_300_000
    assert cost("openai/whisper-1", streaming=False) == cost("openai/whisper-1", streaming=True)


def test_each_channel_is_billed() -> None:
    price = found(PriceBook({}, {}).find("stt", "deepgram", "nova-3", project=None, day=DAY))
    assert price.cost(Quantities(audio_seconds=60, channels=2)) == 9_600_000


def test_an_agreed_rate_replaces_the_base_rate_but_not_the_add_ons() -> None:
    with_keyterms = Quantities(audio_seconds=60, add_ons=frozenset({"keyterm"}))
    agreed = found(BOOK.find("stt", "deepgram", "nova-3", project="prod", day=DAY))
    assert agreed.cost(with_keyterms) == 4_000_000 + 1_300_000
    free = found(BOOK.find("stt", "deepgram", "flux-general-en", project="staging", day=DAY))
    assert free.cost(with_keyterms) == 0
    assert free.label == "project deepgram/flux-general-en free"


def test_add_ons_of_a_rate_agreed_by_the_connection_are_billed_for_the_connection() -> None:
    book = PriceBook(own({"deepgram/nova-3": {"connection": "0.004", "per": "minute"}}), {})
    price = found(book.find("stt", "deepgram", "nova-3", project=None, day=DAY))
    used = Quantities(audio_seconds=30, connection_seconds=60, add_ons=frozenset({"keyterm"}))
    assert price.cost(used) == 4_000_000 + 1_300_000


def test_an_add_on_that_nobody_prices_costs_nothing_more() -> None:
    price = found(PriceBook({}, {}).find("stt", "openai", "whisper-1", project=None, day=DAY))
    assert price.cost(Quantities(audio_seconds=60, add_ons=frozenset({"keyterm"}))) == 6_000_000


@pytest.mark.parametrize(
    ("modality", "provider", "model"),
    [
        ("stt", "local", "whisper-large-v3"),
        ("tts", "local", "kokoro"),
        ("llm", "ollama", "qwen2.5:3b"),
    ],
)
def test_a_local_model_has_the_price_zero_which_is_a_price(
    modality: str, provider: str, model: str
) -> None:
    price = found(BOOK.find(modality, provider, model, project="prod", day=DAY))  # type: ignore[arg-type]
    assert (price.source, price.basis) == ("local", "free")
    assert price.cost(Quantities(audio_seconds=9, input_tokens=9, characters=9)) == 0


def test_a_local_model_may_be_given_a_price() -> None:
    book = PriceBook(own({"ollama/qwen2.5:3b": {"input": 1, "output": 1, "per": 1000}}), {})
    price = found(book.find("llm", "ollama", "qwen2.5:3b", project=None, day=DAY))
    assert price.cost(Quantities(output_tokens=1000)) == 1_000_000_000


def test_a_rate_that_is_missing_makes_the_cost_unknown_and_not_zero() -> None:
    book = PriceBook(own({"acme/half": {"input": 1, "per": 1000}}), {})
    price = found(book.find("llm", "acme", "half", project=None, day=DAY))
    assert price.cost(Quantities(input_tokens=1000)) == 1_000_000_000
    assert price.cost(Quantities(input_tokens=1000, output_tokens=1)) is None


def test_cached_tokens_without_a_rate_of_their_own_cost_as_much_as_others() -> None:
    price = found(BOOK.find("llm", "openai", "gpt-4.1-mini", project="prod", day=DAY))
    used = Quantities(input_tokens=1_000_000, cached_input_tokens=900_000)
    assert price.cost(used) == 350_000_000


@pytest.mark.parametrize(
    ("model", "quantities"),
    [
        ("openai/gpt-4.1", Quantities(characters=100)),
        ("openai/gpt-4.1", Quantities(audio_seconds=60)),
        ("openai/gpt-4o-transcribe", Quantities(audio_seconds=60)),
        ("assemblyai/universal-streaming", Quantities(audio_seconds=60)),
    ],
)
def test_a_unit_that_a_model_is_not_priced_in_has_an_unknown_cost(
    model: str, quantities: Quantities
) -> None:
    quote = PriceBook({}, {}).find_any(model, quantities, project=None, day=DAY)
    assert quote.cost_nanos is None


def test_speech_billed_by_tokens_says_that_it_needs_them() -> None:
    book = PriceBook({}, {})
    by_tokens = book.find("stt", "openai", "gpt-4o-transcribe", project=None, day=DAY)
    by_seconds = book.find("stt", "openai", "whisper-1", project=None, day=DAY)
    assert found(by_tokens).needs_tokens
    assert not found(by_seconds).needs_tokens


@pytest.mark.parametrize(
    ("modality", "model", "project", "label"),
    [
        (
            "stt",
            "openai/whisper-1",
            None,
            "catalogue openai/whisper-1 0.006/minute (2026-11-10)",
        ),
        (
            "stt",
            "deepgram/nova-3",
            "prod",
            "project deepgram/nova-3 0.004/minute, keyterm +0.0013/minute",
        ),
        ("stt", "deepgram/nova-2", None, "config deepgram/nova-2 0.002/minute"),
        ("llm", "ollama/qwen2.5:3b", None, "local ollama/qwen2.5:3b free"),
        (
            "llm",
            "openai/gpt-4.1",
            None,
            "genai-prices openai/gpt-4.1 2 in, 0.5 cached, 8 out/1M tokens",
        ),
        (
            "llm",
            "google/gemini-2.5-pro",
            None,
            "1.25 in, 0.125 cached, 10 out/1M tokens; 2.5 in, 0.25 cached, 15 out/1M tokens "
            "above 200000 input",
        ),
        ("llm", "perplexity/sonar", None, "1 in, 1 out/1M tokens, 0.012/request"),
    ],
)
def test_the_label_says_who_says_what(
    modality: str, model: str, project: str | None, label: str
) -> None:
    provider, _, name = model.partition("/")
    price = BOOK.find(
        modality,  # type: ignore[arg-type]
        provider,
        name,
        project=project,
        day=DAY,
    )
    assert label in found(price).label


def test_the_label_of_a_batch_price_says_that_it_is_one() -> None:
    price = PriceBook({}, {}).find(
        "stt", "deepgram", "nova-3", project=None, day=DAY, streaming=False
    )
    assert found(price).label.startswith("catalogue deepgram/nova-3 batch 0.0043/minute")


def test_the_same_question_gets_the_same_price_from_every_thread() -> None:
    book = PriceBook({}, {})
    with ThreadPoolExecutor(8) as threads:
        prices = list(
            threads.map(
                lambda _: book.find("llm", "openai", "gpt-4.1", project=None, day=DAY), range(64)
            )
        )
    assert all(price == prices[0] for price in prices)
    assert book.find("llm", "openai", "gpt-4.1", project=None, day=DAY) is (
        book.find("llm", "openai", "gpt-4.1", project=None, day=DAY)
    )


# --- What would this cost? -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "quantities", "language", "modality", "cost"),
    [
        ("deepgram/nova-3", MINUTE, None, "stt", 4_800_000),
        ("deepgram/nova-3", MINUTE, "multi", "stt", 5_800_000),
        ("deepgram/nova-3:multi", MINUTE, None, "stt", 5_800_000),
        ("deepgram/nova-3:multi", MINUTE, "en", "stt", 4_800_000),
        ("cartesia/sonic-3:a-voice", Quantities(characters=1000), None, "tts", 50_000_000),
        ("openai/gpt-4o-mini-tts", Quantities(output_tokens=1000), None, "tts", 12_000_000),
        ("openai/gpt-4o-transcribe", Quantities(input_tokens=1000), None, "stt", 6_000_000),
        ("openai/gpt-4.1", Quantities(input_tokens=1000), None, "llm", 2_000_000),
        ("ollama/llama3.2:3b", Quantities(input_tokens=1000), None, "llm", 0),
        ("ollama/llama3.2:3b", MINUTE, None, "llm", 0),
        ("local/whisper-large-v3:en", MINUTE, None, "stt", 0),
        ("local/kokoro:af_heart", Quantities(characters=10), None, "tts", 0),
        (
            "groq/canopylabs/orpheus-v1-english",
            Quantities(characters=1000),
            None,
            "tts",
            22_000_000,
        ),
        ("mistralai/voxtral-mini-latest", MINUTE, None, "stt", 3_000_000),
        ("acme/unheard-of", Quantities(input_tokens=1), None, "llm", None),
        ("acme/unheard-of", MINUTE, None, "stt", None),
        ("acme/unheard-of", Quantities(), "en", "stt", None),
        ("acme/unheard-of", Quantities(characters=1), None, "tts", None),
        ("deepgram/nova-3", Quantities(), None, "stt", 0),
    ],
)
def test_a_model_string_is_priced_without_saying_what_kind_it_is(
    model: str, quantities: Quantities, language: str | None, modality: str, cost: int | None
) -> None:
    quote = PriceBook({}, {}).find_any(model, quantities, project=None, language=language, day=DAY)
    assert quote.modality == modality
    assert quote.cost_nanos == cost


def test_ones_own_price_tells_what_kind_of_model_it_is() -> None:
    book = PriceBook(
        own({"acme/ear": per_minute("1")}),
        {"prod": own({"acme/mouth": {"characters": 1, "per": 1000}})},
    )
    ear = book.find_any("acme/ear:en", Quantities(), project="prod", day=DAY)
    mouth = book.find_any("acme/mouth", Quantities(), project="prod", day=DAY)
    assert (ear.modality, ear.variant) == ("stt", "en")
    assert (mouth.modality, mouth.cost_nanos) == ("tts", 0)


@pytest.mark.parametrize("text", ["", "gpt-4.1", "openai/", "/gpt-4.1", "deepgram/:multi"])
def test_what_is_no_model_string_is_refused_with_the_form_to_write(text: str) -> None:
    with pytest.raises(UnknownModelError, match="write provider/model"):
        PriceBook({}, {}).find_any(text, Quantities(), project=None, day=DAY)


# --- All prices ------------------------------------------------------------------------------


def test_all_prices_are_listed_with_their_source_and_options() -> None:
    listings = list(BOOK.all())
    by_name = {(listing.source, listing.model, listing.option): listing for listing in listings}
    assert len(by_name) == len(listings)
    assert by_name["project", "deepgram/nova-3:multi", ""].project == "prod"
    assert by_name["config", "acme/promo", ""].valid_until == dt.date(2026, 11, 22)
    assert by_name["catalogue", "deepgram/nova-3", ""].rate == "0.0048/minute"
    assert by_name["catalogue", "deepgram/nova-3", "batch"].rate == "0.0043/minute"
    keyterm = by_name["catalogue", "deepgram/nova-3", "add-on keyterm"]
    assert (keyterm.rate, keyterm.modality) == ("0.0013/minute", "stt")
    assert keyterm.url == "https://deepgram.com/pricing"
    assert by_name["local", "ollama/*", ""].rate == "free"


def test_the_prices_of_one_project_leave_out_those_of_others() -> None:
    projects = {listing.project for listing in BOOK.all("staging")}
    assert projects == {"staging", None}


# --- Laziness --------------------------------------------------------------------------------


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_price_book_reads_no_list_until_it_is_asked() -> None:
    assert (
        run_python(
            "import sys\n"
            "from livekit_plugins_voicegateway.pricing.book import PriceBook\n"
            "PriceBook({}, {})\n"
            "print([m for m in ('yaml', 'genai_prices', 'livekit.agents') if m in sys.modules])"
        )
        == "[]"
    )


def test_speech_is_priced_without_the_list_of_llm_prices() -> None:
    assert (
        run_python(
            "import datetime, sys\n"
            "from livekit_plugins_voicegateway.pricing.book import PriceBook\n"
            "day = datetime.date(2026, 11, 23)\n"
            "PriceBook({}, {}).find('stt', 'deepgram', 'nova-3', project=None, day=day)\n"
            "print('genai_prices' in sys.modules)"
        )
        == "False"
    )


def test_preloading_reads_both_lists_ahead_of_the_first_question() -> None:
    assert (
        run_python(
            "import sys\n"
            "from livekit_plugins_voicegateway.pricing.book import PriceBook\n"
            "PriceBook.preload()\n"
            "print([m in sys.modules for m in ('yaml', 'genai_prices.data')])"
        )
        == "[True, True]"
    )
