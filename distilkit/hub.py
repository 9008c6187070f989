"""Models from a hub, by name and revision: only the files that are data, whole, and never more than fits here."""
