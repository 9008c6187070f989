"""Widgets: what a learner moves. Each is an anywidget whose files lie in ``static/``, and a picture without a kernel."""
