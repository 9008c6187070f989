"""What stands in for the page in tests of widgets that need no browser."""

import time


def tell(view, **content):
    """Send the view what the page would."""
    view._handle_custom_msg(content, [])


def until(condition, seconds=60):
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
