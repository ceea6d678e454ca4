"""A print shop in one package, without folders of tasks."""
