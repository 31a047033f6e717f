"""Answers as they may look, for the OpenAPI document; a test holds them against the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["EXAMPLES"]

_LLM: Final[dict[str, Any]] = {
    "cost": 0.0058,
    "requests": 2,
    "unpriced_requests": 0,
    "estimated_cost": 0.0,
    "audio_seconds": 0.0,
    "input_tokens": 9120,
    "cached_input_tokens": 6400,
    "output_tokens": 1780,
    "characters": 0,
}

_STT: Final[dict[str, Any]] = {
    "cost": 0.0072,
    "requests": 1,
    "unpriced_requests": 0,
    "estimated_cost": 0.0,
    "audio_seconds": 90.0,
    "input_tokens": 0,
    "cached_input_tokens": 0,
    "output_tokens": 0,
    "characters": 0,
}

_BOTH: Final[dict[str, Any]] = {
    "cost": 0.013,
    "requests": 3,
    "unpriced_requests": 0,
    "estimated_cost": 0.0,
    "audio_seconds": 90.0,
    "input_tokens": 9120,
    "cached_input_tokens": 6400,
    "output_tokens": 1780,
    "characters": 0,
}

_BY_MODALITY: Final = [{"modality": "stt", **_STT}, {"modality": "llm", **_LLM}]

_BY_MODEL: Final = [
    {"modality": "stt", "provider": "deepgram", "model": "nova-3", **_STT},
    {"modality": "llm", "provider": "openai", "model": "gpt-4.1-mini", **_LLM},
]

_COSTS: Final[dict[str, Any]] = {
    "period": "today",
    "from": "2026-05-31",
    "to": "2026-05-31",
    "timezone": "UTC",
    "project": "prod",
    "currency": "USD",
    "total_cost": 0.013,
    "requests": 3,
    "unpriced_requests": 0,
    "estimated_cost": 0.0,
    "by_project": [{"project": "prod", **_BOTH}],
    "by_modality": _BY_MODALITY,
    "by_model": _BY_MODEL,
    "by_day": [{"day": "2026-05-31", **_BOTH}],
}

_PROJECT: Final[dict[str, Any]] = {
    "project_id": "prod",
    "name": "Production",
    "description": "Customer-facing voice agents",
    "daily_budget": 50.0,
    "budget_action": "throttle",
    "tags": ["production", "customer-facing"],
    "accent": "green",
    "source": "yaml",
    "providers": ["openai", "deepgram", "cartesia"],
    "today": {
        "cost": 0.013,
        "requests": 3,
        "unpriced_requests": 0,
        "remaining": 49.987,
        "state": "ok",
    },
}

_PROJECTS: Final[dict[str, Any]] = {"projects": [_PROJECT]}

_LOGS: Final[dict[str, Any]] = {
    "logs": [
        {
            "id": "019711c2-5b1a-7c3e-8f0d-2b6f5a3c9e10",
            "request_id": "019711c2-5b1a-7c3e-8f0d-2b6f5a3c9e0f",
            "started_at": "2026-05-31T09:12:44.120Z",
            "ended_at": "2026-05-31T09:12:45.020Z",
            "day": "2026-05-31",
            "project": "prod",
            "modality": "llm",
            "provider": "openai",
            "model": "gpt-4.1-mini",
            "requested_model": "openai/gpt-4.1-mini",
            "status": "completed",
            "estimated": False,
            "room": "call-17",
            "job_id": "AJ_x7Yq2",
            "speech_id": "speech_1c9a",
            "audio_seconds": 0.0,
            "connection_seconds": 0.0,
            "input_tokens": 4560,
            "cached_input_tokens": 3200,
            "output_tokens": 890,
            "characters": 0,
            "cost": 0.002288,
            "price": "genai-prices openai/gpt-4.1-mini",
            "ttfb_ms": 412.0,
            "duration_ms": 900.0,
            "error": None,
        }
    ],
    "next_cursor": None,
}

_RECEIPT: Final[dict[str, Any]] = {
    "room": "call-17",
    "projects": ["prod"],
    "started_at": "2026-05-31T09:12:40.000Z",
    "ended_at": "2026-05-31T09:14:10.000Z",
    **_BOTH,
    "by_modality": _BY_MODALITY,
    "by_model": _BY_MODEL,
    "latency": [{"modality": "llm", "requests": 2, "median_ttfb_ms": 405.0, "max_ttfb_ms": 412.0}],
}

_CALLS: Final[dict[str, Any]] = {"calls": [_RECEIPT], "next_cursor": None}

_CALL: Final[dict[str, Any]] = {
    **_RECEIPT,
    "turns": [
        {
            "speech_id": "speech_1c9a",
            "started_at": "2026-05-31T09:12:44.120Z",
            "ended_at": "2026-05-31T09:12:45.020Z",
            "requests": 1,
            "cancelled": 0,
            "cost": 0.002288,
            "unpriced_requests": 0,
            "input_tokens": 4560,
            "output_tokens": 890,
            "characters": 0,
            "llm_ttfb_ms": 412.0,
            "tts_ttfb_ms": None,
        }
    ],
}

_VERIFY: Final[dict[str, Any]] = {
    "ok": True,
    "checked_from": None,
    "requests": 3,
    "lines": 2,
    "mismatches": [],
}

_PRICES: Final[dict[str, Any]] = {
    "currency": "USD",
    "prices": [
        {
            "model": "deepgram/nova-3",
            "modality": "stt",
            "option": "",
            "project": "prod",
            "source": "project",
            "basis": "audio",
            "rate": "0.0040/minute",
            "as_of": None,
            "url": None,
            "note": "",
            "valid_from": None,
            "valid_until": None,
        }
    ],
}

_PRICE: Final[dict[str, Any]] = {
    "model": "deepgram/nova-3",
    "modality": "stt",
    "cost": 0.006,
    "price": "project deepgram/nova-3 0.0040/minute",
    "source": "project",
    "basis": "audio",
    "currency": "USD",
    "quantities": {
        "audio_seconds": 90.0,
        "connection_seconds": 0.0,
        "channels": 1,
        "input_tokens": 0,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": 0,
        "characters": 0,
        "add_ons": [],
    },
}

_DELETION: Final = {
    "project_id": "support",
    "name": "Support line",
    "daily_budget": 20.0,
    "budget_action": "throttle",
    "provider_keys": {"openai": ["api_key"]},
    "requests": 3,
    "unpriced_requests": 0,
    "cost": 0.013,
    "live_requests": 0,
}

_CHANGES: Final = {
    "changes": [
        {
            "id": 2,
            "at": "2026-05-31T09:12:44.120Z",
            "front": "http",
            "who": None,
            "action": "changed",
            "project_id": "support",
            "fields": ["daily_budget"],
            "before": {"daily_budget": 20.0},
            "after": {"daily_budget": 35.5},
        }
    ]
}

_MANAGED: Final = {
    **_PROJECT,
    "project_id": "support",
    "name": "Support line",
    "description": "",
    "daily_budget": 20.0,
    "tags": ["production"],
    "source": "managed",
    "providers": [],
    "today": {
        "cost": 0.0,
        "requests": 0,
        "unpriced_requests": 0,
        "remaining": 20.0,
        "state": "ok",
    },
}

_MANAGED_PROJECTS: Final = {
    "version": 7,
    "projects": [
        {
            "project_id": "support",
            "name": "Support line",
            "description": "",
            "daily_budget": "20",
            "budget_action": "throttle",
            "tags": '["production"]',
            "created_at": "2026-05-30T08:00:00.000Z",
            "updated_at": "2026-05-31T09:30:00.250Z",
            "fallback": None,
            "pricing": None,
            "provider_options": '{"openai":["api_key"]}',
            "providers": "gAAAAABq…",
        }
    ],
}

EXAMPLES: Final[Mapping[str, object]] = {
    "costs": _COSTS,
    "logs": _LOGS,
    "calls": _CALLS,
    "call": _CALL,
    "verify": _VERIFY,
    "projects": _PROJECTS,
    "project": _PROJECT,
    "create_project": _MANAGED,
    "update_project": _MANAGED,
    "delete_project": _DELETION,
    "changes": _CHANGES,
    "record_usage": {"received": 2, "rows": 2},
    "lease": {"granted_nanos": 625_000_000, "settled_nanos": 0, "leased_nanos": 625_000_000},
    "return_lease": {"settled_nanos": 176_800, "leased_nanos": 0},
    "renew_leases": {"leases": [{"project": "prod", "day": "2026-05-31"}]},
    "managed_projects": _MANAGED_PROJECTS,
    "note_alert": {"new": True},
    "prices": _PRICES,
    "price": _PRICE,
    "health": {"status": "ok", "version": "1.0.0", "ledger": "ok"},
}
"""By operation, what it answers when all is well."""
