"""Widgets: what a learner moves. Each is an anywidget with its files in ``static/``, and a picture without a kernel."""
