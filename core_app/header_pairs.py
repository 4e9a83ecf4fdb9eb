"""HTTP headers as pairs of bytes, names in lower case: the form in which rooms without HTTP hand them to a face."""

from __future__ import annotations

HeaderPairs = list[tuple[bytes, bytes]]
