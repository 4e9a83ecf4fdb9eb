"""Messages about fields: each begins with the field, and none is in the words of a framework."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework import serializers

from edge_app.rest.errors import as_gateway_error
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictDecimal, StrictInstant, StrictInteger, StrictString


class Body(serializers.Serializer[Any]):
    """A body with a field of each kind."""

    text = StrictString(required=False, max_length=3)
    number = StrictInteger(required=False, min_value=1, max_value=5)
    flag = StrictBoolean(required=False)
    names = serializers.ListField(child=StrictString(), required=False, max_length=1)
    thing = JSONObject(required=False)
    price = StrictDecimal(required=False, max_digits=6, decimal_places=2, min_value=0)
    until = StrictInstant(required=False)


@pytest.mark.parametrize(
    ("body", "field", "sentence"),
    [
        ({"text": 7}, "text", "'text' must be text."),
        ({"text": ""}, "text", "'text' may not be empty."),
        ({"text": None}, "text", "'text' may not be null."),
        ({"text": "long"}, "text", "'text' must have at most 3 characters."),
        ({"number": "1"}, "number", "'number' must be a whole number."),
        ({"number": True}, "number", "'number' must be a whole number."),
        ({"number": 0}, "number", "'number' must be at least 1."),
        ({"number": 6}, "number", "'number' must be at most 5."),
        ({"flag": 1}, "flag", "'flag' must be true or false."),
        ({"names": "a"}, "names", "'names' must be a list."),
        ({"names": ["a", "b"]}, "names", "'names' must have at most 1 elements."),
        ({"names": [1]}, "names.0", "'names.0' must be text."),
        ({"thing": []}, "thing", "'thing' must be a JSON object."),
        ({"price": "1"}, "price", "'price' must be a number."),
        ({"price": 0.001}, "price", "'price' must have at most 2 decimal places."),
        ({"until": "soon"}, "until", "'until' must be an ISO 8601 date and time, such as 2030-01-31T00:00:00Z."),
    ],
)
def test_a_message_begins_with_its_field(body: Any, field: str, sentence: str) -> None:
    serializer = Body(data=body)
    with pytest.raises(serializers.ValidationError) as raised:
        serializer.is_valid(raise_exception=True)
    error = as_gateway_error(raised.value)
    assert (error.code, error.field, error.message) == ("bad_request", field, sentence)
