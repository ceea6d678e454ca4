"""What became of every task, kept in the database: the app ``django_qstash.results``."""
