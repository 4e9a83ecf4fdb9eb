"""Settings of Django, Django REST framework and drf-spectacular that nothing changes: neither environment nor files."""

from __future__ import annotations

from typing import Any

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["edge_app.rest.authentication.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["edge_app.rest.json.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["edge_app.rest.json.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "edge_app.rest.json.JSONNegotiation",
    "EXCEPTION_HANDLER": "edge_app.rest.errors.exception_handler",
    # `?format=` is a parameter of the native API, not a choice of renderers.
    "URL_FORMAT_OVERRIDE": None,
    "NON_FIELD_ERRORS_KEY": "non_field_errors",
}

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "OAS_VERSION": "3.1.0",
    # Separate components for requests and responses: a field that is optional in one is always present in the other.
    "COMPONENT_SPLIT_REQUEST": True,
    "COMPONENT_SPLIT_PATCH": False,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}
