"""The configuration file: its schema, its loading and its error messages."""
