"""The wire contract, package hermes.v1, and its generated code."""
