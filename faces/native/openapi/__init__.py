"""The native share of the OpenAPI document. `document.DOCUMENT` is the whole of it."""
