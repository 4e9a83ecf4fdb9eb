"""The summary of an error in a log line."""

from __future__ import annotations

import pytest

from core_app.log_lines import SUMMARY_CHARACTERS, error_summary


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("the layer is away"), "OSError: the layer is away"),
        (RuntimeError(), "RuntimeError"),
        (ValueError("duplicate key\nDETAIL:  Key (text)=(what somebody wrote)"), "ValueError: duplicate key"),
        (KeyError("x" * 900), "KeyError: '" + "x" * (SUMMARY_CHARACTERS - 1)),
    ],
)
def test_an_error_is_its_type_and_the_first_line_of_what_it_says(error: Exception, text: str) -> None:
    assert error_summary(error) == text
