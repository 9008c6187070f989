"""For whoever teaches with the chapters: a page a chapter, slides, assignments, and the answers of a class."""
