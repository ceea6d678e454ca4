"""Random canvases: written as plain tuples, built with whichever library is asked."""
