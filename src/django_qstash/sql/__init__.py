"""What every sub-app asks of a database: columns, single statements, and its clock."""
