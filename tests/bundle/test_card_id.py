"""A bundle's id goes into pages and rows: it is what it looks like, or the card is refused."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from store_support import card_of

from defectflow.bundle import Card


@pytest.mark.parametrize("strange", ["<script>alert(1)</script>", "0123456789AB", "0123456789ab\\n", ""])
def test_a_strange_id_is_refused(strange: str) -> None:
    card = card_of(np.linspace(0, 1, 39))
    assert Card.model_validate_json(card.to_json()) == card
    text = card.to_json().replace(f'"{card.bundle_id}"', f'"{strange}"')
    with pytest.raises(ValidationError, match="bundle_id"):
        Card.model_validate_json(text)
