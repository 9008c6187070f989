"""How every refusal is checked: the error that a caller expects, its words, and its length."""

import pytest

from distilkit.errors import DistilkitError


def refused(act, builtin, *words):
    """`act` raises a `DistilkitError` that is `builtin`, too, says `words`, and takes at most six lines."""
    with pytest.raises(DistilkitError) as caught:
        act()
    assert isinstance(caught.value, builtin)
    message = str(caught.value)
    assert message.count("\n") < 6
    for word in words:
        assert word in message, message
