"""How every refusal is checked: the error that a caller expects, its words, and its length; and how a fork ends."""

import os
import warnings

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


def forked(act):
    """The exit status of a process that does this: 0 if it went well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if not child:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
