"""The drawn streets: who visits when, how it looks, what can be asked and what is true."""
