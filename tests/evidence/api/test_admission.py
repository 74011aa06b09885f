"""How much a process takes on at once, and that nobody takes all of it (R4.2)."""

from contextlib import ExitStack

import pytest

from config.errors import UnavailableError
from evidence.api.admission import Places


def test_who_floods_leaves_room_for_the_others():
    places, held = Places(8), ExitStack()
    for _ in range(6):
        held.enter_context(places.one("Bearer flood"))
    with pytest.raises(UnavailableError, match="busy"), places.one("Bearer flood"):
        pytest.fail("a seventh place")
    held.enter_context(places.one("Bearer other"))
    held.enter_context(places.one("Bearer third"))
    with pytest.raises(UnavailableError, match="busy"), places.one("Bearer fourth"):
        pytest.fail("a ninth place")
    held.close()
    with places.one("Bearer flood"):
        assert places._taken == {"Bearer flood": 1}, "nothing is kept of who has gone"


def test_a_place_is_free_again_after_an_error():
    places = Places(1)
    with pytest.raises(ValueError, match="broken"), places.one(""):
        raise ValueError("broken")
    with places.one(""):
        pass
